"""What is known of a chat, and that it is never older than what was told."""

from __future__ import annotations

import pytest

from tests.support.world import FAIL_BEFORE, WAIT, WAIT_AFTER, World
from whatsapp.errors import NotFound, Unavailable
from whatsapp.model import Actor, Change, Chat, Draft, Entry, Member, Role
from whatsapp.room import ROOM_IDLE_SECONDS, TAIL_ENTRIES_MAX, Room

GROUP = "g:01890a5d-ac96-774b-bcce-b302099a8057"
ANN = Actor("ann", "phone")


def room(*users, head=0, chat=GROUP, **more):
    members = {user: Member(user=user) for user in users}
    return Room(Chat(chat=chat, head=head, members=members, **more))


def entry(seq, sender="ann", **more):
    return Entry(chat=GROUP, seq=seq, id=f"id-{seq:08}", sender=sender, time_ms=seq, **more)


def said(of, *senders):
    for sender in senders:
        of.committed(entry(of.head + 1, sender), None)


@pytest.fixture
def world():
    return World("ann", "bob", "cid")


# ------------------------------------------------------------------------------ covered


def test_a_cursor_covers_the_authors_that_it_passes():
    of = room("ann", "bob", "cid")
    said(of, "ann", "bob", "cid", "ann")
    assert of.covered("bob", 0, 1) == (1, {"ann"})
    assert of.covered("bob", 1, 2) == (2, set())
    assert of.covered("bob", 1, 4) == (4, {"ann", "cid"})


def test_a_cursor_does_not_rest_on_what_is_hidden():
    of = room("ann", "bob")
    said(of, "ann")
    of.committed(entry(2, "ann", hidden=True), None)
    assert of.covered("bob", 0, 2) == (1, {"ann"})
    assert of.covered("bob", 1, 2) == (1, set())


def test_what_is_further_back_than_the_memory_must_be_read():
    of = room("ann", "bob", head=10)
    said(of, "ann", "bob")
    assert of.covered("bob", 9, 12) is None
    assert of.covered("bob", 10, 12) == (12, {"ann"})
    said(of, *["ann"] * TAIL_ENTRIES_MAX)
    assert of.covered("bob", 11, of.head) is None


def test_what_is_beyond_the_known_head_must_be_read():
    of = room("ann", "bob")
    said(of, "ann")
    assert of.covered("bob", 0, 2) is None


def test_an_entry_that_somebody_else_wrote_in_between_ends_the_memory():
    of = room("ann", "bob", "cid")
    said(of, "ann", "ann")
    of.committed(entry(4, "bob"), None)
    assert of.head == 4
    assert of.covered("cid", 0, 4) is None
    assert of.covered("cid", 3, 4) == (4, {"bob"})


# ------------------------------------------------------------------------------ changes


def test_changes_take_effect_with_their_entry():
    of = room("ann")
    of.committed(entry(1), Change(title="Tea", about="leaves", announce=True))
    assert (of.title, of.about, of.announce, of.epoch) == ("Tea", "leaves", True, 1)
    of.committed(entry(2), Change())
    assert (of.title, of.about, of.announce, of.epoch) == ("Tea", "leaves", True, 2)


def test_members_join_leave_and_come_back():
    of = room("ann")
    of.committed(entry(1), Change(joins=(("bob", Role.ADMIN),)))
    assert (of.members["bob"].joined, of.members["bob"].role) == (1, Role.ADMIN)
    of.committed(entry(2), Change(leaves=("bob",)))
    assert list(of.active()) == ["ann"]
    with pytest.raises(NotFound):
        of.member("bob")
    assert of.ever("bob").left == 2
    said(of, "ann")
    of.committed(entry(4), Change(joins=(("bob", Role.MEMBER),)))
    bob = of.member("bob")
    assert [bob.sees(seq) for seq in (1, 2, 3, 4)] == [True, True, False, True]
    assert bob.role is Role.MEMBER


def test_roles_change():
    of = room("ann", "bob")
    of.committed(entry(1), Change(roles=(("bob", Role.OWNER),)))
    assert of.members["bob"].role is Role.OWNER


def test_strangers_have_no_part_in_it():
    of = room("ann", head=1)
    for look in (of.member, of.ever):
        with pytest.raises(NotFound):
            look("bob")


def test_a_chat_without_an_entry_is_nobodys():
    of = room("ann", "bob", chat="ann:bob")
    for look in (of.member, of.ever):
        with pytest.raises(NotFound):
            look("ann")


def test_the_other_one_of_a_direct_chat():
    assert room("ann", "bob", chat="ann:bob").peer("ann") == "bob"
    assert room("ann", "bob", chat="ann:bob").peer("bob") == "ann"
    assert room("ann", chat="ann:ann").peer("ann") == "ann"


def test_cursors_only_move_forward():
    of = room("ann", "bob", head=3)
    of.received["ann"], of.read["ann"] = 3, 2
    of.take(Chat(chat=GROUP, head=4, members={"ann": Member(user="ann", received=1, read=4)}))
    assert (of.received["ann"], of.read["ann"], of.head) == (3, 4, 4)


