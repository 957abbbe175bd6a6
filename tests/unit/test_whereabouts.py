"""Where a message is, told from stores of every kind."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.support import mongo
from tests.support.backends import opener
from whatsapp import whereabouts as w
from whatsapp.config import Config, Storage
from whatsapp.errors import BadRequest, StartupError
from whatsapp.model import Account, Change, CursorMove, Device, Draft, Role

GROUP = "g:01890a5d-ac96-774b-bcce-b302099a8057"
TIME = 1_700_000_000_123


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("mongo-motor", marks=pytest.mark.external)]
)
async def stores(request, tmp_path):
    folder = tmp_path / "data"
    async with opener(request.param, folder)() as stores:
        for user in ("ann", "ben", "cat"):
            await stores.accounts.create(Account(user=user, name=user.title()))
            await stores.devices.add(device(user, "phone"))
        await stores.devices.add(device("ben", "laptop"))
        yield stores
    mongo.drop(folder)


def device(user, name):
    return Device(
        device=f"{user}-{name}",
        user=user,
        name=name,
        token_hash=f"{user} {name}".encode(),
        created_ms=1,
        last_seen_ms=TIME,
    )


async def say(stores, *ids, chat="ann:ben", **more):
    drafts = [
        Draft(chat=chat, sender="ann", id=i, time_ms=TIME, text="secret") for i in ids if not more
    ] or [Draft(chat=chat, sender="ann", id=i, time_ms=TIME, **more) for i in ids]
    await stores.messages.append(drafts)


async def look(stores, **wish):
    return await w.whereabouts(stores, w.Wish(**wish), lambda _: None)


async def test_each_device_and_user_is_told_of(stores):
    await say(stores, "message-1", "message-2", "message-3")
    moved = CursorMove(chat="ann:ben", user="ben", received=3, read=1, time_ms=TIME + 5_000)
    own = CursorMove(
        chat="ann:ben", user="ben", device="ben-phone", device_received=3, received=3, read=1
    )
    await stores.chats.advance([moved, own])
    states = {}
    for seq in (1, 2, 3):
        found = await look(stores, chat="ann:ben", seq=seq)
        assert (found.seq, found.head, found.id, found.bytes) == (seq, 3, f"message-{seq}", 6)
        ann, ben = found.members
        assert ann.state == "wrote"
        states[seq] = ben.state
        assert {d.name: d.received for d in ben.devices or ()} == {"phone": 3, "laptop": 0}
    assert states == {1: "read", 2: "received", 3: "received"}
    text = "\n".join(w.lines(await look(stores, chat="ann:ben", seq=2)))
    assert "ann:ben seq 2 of 3" in text
    assert "stored    2023-11-14 22:13:20.123Z" in text
    assert "ben  has received it, by 2023-11-14 22:13:25.123Z at the latest" in text
    assert "device ben-phone (phone): has it" in text
    assert "device ben-laptop (laptop): has acknowledged all up to 0" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    "known", [{}, {"user": "ann"}, {"chat": "ann:ben"}, {"chat": "ann:ben", "user": "ann"}]
)
async def test_an_id_is_found_with_whatever_is_known(stores, known):
    await say(stores, "other-id", chat="ann:cat")
    await say(stores, "message-1", "message-2")
    found = await look(stores, message_id="message-2", **known)
    assert (found.chat, found.seq) == ("ann:ben", 2)
    assert [member.state for member in found.members] == ["wrote", "waiting"]


async def test_what_is_not_there_is_told(stores):
    await say(stores, "message-1")
    for wish in (
        {"message_id": "message-9"},
        {"message_id": "message-1", "user": "cat"},
        {"message_id": "message-1", "chat": "ann:cat"},
        {"chat": "ann:ben", "seq": 2},
        {"chat": "ann:cat", "seq": 1},
    ):
        with pytest.raises(StartupError, match="no such message"):
            await look(stores, **wish)


async def test_a_search_through_everything_is_bounded(stores, monkeypatch):
    monkeypatch.setattr(w, "PROGRESS_EVERY", 1)
    await say(stores, "message-1")
    await say(stores, "message-1", chat="ann:cat")
    steps: list[int] = []
    with pytest.raises(StartupError, match="not found in 3 look-ups"):
        await w.whereabouts(stores, w.Wish(message_id="nowhere", lookups_max=3), steps.append)
    assert steps == [1, 2, 3]


async def test_of_a_group_those_who_may_see_it(stores, monkeypatch):
    joins = (("ann", Role.OWNER), ("ben", Role.MEMBER))
    await say(stores, "created-1", chat=GROUP, kind="created", change=Change(joins=joins))
    await say(stores, "message-1", chat=GROUP, text="one", epoch=1)
    late = Change(joins=(("cat", Role.MEMBER),))
    await say(stores, "added-12", chat=GROUP, kind="added", change=late, epoch=1)
    out = Change(leaves=("ben",))
    await say(stores, "removed1", chat=GROUP, kind="removed", change=out, epoch=3)
    await say(stores, "message-2", chat=GROUP, text="two", epoch=4)
    first = await look(stores, message_id="message-1", user="ann")
    assert {m.user: m.state for m in first.members} == {
        "ann": "wrote",
        "ben": "waiting",
        "cat": "unseen",
    }
    second = await look(stores, message_id="message-2", user="ann")
    assert {m.user: m.state for m in second.members} == {
        "ann": "wrote",
        "ben": "unseen",
        "cat": "waiting",
    }
    assert any("ben  may not see it: left at 4" in line for line in w.lines(second))
    monkeypatch.setattr(w, "MEMBERS_WITH_DEVICES_MAX", 1)
    few = await look(stores, message_id="message-2", user="ann")
    assert [m.user for m in few.members if m.devices is not None] == ["ann"]
    assert "1 of the others: has not received it: cat" in w.lines(few)
    everybody = await look(stores, message_id="message-2", user="ann", everybody=True)
    assert all(m.devices is not None for m in everybody.members)


async def test_a_message_of_somebody_blocked_is_hidden(stores):
    await say(stores, "message-1", text="psst", hidden=True)
    found = await look(stores, chat="ann:ben", seq=1)
    assert [m.state for m in found.members] == ["wrote", "hidden"]
    assert any("had blocked the author" in line for line in w.lines(found))


async def test_what_a_device_is_called_does_not_pass_for_something_told(stores):
    odd = replace(device("cat", "tablet"), name="x)\nben  has read it \x9b2J")
    await stores.devices.add(odd)
    await say(stores, "message-1", chat="ann:cat")
    told = w.lines(await look(stores, chat="ann:cat", seq=1))
    assert not any("\n" in line or "\x9b" in line for line in told)


def test_chats_may_be_written_as_people_do():
    assert w.chat_id("Ben:ANN") == "ann:ben"
    assert w.chat_id(GROUP.upper()) == GROUP
    for wrong in ("ann", "ann:", "a:b", "g:123"):
        with pytest.raises(BadRequest):
            w.chat_id(wrong)


def test_the_memory_of_a_server_cannot_be_read():
    with pytest.raises(StartupError, match="memory"):
        w.run(Config(storage=Storage(backend="memory")), w.Wish(seq=1), lambda _: None)
