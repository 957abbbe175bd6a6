"""What hints of other instances do here, one by one; `test_cluster.py` has whole conversations."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet
from whatsapp import wire
from whatsapp.hints import Grown, Moved, Receipted, pack
from whatsapp.model import Actor

CHAT = "ann:bob"


@pytest.fixture
def fleet():
    fleet = Fleet("ann", "bob", "cid", names="ab")
    fleet.tick()
    return fleet


def test_what_is_not_a_hint_is_dropped(fleet, caplog):
    fleet["a"].core.cluster.heard("b", [b"\xc1", b"", b"\x93\xa4said\x01\x02"])
    assert caplog.text.count("hint not understood") == 3


def test_an_entry_that_a_reading_has_overtaken_is_told_all_the_same(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    fleet.tick()
    fleet["a"].send(ann, CHAT, "one")
    fleet["a"].loop.run()
    fleet["b"].do(fleet["b"].core.rooms.load([CHAT]))  # sees it; its hint is under way
    fleet.run()
    assert bob.texts() == ["one"]


def test_a_removal_that_a_reading_has_overtaken_ends_what_is_pushed(fleet):
    bob = fleet["b"].connect("bob")
    chat = fleet["a"].group("ann", "bob")
    fleet.run()
    fleet["b"].core.rooms._rooms.clear()
    fleet["a"].do(fleet["a"].core.groups.remove(Actor("ann", "x"), chat, "bob"))
    fleet["b"].do(fleet["b"].core.rooms.load([chat]))
    fleet.run()
    assert chat not in bob.session.chats()


def test_anything_may_have_grown_all_is_read_anew(fleet):
    bob = fleet["b"].connect("bob")
    fleet["b"].do(fleet["b"].core.accounts.find(["bob"]))
    fleet["a"].post("ann", "bob", "hello")
    fleet["a"].loop.run()
    fleet.net.under_way.clear()
    fleet["b"].core.cluster.heard("a", [pack(Grown())])
    fleet.run()
    assert bob.texts() == ["hello"]
    assert fleet["b"].core.accounts.cached("bob") is None


def test_a_chat_that_has_grown_is_told_also_where_it_was_read_for_something_else(fleet):
    bob = fleet["b"].connect("bob")
    fleet["a"].post("ann", "bob", "hello")
    fleet["a"].loop.run()
    fleet.net.under_way.clear()
    fleet["b"].do(fleet["b"].core.rooms.load([CHAT]))
    fleet["b"].core.cluster.heard("a", [pack(Grown((CHAT,)))])
    fleet.run()
    assert bob.texts() == ["hello"]


def heard(fleet, name, *hints):
    """This instance hears them from the other one."""
    fleet[name].core.cluster.heard("a" if name == "b" else "b", [pack(hint) for hint in hints])
    fleet.run()


def test_receipts_and_cursors_are_not_told_to_who_was_removed(fleet):
    bob = fleet["b"].connect("bob")
    chat = fleet["a"].group("ann", "bob", "cid")
    fleet["b"].send(bob, chat, "hello")
    fleet["b"].do(fleet["b"].core.groups.remove(Actor("ann", "x"), chat, "bob"))
    fleet.run()
    bob.take()
    heard(fleet, "b", Receipted(chat, "ann", 3, 0, ("bob",)), Moved(chat, "bob", 3, 3))
    assert bob.take(wire.Receipt, wire.Cursor) == []


def test_a_receipt_that_knows_less_does_not_take_reading_back(fleet):
    ann = fleet["a"].connect("ann")
    fleet["a"].send(ann, CHAT, "hello")
    heard(
        fleet, "a", Receipted(CHAT, "bob", 1, 1, ("ann",)), Receipted(CHAT, "bob", 1, 0, ("ann",))
    )
    assert [receipt.read for receipt in ann.take(wire.Receipt)] == [1, 1]


def test_a_receipt_of_a_reader_who_is_not_known_here_yet_says_what_it_was_told(fleet):
    bob = fleet["b"].connect("bob")
    chat = fleet["a"].group("ann", "bob")
    fleet.run()
    heard(fleet, "b", Receipted(chat, "cid", 4, 3, ("bob",)))
    [receipt] = bob.take(wire.Receipt)
    assert (receipt.received, receipt.read) == (4, 3)


def test_a_receipt_is_not_told_to_whom_the_reader_blocks(fleet):
    ann = fleet["a"].connect("ann")
    fleet["a"].send(ann, CHAT, "hello")
    fleet["a"].do(fleet["a"].core.people.block(Actor("bob", "x"), "ann"))
    heard(fleet, "a", Receipted(CHAT, "bob", 1, 0, ("ann",)))
    assert ann.take(wire.Receipt) == []


def test_a_cursor_from_an_instance_that_knows_less_does_not_move_back(fleet):
    bob = fleet["b"].connect("bob")
    for text in ("one", "two"):
        fleet["a"].post("ann", "bob", text)
    fleet.run()
    heard(fleet, "b", Moved(CHAT, "bob", 2, 2), Moved(CHAT, "bob", 2, 1))
    assert [cursor.read for cursor in bob.take(wire.Cursor)] == [2, 2]
