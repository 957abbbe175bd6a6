"""The quick way to read a socket: aiohttp's handshake and frame reader, without its tasks.

After the handshake the transport is taken from aiohttp's HTTP protocol and given to a
`LeanConnection`. What it reads is nearly always one whole text, or a few: these are unmasked
and handed on within the same call. For anything else (pieces, control frames, what breaks the
protocol) it feeds aiohttp's compiled frame reader, made for it and kept until all is whole: for
each silent connection that would be a kilobyte. No task, no queue, no future per connection.

What it costs: we answer pings, count what the peer does not take, and end the sockets at
shutdown ourselves (all of it in `connection.py`, which does so for the plain way, too), and we
rest on names of aiohttp's that are not public: its version is pinned, and
`tests/unit/test_lean.py` fails where one of them changes. `[server] reader = "plain"` is the
way without them; every test of connections and every story runs over both.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import deque
from collections.abc import Awaitable
from typing import Any, TypeAlias

from aiohttp import WebSocketError, WSMsgType, web
from aiohttp._websocket.models import WSMessage, WSMessageTextBytes
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_websocket import WS_KEY, WebSocketReader

from whatsapp.connection import KIND_TEXT, Connection
from whatsapp.errors import ProtocolViolation
from whatsapp.framing import Framing

# asyncio reads up to 256 KiB at once by default: malloc maps and unmaps that for every read.
READ_BYTES_MAX = 16_384
Frame: TypeAlias = WSMessage | WSMessageTextBytes
CLOSE_LOST = 1006


class LeanConnection(Connection, asyncio.Protocol):
    """A `Connection` that is its transport's protocol."""

    __slots__ = ("__weakref__", "_backlog", "_framing", "_reader", "_tail")

    async def open(self, request: web.Request, protocols: tuple[str, ...]) -> web.StreamResponse:
        """Answer the handshake and take the socket over. What is no handshake, aiohttp refuses."""
        probe = web.WebSocketResponse(protocols=protocols, compress=False)
        ready = probe.can_prepare(request)
        if not ready.ok:
            return await super().open(request, protocols)  # raises, with aiohttp's own answer
        http, transport = request.protocol, request.transport
        if transport is None:
            raise ConnectionResetError("the peer left during the handshake")
        self._backlog: deque[tuple[WSMsgType, Any]] | None = None
        self._framing = Framing()
        self._reader: WebSocketReader | None = None
        # What came in behind the handshake already.
        self._tail, http._message_tail = http._message_tail, b""  # noqa: SLF001
        self.attach(transport)
        transport.write(_switching(request, ready.protocol))
        # aiohttp forgets the connection, as if it had been lost, without closing the socket.
        http.transport = None
        transport.set_protocol(self)
        http.connection_lost(None)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_BYTES_MAX
        return _Handed()

    async def run(self) -> None:
        """Returns at once: from here on the loop calls."""
        tail, self._tail = self._tail, b""
        if tail:
            self.data_received(tail)
        if self._backlog is None:
            self._resume()

    # --- what the loop calls -----------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        texts = self._framing.whole_texts(data, self._settings.frame_bytes_max)
        if texts is None:
            self._read(data)
            return
        for text in texts:
            if self._backlog is not None:
                self._backlog.append((KIND_TEXT, text))
                continue
            later = self._take_text(text)
            if later is not None:
                self._wait_for(later)

    def _read(self, data: bytes) -> None:
        """What is not just whole texts: aiohttp's reader calls `take` for each whole frame."""
        try:
            self._framing.look(data)
        except ProtocolViolation as violation:
            self.close(violation.close_code, violation.reason)
            self._end()
            return
        reader = self._reader or WebSocketReader(
            _Taker(self), self._settings.frame_bytes_max + 1, compress=False, decode_text=False
        )
        # It may end the connection on the way, which lets go of `_reader`.
        self._reader = reader
        reader.feed_data(data)
        if self._framing.idle:
            self._reader = None

    def eof_received(self) -> None:
        """The peer sends no more; the transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._take_end(WSMsgType.CLOSED, None)
        self._over()

    def _over(self) -> None:
        super()._over()
        self._reader = None

    # --- what the reader calls ---------------------------------------------------------

    def take(self, kind: WSMsgType, data: Any) -> None:
        """One whole frame. While an earlier one waits for the store, the rest wait in line."""
        if self._backlog is not None:
            self._backlog.append((kind, data))
        elif kind is not KIND_TEXT and self._take_end(kind, data):
            self._end()
        elif (later := self._take(kind, data)) is not None:
            self._wait_for(later)

    def broken(self, error: BaseException) -> None:
        """The peer broke the protocol, as the reader sees it: 1002, 1007 or 1009."""
        code = int(error.code) if isinstance(error, WebSocketError) else CLOSE_LOST
        self.close(code, str(error))
        self._end()

    def _wait_for(self, later: Awaitable[None]) -> None:
        self._backlog = deque()
        self._pause()
        task = self._loop.create_task(self._catch_up(later))
        _waiting.add(task)
        task.add_done_callback(_waiting.discard)

    async def _catch_up(self, later: Awaitable[None]) -> None:
        await later
        backlog = self._backlog
        while backlog:
            kind, data = backlog.popleft()
            if kind is not KIND_TEXT and self._take_end(kind, data):
                self._backlog = None
                self._end()
                return
            again = self._take(kind, data)
            if again is not None:
                await again
        self._backlog = None
        self._resume()

    def _pause(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


class _Taker(WebSocketDataQueue):
    """Where aiohttp's reader puts its frames; they go straight on.

    `__init__` is not called on purpose: what it would make is for a queue.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: LeanConnection) -> None:
        self.connection = connection

    def feed_data(self, data: Frame, size: int) -> None:
        self.connection.take(data.type, data.data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        self.connection.broken(exc)

    def feed_eof(self) -> None:
        """`connection_lost` says so, too."""


class _Handed(web.StreamResponse):
    """What the handler returns: there is nothing left for aiohttp to write."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        pass


# The loop holds tasks weakly.
_waiting: set[asyncio.Task[None]] = set()


def _switching(request: web.Request, protocol: str | None) -> bytes:
    """The answer to a good handshake (RFC 6455, 4.2.2)."""
    key = request.headers["Sec-WebSocket-Key"].encode()
    accept = base64.b64encode(hashlib.sha1(key + WS_KEY).digest()).decode()  # noqa: S324
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
    ]
    if protocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    return "\r\n".join([*lines, "", ""]).encode()
