"""Changes: they happen with their entry, and decide who sees what."""

from __future__ import annotations

import asyncio

from tests.support.backends import GROUP, PAIR, append, change, founded, member, say
from whatsapp.model import CursorMove, Member, Role


async def group(stores):
    return (await stores.chats.load([GROUP]))[GROUP]


async def test_a_direct_chat_has_its_users_as_members_from_the_first_entry(stores):
    await append(stores, say())
    chat = (await stores.chats.load([PAIR]))[PAIR]
    assert chat.members == {"ann": Member(user="ann"), "bob": Member(user="bob")}
    assert (chat.head, chat.epoch) == (1, 0)


async def test_a_note_to_self_has_one_member(stores):
    await append(stores, say(chat="ann:ann"))
    assert set((await stores.chats.load(["ann:ann"]))["ann:ann"].members) == {"ann"}


async def test_a_group_begins_with_those_whom_its_first_entry_joins(stores):
    await append(stores, founded("ann", "bob"))
    chat = await group(stores)
    assert chat.members == {
        "ann": Member(user="ann", role=Role.OWNER, joined=1),
        "bob": Member(user="bob", role=Role.MEMBER, joined=1),
    }
    assert (chat.title, chat.about, chat.announce, chat.epoch) == ("Climbing", "", False, 1)


async def test_only_what_a_change_names_changes(stores):
    await append(stores, founded("ann"), change(about="on rocks", announce=True))
    chat = await group(stores)
    assert (chat.title, chat.about, chat.announce, chat.epoch) == ("Climbing", "on rocks", True, 2)
    await append(stores, change(epoch=2, title="", announce=False), say(chat=GROUP, epoch=2))
    chat = await group(stores)
    assert (chat.title, chat.about, chat.announce, chat.epoch) == ("", "on rocks", False, 3)
    assert chat.head == 4


async def test_joins_begin_and_leaves_end_at_the_entry(stores):
    await append(stores, founded("ann", "bob"), say(chat=GROUP), change(leaves=("bob",)))
    bob = await member(stores, "bob", GROUP)
    assert (bob.joined, bob.left, bob.active) == (1, 3, False)
    assert [seq for seq in range(1, 7) if bob.sees(seq)] == [1, 2, 3]


async def test_who_comes_back_sees_both_spans_and_not_between(stores):
    await append(
        stores,
        founded("ann", "bob"),
        change(leaves=("bob",)),
        say(chat=GROUP),
        change(joins=(("bob", Role.ADMIN),)),
        change(leaves=("bob",)),
        say(chat=GROUP),
        change(joins=(("bob", Role.MEMBER),)),
    )
    bob = await member(stores, "bob", GROUP)
    assert bob == Member(user="bob", role=Role.MEMBER, joined=7, spans=((1, 2), (4, 5)))
    assert [seq for seq in range(1, 10) if bob.sees(seq)] == [1, 2, 4, 5, 7, 8, 9]


async def test_who_comes_back_keeps_its_cursors(stores):
    await append(stores, founded("ann", "bob"), say(chat=GROUP))
    await stores.chats.advance([CursorMove(chat=GROUP, user="bob", received=2, read=2)])
    await append(stores, change(epoch=1, leaves=("bob",)))
    await append(stores, change(epoch=3, joins=(("bob", Role.MEMBER),)))
    bob = await member(stores, "bob", GROUP)
    assert (bob.received, bob.read, bob.joined) == (2, 2, 4)


async def test_joining_when_active_and_leaving_when_not_change_nothing(stores):
    await append(stores, founded("ann", "bob"))
    await append(
        stores,
        change(epoch=1, joins=(("bob", Role.OWNER), ("bob", Role.OWNER)), leaves=("eve",)),
        change(epoch=1, roles=(("eve", Role.ADMIN),)),
    )
    chat = await group(stores)
    assert chat.members["bob"] == Member(user="bob", role=Role.MEMBER, joined=1)
    assert set(chat.members) == {"ann", "bob"}


async def test_roles_change(stores):
    await append(
        stores,
        founded("ann", "bob"),
        change(roles=(("bob", Role.OWNER), ("ann", Role.MEMBER))),
    )
    members = (await group(stores)).members
    assert (members["ann"].role, members["bob"].role) == (Role.MEMBER, Role.OWNER)


async def test_an_owner_may_leave_and_hand_over_in_one_change(stores):
    await append(
        stores, founded("ann", "bob"), change(leaves=("ann",), roles=(("bob", Role.OWNER),))
    )
    members = (await group(stores)).members
    assert (members["ann"].left, members["bob"].role) == (2, Role.OWNER)


async def test_a_reader_sees_entry_and_change_together(stores):
    """`load` is as of one moment: the epoch is the last change at or below the head."""
    await append(stores, founded("ann", "bob"))

    async def write():
        for n in range(2, 40):
            await append(stores, change(epoch=n - 1, title=f"title {n}"))

    writing = asyncio.ensure_future(write())
    while not writing.done():
        await asyncio.sleep(0)
        chat = await group(stores)
        assert chat.epoch == chat.head
        assert chat.head == 1 or chat.title == f"title {chat.head}"
    await writing


async def test_of_concurrent_changes_from_one_epoch_one_wins(stores):
    await append(stores, founded("ann", "bob"))
    await asyncio.gather(
        *(stores.messages.append([change(epoch=1, title=f"title {n}")]) for n in range(10))
    )
    chat = await group(stores)
    assert (chat.head, chat.epoch) == (2, 2)


async def test_a_large_group(stores):
    users = [f"user{n:04}" for n in range(1024)]
    await append(stores, founded(*users))
    assert set((await group(stores)).members) == set(users)


async def test_load_gives_only_chats_that_exist(stores):
    await append(stores, say(), founded("ann"))
    assert set(await stores.chats.load([PAIR, GROUP, PAIR, "ann:eve"])) == {PAIR, GROUP}
    assert await stores.chats.load([]) == {}
