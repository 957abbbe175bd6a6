"""A client's way to the server: one WebSocket after another, for as long as it takes.

    dial → hello → welcome → frames both ways, a ping a heartbeat → lost → wait → dial …

What is said is not decided here: a `Conversation` gives the frames and hears the answers.
Waits between connections are exponential with full jitter, and never shorter than the
server asked for. Two things end it: `LoggedOut` and `Replaced`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol

import aiohttp
import msgspec
from aiohttp import WSMsgType
from msgspec import Struct

from whatsapp import wire
from whatsapp.calls import cause, encoded
from whatsapp.clock import Clock, Sleep, SystemClock
from whatsapp.errors import Unauthorized, WhatsAppError

log = logging.getLogger(__name__)

WELCOME_TIMEOUT_SECONDS = 15.0
# A connection that lasted for so long was a good one: the next waits are short again.
STEADY_SECONDS = 5.0
SILENT_HEARTBEATS_MAX = 2
VERDICT_SECONDS = 1.0
EXPONENT_MAX = 20

Socket = aiohttp.ClientWebSocketResponse[bool]


class Options(Struct, frozen=True, kw_only=True):
    """What most authors of clients leave as it is; the last three are for tests."""

    outbox_messages_max: int = 10_000
    retry_first_seconds: float = 0.2
    retry_seconds_max: float = 30.0
    received_delay_seconds: float = 0.05
    request_timeout_seconds: float = 30.0
    close_timeout_seconds: float = 2.0
    clock: Clock = SystemClock()
    sleep: Sleep = asyncio.sleep
    chance: Callable[[], float] = random.random


class Ended(WhatsAppError):
    """The connection has ended for good; nothing goes out and nothing comes in any more."""


class LoggedOut(Ended):
    """The token is not valid (any more): logged out, revoked, or too old. Log in again."""


class Replaced(Ended):
    """This device has connected a second time, elsewhere. Two programs need two logins."""


class Lost(Struct, frozen=True):
    """Why a connection ended, and how long the server wants to be left alone."""

    reason: str
    wait_seconds: float = 0.0


class Conversation(Protocol):
    """What is said on the connections. All calls are plain; none may wait."""

    def hello(self) -> wire.Hello:
        """The first frame of a connection."""
        ...

    def welcomed(self, frame: wire.Welcome) -> None:
        """Frames may go out from now on."""
        ...

    def heard(self, frame: wire.AnyServerFrame) -> None:
        """Any frame that came."""
        ...

    def outgoing(self) -> list[bytes]:
        """All frames that are to go out now; asked after every `Link.wake`."""
        ...

    def beat(self) -> None:
        """It is time for a ping: among what goes out next, and a reason to wake for."""
        ...

    def lost(self, reason: str, wait_seconds: float) -> None:
        """No connection, until `welcomed`; the next try is after this time."""
        ...


class Backoff:
    """Full jitter: a random part of a time that doubles from the first to the longest."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next_seconds(self) -> float:
        first = self._options.retry_first_seconds
        ceiling: float = first * 2 ** min(self._failures, EXPONENT_MAX)
        self._failures += 1
        return min(ceiling, self._options.retry_seconds_max) * self._options.chance()

    def jittered(self, seconds: float) -> float:
        """Not before this time, and at most twice as long."""
        return seconds * (1 + self._options.chance())


