"""The HTTP side: the WebSocket's door, health, metrics, the contract's pages.

REST proper is `rest.py`. Here is what belongs to connections: who may open one, and the
list of those that are open, so that they can be kept alive, counted, and sent away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from aiohttp import web

from whatsapp import config, page_routes, rest
from whatsapp.connection import Connection, Settings
from whatsapp.errors import BadRequest, Forbidden, RateLimited, Unavailable
from whatsapp.lean import LeanConnection
from whatsapp.log import SessionLog
from whatsapp.metrics import CONTENT_TYPE, Metrics
from whatsapp.rates import Bucket, address_key
from whatsapp.router import Later, Router
from whatsapp.session import Session, State
from whatsapp.wire import (
    CLOSE_BROKEN_FRAME,
    CLOSE_FLOODING,
    CLOSE_GOING_AWAY,
    CLOSE_NO_HELLO,
    SUBPROTOCOL,
    Draining,
    encode,
)

log = logging.getLogger(__name__)

# Connections are looked at once a second, a part of them at a time.
BEAT_PARTS = 10
RECONNECT_MS = 1_000


READERS: dict[str, type[Connection]] = {"lean": LeanConnection, "plain": Connection}


class Guest:
    """A connection with its session; the `Receiver` of its frames.

    `address` is where it came from, as limits count it, until it says who it is.
    """

    __slots__ = ("_door", "address", "bucket", "connection", "number", "session")

    def __init__(
        self, door: Door, connection: Connection, session: Session, bucket: Bucket, address: str
    ) -> None:
        self._door = door
        self.connection = connection
        self.session = session
        self.bucket = bucket
        self.address = address
        self.number = session.number

    def text(self, data: bytes) -> Later:
        door = self._door
        wait_seconds = self.bucket.take(door.now())
        if wait_seconds:
            door.refused["frames"] += 1
            wait_ms = int(wait_seconds * 1000) + 1
            self.session.close(CLOSE_FLOODING, f"too many frames; reconnect in {wait_ms} ms")
            return None
        later = door.router.receive(self.session, data)
        return door.opening(self, later) if self.address else later

    def binary(self, data: bytes) -> None:
        self.session.close(CLOSE_BROKEN_FRAME, "binary frames are not part of v1")

    def ended(self) -> None:
        self._door.leave(self)


class Door:
    """Opens WebSockets, and knows those that are open."""

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        *,
        router: Router,
        new_session: Callable[[Connection, int, str | None], Session],
        new_bucket: Callable[[], Bucket],
        ended: Callable[[Session], None],
        settings: config.Server,
        limits: config.Limits,
        metrics: Metrics,
    ) -> None:
        self.router = router
        self._new_session = new_session
        self._new_bucket = new_bucket
        self._ended = ended
        self._settings = settings
        self._socket_settings = Settings(
            frame_bytes_max=limits.frame_bytes_max,
            heartbeat_seconds=settings.heartbeat_seconds,
            close_timeout_seconds=settings.close_timeout_seconds,
            stall_seconds=limits.stall_seconds,
        )
        self._metrics = metrics
        self._trusted = rest.proxies(settings.trusted_proxies)
        self.now = asyncio.get_running_loop().time
        self._guests: list[dict[int, Guest]] = [{} for _ in range(BEAT_PARTS)]
        self._opening: dict[str, int] = {}
        self._opening_count = 0
        self._last_number = 0
        self._turn = 0
        self._pushed_count = 0  # by those that are gone
        # As of the last `look`.
        self.states: dict[str, int] = {}
        self.outbox_bytes = 0
        self.pushed_count = 0
        self.refused = {"frames": 0, "hellos": 0}
        self.draining = False

    # --- opening ---------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/ws`: from the handshake to the end of the connection."""
        if self.draining:
            raise Unavailable("the server is going away; connect again", retry_after_ms=1000)
        _check_handshake(request, self._settings.allowed_origins)
        address = address_key(rest.client_address(request, self._trusted))
        self._count_opening(address)
        connection = READERS[self._settings.reader](self._socket_settings, self._metrics)
        try:
            response = await connection.open(request, (SUBPROTOCOL,))
        except BaseException:
            self._uncount_opening(address)
            raise
        guest = self._welcome(connection, address, _header_token(request))
        connection.receiver = guest
        await connection.run()
        return response

    def _welcome(self, connection: Connection, address: str, token: str | None) -> Guest:
        self._last_number = number = self._last_number + 1
        session = self._new_session(connection, number, token)
        guest = Guest(self, connection, session, self._new_bucket(), address)
        self._guests[number % BEAT_PARTS][number] = guest
        self._metrics.connections.value += 1
        log.debug("connection opened conn=%d", number)
        return guest

    async def opening(self, guest: Guest, later: Later) -> None:
        """A frame of a connection that had not said who it is: perhaps it has now."""
        if later is not None:
            await later
        if guest.session.state is not State.OPENING and guest.address:
            self._arrived(guest)

    def _arrived(self, guest: Guest) -> None:
        self._uncount_opening(guest.address)
        guest.address = ""
        _line(guest).info("connection opened device=%s", guest.session.device)

    def leave(self, guest: Guest) -> None:
        session, connection = guest.session, guest.connection
        if guest.address:
            # Its hello may still wait for the store: it is not to be counted out twice.
            self._uncount_opening(guest.address)
            guest.address = ""
        del self._guests[guest.number % BEAT_PARTS][guest.number]
        session.state = State.CLOSED
        self._ended(session)
        self._metrics.connections.value -= 1
        self._pushed_count += session.pushed_count
        self._metrics.closes[str(connection.close_code)].value += 1
        _line(guest).info(
            "connection closed code=%d reason=%s pushed=%d seconds=%.1f",
            connection.close_code,
            connection.close_reason,
            session.pushed_count,
            self.now() - session.opened_at,
        )

    def _count_opening(self, address: str) -> None:
        """Sockets that have not said who they are: bounded, in all and per address."""
        here = self._opening.get(address, 0)
        if (
            self._opening_count >= self._settings.unauthenticated_connections_max
            or here >= self._settings.unauthenticated_per_address_max
        ):
            self.refused["hellos"] += 1
            raise RateLimited(
                "too many connections wait for their hello; try again", retry_after_ms=1000
            )
        self._opening[address] = here + 1
        self._opening_count += 1

    def _uncount_opening(self, address: str) -> None:
        self._opening_count -= 1
        left = self._opening[address] - 1
        if left:
            self._opening[address] = left
        else:
            del self._opening[address]

    # --- keeping and ending ----------------------------------------------------------

    def __len__(self) -> int:
        return sum(map(len, self._guests))

    async def look(self) -> None:
        """Ask every session what it has, a part of them in each turn of the loop."""
        counts = dict.fromkeys(State, 0)
        pushed_count, outbox_bytes = self._pushed_count, 0
        for part in self._guests:
            states = [guest.session.state for guest in part.values()]
            for state in State:
                counts[state] += states.count(state)
            pushed_count += sum([guest.session.pushed_count for guest in part.values()])
            outbox_bytes += sum([guest.connection.buffered_bytes() for guest in part.values()])
            await asyncio.sleep(0)
        self.states = {state.value: count for state, count in counts.items()}
        self.outbox_bytes = outbox_bytes
        # One that left meanwhile may be missed this time; a counter must not go back for it.
        self.pushed_count = max(self.pushed_count, pushed_count)

    def beat(self) -> None:
        """To be called `BEAT_PARTS` times a second: heartbeats and time limits."""
        now = self.now()
        self._turn = (self._turn + 1) % BEAT_PARTS
        for guest in list(self._guests[self._turn].values()):
            session = guest.session
            waited = now - session.opened_at
            if session.state is State.OPENING and waited > self._settings.hello_timeout_seconds:
                session.close(CLOSE_NO_HELLO, "no hello in time")
            guest.connection.beat(now)

    def announce_drain(self) -> None:
        """No new connections; the clients are told to go elsewhere soon."""
        self.draining = True
        frame = encode(Draining(RECONNECT_MS))
        for guest in self._all():
            if guest.session.state is not State.OPENING:
                guest.session.push(frame)

    def close_all(self) -> None:
        for guest in self._all():
            guest.session.close(CLOSE_GOING_AWAY, "the server is going away; reconnect")

    def abort_all(self) -> None:
        """End what has not ended by itself."""
        for guest in self._all():
            guest.connection.abort()

    def _all(self) -> list[Guest]:
        return [guest for part in self._guests for guest in part.values()]


