"""What an application iterates over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted import (
    Line,
    Server,
    first,
    item,
    logged_in,
    problem,
    scripted,
)


async def test_entries_have_what_is_not_text_and_void_is_never_shown():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.say(type="message", chat="ann:bob", seq=1, time=1, kind="void")
        await line.say(
            type="message",
            chat="ann:bob",
            seq=2,
            time=1,
            kind="joined",
            id="12345678",
            **{"from": "x"},
        )
        await line.say(type="of_a_later_version", anything=1)
        await line.text(3)
        await line.stay()

    async with scripted(story) as server:
        async with logged_in(server) as me:
            assert [e.kind for e in await first(aiter(me.entries()), 2)] == ["joined", "text"]
        async with logged_in(server) as me:
            assert [e.seq for e in await first(me.messages(), 1)] == [3]


async def test_a_time_out_around_anext_leaves_the_iterator_whole():
    go = asyncio.Event()

    async def story(line: Line) -> None:
        await line.welcome()
        await go.wait()
        await line.text(1)
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        messages = me.messages()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(messages)
        go.set()
        assert (await anext(messages)).seq == 1


async def test_a_slow_listener_loses_the_oldest_events_and_learns_how_many():
    async def story(line: Line) -> None:
        await line.welcome()
        for _ in range(1100):
            await line.say(type="typing", chat="ann:bob", user="bob", on=True)
        await line.text(1)
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        events = me.events()
        await anext(me.messages())
        assert events.dropped == 1101 - 1024


async def test_a_message_is_received_when_the_next_is_asked_for():
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def story(line: Line) -> None:
        await line.welcome()
        await line.text(1)
        await line.say(type="messages", chat="ann:bob", items=[item(2), item(3)])
        while True:
            received.put_nowait(await line.hear("received"))

    async with scripted(story) as server, logged_in(server) as me:
        messages = me.messages()
        assert (await anext(messages)).text == "text 1"
        await asyncio.sleep(0.05)
        assert received.empty()
        assert [m.seq for m in await first(messages, 2)] == [2, 3]
        assert (await received.get())["seq"] == 2
    # A loop that was left in good order has done its last message too.
    assert (await received.get())["seq"] == 3


async def test_a_program_that_fails_over_a_message_gets_it_again(tmp_path: Path):
    async def story(line: Line) -> None:
        await line.welcome()
        after = line.hello.get("cursors", {}).get("ann:bob", 0)
        for seq in range(after + 1, 4):
            await line.text(seq)
        await line.stay()

    path = tmp_path / "outbox.json"
    async with scripted(story) as server:
        with pytest.raises(ZeroDivisionError):
            await fail_over_the_second(server, path)
        async with logged_in(server, outbox=path) as me:
            assert [m.seq for m in await first(me.messages(), 2)] == [2, 3]
        assert server.lines[-1].hello["cursors"] == {"ann:bob": 1}
        async with logged_in(server, outbox=path) as me:
            await me.connect()
        assert server.lines[-1].hello["cursors"] == {"ann:bob": 3}


async def fail_over_the_second(server: Server, path: Path):
    async with logged_in(server, outbox=path) as me:
        async for message in me.messages():
            if message.seq == 2:
                raise ZeroDivisionError


async def test_what_comes_twice_is_dropped_and_acknowledged_again():
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def story(line: Line) -> None:
        await line.welcome()
        for seq in (1, 2, 1, 2, 3):
            await line.text(seq)
        received.put_nowait(await line.hear("received"))
        await line.text(2)
        received.put_nowait(await line.hear("received"))
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        messages = me.messages()
        assert [m.seq for m in await first(messages, 3)] == [1, 2, 3]
        waiting = asyncio.create_task(anext(messages))
        assert (await received.get())["seq"] >= 2
        assert (await received.get())["seq"] == 3
        waiting.cancel()


async def test_a_hole_is_filled_from_the_history_in_order():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.text(1)
        await line.text(4)
        await line.text(5)
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        history = {"messages": [item(s) for s in (2, 3, 4, 5)], "more": False}
        server.answers["GET /v1/chats/ann:bob/messages"] = (200, history)
        assert [m.seq for m in await first(me.messages(), 5)] == [1, 2, 3, 4, 5]
        assert server.asked[-1][1] == "/v1/chats/ann:bob/messages?after=1&limit=200"


@pytest.mark.parametrize(
    "history", [(200, {"messages": [], "more": False}), problem(404, "not_found")]
)
async def test_a_hole_that_the_user_may_not_see_is_passed_over(history):
    async def story(line: Line) -> None:
        await line.welcome()
        for seq in (1, 20, 21):
            await line.text(seq)
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        server.answers["GET /v1/chats/ann:bob/messages"] = history
        assert [m.seq for m in await first(me.messages(), 3)] == [1, 20, 21]


async def test_a_hole_that_cannot_be_filled_means_connecting_again():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.text(1)
        await line.text(3)
        await line.stay()

    async def better(line: Line) -> None:
        await line.welcome()
        for seq in (1, 2, 3):
            await line.text(seq)
        await line.stay()

    async with scripted(story, better) as server, logged_in(server) as me:
        server.answers["GET /v1/chats/ann:bob/messages"] = problem(503, "unavailable")
        assert [m.seq for m in await first(me.messages(), 3)] == [1, 2, 3]


async def test_own_messages_do_not_come_back_and_are_no_holes():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.text(1)
        frame = await line.hear("send")
        own = item(2, "mine", "ann") | {"id": frame["id"]}
        await line.say(type="message", **own)
        await line.say(type="sent", id=frame["id"], chat="ann:bob", seq=2, time=1)
        await line.answer(3)
        await line.text(4, "from my other device", "ann")
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        messages = me.messages()
        await anext(messages)
        await me.send("bob", "mine")
        await me.send("bob", "mine too")
        assert (await anext(messages)).seq == 4
        assert not [a for a in server.asked if "messages" in a[1]]


async def test_by_hand_the_application_says_what_it_received():
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def story(line: Line) -> None:
        await line.welcome()
        await line.text(1)
        await line.text(2)
        received.put_nowait(await line.hear("received"))
        await line.stay()

    async with scripted(story) as server, logged_in(server, automatic=False) as me:
        await first(me.messages(), 2)
        await asyncio.sleep(0.05)
        assert received.empty()
        await me.received("ann:bob", 1)
        assert (await received.get()) == {"type": "received", "chat": "ann:bob", "seq": 1}


@pytest.mark.parametrize("signal", ["read", "received"])
async def test_a_seq_beyond_the_head_hides_nothing_that_comes(signal):
    go = asyncio.Event()

    async def story(line: Line) -> None:
        await line.welcome()
        await line.text(1)
        await go.wait()
        await line.text(2)
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        messages = me.messages()
        await anext(messages)
        await getattr(me, signal)("ann:bob", 50)
        go.set()
        assert (await anext(messages)).seq == 2


async def test_what_is_skipped_is_not_shown():
    go = asyncio.Event()

    async def story(line: Line) -> None:
        await line.welcome()
        await go.wait()
        for seq in (1, 2, 3):
            await line.text(seq)
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        messages = me.messages()
        await me.received("ann:bob", 2, skip=True)
        go.set()
        assert (await anext(messages)).seq == 3
