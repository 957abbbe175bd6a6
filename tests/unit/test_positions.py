"""Where a device stands when it connects, and what a second look finds."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet
from whatsapp import wire
from whatsapp.model import Actor

CHAT = "ann:bob"


@pytest.fixture
def fleet():
    fleet = Fleet("ann", "bob", "cid", names="ab")
    fleet.tick()
    return fleet


def look(fleet, name, peer):
    fleet[name].do(fleet[name].core.positions.look_again(peer.session))
    fleet.run()


def test_a_second_look_finds_entries_groups_and_removals(fleet):
    bob = fleet["b"].connect("bob")
    fleet["a"].post("ann", "bob", "hello")
    chat = fleet["a"].group("ann", "bob", "cid")
    fleet["a"].loop.run()
    fleet.net.under_way.clear()
    look(fleet, "b", bob)
    assert sorted(bob.texts()) == ["added", "created", "hello"]
    fleet["a"].do(fleet["a"].core.groups.remove(Actor("ann", "x"), chat, "bob"))
    fleet.net.under_way.clear()
    assert chat in bob.session.chats()
    look(fleet, "b", bob)
    assert chat not in bob.session.chats()


def test_a_second_look_finds_receipts(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    fleet["a"].send(ann, CHAT, "hello")
    for _ in range(60):
        fleet.tick()
    ann.take()
    fleet["b"].say(bob, wire.Read(CHAT, 1))
    fleet["b"].loop.run()
    fleet.net.under_way.clear()
    for _ in range(3):
        fleet["b"].core.cursors.tick()
        fleet["b"].loop.run()
    fleet.net.under_way.clear()
    look(fleet, "a", ann)
    [receipt] = ann.take(wire.Receipt)
    assert (receipt.received, receipt.read) == (1, 1)


def test_a_room_that_nobody_followed_is_read_anew_at_a_connect(fleet):
    cid = fleet["b"].connect("cid")
    chat = fleet["b"].group("cid", "ann", "bob")
    fleet.run()
    cid.take()
    fleet["b"].drop(cid)
    for _ in range(30):
        fleet.tick()
    fleet["a"].do(fleet["a"].core.groups.remove(Actor("cid", "x"), chat, "bob"))
    fleet["a"].post("cid", chat, "he is gone")
    fleet.run()
    bob = fleet["b"].connect("bob")
    fleet.run()
    assert "he is gone" not in bob.texts()
    cid = fleet["b"].connect("cid")
    fleet.run()
    assert cid.texts()[-1] == "he is gone"


def test_a_group_that_it_was_removed_from_does_not_fill_its_window_for_ever(fleet):
    world = fleet["b"]
    bob = world.connect("bob")
    bob.session._window = 2
    chat = fleet["a"].group("ann", "bob")
    fleet.run()
    assert bob.session.room_left == 0
    world.core.rooms._rooms.clear()
    fleet["a"].do(fleet["a"].core.groups.remove(Actor("ann", "x"), chat, "bob"))
    fleet.net.under_way.clear()
    look(fleet, "b", bob)
    assert bob.session.room_left == 2