def application(
    *,
    door: Door,
    rest_routes: Sequence[web.RouteDef],
    readiness: Callable[[], list[str]],
    metrics: Metrics,
) -> web.Application:
    """All routes. Errors of any of them are problem documents."""

    async def healthz(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(request: web.Request) -> web.Response:
        missing = readiness()
        body = {"status": "not ready" if missing else "ready", "missing": missing}
        return web.json_response(body, status=503 if missing else 200)

    async def show_metrics(request: web.Request) -> web.Response:
        await door.look()
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application(middlewares=[rest.problems], client_max_size=rest.BODY_BYTES_MAX)
    app.on_response_prepare.append(_with_headers)
    app.router.add_routes(
        [
            web.get("/v1/ws", door.handle, allow_head=False),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", show_metrics),
            *page_routes.routes(),
            *rest.documents(),
            *rest_routes,
        ]
    )
    return app


async def _with_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Whatever is answered is kept by nobody and taken for nothing else, unless it says so."""
    if not isinstance(response, web.WebSocketResponse):
        for name, value in rest.HEADERS.items():
            response.headers.setdefault(name, value)


def _line(guest: Guest) -> SessionLog:
    line = SessionLog(log, guest.number)
    line.known(guest.session.user)
    return line


def _check_handshake(request: web.Request, allowed_origins: Sequence[str]) -> None:
    origin = request.headers.get("Origin")
    if not (origin is None or _same_origin(origin, request.host) or origin in allowed_origins):
        raise Forbidden("this origin may not connect; allow it in [server] allowed_origins")
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
    if SUBPROTOCOL not in {name.strip() for name in offered.split(",")}:
        raise BadRequest(f"offer the WebSocket subprotocol {SUBPROTOCOL}")


def _same_origin(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _header_token(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
