"""Messages, signals and answers: what goes over a connection, and what goes over the next."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec import convert

from tests.support.scripted import (
    QUICK,
    Line,
    item,
    logged_in,
    scripted,
    silence,
    take_until,
)
from whatsapp import errors, wire
from whatsapp.calls import encoded
from whatsapp.client import (
    Closed,
    Options,
    OutboxFull,
    Refused,
)
from whatsapp.dialogue import INBOX_MESSAGES_MAX, SIGNALS_MAX, Dialogue
from whatsapp.inbox import Gap
from whatsapp.outbox import Outbox, Pending


async def test_send_waits_for_the_durable_answer():
    async def story(line: Line) -> None:
        assert line.request.headers["Authorization"] == "Bearer t1"
        await line.welcome()
        frame = await line.answer(7)
        assert frame["to"] == "bob"
        assert frame["reply_to"] == 3
        assert "chat" not in frame
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        sent = await me.send("bob", "hello", reply_to=3)
        assert (sent.chat, sent.seq) == ("ann:bob", 7)


async def test_a_lost_answer_means_the_same_id_again():
    heard = []

    async def deaf(line: Line) -> None:
        await line.welcome()
        heard.append(await line.hear("send"))
        await line.cut()

    async def well(line: Line) -> None:
        await line.welcome()
        heard.append(await line.answer(1, dup=True))
        await line.stay()

    async with scripted(deaf, deaf, well) as server, logged_in(server) as me:
        assert (await me.send("ann:bob", "once")).dup
    assert len(heard) == 3
    assert heard[0] == heard[1] == heard[2]


async def test_messages_to_one_chat_keep_their_order_through_busy_and_rate_limits():
    heard = []

    async def story(line: Line) -> None:
        await line.welcome()
        heard.append(await line.refuse("busy", retryable=True))
        heard.append(await line.refuse("rate_limited", retryable=True, retry_after_ms=30))
        heard.append(await line.refuse("unavailable", retryable=True))
        heard.extend([await line.answer(seq) for seq in (1, 2, 3)])
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        sent = await asyncio.gather(*(me.send("bob", text) for text in "abc"))
    assert [s.seq for s in sent] == [1, 2, 3]
    assert [f["text"] for f in heard] == ["a", "a", "a", "a", "b", "c"]


async def test_a_refusal_raises_by_its_code_and_leaves_the_outbox():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.refuse("not_member")
        await line.refuse("a_later_code")
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        with pytest.raises(errors.NotMember, match="because not_member"):
            await me.send("bob", "no")
        with pytest.raises(errors.Refusal) as caught:
            await me.send("bob", "no")
        assert caught.value.code == "a_later_code"
        await me.flush()


async def test_an_internal_error_is_tried_a_few_times_only():
    count = 0

    async def story(line: Line) -> None:
        nonlocal count
        await line.welcome()
        while True:
            await line.refuse("internal", retryable=True, retry_after_ms=1)
            count += 1

    async with scripted(story) as server, logged_in(server) as me:
        with pytest.raises(errors.Internal):
            await me.send("bob", "poison")
    assert count == 5


async def test_post_does_not_wait_and_its_answer_is_an_event():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.answer(1)
        await line.refuse("forbidden")
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        events = me.events()
        ids = [await me.post("bob", "a"), await me.post("bob", "b")]
        await me.flush()
        seen = [e async for e in take_until(events, Refused)]
        assert [e.id for e in seen if isinstance(e, wire.Sent | Refused)] == ids
        assert isinstance(seen[-1].error, errors.Forbidden)


async def test_what_no_server_would_take_is_refused_at_once():
    async def small(line: Line) -> None:
        await line.welcome(frame_bytes=200)
        await line.stay()

    async with scripted(small) as server, logged_in(server) as me:
        for text in ("", "a\0b", "half \ud800"):
            with pytest.raises(errors.BadRequest):
                await me.send("bob", text)
        with pytest.raises(errors.TooLarge, match="16384"):
            await me.send("bob", "x" * 16385)
        with pytest.raises(errors.TooLarge, match="a frame"):
            await me.send("bob", "x" * 300)
        with pytest.raises(errors.BadRequest):
            await me.send("no such user!", "hi")
        with pytest.raises(errors.BadRequest):
            await me.watch(["bob"] * 257)


async def test_the_outbox_has_a_limit():
    options = Options(outbox_messages_max=2)
    async with scripted() as server, logged_in(server, options=options) as me:
        await me.post("bob", "1")
        await me.post("bob", "2")
        with pytest.raises(OutboxFull):
            await me.post("bob", "3")


async def test_a_cancelled_send_goes_out_all_the_same():
    go = asyncio.Event()

    async def story(line: Line) -> None:
        await line.welcome()
        frame = await line.hear("send")
        await go.wait()
        await line.say(type="sent", id=frame["id"], chat="ann:bob", seq=1, time=1)
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await me.send("bob", "slow")
        go.set()
        await me.flush()


async def test_signals_and_events():
    heard = {}

    async def story(line: Line) -> None:
        await line.welcome()
        for kind in ("watch", "typing", "read"):
            heard[kind] = await line.hear(kind)
        await line.say(type="receipt", chat="ann:bob", user="bob", received=1, read=1)
        await line.say(type="cursor", chat="ann:bob", received=1, read=1)
        await line.say(type="typing", chat="ann:bob", user="bob", on=True)
        await line.say(type="presence", user="bob", online=True, last_seen=None)
        await line.say(type="error", code="bad_request", message="hm", retryable=False)
        await line.say(type="synced")
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        events = me.events()
        await me.connect()
        await me.watch(["Bob"])
        await asyncio.sleep(0.05)
        await me.typing("ann:bob")
        await asyncio.sleep(0.05)
        await me.read("ann:bob", 1)
        kinds = [type(e) async for e in take_until(events, wire.Synced)]
    assert kinds == [
        wire.Welcome,
        wire.Receipt,
        wire.Cursor,
        wire.TypingShown,
        wire.Presence,
        wire.Synced,
    ]
    assert heard["watch"]["users"] == ["bob"]
    assert heard["typing"]["on"] is True
    assert heard["read"]["seq"] == 1


async def test_watch_and_read_are_said_again_after_a_reconnect():
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def story(line: Line) -> None:
        await line.welcome()
        heard.put_nowait(await line.hear("watch"))
        heard.put_nowait(await line.hear("read"))
        await line.cut()

    async with scripted(story, story, silence) as server, logged_in(server) as me:
        await me.watch(["bob"])
        await me.read("ann:bob", 4)
        frames = [await heard.get() for _ in range(4)]
        assert frames[:2] == frames[2:]


def talk() -> Dialogue:
    """A dialogue without a link: the test takes what goes out."""
    return Dialogue(Outbox(None, messages_max=9), QUICK, automatic=True, on_gap=lambda gap: None)


def out(dialogue: Dialogue) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in dialogue.outgoing()]


async def test_a_read_that_the_server_surely_has_is_not_said_again():
    dialogue = talk()
    dialogue.read("ann:bob", 4)
    out(dialogue)
    dialogue.beat()
    (ping,) = out(dialogue)
    dialogue.read("ann:cid", 5)  # after the ping: its pong says nothing of it
    out(dialogue)
    dialogue.beat()
    dialogue.heard(wire.Pong(time=1, n=ping["n"]))
    assert out(dialogue) == [{"type": "ping", "n": ping["n"]}]
    dialogue.lost("a cable", 0)
    assert out(dialogue) == [{"type": "read", "chat": "ann:cid", "seq": 5}]
    dialogue.end(Closed("over"))


async def test_a_read_whose_pong_did_not_come_is_said_again():
    dialogue = talk()
    dialogue.read("ann:bob", 4)
    out(dialogue)
    for _ in range(2):
        dialogue.beat()
        out(dialogue)
        dialogue.heard(wire.Pong(time=1))  # of an earlier ping
    dialogue.read("ann:bob", 3)
    dialogue.lost("a cable", 0)
    assert out(dialogue) == [{"type": "read", "chat": "ann:bob", "seq": 4}]
    dialogue.end(Closed("over"))


async def test_reads_of_many_chats_are_said_in_portions_and_after_messages():
    dialogue = talk()
    woken = asyncio.Event()
    dialogue.wake = woken.set
    for number in range(SIGNALS_MAX + 20):
        dialogue.read(f"ann:user{number}", 1)
    dialogue.send(Pending(id="message-1", chat="ann:bob", text="hi"))
    assert [f["type"] for f in out(dialogue)] == ["send", *["read"] * SIGNALS_MAX]
    said = 0
    async with asyncio.timeout(5):
        while said < 20:
            assert reads(dialogue) == 0
            woken.clear()
            await woken.wait()
            said += reads(dialogue)
    for number in range(SIGNALS_MAX + 20):
        dialogue.read(f"ann:user{number}", 2)
    dialogue.finish()
    assert reads(dialogue) == SIGNALS_MAX + 20
    dialogue.end(Closed("over"))


def reads(dialogue: Dialogue) -> int:
    return [frame["type"] for frame in out(dialogue)].count("read")


async def test_a_hello_has_room_for_the_cursors_that_changed_last():
    outbox = Outbox(None, messages_max=1)
    outbox.moved({f"g:{number:036}": 1 for number in range(5_000)})
    dialogue = Dialogue(outbox, QUICK, automatic=True, on_gap=lambda gap: None)
    dialogue.received(f"g:{7:036}", 2, skip=True)
    cursors = dialogue.hello().cursors
    assert cursors is not None
    assert list(cursors)[:2] == [f"g:{7:036}", f"g:{4999:036}"]
    assert 500 < len(cursors) < 5_000
    assert len(encoded(dialogue.hello())) < 60_000
    dialogue.end(Closed("over"))


async def test_a_server_that_pushes_beyond_its_window_is_left():
    outbox = Outbox(None, messages_max=1)
    reasons: list[str] = []
    dialogue = Dialogue(outbox, QUICK, automatic=True, on_gap=lambda gap: None)
    dialogue.give_up("nobody listens yet")
    dialogue.give_up = reasons.append
    for seq in range(1, INBOX_MESSAGES_MAX + 2):
        dialogue.heard(convert(item(seq) | {"type": "message"}, wire.Message))
    assert reasons == ["the server pushes beyond its window"]
    assert len(dialogue.inbox.queue) == INBOX_MESSAGES_MAX


async def test_a_filling_of_an_earlier_connection_is_of_no_use():
    gaps: list[Gap] = []
    outbox = Outbox(None, messages_max=1)
    dialogue = Dialogue(outbox, QUICK, automatic=True, on_gap=gaps.append)
    dialogue.wake()
    for seq in (1, 3, 6):
        dialogue.heard(convert(item(seq) | {"type": "message"}, wire.Message))
    dialogue.filled(gaps[0], [], dialogue.generation - 1)
    assert len(dialogue.inbox.queue) == 1
    dialogue.filled(gaps[0], [], dialogue.generation)
    assert gaps == [Gap("ann:bob", 1, 3), Gap("ann:bob", 3, 6)]


@pytest.mark.parametrize("waits", [(80, 1), (1, 80)])
async def test_of_two_waits_the_longer_one_holds(waits):
    heard = []

    async def story(line: Line) -> None:
        await line.welcome()
        frames = [await line.hear("send"), await line.hear("send")]
        for frame, wait in zip(frames, waits, strict=True):
            more = {"code": "rate_limited", "message": "wait", "retryable": True}
            await line.say(type="error", re=frame["id"], retry_after_ms=wait, **more)
        heard.extend([await line.answer(1), await line.answer(2)])
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(me.send("bob", "1"), me.send("cid", "2"))
        assert asyncio.get_running_loop().time() - began >= 0.08


async def test_typing_without_a_connection_is_dropped_and_a_strange_answer_ignored():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.say(type="pong", time=1)
        await line.say(type="sent", id="unknown-id", chat="ann:bob", seq=1, time=1)
        frame = await line.hear("typing")
        assert frame["on"] is False
        await line.say(type="synced")
        await line.stay()

    async with scripted(story) as server, logged_in(server) as me:
        await me.typing("ann:bob")
        events = me.events()
        await me.connect()
        await me.typing("ann:bob", on=False)
        [e async for e in take_until(events, wire.Synced)]
