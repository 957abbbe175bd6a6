"""A TCP relay between clients and one server that can be made to misbehave.

await proxy.cut()            every connection is reset
proxy.delay_seconds = 0.05   each piece waits so long, in both directions
proxy.piece_bytes = 1        everything passes byte by byte
proxy.stopped = True         nothing passes, and the writers feel it (a slow network)
proxy.lost_up = True         what clients say vanishes; so does, with `lost_down`, what the
                             server says: both sides see an open connection
proxy.refusing = True        new connections are reset
proxy.heal()                 all of it is over; connections that lost something are reset
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

READ_BYTES = 65_536
RESET = struct.pack("ii", 1, 0)
STOPPED_POLL_SECONDS = 0.01


class ChaosProxy:
    """See the head of this file. `target` gives the server's URL, at each new connection."""

    def __init__(self, target: Callable[[], str]) -> None:
        self._target = target
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""
        self.heal()

    def heal(self) -> None:
        """All well again."""
        self.delay_seconds = 0.0
        self.piece_bytes = 0
        self.stopped = self.lost_up = self.lost_down = self.refusing = False
        for pair in [pair for pair in self._pairs if pair.lost]:
            pair.reset()

    async def cut(self) -> None:
        """Reset every connection, on both sides."""
        for pair in list(self._pairs):
            pair.reset()
        await asyncio.sleep(0)

    @property
    def connections(self) -> int:
        return len(self._pairs)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=READ_BYTES)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        self.heal()
        await self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._relay(reader, writer)
        finally:
            self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            _reset(writer)
            return
        to = urlsplit(self._target())
        try:
            upstream = await asyncio.open_connection(to.hostname, to.port, limit=READ_BYTES)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(writer, upstream[1])
        self._pairs.add(pair)
        pumps = [
            asyncio.create_task(self._pump(pair, reader, upstream[1], up=True)),
            asyncio.create_task(self._pump(pair, upstream[0], writer, up=False)),
        ]
        try:
            await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            self._pairs.discard(pair)
            pair.reset()

    async def _pump(
        self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(READ_BYTES):
                await self._pass(pair, sink, data, up=up)
        if not pair.lost:
            with contextlib.suppress(OSError):
                sink.close()  # after what is still to be written

    async def _pass(
        self, pair: _Pair, sink: asyncio.StreamWriter, data: bytes, *, up: bool
    ) -> None:
        while self.stopped:
            await asyncio.sleep(STOPPED_POLL_SECONDS)
        if self.lost_up if up else self.lost_down:
            pair.lost.add(up)
        if up in pair.lost:
            return
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        start = 0
        while start < len(data):
            # Where it is healed in the middle, the rest goes at once.
            end = start + self.piece_bytes if self.piece_bytes else len(data)
            sink.write(data[start:end])
            start = end
            await asyncio.sleep(0)
        await sink.drain()


class _Pair:
    """Two ends of one connection. `lost`: directions of which bytes vanished; it cannot go on."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.lost: set[bool] = set()
        self._writers = (client, server)
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reset(self) -> None:
        for writer in self._writers:
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
