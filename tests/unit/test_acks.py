"""What an acknowledgement leads to: at once in a direct chat, at the tick in a group."""

from __future__ import annotations

import pytest

from tests.support.world import World
from whatsapp.model import Actor
from whatsapp.wire import Cursor, Error, Read, Receipt, Received

CHAT = "ann:bob"


@pytest.fixture
def world():
    return World("ann", "bob", "cid")


def moves(world):
    """The cursors that wait to be written: (user, device, device's, user's)."""
    waiting = world.core.cursors._moves.values()
    return sorted((m.user, m.device, m.device_received, m.received) for m in waiting)


def busy_group(world, *texts):
    group = world.group("ann", "bob")
    ann, bob = world.connect("ann"), world.connect("bob")
    for text in texts:
        world.send(ann, group, text)
    world.tick()
    ann.take()
    bob.take()
    return group, ann, bob


def test_in_a_direct_chat_it_is_done_at_once(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    world.send(ann, CHAT, "one")
    world.tick()
    world.say(bob, Received(CHAT, 1))
    assert moves(world) == [("bob", "bob-phone", 1, 1)]
    assert len(ann.take(Receipt)) == 1


def test_in_a_group_many_acknowledgements_of_a_device_are_one_move_and_one_receipt(world):
    group, ann, bob = busy_group(world, "one", "two", "three")
    for seq in (3, 4, 5):
        world.say(bob, Received(group, seq))
    assert moves(world) == []
    assert len(world.core.acks) == 1
    assert bob.session.outstanding == 0  # its window has room at once
    world.core.acks.tick()
    assert moves(world) == [("bob", "bob-phone", 5, 5)]
    world.tick()
    assert [(r.user, r.received) for r in ann.take(Receipt)] == [("bob", 5)]


def test_two_devices_are_two_moves_and_the_user_is_where_the_furthest_is(world):
    group, _, phone = busy_group(world, "one", "two")
    laptop = world.connect("bob", "bob-laptop")
    world.say(phone, Received(group, 4))
    world.say(laptop, Received(group, 2))
    world.core.acks.tick()
    assert {(device, seq) for _, device, seq, _ in moves(world)} == {
        ("bob-phone", 4),
        ("bob-laptop", 2),
    }
    assert world.core.rooms.get(group).received["bob"] == 4


def test_who_comes_back_before_the_tick_does_not_get_it_again(world):
    group, _, bob = busy_group(world, "one", "two")
    world.say(bob, Received(group, 4))
    again = world.connect("bob")
    assert again.texts() == []
    assert again.session.position(group) == 4


def test_reading_in_a_group_is_told_to_the_other_devices_at_once(world):
    group, _, phone = busy_group(world, "one")
    laptop = world.connect("bob", "bob-laptop")
    laptop.take()
    world.say(phone, Read(group, 3))
    assert [(c.received, c.read) for c in laptop.take(Cursor)] == [(3, 3)]


def test_who_left_before_the_tick_is_counted_as_far_as_it_was(world):
    group, _, bob = busy_group(world, "one")
    world.say(bob, Received(group, 3))
    world.do(world.core.groups.remove(Actor("bob", "rest"), group, "bob"))
    world.tick()
    assert world.core.rooms.get(group).received["bob"] == 3
    world.say(bob, Received(group, 4))  # its own removal
    world.say(bob, Received(group, 5))
    assert [error.code for error in bob.take(Error)] == ["not_member"]


def test_a_stranger_acknowledges_nothing(world):
    group, _, _ = busy_group(world, "one")
    cid = world.connect("cid")
    world.say(cid, Received(group, 1))
    assert cid.error() == "not_found"
    assert len(world.core.acks) == 0


def test_what_a_device_sent_itself_it_has_at_once_and_it_is_written_at_the_tick(world):
    ann, _ = world.connect("ann"), world.connect("bob")
    world.send(ann, CHAT, "one")
    assert world.core.rooms.get(CHAT).received["ann"] == 1
    assert moves(world) == []
    world.core.acks.tick()
    assert moves(world) == [("ann", "ann-phone", 1, 1)]
