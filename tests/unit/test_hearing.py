"""What hints of other instances do here, one by one; `test_cluster.py` has whole conversations."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet
from whatsapp.hints import Grown, pack
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
