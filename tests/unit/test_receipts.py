"""Authors hear that their messages were received and read: the newest, and only what they may."""

from __future__ import annotations

import pytest

from tests.support.world import FAIL_BEFORE, World
from whatsapp.model import Actor
from whatsapp.resources import PrivacyChange, ProfileChange
from whatsapp.wire import Read, Receipt, Received

CHAT = "ann:bob"


@pytest.fixture
def world():
    return World("ann", "bob", "cid")


def told(peer):
    return [(frame.chat, frame.user, frame.received, frame.read) for frame in peer.take(Receipt)]


def hide(world, user):
    change = ProfileChange(privacy=PrivacyChange(receipts=False))
    world.do(world.core.people.change(Actor(user, "rest"), change))


def test_an_author_hears_at_the_end_of_the_turn(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    world.send(ann, CHAT, "one")
    world.send(ann, CHAT, "two")
    world.say(bob, Received(CHAT, 1))
    assert told(ann) == [(CHAT, "bob", 1, 0)]
    world.say(bob, Read(CHAT, 2))
    assert told(ann) == [(CHAT, "bob", 2, 2)]
    assert told(bob) == []


def test_many_acknowledgements_of_a_turn_are_one_receipt(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    for text in ("one", "two", "three"):
        world.send(ann, CHAT, text)
    for seq in (1, 2, 3):
        world.core.conversations.received(bob.session, Received(CHAT, seq))
    world.loop.run()
    assert told(ann) == [(CHAT, "bob", 3, 0)]


def test_who_wrote_nothing_new_there_hears_nothing(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    world.send(ann, CHAT, "one")
    world.say(bob, Received(CHAT, 1))
    told(ann)
    world.say(bob, Received(CHAT, 1))
    world.send(bob, CHAT, "mine")
    world.say(ann, Received(CHAT, 2))
    assert told(ann) == []
    assert told(bob) == [(CHAT, "ann", 2, 0)]


def test_reading_is_not_told_where_one_of_the_two_hides_it(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    world.send(ann, CHAT, "one")
    hide(world, "ann")
    world.say(bob, Read(CHAT, 1))
    assert told(ann)[-1] == (CHAT, "bob", 1, 0)


def test_a_group_hears_at_the_tick_and_of_reading_always(world):
    ann, bob, cid = world.connect("ann"), world.connect("bob"), world.connect("cid")
    group = world.group("ann", "bob", "cid")
    hide(world, "bob")
    world.tick()
    for peer in (ann, bob, cid):
        told(peer)
    world.send(ann, group, "one")
    world.send(cid, group, "two")
    world.say(bob, Read(group, 3))
    world.say(bob, Read(group, 4))
    assert told(ann) == []
    world.tick()
    assert told(ann) == [(group, "bob", 4, 4)]
    assert told(cid) == [(group, "bob", 4, 4)]
    world.tick()
    assert told(ann) == []


def test_who_has_left_a_group_hears_nothing_more(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    group = world.group("ann", "bob", "cid")
    world.send(bob, group, "one")
    told(bob)
    world.say(ann, Received(group, 3))
    world.do(world.core.groups.remove(Actor("bob", "rest"), group, "bob"))
    world.tick()
    assert told(bob) == []


def test_a_blocker_tells_nothing(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    world.send(ann, CHAT, "before")
    world.do(world.core.people.block(Actor("bob", "rest"), "ann"))
    world.send(ann, CHAT, "hidden")
    world.say(bob, Read(CHAT, 2))
    assert told(ann) == []


def test_relations_that_are_not_known_are_read_first(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    world.send(ann, CHAT, "one")
    world.core.rooms.unrelate("ann")
    world.say(bob, Received(CHAT, 1))
    assert told(ann) == [(CHAT, "bob", 1, 0)]


def test_where_they_cannot_be_read_the_next_receipt_tells_it(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    world.send(ann, CHAT, "one")
    world.send(ann, CHAT, "two")
    for user in ("ann", "bob"):
        world.core.accounts.forget(user)
    world.core.rooms.unrelate("ann")
    world.next("find", FAIL_BEFORE)
    world.say(bob, Received(CHAT, 1))
    assert told(ann) == []
    world.say(bob, Received(CHAT, 2))
    assert told(ann) == [(CHAT, "bob", 2, 0)]
