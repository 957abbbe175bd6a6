"""What the quick reader rests on: names of aiohttp's that nobody promised. Here is who notices.

How it behaves is in `test_connection.py`, which runs over both readers, and in
`tests/outside/test_autobahn.py`.
"""

from __future__ import annotations

import asyncio
import base64
import os

from aiohttp import web
from aiohttp._websocket import reader as aiohttp_reader
from aiohttp.web_protocol import RequestHandler

from tests.support.server import serving
from whatsapp.connection import Settings
from whatsapp.framing import Framing
from whatsapp.lean import LeanConnection
from whatsapp.metrics import Metrics

SETTINGS = Settings(
    frame_bytes_max=65_536, heartbeat_seconds=30.0, close_timeout_seconds=1.0, stall_seconds=30.0
)


def masked(payload: bytes) -> bytes:
    """A client's text frame, with a mask that changes nothing."""
    return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload


def test_aiohttp_has_the_names():
    assert "_message_tail" in RequestHandler.__slots__
    assert {"feed_data", "set_exception", "feed_eof"} <= set(dir(aiohttp_reader.WebSocketDataQueue))


def test_the_reader_is_the_compiled_one():
    assert aiohttp_reader.WebSocketReader.__module__.endswith("reader_c")


async def test_frames_that_came_with_the_handshake_are_not_lost():
    heard: list[bytes] = []
    done = asyncio.Event()

    class Hearing:
        def text(self, data: bytes) -> None:
            heard.append(bytes(data))
            if len(heard) == 2:
                done.set()

        def binary(self, data: bytes) -> None:
            raise AssertionError

        def ended(self) -> None:
            pass

    async def handle(request: web.Request) -> web.StreamResponse:
        connection = LeanConnection(SETTINGS, Metrics())
        response = await connection.open(request, ())
        connection.receiver = Hearing()
        await connection.run()
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    async with serving(app) as url, asyncio.timeout(10):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        key = base64.b64encode(os.urandom(16)).decode()
        handshake = (
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        first = masked(b"one")
        # The second frame is torn: half of it comes later.
        second = masked(b"two")
        writer.write(handshake.encode() + first + second[:3])
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(second[3:])
        await done.wait()
        writer.transport.abort()
    assert heard == [b"one", b"two"]


async def test_nothing_of_aiohttp_keeps_an_open_connection():
    """No task waits for it; that is what makes it small."""
    opened = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        connection = LeanConnection(SETTINGS, Metrics())
        response = await connection.open(request, ())
        await connection.run()
        opened.set()
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    async with serving(app) as url, asyncio.timeout(10):
        before = len(asyncio.all_tasks())
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        await opened.wait()
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks()) == before
        writer.transport.abort()


async def test_the_frame_reader_is_there_only_for_what_is_not_whole():
    connection = LeanConnection(SETTINGS, Metrics())
    connection._framing, connection._backlog, connection._reader = Framing(), None, None
    heard: list[bytes] = []

    class Hearing:
        def text(self, data: bytes) -> None:
            heard.append(bytes(data))

        def binary(self, data: bytes) -> None:
            raise AssertionError

        def ended(self) -> None:
            pass

    def has_reader() -> bool:
        return connection._reader is not None

    connection.receiver = Hearing()
    connection.data_received(masked(b"whole"))
    assert not has_reader()
    connection.data_received(pong := bytes((0x8A, 0x80)) + bytes(4))
    assert not has_reader()
    first, last = masked(b"in "), masked(b"pieces")
    connection.data_received(bytes((0x01,)) + first[1:])
    assert has_reader()
    connection.data_received(pong)
    assert has_reader()
    connection.data_received(bytes((0x80,)) + last[1:])
    assert not has_reader()
    assert heard == [b"whole", b"in pieces"]
