"""Connections come and go: back-off, draining, heartbeats, ends for good."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.support.clocks import ManualClock
from tests.support.scripted import (
    LIMIT_SECONDS,
    Line,
    first,
    logged_in,
    problem,
    scripted,
    silence,
    take_until,
)
from whatsapp import wire
from whatsapp.client import (
    Client,
    Disconnected,
    LoggedOut,
    Options,
    Replaced,
)
from whatsapp.link import Link, Lost, _first_of, _seconds_in


async def test_back_off_is_exponential_with_full_jitter_and_never_ends():
    waits = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) >= 12:
            enough.set()
        await asyncio.sleep(0)

    async with scripted() as server:
        url = server.url
    options = Options(sleep=sleep, chance=lambda: 0.5)
    async with asyncio.timeout(LIMIT_SECONDS):
        async with Client(url, options=options) as me:
            me._token = "t"
            events = me.events()
            await enough.wait()
            lost = await anext(events)
            assert isinstance(lost, Disconnected)
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[11] == 15.0


@pytest.mark.parametrize(
    "code, reason, least",
    [
        (1001, "going away", 0.0),
        (4008, "slow", 0.0),
        (4029, "retry after 5000 ms", 5.0),
        (4029, "7 s", 7.0),
    ],
)
async def test_the_server_may_ask_for_time(code, reason, least):
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(3600 if seconds == 30 else 0)  # the heartbeat's

    async def story(line: Line) -> None:
        await line.welcome()
        await line.close(code, reason)

    options = Options(sleep=sleep, chance=lambda: 0.5)
    async with scripted(story, silence) as server, logged_in(server, options=options) as me:
        events = me.events()
        lost = [e async for e in take_until(events, Disconnected)][-1]
        assert lost.retry_seconds == pytest.approx(least + 0.1)
        assert isinstance(await anext(events), wire.Welcome)


async def test_draining_moves_the_client_after_the_time_it_says():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.say(type="draining", reconnect_ms=50)
        await line.stay()

    async with scripted(story, silence) as server, logged_in(server) as me:
        events = me.events()
        began = asyncio.get_running_loop().time()
        await anext(events)
        assert isinstance(await anext(events), wire.Draining)
        assert isinstance(await anext(events), Disconnected)
        assert isinstance(await anext(events), wire.Welcome)
        assert asyncio.get_running_loop().time() - began >= 0.05
        assert len(server.lines) == 2


async def test_a_silent_server_is_left_after_two_heartbeats():
    async def deaf(line: Line) -> None:
        await line.welcome(heartbeat_s=1)
        await line.hear("ping")
        await line.stay()

    async with scripted(deaf, silence) as server, logged_in(server) as me:
        events = me.events()
        lost = [e async for e in take_until(events, Disconnected)][-1]
        assert "silent" in lost.reason


async def test_pings_of_the_server_are_answered_and_count_as_life():
    ponged = asyncio.Event()

    async def story(line: Line) -> None:
        await line.welcome()
        await line.socket.ping(b"x")
        ponged.set()
        await line.text(1)
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        assert (await anext(me.messages())).seq == 1
        assert ponged.is_set()


@pytest.mark.parametrize("code, kind", [(4001, LoggedOut), (4010, LoggedOut), (4009, Replaced)])
async def test_some_ends_are_for_good(code, kind):
    async def story(line: Line) -> None:
        await line.welcome()
        await line.text(1)
        await line.hear("send")
        await line.close(code, "so it is")

    async with scripted(story) as server, logged_in(server) as me:
        events = me.events()
        messages = me.messages()
        with pytest.raises(kind):
            await me.send("bob", "into the void")
        assert (await anext(messages)).seq == 1  # what had come is not lost
        with pytest.raises(kind):
            await anext(messages)
        with pytest.raises(kind):
            await first(events, 9)
        with pytest.raises(kind):
            await me.post("bob", "x")
        with pytest.raises(kind):
            await me.flush()
        assert len(server.lines) == 1


async def test_a_handshake_without_a_valid_token_is_the_end_and_a_new_login_a_beginning():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.answer(1)
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        server.answers["GET /v1/ws"] = problem(401, "unauthorized")
        with pytest.raises(LoggedOut):
            await me.send("bob", "x")
        del server.answers["GET /v1/ws"]
        server.answers["GET /v1/me"] = problem(401, "unauthorized")
        await me.login("ann", "password 1")
        await me.flush()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_handshake_that_is_refused_otherwise_is_tried_again(status):
    async with scripted() as server, logged_in(server) as me:
        server.answers["GET /v1/ws"] = problem(status, "busy")
        events = me.events()
        lost = await anext(events)
        assert isinstance(lost, Disconnected)
        assert str(status) in lost.reason
        del server.answers["GET /v1/ws"]
        await me.connect()


async def test_an_error_before_the_welcome_is_no_end():
    async def story(line: Line) -> None:
        await line.hear("hello")
        await line.say(type="error", code="unavailable", message="later", retryable=True)
        await line.stay()

    async with scripted(story, silence) as server, logged_in(server) as me:
        await me.connect()
        assert len(server.lines) == 2


async def test_what_is_not_json_ends_a_connection_and_another_one_is_made():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.socket.send_bytes(b"binary is passed over")
        await line.socket.send_str("{")
        await line.stay()

    async with scripted(story, silence) as server, logged_in(server) as me:
        lost = [e async for e in take_until(me.events(), Disconnected)][-1]
        assert "not JSON" in lost.reason
        await me.connect()


async def test_unauthorized_before_the_welcome_is_the_end():
    async def story(line: Line) -> None:
        await line.say(type="error", code="unauthorized", message="who?", retryable=False)
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        with pytest.raises(LoggedOut, match="who"):
            await me.connect()


async def test_a_connection_that_lasted_makes_the_next_waits_short_again():
    waits = []
    clock = ManualClock()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(3600 if seconds == 30 else 0)  # the heartbeat's

    async def short(line: Line) -> None:
        await line.welcome()
        await line.close(1001)

    async def long(line: Line) -> None:
        await line.welcome()
        await line.hear("typing")
        clock.pass_seconds(60)
        await line.close(1001)

    options = Options(sleep=sleep, chance=lambda: 0.5, clock=clock)
    stories = (short, short, long, silence)
    async with scripted(*stories) as server, logged_in(server, options=options) as me:
        while len(server.lines) < 3:
            await me.connect()
            await asyncio.sleep(0.01)
        await me.connect()
        await me.typing("ann:bob")
        async for event in me.events():
            if isinstance(event, wire.Welcome):
                break
    assert [w for w in waits if w < 30] == pytest.approx([0.1, 0.2, 0.1])


async def broken_write(link: Link, socket: Any) -> Lost:
    await link._say(socket, b"")
    return Lost("")


async def test_a_write_that_breaks_waits_for_the_word_of_the_other_side():
    """A client that was replaced must not come back, whichever of the two it sees first."""

    class Broken:
        close_code = 4009

        def __init__(self) -> None:
            self.told = asyncio.Event()

        async def send_frame(self, frame: bytes, opcode: object) -> None:
            self.told.set()
            raise aiohttp.ClientConnectionResetError("closing")

        async def receive(self) -> aiohttp.WSMessage:
            await self.told.wait()
            await asyncio.sleep(0.01)
            return aiohttp.WSMessage(aiohttp.WSMsgType.CLOSE, 4009, "")

    link = Link(None, None, Options())  # type: ignore[arg-type]
    broken: Any = Broken()
    with pytest.raises(Replaced):
        await _first_of(link._read(broken), broken_write(link, broken))
    with pytest.raises(aiohttp.ClientConnectionResetError):
        await Link(None, None, Options(sleep=asyncio.sleep))._say(broken, b"")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "reason, seconds", [("", 0.0), ("reconnect in 1500 ms", 1.5), ("250", 0.25), ("2.5 s", 2.5)]
)
def test_the_time_in_a_reason(reason, seconds):
    assert _seconds_in(reason) == seconds


async def test_a_server_that_does_not_welcome_is_left(monkeypatch):
    async def mute(line: Line) -> None:
        await line.hear("hello")
        await line.stay()

    monkeypatch.setattr("whatsapp.link.WELCOME_TIMEOUT_SECONDS", 0.05)
    async with scripted(mute, silence) as server, logged_in(server) as me:
        lost = await anext(me.events())
        assert isinstance(lost, Disconnected)
        assert "TimeoutError" in lost.reason
        await me.connect()
