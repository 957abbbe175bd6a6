"""One link: a connection between two instances, its handshake, its frames, its queue.

A frame is four bytes of length and a MessagePack array of byte strings, a batch; an empty
one is a heartbeat. Before the handshake is done a frame is one payload of `handshake.py`.

Why a protocol and not streams: there is no task, no future and no timer per message or per
batch. `send` appends to a list; once in a turn of the loop what waits is packed by one call
and written by one more. While the transport is full nothing is packed: what waits, waits in
the list and goes out in larger batches. Received bytes land in one buffer and are decoded
from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from typing import Protocol, cast

import msgspec

from whatsapp.handshake import HELLO_BYTES_MAX, NOT_YET, Handshake, Refused, no

log = logging.getLogger(__name__)

LENGTH_BYTES = 4
# What one frame may have; a peer that announces more is cut off.
FRAME_BYTES_MAX = 1_048_576
# The longest message: alone in its frame it fits.
MESSAGE_BYTES_MAX = FRAME_BYTES_MAX - 16
# A batch is full at this many bytes, so that nobody handles a megabyte in one go.
BATCH_BYTES = 131_072
# What a message takes in the queue beside its bytes: about what Python has around them.
MESSAGE_EXTRA_BYTES = 48
READ_BYTES = 131_072
UNPROVEN_READ_BYTES = 2 * HELLO_BYTES_MAX
# Above this the transport is full, and what comes waits in our list.
TRANSPORT_BYTES_HIGH = 262_144
HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS_MAX = 3.0
# How long the kernel keeps trying to get data to a peer that does not answer.
TCP_USER_TIMEOUT_MS = 5_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


def framed(payload: bytes) -> bytes:
    """The payload with its length in front."""
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


HEARTBEAT = framed(_encode([]))


class Counters:
    """What all links of an instance did since its start."""

    def __init__(self) -> None:
        self.messages_sent = 0  # written, not: arrived
        self.messages_dropped = 0  # no room in the queue, no link, or too long
        self.bytes_sent = 0  # of frames
        self.messages_heard = 0
        self.links_failed = 0  # could not be made, or broke
        self.refused = 0  # handshakes that we ended: wrong secret, version, name …


class Owner(Protocol):
    """Who is told. None of these may raise."""

    def proven(self, link: Link) -> None: ...
    def heard(self, link: Link, messages: list[bytes]) -> None: ...
    def ended(self, link: Link) -> None: ...


class Link(asyncio.BufferedProtocol):
    """From the connection's beginning to its end. `proven` is told before the first `heard`."""

    __slots__ = (
        "_allowed",
        "_began_ms",
        "_buffer",
        "_counters",
        "_filled",
        "_flushing",
        "_frame_bytes_max",
        "_full",
        "_handshake",
        "_limit",
        "_loop",
        "_owner",
        "_sent_at",
        "_transport",
        "_waiting",
        "_waiting_bytes",
        "cause",
        "closed",
        "epoch",
        "gone",
        "heard_at",
        "name",
        "offset_ms",
        "proven",
        "refused",
        "settled",
    )

    def __init__(
        self, handshake: Handshake, owner: Owner, counters: Counters, *, queue_bytes_max: int
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._handshake = handshake
        self._owner = owner
        self._counters = counters
        self._limit = self._allowed = queue_bytes_max
        self._transport: asyncio.Transport | None = None
        self._buffer = memoryview(bytearray(UNPROVEN_READ_BYTES))
        self._filled = 0
        self._frame_bytes_max = HELLO_BYTES_MAX
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._flushing = self._full = False
        self._began_ms = 0
        self._sent_at = self.heard_at = self._loop.time()
        self.name = ""
        self.epoch = 0
        self.offset_ms = 0
        self.proven = False
        self.gone = False  # nothing is taken or sent any more
        self.cause = ""  # why it ended
        self.refused: Refused | None = None
        self.settled: asyncio.Future[None] = self._loop.create_future()  # proven, or closed
        self.closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def dials(self) -> bool:
        """Was it we who dialled?"""
        return self._handshake.dials

    @property
    def connected(self) -> bool:
        """Did it get its socket, which is then its own to close?"""
        return self._transport is not None

    # --- sending -----------------------------------------------------------------------

    def send(self, message: bytes) -> bool:
        """Queue a message. False: there is no room for it, or it is too long."""
        size = self._waiting_bytes + len(message) + MESSAGE_EXTRA_BYTES
        if size > self._allowed or len(message) > MESSAGE_BYTES_MAX:
            self._allowed = self._limit - self._buffered()
            if size > self._allowed or len(message) > MESSAGE_BYTES_MAX:
                self._counters.messages_dropped += 1
                return False
        self._waiting_bytes = size
        self._waiting.append(message)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        return True

    def queue_bytes(self) -> int:
        """What waits: here and in the transport."""
        return self._waiting_bytes + self._buffered()

    def beat(self, now: float) -> None:
        """To be called about twice a second: speak if we were silent, end it if the peer is."""
        if now - self.heard_at > SILENCE_SECONDS_MAX:
            self.abort("silent")
        elif now - self._sent_at >= HEARTBEAT_SECONDS and not self._full:
            self._write(HEARTBEAT)

    def _flush(self) -> None:
        self._flushing = False
        waiting = self._waiting
        if self.gone or self._full or not waiting:
            return
        if self._waiting_bytes <= BATCH_BYTES:
            self._waiting = []
            self._waiting_bytes = 0
            self._write_batch(waiting)
        else:
            self._flush_in_batches()
        self._allowed = self._limit - self._buffered()

    def _flush_in_batches(self) -> None:
        waiting, at = self._waiting, 0
        while at < len(waiting) and not self._full and not self.gone:
            end, size = at, 0
            while end < len(waiting) and (end == at or size + len(waiting[end]) <= BATCH_BYTES):
                size += len(waiting[end]) + MESSAGE_EXTRA_BYTES
                end += 1
            self._write_batch(waiting[at:end])
            self._waiting_bytes -= sum(map(len, waiting[at:end])) + (end - at) * MESSAGE_EXTRA_BYTES
            at = end
        del waiting[:at]

    def _write_batch(self, messages: list[bytes]) -> None:
        self._counters.messages_sent += len(messages)
        self._write(framed(_encode(messages)))

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._sent_at = self._loop.time()
        self._counters.bytes_sent += len(data)
        transport.write(data)

    def _buffered(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    # --- ending ------------------------------------------------------------------------

    def close(self, cause: str) -> None:
        """Write what waits as far as the transport takes it, then end. Bound it with `abort`."""
        if self.gone:
            return
        self._flush()
        self._end(cause)
        if self._transport is not None:
            self._transport.close()

    def abort(self, cause: str) -> None:
        """End it at once, whatever is still to be written."""
        self._end(cause)
        transport = self._transport
        if transport is not None and not self.closed.done():
            transport.abort()

    def _end(self, cause: str) -> None:
        if self.gone:
            return
        self.gone = True
        self.cause = cause
        self._waiting = []
        self._waiting_bytes = 0
        _settle(self.settled)
        self._owner.ended(self)

    # --- what the loop calls -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._transport = transport
        transport.set_write_buffer_limits(high=TRANSPORT_BYTES_HIGH)
        _tune(transport.get_extra_info("socket"))
        if self.gone:  # given up while it was being made
            transport.abort()
            return
        self.heard_at = self._loop.time()
        if self._handshake.dials:
            self._began_ms = _wall_ms()
            self._write(framed(self._handshake.begin(self._began_ms)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("closed by the peer" if exc is None else type(exc).__name__)
        _settle(self.closed)

    def eof_received(self) -> None:
        """Half a link is none: the transport closes itself."""

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self.gone:
            return
        self.heard_at = self._loop.time()
        buffer, filled = self._buffer, self._filled + nbytes
        start, needed = 0, LENGTH_BYTES
        while filled - start >= LENGTH_BYTES:
            length = int.from_bytes(buffer[start : start + LENGTH_BYTES], "big")
            if length > self._frame_bytes_max:
                self._break("a frame that is too long")
                return
            needed = LENGTH_BYTES + length
            if filled - start < needed:
                break
            if not self._take(buffer[start + LENGTH_BYTES : start + needed]):
                return
            start, needed = start + needed, LENGTH_BYTES
        self._keep(start, filled, needed)

    def _keep(self, start: int, filled: int, needed: int) -> None:
        """The beginning of a frame goes to the front of a buffer that has room for all of it."""
        buffer = self._buffer
        size = max(READ_BYTES, needed) if self.proven else UNPROVEN_READ_BYTES
        if len(buffer) != size:
            self._buffer = memoryview(bytearray(size))
        self._filled = filled - start
        if self._filled and (start or self._buffer is not buffer):
            self._buffer[: self._filled] = buffer[start:filled]

    def _take(self, payload: memoryview) -> bool:
        """One frame. False: that was the last."""
        if not self.proven:
            self._shake_hands(bytes(payload))
            return not self.gone
        try:
            messages = _decode(payload)
        except (msgspec.DecodeError, ValueError):
            self._break("a frame that is none")
            return False
        if messages:
            self._counters.messages_heard += len(messages)
            self._owner.heard(self, messages)
        return not self.gone

    def _shake_hands(self, payload: bytes) -> None:
        handshake, now_ms = self._handshake, _wall_ms()
        first = handshake.theirs is None
        try:
            answer = handshake.take(payload, now_ms)
        except Refused as refused:
            self._refuse(refused)
            return
        if answer:
            self._write(framed(answer))
        hello = handshake.theirs
        assert hello is not None
        if first:
            # Theirs was written halfway between our hello and now, if it was we who asked.
            ours_ms = (self._began_ms + now_ms) // 2 if handshake.dials else now_ms
            self.name, self.epoch, self.offset_ms = hello.name, hello.epoch, hello.time_ms - ours_ms
        if handshake.done:
            self.proven = True
            self._frame_bytes_max = FRAME_BYTES_MAX
            _settle(self.settled)
            self._owner.proven(self)

    def _refuse(self, refused: Refused) -> None:
        self.refused = refused
        if not refused.theirs:
            self._counters.refused += refused.why != NOT_YET
            self._write(framed(no(refused.why)))
        self._end("refused")
        if self._transport is not None:
            self._transport.close()  # a few bytes of answer: whoever made us bounds it

    def _break(self, cause: str) -> None:
        if self.proven:
            self.abort(cause)
        else:
            self._refuse(Refused("hello"))


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _tune(sock: socket.socket | None) -> None:
    if sock is None:
        return
    with contextlib.suppress(OSError):  # the peer may be gone already
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
