"""`ChatStore`: cursors, invitations, contacts."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.backends import GROUP, PAIR, append, change, founded, member, say
from whatsapp.model import CursorMove, Member, Position, Role

OTHER = "g:01890a5d-ac96-774b-bcce-b302099a8058"


@pytest.fixture
async def ten(stores):
    await append(stores, *(say(str(n)) for n in range(10)))


async def own(stores, device="d1"):
    """The device's cursor of ann."""
    (position,) = await stores.chats.of_user("ann", device)
    return position.device_received


def moved(**more):
    return CursorMove(chat=PAIR, user="ann", **more)


async def test_nothing_to_move(stores):
    await stores.chats.advance([])


async def test_cursors_begin_at_nought(stores, ten):
    assert await stores.chats.of_user("ann", "d1") == [
        Position(
            chat=PAIR,
            head=10,
            member=Member(user="ann"),
            device_received=0,
            peer=Member(user="bob"),
        )
    ]


async def test_cursors_move_by_max_each_for_itself(stores, ten):
    await stores.chats.advance([moved(device="d1", device_received=5, received=5, read=2)])
    await stores.chats.advance([moved(device="d1", device_received=3, received=4, read=4)])
    ann = await member(stores, "ann")
    assert (ann.received, ann.read, await own(stores)) == (5, 4, 5)
    assert await member(stores, "bob") == Member(user="bob")


async def test_moves_of_one_call_are_as_good_as_one_by_one(stores, ten):
    await stores.chats.advance(
        [
            moved(device="d1", device_received=7),
            moved(device="d1", device_received=2, rewind=True),
            moved(device="d1", device_received=4),
            moved(device="d1", device_received=3),
            moved(device="d2", device_received=1, read=1),
            moved(received=6),
            moved(received=5),
        ]
    )
    ann = await member(stores, "ann")
    assert (await own(stores), await own(stores, "d2")) == (4, 1)
    assert (ann.received, ann.read) == (6, 1)


async def test_rewind_goes_back_for_the_device_alone(stores, ten):
    await stores.chats.advance([moved(device="d1", device_received=9, received=9, read=9)])
    await stores.chats.advance([moved(device="d1", device_received=3, rewind=True)])
    ann = await member(stores, "ann")
    assert (await own(stores), ann.received, ann.read) == (3, 9, 9)


async def test_without_a_device_the_users_cursors_move_alone(stores, ten):
    await stores.chats.advance([moved(device_received=9, received=4, read=4, rewind=True)])
    assert (await own(stores), await own(stores, "")) == (0, 0)
    assert (await member(stores, "ann")).received == 4


async def test_the_time_of_a_move_goes_forward(stores, ten):
    await stores.chats.advance([moved(received=1, time_ms=50)])
    await stores.chats.advance([moved(received=2, time_ms=40)])
    await stores.chats.advance([moved(received=3)])
    ann = await member(stores, "ann")
    assert (ann.received, ann.moved_ms) == (3, 50)


async def test_moves_of_strangers_have_no_effect(stores, ten):
    await stores.chats.advance(
        [
            CursorMove(chat="ann:eve", user="ann", device="d1", device_received=1, read=1),
            CursorMove(chat=PAIR, user="eve", device="d1", device_received=1, read=1),
            moved(device="d1", device_received=1),
        ]
    )
    assert (await own(stores), await stores.chats.of_user("eve", "d1")) == (1, [])


async def test_concurrent_moves_end_at_the_furthest(stores, ten):
    await asyncio.gather(
        *(stores.chats.advance([moved(device="d1", device_received=n, read=n)]) for n in range(10))
    )
    assert (await own(stores), (await member(stores, "ann")).read) == (9, 9)


async def test_a_change_keeps_cursors(stores):
    await append(stores, founded("ann", "bob"))
    await stores.chats.advance([CursorMove(chat=GROUP, user="bob", received=1, read=1, time_ms=9)])
    await append(stores, change(epoch=1, roles=(("bob", Role.ADMIN),)))
    bob = await member(stores, "bob", GROUP)
    assert (bob.role, bob.received, bob.read, bob.moved_ms) == (Role.ADMIN, 1, 1, 9)


async def test_of_user_has_every_chat_that_it_is_active_in(stores):
    await append(
        stores,
        say(),
        say(chat="ann:ann"),
        founded("ann", "bob"),
        founded("ann", "bob", chat=OTHER),
        change(chat=OTHER, leaves=("ann",)),
        say(chat="bob:eve", sender="bob"),
    )
    positions = {position.chat: position for position in await stores.chats.of_user("ann", "d")}
    assert set(positions) == {PAIR, "ann:ann", GROUP}
    assert positions["ann:ann"].peer is positions[GROUP].peer is None
    assert positions[GROUP].member == Member(user="ann", role=Role.OWNER)
    assert await stores.chats.of_user("nobody", "d") == []


async def test_the_peer_has_its_cursors(stores, ten):
    await stores.chats.advance([CursorMove(chat=PAIR, user="bob", received=7, read=3, time_ms=1)])
    (position,) = await stores.chats.of_user("ann", "d1")
    assert position.peer == await member(stores, "bob")
    assert (position.peer.received, position.peer.read) == (7, 3)


async def test_an_invitation_leads_to_its_group(stores):
    await append(stores, founded("ann"), founded("bob", chat=OTHER))
    await stores.chats.set_invite(GROUP, "code-1")
    await stores.chats.set_invite(OTHER, "code-2")
    assert await stores.chats.by_invite("code-1") == GROUP
    assert await stores.chats.by_invite("code-2") == OTHER
    assert await stores.chats.by_invite("code-") is None
    assert (await stores.chats.load([GROUP]))[GROUP].invite == "code-1"


async def test_a_group_has_one_invitation(stores):
    await append(stores, founded("ann"), founded("bob", chat=OTHER))
    for code in ("code-1", "code-2", "code-2"):
        await stores.chats.set_invite(GROUP, code)
    assert await stores.chats.by_invite("code-1") is None
    assert await stores.chats.by_invite("code-2") == GROUP
    await stores.chats.set_invite(GROUP, "")
    await stores.chats.set_invite(OTHER, "")
    assert await stores.chats.by_invite("code-2") is None
    assert await stores.chats.by_invite("") is None


async def test_an_invitation_to_no_group(stores):
    await stores.chats.set_invite(GROUP, "code-1")
    assert await stores.chats.by_invite("code-1") is None


async def test_contacts_have_spoken_both_ways(stores):
    await append(
        stores,
        say(),
        say(sender="bob"),
        say(chat="ann:eve"),
        say(chat="ann:joe"),
        say(chat="ann:joe", sender="joe", hidden=True),
        say(chat="ann:kim"),
        say("", chat="ann:kim", sender="kim", kind="note"),
        founded("ann", "zoe"),
        say(chat=GROUP, sender="zoe", epoch=1),
    )
    others = ["bob", "eve", "joe", "kim", "zoe", "nobody"]
    assert await stores.chats.contacts("ann", others) == {"bob"}
    assert await stores.chats.contacts("bob", ["ann", "ann"]) == {"ann"}
    assert await stores.chats.contacts("ann", []) == set()
    await append(stores, say(chat="ann:eve", sender="eve"), say(chat="ann:joe", sender="joe"))
    assert await stores.chats.contacts("ann", others) == {"bob", "eve", "joe"}