class Link:
    """See the head of this file. `run` is one task; the other methods may be called any time."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Socket]],
        conversation: Conversation,
        options: Options,
    ) -> None:
        self._dial = dial
        self._conversation = conversation
        self._backoff = Backoff(options)
        self._clock = options.clock
        self._sleep = options.sleep
        self._wake = asyncio.Event()
        self._socket: Socket | None = None
        self._finishing = False
        self._welcomed_at = math.inf
        self._heard_count = 0
        self._drain_until: float | None = None
        self._draining = asyncio.Event()
        self._leaving = ""  # why, once `_draining` is set

    async def run(self) -> None:
        """Until `finish`, or raising `Ended`."""
        while True:
            self._drain_until = None
            self._draining.clear()
            self._welcomed_at = math.inf
            lost = await self._connection()
            if self._finishing:
                return
            if self._clock.monotonic() - self._welcomed_at >= STEADY_SECONDS:
                self._backoff.reset()
            wait = self._wait_seconds(lost)
            log.info("connection lost reason=%s retry_seconds=%.2f", lost.reason, wait)
            self._conversation.lost(lost.reason, wait)
            await self._sleep(wait)

    def wake(self) -> None:
        """There may be something to go out."""
        self._wake.set()

    def finish(self) -> None:
        """Let what waits go out, then close; `run` returns soon."""
        self._finishing = True
        self._wake.set()

    def give_up(self, reason: str) -> None:
        """End this connection; a new one will be made."""
        if self._socket is not None:
            log.warning("connection given up reason=%s", reason)
            self._leaving = reason
            self._drain_until = self._clock.monotonic()
            self._draining.set()

    # --- one connection -------------------------------------------------------------

    async def _connection(self) -> Lost:
        try:
            socket = await self._dial()
        except aiohttp.WSServerHandshakeError as error:
            return _refused(error)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Lost(f"cannot connect: {cause(error)}")
        self._socket = socket
        try:
            return await self._talk(socket)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Lost(f"connection broke: {cause(error)}")
        finally:
            self._socket = None
            await socket.close()

    async def _talk(self, socket: Socket) -> Lost:
        await _send(socket, encoded(self._conversation.hello()))
        async with asyncio.timeout(WELCOME_TIMEOUT_SECONDS):
            welcome = await self._welcome(socket)
        if isinstance(welcome, Lost):
            return welcome
        self._welcomed_at = self._clock.monotonic()
        self._conversation.welcomed(welcome)
        self._wake.set()
        return await _first_of(
            self._read(socket),
            self._write(socket),
            self._beat(welcome.limits.heartbeat_s),
            self._drain(),
        )

    async def _welcome(self, socket: Socket) -> wire.Welcome | Lost:
        while True:
            frame = await self._frame(socket)
            if isinstance(frame, (wire.Welcome, Lost)):
                return frame
            if isinstance(frame, wire.Error) and frame.code == Unauthorized.code:
                raise LoggedOut(f"logged out: {frame.message}")
            if isinstance(frame, wire.Error):
                return Lost(f"refused: {frame.message}", (frame.retry_after_ms or 0) / 1000)

    async def _read(self, socket: Socket) -> Lost:
        while True:
            frame = await self._frame(socket)
            if isinstance(frame, Lost):
                return frame
            if isinstance(frame, wire.Draining):
                wait = self._backoff.jittered(frame.reconnect_ms / 1000)
                self._leaving = "the server goes away"
                self._drain_until = self._clock.monotonic() + wait
                self._draining.set()
            if frame is not None:
                self._conversation.heard(frame)

    async def _frame(self, socket: Socket) -> wire.AnyServerFrame | Lost | None:
        """The next frame; None for one that says nothing to us."""
        message = await socket.receive()
        self._heard_count += 1
        if message.type is WSMsgType.TEXT:
            try:
                return wire.decode_server(message.data)
            except msgspec.ValidationError as error:
                log.debug("frame of an unknown kind ignored error=%s", error)
                return None
            except msgspec.DecodeError as error:
                return Lost(f"not JSON: {error}")
        if message.type is WSMsgType.PING:
            await socket.pong(message.data)
        if message.type in (WSMsgType.PING, WSMsgType.PONG, WSMsgType.BINARY):
            return None
        return self._closed(socket.close_code, message.extra)

    async def _write(self, socket: Socket) -> Lost:
        while True:
            await self._wake.wait()
            self._wake.clear()
            for frame in self._conversation.outgoing():
                await self._say(socket, frame)
            if self._finishing:
                return Lost("closed by us")

    async def _say(self, socket: Socket, frame: bytes) -> None:
        try:
            await _send(socket, frame)
        except (aiohttp.ClientError, OSError):
            # The close frame on its way to `_read` says why; without that word a replaced
            # client would reconnect, and replace the other one.
            await self._sleep(VERDICT_SECONDS)
            raise

    async def _beat(self, heartbeat_seconds: int) -> Lost:
        silent = heard = 0
        while True:
            await self._sleep(max(heartbeat_seconds, 1))
            silent = silent + 1 if heard == self._heard_count else 0
            heard = self._heard_count
            if silent >= SILENT_HEARTBEATS_MAX:
                return Lost(f"the server was silent for {silent * heartbeat_seconds} s")
            self._conversation.beat()

    async def _drain(self) -> Lost:
        await self._draining.wait()
        remaining = (self._drain_until or 0.0) - self._clock.monotonic()
        await self._sleep(max(0.0, remaining))
        return Lost(self._leaving)

    # --- how it ends ----------------------------------------------------------------

    def _closed(self, code: int | None, said: object) -> Lost:
        reason = said if isinstance(said, str) else ""
        if code in (wire.CLOSE_NO_TOKEN, wire.CLOSE_REVOKED):
            raise LoggedOut(f"the server ended this login: {reason or 'token not valid'}")
        if code == wire.CLOSE_REPLACED:
            raise Replaced("this device has connected elsewhere; two programs need two logins")
        wait = _seconds_in(reason) if code == wire.CLOSE_FLOODING else 0.0
        return Lost(f"closed with {code} {reason}".strip(), wait)

    def _wait_seconds(self, lost: Lost) -> float:
        now = self._clock.monotonic()
        asked = max(lost.wait_seconds, (self._drain_until or now) - now)
        return asked + self._backoff.next_seconds()


async def _first_of(*parts: Awaitable[Lost]) -> Lost:
    """What the first of these answers; the others are cancelled, and have ended."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return next(task for task in tasks if task in done).result()


async def _send(socket: Socket, frame: bytes) -> None:
    await socket.send_frame(frame, WSMsgType.TEXT)


def _refused(error: aiohttp.WSServerHandshakeError) -> Lost:
    if error.status == HTTPStatus.UNAUTHORIZED:
        raise LoggedOut("logged out: the token is not valid; log in again") from error
    after = error.headers.get("Retry-After", "") if error.headers else ""
    wait = float(after) if after.isascii() and after.isdigit() else 0.0
    return Lost(f"the handshake was refused with {error.status}", wait)


def _seconds_in(reason: str) -> float:
    """The time in the reason of close code 4029: milliseconds, or seconds where it says so."""
    found = re.search(r"(\d+(?:\.\d+)?)\s*(ms|s\b)?", reason)
    if found is None:
        return 0.0
    number = float(found.group(1))
    return number if found.group(2) == "s" else number / 1000
