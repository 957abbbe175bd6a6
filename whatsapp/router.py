"""State and frame pick the handler, as data; and every error as a frame or a close.

A handler is a plain call. One that must read the store first returns an awaitable; the
connection awaits it before it hands in the next frame, so a connection's frames take
effect in their order.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from whatsapp.auth import Auth
from whatsapp.chat import Conversations
from whatsapp.clock import Clock
from whatsapp.errors import (
    Answer,
    BadRequest,
    Busy,
    Internal,
    ProtocolViolation,
    Trouble,
    Unauthorized,
)
from whatsapp.hub import Hub
from whatsapp.interfaces import Directory
from whatsapp.metrics import Metrics
from whatsapp.positions import Positions
from whatsapp.presence import Presences
from whatsapp.session import Session, State
from whatsapp.wire import (
    CLOSE_GOING_AWAY,
    CLOSE_NO_HELLO,
    CLOSE_NO_TOKEN,
    CLOSE_REVOKED,
    HELLO_CURSORS_MAX,
    AnyClientFrame,
    Hello,
    Limits,
    Ping,
    Pong,
    Read,
    Received,
    Send,
    Typing,
    Watch,
    Welcome,
    answers,
    decode,
    encode,
    error_frame,
)

log = logging.getLogger(__name__)

Later = Awaitable[None] | None


class Router:
    """Hands each frame to the module whose it is."""

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        *,
        auth: Auth,
        conversations: Conversations,
        positions: Positions,
        presences: Presences,
        directory: Directory,
        hub: Hub,
        clock: Clock,
        metrics: Metrics,
        instance: str,
        durable: bool,
        limits: Limits,
        arrived: Callable[[Session], None] | None = None,
        hold: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._arrived = arrived
        self._hold = hold
        self._auth = auth
        self._conversations = conversations
        self._positions = positions
        self._presences = presences
        self._directory = directory
        self._hub = hub
        self._clock = clock
        self._metrics = metrics
        self._instance = instance
        self._durable = durable
        self._limits = limits

    def receive(self, session: Session, data: bytes) -> Later:
        """Handle one text frame. What it returns, if anything, is awaited before the next."""
        self._metrics.frames_received.value += 1
        try:
            frame = decode(data)
        except Exception as error:  # noqa: BLE001 — translated, or logged, in one place
            return self._failed(session, error, answers(data))
        try:
            handler = TABLE[session.state].get(type(frame), _misplaced)
            later = handler(self, session, frame)
        except Exception as error:  # noqa: BLE001 — as above
            return self._failed(session, error, _named(frame))
        return None if later is None else self._finish(session, frame, later)

    async def _finish(
        self, session: Session, frame: AnyClientFrame, later: Awaitable[None]
    ) -> None:
        try:
            await later
        except Exception as error:  # noqa: BLE001 — as above
            held = self._failed(session, error, _named(frame))
            if held is not None:
                await held

    def _failed(self, session: Session, error: Exception, re: str | int | None) -> Later:
        """Say so. Who was refused as `busy` is held for a moment before its next frame.

        Why: to read, decode and refuse takes a fifth of what a message takes. At five times the
        load that would be all there is; so most of it is left where it is, in the sockets.
        """
        if isinstance(error, ProtocolViolation):
            session.close(error.close_code, error.reason)
            return None
        if not isinstance(error, Answer):
            log.error("handler failed conn=%d", session.number, exc_info=error)
            error = Internal("something went wrong on the server; it was logged; try again")
        self._metrics.errors[error.code].value += 1
        session.push(error_frame(error, re))
        if session.state is State.OPENING:
            _end_opening(session, error)
        return self._hold() if self._hold is not None and isinstance(error, Busy) else None

    # --- handlers --------------------------------------------------------------------

    async def hello(self, session: Session, frame: Hello) -> None:
        """Who it is, then what is pending for it. Known before it is read for: `begin`."""
        token = frame.token if frame.token is not None else session.header_token
        if token is None:
            raise ProtocolViolation(CLOSE_NO_TOKEN, "no token: log in, then send it in hello")
        if frame.cursors is not None and len(frame.cursors) > HELLO_CURSORS_MAX:
            raise BadRequest(f"at most {HELLO_CURSORS_MAX} cursors fit a hello")
        actor = self._auth.known(token) or await self._auth.authenticate(token)
        if session.state is not State.OPENING:
            return
        session.user, session.device = actor.user, actor.device
        session.since_ms = self._clock.now_ms()
        session.header_token = None
        session.state = State.WELCOMED
        self._hub.add(session)
        if not self._auth.alive(actor):
            # Logged out while the store was asked for it: nobody else knew of this session.
            session.close(CLOSE_REVOKED, "logged out")
            return
        session.push(self._welcome(session))
        try:
            await self._announce(session)
            away_since_ms = self._hub.away_since_ms(actor.device)
            if away_since_ms is None:
                away_since_ms = self._auth.logins.seen_before_ms(actor)
            await self._positions.begin(session, frame.cursors, away_since_ms=away_since_ms)
        except Trouble as error:
            session.push(error_frame(error))
            session.close(CLOSE_GOING_AWAY, "the store is away; reconnect")

    async def _announce(self, session: Session) -> None:
        try:
            await self._directory.announce([session.user])
        except Trouble:
            # The directory keeps it in mind; nobody is kept out because it is away.
            log.debug("directory away, announced later conn=%d", session.number)
        if self._arrived is not None:
            self._arrived(session)

    def send(self, session: Session, frame: Send) -> Later:
        return self._conversations.send(session, frame)

    def received(self, session: Session, frame: Received) -> Later:
        return self._conversations.received(session, frame)

    def read(self, session: Session, frame: Read) -> Later:
        return self._conversations.read(session, frame)

    def typing(self, session: Session, frame: Typing) -> Later:
        return self._presences.typing(session, frame)

    def watch(self, session: Session, frame: Watch) -> None:
        self._presences.watch(session, frame)

    def ping(self, session: Session, frame: Ping) -> None:
        session.push(encode(Pong(self._clock.now_ms(), frame.n)))

    def again(self, session: Session, frame: Hello) -> None:
        raise BadRequest("hello is said once, at the beginning of a connection")

    def _welcome(self, session: Session) -> bytes:
        return encode(
            Welcome(
                user=session.user,
                device=session.device,
                instance=self._instance,
                time=self._clock.now_ms(),
                durable=self._durable,
                limits=self._limits,
            )
        )


Handler = Callable[..., Later]


def _misplaced(router: Router, session: Session, frame: AnyClientFrame) -> None:
    raise ProtocolViolation(CLOSE_NO_HELLO, "the first frame must be hello")


def _ignored(router: Router, session: Session, frame: AnyClientFrame) -> None:
    """The connection is closing: what still comes in is not looked at."""


TABLE: dict[State, dict[type[AnyClientFrame], Handler]] = {
    State.OPENING: {Hello: Router.hello},
    State.WELCOMED: {},
    State.LIVE: {
        Hello: Router.again,
        Send: Router.send,
        Received: Router.received,
        Read: Router.read,
        Typing: Router.typing,
        Watch: Router.watch,
        Ping: Router.ping,
    },
    State.CLOSED: dict.fromkeys((Hello, Send, Received, Read, Typing, Watch, Ping), _ignored),
}


def _named(frame: AnyClientFrame) -> str | int | None:
    if isinstance(frame, Send):
        return frame.id
    return frame.n if isinstance(frame, Ping) else None


def _end_opening(session: Session, error: Answer) -> None:
    """Before the welcome nothing but a good hello keeps a connection open."""
    if isinstance(error, Unauthorized):
        session.close(CLOSE_NO_TOKEN, error.message)
    elif isinstance(error, Trouble):
        session.close(CLOSE_GOING_AWAY, "try again later")
    else:
        session.close(CLOSE_NO_HELLO, "the first frame must be a good hello")
