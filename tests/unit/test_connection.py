"""One socket: what is written, how it ends, and that it always ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, web
from msgspec import Struct
from msgspec.structs import replace

from tests.support.peer import Stalled, client_session, masked
from tests.support.server import serving
from whatsapp.connection import Connection, Settings, _reset, _tune
from whatsapp.lean import LeanConnection
from whatsapp.metrics import Metrics

SETTINGS = Settings(
    frame_bytes_max=70_000,
    heartbeat_seconds=10.0,
    close_timeout_seconds=0.2,
    stall_seconds=0.3,
)
WAIT_SECONDS = 20.0


class Echo:
    """A receiver that says back what it hears; `slow` makes it wait before it does."""

    def __init__(self, connection: Connection, ended: Callable[[], None]) -> None:
        self.connection = connection
        self.ended = ended
        self.slow_seconds = 0.0

    def text(self, data: bytes) -> Awaitable[None] | None:
        if self.slow_seconds:
            return self._later(data)
        self.connection.write([data])
        return None

    def binary(self, data: bytes) -> None:
        self.connection.write_binary(data)

    async def _later(self, data: bytes) -> None:
        await asyncio.sleep(self.slow_seconds)
        self.connection.write([data])


# The class under test: every test runs over both.
READER: list[type[Connection]] = [Connection]


@pytest.fixture(autouse=True, params=[Connection, LeanConnection])
def reader(request):
    READER[0] = request.param


class House(Struct):
    """A server of bare connections."""

    url: str
    connections: list[Connection]
    echoes: list[Echo]
    ended: asyncio.Event

    @property
    def connection(self) -> Connection:
        return self.connections[-1]

    async def opened(self) -> None:
        """A handler begins after the client's handshake has ended."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.connections:
                await asyncio.sleep(0.001)

    async def beat_until_ended(self) -> None:
        """As the server does it, but more often."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.ended.is_set():
                self.connection.beat(asyncio.get_running_loop().time())
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def house(settings: Settings = SETTINGS) -> AsyncIterator[House]:
    metrics = Metrics(version="test", store="memory")
    one = House(url="", connections=[], echoes=[], ended=asyncio.Event())

    async def handle(request: web.Request) -> web.StreamResponse:
        connection = READER[0](settings, metrics)
        response = await connection.open(request, ("whatsapp.v1.json",))
        connection.receiver = echo = Echo(connection, one.ended.set)
        one.connections.append(connection)
        one.echoes.append(echo)
        await connection.run()
        return response

    app = web.Application()
    app.router.add_get("/v1/ws", handle)

    def abort_all() -> None:
        for each in one.connections:
            each.abort()

    async with serving(app, abort_all) as url:
        one.url = url
        yield one


@contextlib.asynccontextmanager
async def client(one: House) -> AsyncIterator[ClientWebSocketResponse[bool]]:
    async with (
        client_session() as http,
        http.ws_connect(
            f"{one.url}/v1/ws",
            max_msg_size=0,
            autoclose=False,
            autoping=False,
            protocols=("whatsapp.v1.json",),
        ) as ws,
    ):
        await one.opened()
        yield ws


async def bare(one: House) -> Stalled:
    """A connection of which the test does every byte."""
    raw = Stalled(one.url)
    await raw.connect()
    await one.opened()
    return raw


async def closed(ws: ClientWebSocketResponse[bool]) -> tuple[int, str]:
    """The close frame that came; it is answered."""
    message = await ws.receive(WAIT_SECONDS)
    assert message.type is WSMsgType.CLOSE, message
    await ws.close()
    return message.data, message.extra or ""


# --- what is written -----------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
async def test_frames_of_every_length(size: int) -> None:
    async with house() as one, client(one) as ws:
        await ws.send_str("x" * size)
        assert await ws.receive_str() == "x" * size
        await ws.send_bytes(b"\xff" * size)
        assert await ws.receive_bytes() == b"\xff" * size
        assert one.connection.buffered_bytes() == 0


def test_the_first_frame_of_a_process_may_be_empty() -> None:
    program = "from whatsapp.connection import _text_frame; print(_text_frame(b'').hex())"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert said.stdout.strip() == b"8100"


async def test_several_frames_go_out_in_one_write_in_their_order() -> None:
    async with house() as one, client(one) as ws:
        one.connection.write([b"one", b"", "zwölf".encode()])
        assert [await ws.receive_str() for _ in range(3)] == ["one", "", "zwölf"]


async def test_a_frame_is_handled_to_its_end_before_the_next() -> None:
    async with house() as one, client(one) as ws:
        one.echoes[0].slow_seconds = 0.05
        await ws.send_str("slow")
        await asyncio.sleep(0.02)
        one.echoes[0].slow_seconds = 0.0
        await ws.send_str("quick")
        assert [await ws.receive_str(), await ws.receive_str()] == ["slow", "quick"]


async def test_pings_are_answered() -> None:
    async with house() as one, client(one) as ws:
        await ws.ping(b"are you there")
        message = await ws.receive(WAIT_SECONDS)
        assert (message.type, message.data) == (WSMsgType.PONG, b"are you there")


async def test_nothing_is_buffered_before_it_is_open() -> None:
    connection = READER[0](SETTINGS, Metrics(version="test", store="memory"))
    assert connection.buffered_bytes() == 0
    connection.close(1000, "never opened")
    connection.write([b"to nobody"])
    connection.abort()


# --- how it ends ---------------------------------------------------------------------


async def test_our_close_tells_code_and_reason_once() -> None:
    async with house() as one, client(one) as ws:
        one.connection.close(4010, "logged out")
        one.connection.close(4009, "replaced")
        one.connection.write([b"too late"])
        one.connection.write_binary(b"too late")
        assert await closed(ws) == (4010, "logged out")
        await asyncio.wait_for(one.ended.wait(), WAIT_SECONDS)
        assert (one.connection.close_code, one.connection.close_reason) == (4010, "logged out")


async def test_a_long_reason_is_cut_to_what_a_control_frame_takes() -> None:
    async with house() as one, client(one) as ws:
        one.connection.close(4001, "x" * 500)
        assert await closed(ws) == (4001, "x" * 123)


async def test_what_was_written_before_the_close_comes_first() -> None:
    async with house() as one, client(one) as ws:
        one.connection.write([b"last words"])
        one.connection.close(1001, "bye")
        assert await ws.receive_str() == "last words"
        assert await closed(ws) == (1001, "bye")


@pytest.mark.parametrize(
    "code, answer", [(1000, 1000), (1001, 1001), (3000, 3000), (4999, 4999), (1006, 1002)]
)
async def test_the_peers_close_is_answered_with_its_code(code: int, answer: int) -> None:
    async with house() as one:
        raw = await bare(one)
        await raw.write(masked(0x88, struct.pack("!H", code) + b"bye"))
        assert await raw.frames(1) == [(0x88, struct.pack("!H", answer))]
        await raw.gone()
        raw.close()
        await asyncio.wait_for(one.ended.wait(), WAIT_SECONDS)
        assert one.connection.close_code == answer


async def test_a_close_without_a_code_is_answered_without_one() -> None:
    async with house() as one:
        raw = await bare(one)
        await raw.write(masked(0x88, b""))
        assert await raw.frames(1) == [(0x88, b"")]
        await raw.gone()
        raw.close()
        assert one.connection.close_code == 1000


BAD_FRAMES = {
    "text that is not UTF-8": (masked(0x81, b"\xc0\x80"), 1007),
    "a surrogate": (masked(0x81, b"\xed\xa0\x80"), 1007),
    "reserved bits": (masked(0xC1, b"x"), 1002),
    "an unknown opcode": (masked(0x83, b"x"), 1002),
    "a fragmented ping": (masked(0x09, b"x"), 1002),
    "a long ping": (masked(0x89, b"x" * 126), 1002),
    "a continuation of nothing": (masked(0x80, b"x"), 1002),
    "a close of one byte": (masked(0x88, b"x"), 1002),
    "too large": (masked(0x81, b"x" * 70_001), 1009),
    "too large in pieces": (masked(0x01, b"x" * 60_000) + masked(0x80, b"x" * 10_001), 1009),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_broken_frame_closes_with(name: str) -> None:
    frame, code = BAD_FRAMES[name]
    async with house() as one:
        raw = await bare(one)
        with contextlib.suppress(ConnectionError):
            await raw.write(frame)
        [(first, payload)] = await raw.frames(1)
        assert (first, struct.unpack("!H", payload[:2])[0]) == (0x88, code)
        raw.close()
        await asyncio.wait_for(one.ended.wait(), WAIT_SECONDS)
        assert one.connection.close_code == code


async def test_a_peer_that_vanishes_is_noted() -> None:
    async with house() as one:
        raw = await bare(one)
        raw.close()
        await asyncio.wait_for(one.ended.wait(), WAIT_SECONDS)
        assert one.connection.close_code == 1006


async def test_frames_after_our_close_are_not_looked_at() -> None:
    async with house() as one, client(one) as ws:
        one.connection.close(1001, "bye")
        await ws.send_str("one more thing")
        assert await closed(ws) == (1001, "bye")


async def test_a_peer_that_does_not_answer_our_close_is_reset() -> None:
    async with house() as one:
        raw = await bare(one)
        one.connection.close(4010, "logged out")
        await asyncio.wait_for(one.ended.wait(), WAIT_SECONDS)
        with pytest.raises(ConnectionResetError):
            while True:
                await raw.frames(1)
        raw.close()


async def test_an_aborted_one_is_reset_at_once_whatever_is_pending() -> None:
    async with house() as one:
        raw = await bare(one)
        one.connection.write([b"x" * 60_000] * 20)
        assert one.connection.buffered_bytes() > 0
        transport = one.connection._transport
        assert transport is not None
        one.connection.abort()
        one.connection.abort()
        await asyncio.wait_for(one.ended.wait(), WAIT_SECONDS)
        _reset(transport)  # closed already: nothing happens
        one.connection.write([b"too late"])
        one.connection.abort()
        assert one.connection.buffered_bytes() == 0
        raw.close()


# --- clients that hang ---------------------------------------------------------------


async def test_a_client_that_never_reads_is_cut_while_data_is_pending() -> None:
    async with house() as one:
        raw = await bare(one)
        one.connection.write([b"x" * 60_000] * 20)
        began = asyncio.get_running_loop().time()
        await one.beat_until_ended()
        took = asyncio.get_running_loop().time() - began
        limit = SETTINGS.stall_seconds + SETTINGS.close_timeout_seconds
        assert SETTINGS.stall_seconds <= took < limit + 1.0
        assert one.connection.close_code == 4008
        raw.close()


async def test_a_slow_reader_that_makes_progress_is_kept() -> None:
    async with house() as one:
        raw = await bare(one)
        one.connection.write([b"x" * 60_000] * 30)
        for _ in range(30):
            await raw.frames(1)
            one.connection.beat(asyncio.get_running_loop().time())
            await asyncio.sleep(SETTINGS.stall_seconds / 15)
        assert one.connection.close_code == 0
        assert one.connection.buffered_bytes() == 0
        raw.close()


async def test_pings_come_every_heartbeat_and_silence_for_two_is_the_end() -> None:
    async with house() as one, client(one) as ws:
        now = asyncio.get_running_loop().time()
        one.connection.beat(now + 9)
        one.connection.beat(now + 11)
        one.connection.beat(now + 12)
        assert (await ws.receive(WAIT_SECONDS)).type is WSMsgType.PING
        one.connection.beat(now + 21.5)
        assert (await ws.receive(WAIT_SECONDS)).type is WSMsgType.CLOSE
        assert one.connection.close_code == 1001
        one.connection.beat(now + 100)
        await ws.close()


async def test_a_client_that_answers_pings_is_kept() -> None:
    async with house(replace(SETTINGS, heartbeat_seconds=0.1)) as one, client(one) as ws:
        for _ in range(5):
            one.connection.beat(asyncio.get_running_loop().time())
            with contextlib.suppress(TimeoutError):
                message = await ws.receive(0.15)
                assert message.type is WSMsgType.PING
                await ws.pong(message.data)
                await asyncio.sleep(0.01)
        assert one.connection.close_code == 0


async def test_a_half_open_client_is_found_by_its_silence() -> None:
    """It sent its handshake and nothing after; its pongs do not come."""
    async with house(replace(SETTINGS, heartbeat_seconds=0.1)) as one:
        raw = await bare(one)
        await one.beat_until_ended()
        assert one.connection.close_code == 1001
        raw.close()


# --- the rest ------------------------------------------------------------------------


async def test_one_that_has_ended_leaves_nothing_for_the_garbage_collector() -> None:
    async with house() as one:
        async with client(one) as ws:
            await ws.send_str("hello")
            await ws.receive()
            await ws.close()
        await asyncio.wait_for(one.ended.wait(), WAIT_SECONDS)
        await asyncio.sleep(0.05)  # the loop lets go of the transport
        gone: list[weakref.ref[object]] = [weakref.ref(one.echoes.pop())]
        if isinstance(one.connection, LeanConnection):
            gone.append(weakref.ref(one.connection))
        one.connections.clear()
        gc.disable()
        try:
            await asyncio.sleep(0)
            assert [each() for each in gone] == [None] * len(gone)
        finally:
            gc.enable()


async def test_sockets_are_tuned() -> None:
    async with house() as one, client(one):
        assert one.connection._transport is not None
        sock = one.connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 131_072
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * 65_536
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_000
    _tune(None)
    one_end, other_end = socket.socketpair()
    _tune(one_end)  # not of the internet
    one_end.close()
    other_end.close()


async def test_the_subprotocol_is_echoed() -> None:
    async with house() as one, client(one) as ws:
        assert ws.protocol == "whatsapp.v1.json"
        assert ws.compress == 0
    assert aiohttp.__version__ >= "3.14.5"
