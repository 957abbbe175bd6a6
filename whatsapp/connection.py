"""The I/O of one socket: read, write, heartbeat, close. Nothing else.

Reading is aiohttp's, here in the plain way (`lean.py` has the quick one). Writing is not:
`send_str` is a coroutine that waits for the peer, so it would take a task and a queue per
connection, and its back-pressure can be passed by concurrent senders. Text frames of a
server are a few bytes of header and the payload, so all that a turn of the loop has for a
socket goes to its transport in one write, and what the peer does not take is counted
(`buffered_bytes`), not queued further.

Ending is bounded everywhere: a close frame, `close_timeout_seconds` for the peer's, then
the socket is reset. aiohttp's own `close` waits for a flush that a stalled peer never gives.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import WSMsgType, web
from msgspec import Struct

from whatsapp.metrics import Metrics
from whatsapp.wire import (
    CLOSE_BROKEN_FRAME,
    CLOSE_GOING_AWAY,
    CLOSE_NORMAL,
    CLOSE_TOO_SLOW,
)

# By its class, an enum's member costs a call each time (in Python 3.11).
KIND_TEXT = WSMsgType.TEXT
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
CONTROL_PAYLOAD_BYTES_MAX = 125
LENGTH_16_BITS_MAX = 0xFFFF
# Stand for "no code came" and the like, so must not be sent (RFC 6455, 7.4.1).
RESERVED_CODES = frozenset({1005, 1006, 1015})
CLOSE_PROTOCOL_ERROR = 1002

# How long the kernel keeps trying to get data to a peer that does not answer.
TCP_USER_TIMEOUT_MS = 12_000
# A stalled peer pins this much in the kernel, not the megabytes of the default.
SEND_BUFFER_BYTES = 131_072
# What a peer has written and we have not read waits in its own socket, but for this much. By
# default the kernel keeps megabytes for each: under overload, minutes of messages in all.
RECEIVE_BUFFER_BYTES = 65_536


class Settings(Struct, frozen=True, kw_only=True):
    """How long things may take, how large they may be."""

    frame_bytes_max: int
    heartbeat_seconds: float
    close_timeout_seconds: float
    stall_seconds: float


class Receiver(Protocol):
    """What happens with the frames that come in, and at the end of the connection."""

    def text(self, data: bytes) -> Awaitable[None] | None: ...
    def binary(self, data: bytes) -> Awaitable[None] | None: ...
    def ended(self) -> None: ...


class Connection:
    """One WebSocket. A `session.Sink`; frames that come in go to a `Receiver`."""

    __slots__ = (
        "_abort_timer",
        "_closing",
        "_drained",
        "_drained_at",
        "_heard",
        "_heard_at",
        "_loop",
        "_metrics",
        "_pinged_at",
        "_response",
        "_settings",
        "_transport",
        "_written",
        "buffered_bytes",
        "close_code",
        "close_reason",
        "receiver",
    )

    receiver: Receiver | None
    # What was written and has not left this process.
    buffered_bytes: Callable[[], int]

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._response: web.WebSocketResponse[bool] | None = None
        self._closing = self._heard = False
        self._abort_timer: asyncio.TimerHandle | None = None
        self._heard_at = self._pinged_at = self._drained_at = self._loop.time()
        self._written = self._drained = 0
        self.close_code = 0
        self.close_reason = ""
        self.receiver = None
        self.buffered_bytes = int  # nothing, before there is a socket

    # --- the life of it --------------------------------------------------------------

    async def open(self, request: web.Request, protocols: tuple[str, ...]) -> web.StreamResponse:
        """Answer the handshake."""
        self._response = response = web.WebSocketResponse(
            protocols=protocols,
            autoclose=False,
            autoping=False,
            compress=False,
            decode_text=False,
            max_msg_size=self._settings.frame_bytes_max + 1,  # aiohttp refuses from there on
            timeout=self._settings.close_timeout_seconds,
        )
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the peer left during the handshake")
        self.attach(transport)
        return response

    def attach(self, transport: asyncio.Transport) -> None:
        """This is the socket."""
        self._transport = transport
        self.buffered_bytes = transport.get_write_buffer_size
        _tune(transport.get_extra_info("socket"))

    async def run(self) -> None:
        """Read until the end. Returns when the socket is closed, or is about to be."""
        response = self._response
        assert response is not None  # `open` came first
        try:
            while True:
                kind, data, _ = await response.receive()
                if kind is not KIND_TEXT and self._take_end(kind, data):
                    break
                later = self._take(kind, data)
                if later is not None:
                    await later
        finally:
            self._over()

    def _over(self) -> None:
        """The end, for good. What is let go here was a circle: without that it would all stay
        until the garbage collector looks at everything that there is."""
        self._end()
        receiver, self.receiver = self.receiver, None
        self._response = self._transport = None
        self.buffered_bytes = int
        if receiver is not None:
            receiver.ended()

    def _take_text(self, data: bytes) -> Awaitable[None] | None:
        self._heard = True
        receiver = self.receiver
        if self._closing or receiver is None:
            return None
        if not data.isascii() and not _is_utf8(data):
            self.close(CLOSE_BROKEN_FRAME, "not UTF-8")
            return None
        return receiver.text(data)

    def _take(self, kind: WSMsgType, data: bytes) -> Awaitable[None] | None:
        if kind is KIND_TEXT:
            return self._take_text(data)
        self._heard = True
        if self._closing:
            return None
        if kind is WSMsgType.BINARY and self.receiver is not None:
            return self.receiver.binary(data)
        if kind is WSMsgType.PING:
            self._write(_frame(PONG, data))
        return None

    def _take_end(self, kind: WSMsgType, data: Any) -> bool:
        """Is this the end? Then note why, and answer the peer's close with the same code."""
        if kind is WSMsgType.CLOSE:
            code = int(data) or CLOSE_NORMAL
            if code in RESERVED_CODES:  # aiohttp lets one of them through
                code = CLOSE_PROTOCOL_ERROR
            self._note(code, "closed by the peer")
            if not self._closing:
                self._closing = True
                self._write(_frame(CLOSE, struct.pack("!H", code) if data else b""))
            return True
        if kind is WSMsgType.ERROR:
            # aiohttp has sent the close frame: 1002, 1007 or 1009.
            self._note(getattr(data, "code", 1006), str(data))
            self._closing = True
            return True
        if kind in {WSMsgType.CLOSING, WSMsgType.CLOSED}:
            self._note(1006, "the connection was lost")
            self._closing = True
            return True
        return False

    def _end(self) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size():
            # Give the close frame its time, but no more than that.
            self._loop.call_later(self._settings.close_timeout_seconds, _reset, transport)
        transport.close()

    def _note(self, code: int, reason: str) -> None:
        if not self.close_code:
            self.close_code, self.close_reason = code, reason

    # --- writing ---------------------------------------------------------------------

    def write(self, frames: list[bytes]) -> None:
        """Text frames, in one write."""
        if self._closing:
            return
        self._metrics.frames_sent.value += len(frames)
        if len(frames) == 1:
            self._write(_text_frame(frames[0]))
        else:
            self._write(b"".join(map(_text_frame, frames)))

    def write_binary(self, data: bytes) -> None:
        if not self._closing:
            self._write(_frame(BINARY, data))

    def close(self, code: int, reason: str) -> None:
        """Send a close frame after what was written; reset if the peer does not answer it."""
        if self._closing or self._transport is None:
            return
        self._closing = True
        self._note(code, reason)
        payload = struct.pack("!H", code) + reason.encode()[: CONTROL_PAYLOAD_BYTES_MAX - 2]
        self._write(_frame(CLOSE, payload))
        self._abort_timer = self._loop.call_later(
            self._settings.close_timeout_seconds, _reset, self._transport
        )

    def abort(self) -> None:
        """End it now, whatever is still to be written."""
        self._closing = True
        if self._transport is not None:
            _reset(self._transport)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._written += len(data)
        self._metrics.bytes_sent.value += len(data)
        transport.write(data)

    # --- heartbeat -------------------------------------------------------------------

    def beat(self, now: float) -> None:
        """To be called about once a second: ping, and end what is silent or stuck."""
        if self._heard:
            self._heard, self._heard_at = False, now
        if self._closing:
            return
        interval = self._settings.heartbeat_seconds
        if now - self._heard_at > 2 * interval:
            self.close(CLOSE_GOING_AWAY, "silent for two heartbeats")
            return
        if now - self._pinged_at >= interval:
            self._pinged_at = now
            self._write(_frame(PING, b""))
        buffered = self.buffered_bytes()
        drained = self._written - buffered
        if not buffered or drained != self._drained:
            self._drained, self._drained_at = drained, now
        elif now - self._drained_at > self._settings.stall_seconds:
            self.close(CLOSE_TOO_SLOW, "too slow: nothing was read for too long")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _header(first: int, length: int) -> bytes:
    """A server's frame header: final, not masked (RFC 6455, 5.2)."""
    if length <= CONTROL_PAYLOAD_BYTES_MAX:
        return bytes((first, length))
    if length <= LENGTH_16_BITS_MAX:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


def _text_frame(payload: bytes) -> bytes:
    """A text frame. The same payload often goes to many sockets in a row: framed once."""
    global _last_payload, _last_text_frame
    if payload is not _last_payload:
        _last_payload, _last_text_frame = payload, _header(TEXT, len(payload)) + payload
    return _last_text_frame


_last_payload, _last_text_frame = b"", _header(TEXT, 0)


def _frame(first: int, payload: bytes) -> bytes:
    return _header(first, len(payload)) + bytes(payload)


def _tune(sock: socket.socket | None) -> None:
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)


def _reset(transport: asyncio.Transport) -> None:
    """Close without lingering: the descriptor is free at once, unread data is dropped."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return  # closed meanwhile; to abort it once more is an error in asyncio
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
