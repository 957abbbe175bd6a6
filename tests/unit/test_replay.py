"""Members, title and epoch, told again from the log; and what real groups leave behind."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.server import STORES, settings
from whatsapp.app import open_app
from whatsapp.errors import Answer
from whatsapp.model import Actor, Chat, Entry, Event, Member, Page, Role
from whatsapp.replay import Replay
from whatsapp.resources import GroupChange
from whatsapp.server import App

GROUP = "g:01890a5d-ac96-774b-bcce-b302099a8057"
USERS = tuple(f"user{n}" for n in range(8))
ACTS = 150


def entry(seq: int, kind: str, sender: str = "ann", **event) -> Entry:
    said = Event(**event) if event else None
    return Entry(
        chat=GROUP, seq=seq, id=f"id-{seq:06}", sender=sender, time_ms=seq, kind=kind, event=said
    )


LOG = [
    entry(1, "created", title="Boats"),
    entry(2, "added", users=("bob", "cid")),
    entry(3, "text"),
    entry(4, "role", user="bob", role=Role.ADMIN),
    entry(5, "removed", users=("cid",)),
    entry(6, "title", title="Ships"),
    entry(7, "joined", "dan"),
    entry(8, "left", "ann"),
    entry(9, "role", "ann", user="bob", role=Role.OWNER),
    entry(10, "announce", "bob", on=True),
]
STORED = Chat(
    chat=GROUP,
    head=10,
    epoch=10,
    title="Ships",
    announce=True,
    members={
        "ann": Member(user="ann", joined=1, left=8),
        "bob": Member(user="bob", role=Role.OWNER, joined=1),
        "cid": Member(user="cid", joined=1, left=5),
        "dan": Member(user="dan", joined=7),
    },
)


def differences(stored: Chat, log: list[Entry]) -> list[str]:
    replay = Replay(stored)
    for one in log:
        replay.take(one)
    return list(replay.differences())


def with_member(**changed) -> Chat:
    members = {**STORED.members, "bob": replace(STORED.members["bob"], **changed)}
    return replace(STORED, members=members)


def test_a_store_that_is_as_its_log_says():
    assert differences(STORED, LOG) == []


@pytest.mark.parametrize(
    "stored,said",
    [
        (replace(STORED, title="Boats"), "its title is 'Boats', and by its log 'Ships'"),
        (replace(STORED, announce=False), "its announce is False, and by its log True"),
        (replace(STORED, epoch=9), "its epoch is 9, and by its log 10"),
        (with_member(role=Role.ADMIN), "bob is admin, and by its log owner"),
        (with_member(left=6), "bob's left is 6, and by its log 0"),
        (
            replace(STORED, members={u: m for u, m in STORED.members.items() if u != "dan"}),
            "dan is no member, and by its log is or was one",
        ),
        (
            replace(STORED, members={**STORED.members, "eve": Member(user="eve", joined=5)}),
            "eve is a member, and its log knows nothing of that",
        ),
    ],
)
def test_what_is_otherwise(stored: Chat, said: str):
    assert differences(stored, LOG) == [said]


def test_a_server_that_died_before_it_named_the_first_members():
    members = {
        "ann": Member(user="ann", role=Role.OWNER, joined=1),
        "bob": Member(user="bob", joined=1),
    }
    stored = Chat(chat=GROUP, head=1, epoch=1, title="Boats", members=members)
    assert differences(stored, LOG[:1]) == []


def test_a_server_that_died_before_it_named_the_heir():
    log = [one for one in LOG if one.seq != 9]
    assert differences(STORED, log) == []
    # One heir, not two.
    members = {**STORED.members, "dan": Member(user="dan", joined=7, role=Role.OWNER)}
    assert differences(replace(STORED, members=members), log) != []


def test_a_direct_chat_has_its_two_from_the_beginning():
    stored = Chat(
        chat="ann:bob", head=3, members={user: Member(user=user) for user in ("ann", "bob")}
    )
    assert differences(stored, [replace(one, chat="ann:bob") for one in LOG]) == []


# --- real groups ---------------------------------------------------------------------


async def act(app: App, chance: random.Random, chats: list[str]) -> None:
    """One thing that somebody may wish, allowed or not."""
    chat, actor = chance.choice(chats), Actor(chance.choice(USERS), "")
    other = chance.choice(USERS)
    match chance.randrange(8):
        case 0:
            chats.append(await app.groups.create(actor, "new", chance.sample(USERS, 3)))
        case 1:
            await app.groups.add(actor, chat, chance.sample(USERS, 2))
        case 2 | 3:
            await app.groups.remove(actor, chat, other)
        case 4:
            await app.groups.remove(actor, chat, actor.user)
        case 5:
            await app.groups.set_role(actor, chat, other, chance.choice(list(Role)))
        case 6:
            wish = GroupChange(title=f"title {chance.random()}", announce=chance.random() < 0.5)
            await app.groups.change(actor, chat, wish)
        case _:
            await app.groups.join(actor, (await app.groups.invite(actor, chat)).code)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_in_groups_can_be_told_again(tmp_path: Path, store: str, seed: int):
    chance = random.Random(seed)
    async with open_app(settings(store, tmp_path / "data")) as app:
        for user in USERS:
            await app.auth.add_user(user, "a long road home")
        chats = [await app.groups.create(Actor(USERS[0], ""), "first", USERS[1:5])]
        for _ in range(ACTS):
            with contextlib.suppress(Answer):  # what is not allowed is not in the log
                await act(app, chance, chats)
        await app.auth.remove_user(USERS[1])
        loaded = await app.stores.chats.load(chats)
        for chat in chats:
            (log,) = await app.stores.messages.pages([Page(chat=chat, after=0, limit=10_000)])
            assert differences(loaded[chat], log) == []