# -------------------------------------------------------------------------------- rooms


def test_a_room_is_read_once(world):
    world.post("ann", "bob", "hello")
    world.calls.clear()
    one = world.do(world.core.rooms.existing("ann:bob"))
    assert world.do(world.core.rooms.existing("ann:bob")) is one
    assert world.core.rooms.get("ann:bob") is one
    assert "load" not in world.calls


def test_two_who_ask_at_once_get_the_same_room(world):
    world.post("ann", "bob", "hello")
    world.core.rooms._rooms.clear()
    world.next("load", WAIT, WAIT_AFTER)
    asked = [world.begin(world.core.rooms.existing("ann:bob")) for _ in range(2)]
    world.go_on()
    assert asked[0][0] is asked[1][0]


def test_there_is_no_room_without_an_entry(world):
    with pytest.raises(NotFound):
        world.do(world.core.rooms.existing("ann:bob"))
    new = world.do(world.core.rooms.ready("ann:bob", "ann"))
    assert (new.head, set(new.members)) == (0, {"ann", "bob"})
    with pytest.raises(NotFound):
        world.do(world.core.rooms.existing("ann:bob"))


@pytest.mark.parametrize("chat", ["ann:nobody", "bob:cid", GROUP, "nonsense"])
def test_a_new_direct_chat_needs_two_users_and_to_be_one_of_them(world, chat):
    with pytest.raises(NotFound):
        world.do(world.core.rooms.ready(chat, "ann"))


def test_nobody_writes_first_to_an_erased_user(world):
    world.do(world.core.accounts.erase("bob"))
    with pytest.raises(NotFound):
        world.do(world.core.rooms.ready("ann:bob", "ann"))


def test_relations_are_those_of_now(world):
    world.post("ann", "bob", "hello")
    ready = world.do(world.core.rooms.ready("ann:bob", "ann"))
    assert ready.relations.blockers == frozenset()
    world.do(world.core.people.block(ANN, "bob"))
    assert ready.relations is None
    ready = world.do(world.core.rooms.ready("ann:bob", "ann"))
    assert ready.relations.blockers == {"ann"}


def test_relations_that_changed_while_they_were_read_are_read_again(world):
    world.post("ann", "bob", "hello")
    room = world.core.rooms.get("ann:bob")
    for user in ("ann", "bob"):
        world.core.accounts.forget(user)
    room.relations = None
    world.next("blocks", WAIT_AFTER)
    asked = world.begin(world.core.rooms.ready("ann:bob", "ann"))
    world.begin(world.core.people.block(ANN, "bob"))
    world.go_on()
    assert asked[0].relations.blockers == {"ann"}


def test_a_look_finds_what_others_wrote(world):
    world.post("ann", "bob", "hello")
    told: list[Room] = []
    world.core.rooms._grown = told.append
    one = world.core.rooms.get("ann:bob")
    world.do(world.core.rooms.refresh("ann:bob"))
    assert told == []
    draft = Draft(chat="ann:bob", sender="bob", id="elsewhere", time_ms=1, text="hi")
    world.do(world.core.stores.messages.append([draft]))
    world.do(world.core.rooms.refresh("ann:bob"))
    assert told == [one]
    assert one.head == 2
    assert one.covered("ann", 0, 2) is None


def test_a_look_at_a_room_that_is_not_loaded_tells_too(world):
    world.post("ann", "bob", "hello")
    world.core.rooms._rooms.clear()
    told: list[Room] = []
    world.core.rooms._grown = told.append
    world.do(world.core.rooms.refresh("ann:bob"))
    assert [room.chat for room in told] == ["ann:bob"]
    world.do(world.core.rooms.refresh("ann:cid"))
    assert len(told) == 1


def test_a_look_may_fail(world):
    world.post("ann", "bob", "hello")
    world.next("load", FAIL_BEFORE)
    with pytest.raises(Unavailable):
        world.do(world.core.rooms.refresh("ann:bob"))


def test_only_rooms_that_nobody_uses_are_forgotten():
    world = World("ann", "bob", "cid", rooms_max=1)
    world.post("ann", "bob", "hello")
    world.tick(ROOM_IDLE_SECONDS / 2)
    world.post("ann", "cid", "hello")
    world.tick(ROOM_IDLE_SECONDS / 2 + 1)
    assert len(world.core.rooms) == 1
    assert world.core.rooms.get("ann:bob") is None
    assert world.core.rooms.get("ann:cid") is not None


def test_a_room_whose_cursors_are_not_written_is_not_evicted():
    world = World("ann", "bob", "cid", rooms_max=1)
    for other in ("bob", "cid"):
        world.post("ann", other, "hello")
    room = world.core.rooms.get("ann:bob")
    assert room is not None
    world.core.acks.user_has("bob", room, 1)
    world.clock.pass_seconds(100)
    world.core.rooms.tick()
    assert "ann:bob" in world.core.rooms
