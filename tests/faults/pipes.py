"""Very many frames through few WebSockets, on bare streams: for loads, not for judgements."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections import Counter
from urllib.parse import urlsplit

import msgspec

from tests.support.peer import SUBPROTOCOL, Frame, masked

# Of the messages in a frame; these are short ones, so that the last is near the end.
SEQ = re.compile(rb'"seq":(\d+)')
RECEIVE_BUFFER_BYTES = 4096
HANDSHAKE_SECONDS = 20.0


class Pipe:
    """One device's connection. `counts`: frames that came, by type; errors by their code.

    One that `reads` acknowledges what comes; a `stalled` one takes nothing from its socket.
    """

    def __init__(self, url: str, token: str, *, reads: bool = False, stalled: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.news = asyncio.Event()
        self.open = False
        self._to = urlsplit(url)
        self._token = token
        self._reads = reads
        self._last: dict[bytes, bytes] = {}
        self._stalled = stalled
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> Pipe:
        """Shake hands and say hello."""
        sock = socket.socket()
        if self._stalled:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        host, port = str(self._to.hostname), int(self._to.port or 80)
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
            self._reader, self._writer = await asyncio.open_connection(sock=sock)
            self._writer.write(
                f"GET /v1/ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "Sec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
            )
            head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        self.open = True
        self.say(frame_bytes({"type": "hello", "token": self._token}))
        if self._stalled:
            self._writer.transport.pause_reading()  # type: ignore[attr-defined]
        else:
            self._reading = asyncio.create_task(self._read())
        return self

    def say(self, data: bytes) -> None:
        """Frames, ready made; they wait in memory if the server does not take them."""
        if self.open and not self._writer.is_closing():
            self._writer.write(data)

    async def wait(self, kind: str, count: int = 1, seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while self.counts[kind] < count:
                if not self.open:
                    raise TimeoutError("the connection has ended")
                self.news.clear()
                await self.news.wait()

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.transport.abort()
        await asyncio.sleep(0)

    def _acknowledge(self) -> None:
        for chat, seq in self._last.items():
            self.say(masked(0x81, b'{"type":"received","chat":"%s","seq":%s}' % (chat, seq)))
        self._last.clear()

    async def _read(self) -> None:
        buffer = bytearray()
        with contextlib.suppress(OSError):
            while data := await self._reader.read(262_144):
                buffer += data
                del buffer[: self._take(buffer)]
                self._acknowledge()
                self.news.set()
        self.open = False
        self._writer.transport.abort()
        self.news.set()

    def _take(self, buffer: bytearray) -> int:
        """Count all whole frames; how many bytes they were."""
        at, end = 0, len(buffer)
        while end - at >= 2:
            length, start = buffer[at + 1], at + 2
            if length == 126:
                start += 2
                length = int.from_bytes(buffer[at + 2 : at + 4], "big")
            elif length == 127:
                start += 8
                length = int.from_bytes(buffer[at + 2 : at + 10], "big")
            if start + length > end:
                break
            shown = length if self._reads else min(length, 160)
            self._count(buffer[at], bytes(buffer[start : start + shown]))
            at = start + length
        return at

    def _count(self, first: int, begin: bytes) -> None:
        if first == 0x89:
            self.say(masked(0x8A, b""))
            return
        if first == 0x88:
            self.counts[f"closed {int.from_bytes(begin[:2], 'big')}"] += 1
            return
        if self._reads and begin.startswith(b'{"type":"message'):
            chat = begin.partition(b'"chat":"')[2].partition(b'"')[0]
            self._last[chat] = SEQ.findall(begin[-400:] if len(begin) > 400 else begin)[-1]
        kind = begin[9 : begin.find(b'"', 9)].decode()
        self.counts[kind] += 1
        if kind == "error":
            code = begin.partition(b'"code":"')[2].partition(b'"')[0].decode()
            self.counts[code] += 1


def frame_bytes(frame: Frame) -> bytes:
    return masked(0x81, msgspec.json.encode(frame))


async def round_trips(pipe: Pipe, chat: str, name: str, count: int) -> list[float]:
    """Seconds from a send to its acknowledgement, one after the other, sorted."""
    found = []
    for number in range(count):
        frame = {"type": "send", "id": f"{name}-{number:06}", "chat": chat, "text": "quick"}
        before = pipe.counts["sent"]
        began = time.monotonic()
        pipe.say(frame_bytes(frame))
        await pipe.wait("sent", before + 1)
        found.append(time.monotonic() - began)
    return sorted(found)
