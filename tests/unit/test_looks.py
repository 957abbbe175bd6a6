"""Looking again: paced, at what is live, and once more where the store was away."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet
from tests.support.world import FAIL_BEFORE, WAIT, WAIT_AFTER, World
from whatsapp.hints import Grown, pack
from whatsapp.looks import CHATS_AT_ONCE, LOOKS_AT_ONCE

CHAT = "ann:bob"


@pytest.fixture
def fleet():
    fleet = Fleet("ann", "bob", names="ab")
    fleet.tick()
    return fleet


def looks_of(world: World):
    assert world.core.cluster is not None
    return world.core.cluster._looks


def test_a_few_at_a_time(fleet):
    world = fleet["a"]
    for number in range(10):
        world.connect("ann", f"device-{number}")
    for _ in range(50):
        fleet.tick()
    world.calls.clear()
    world.next("of_user", *[WAIT] * 10)
    looks_of(world).everywhere()
    fleet.run()
    assert 0 < len(world.loop.stalled) <= LOOKS_AT_ONCE
    assert world.core.cluster is not None
    assert world.core.cluster.waiting() == {"hints": 0, "looks": 10 - LOOKS_AT_ONCE}
    while world.loop.stalled:
        world.go_on()
        fleet.run()
    assert world.calls.count("of_user") >= 10


def test_of_many_chats_that_have_grown_some_at_a_time(fleet):
    """All at once, they would keep everything else from the store."""
    world = fleet["a"]
    world.connect("ann")
    fleet.run()
    world.calls.clear()
    count = 3 * CHATS_AT_ONCE
    world.next("load", *[WAIT] * count)
    assert world.core.cluster is not None
    chats = tuple(f"ann:user{number}" for number in range(count))
    world.core.cluster.heard("b", [pack(Grown(chats))] * 2)
    fleet.run()
    assert len(world.loop.stalled) == CHATS_AT_ONCE
    assert len(looks_of(world)) >= count
    while world.loop.stalled:
        world.go_on()
        fleet.run()
    # Of each it was told twice before it was read.
    assert world.calls.count("load") == count


def test_where_the_store_is_away_it_is_tried_again(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    for _ in range(50):
        fleet.tick()
    bob.take()
    fleet["a"].send(ann, CHAT, "hello")
    fleet["a"].loop.run()
    fleet.net.under_way.clear()
    fleet["b"].next("of_user", FAIL_BEFORE, FAIL_BEFORE)
    looks_of(fleet["b"]).everywhere()
    fleet.run()
    assert bob.texts() == []
    for _ in range(30):
        fleet.tick()
    assert bob.texts() == ["hello"]


def test_a_chat_that_could_not_be_looked_at_is_found_later(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    for _ in range(50):
        fleet.tick()
    bob.take()
    fleet["b"].next("load", FAIL_BEFORE)
    fleet["a"].send(ann, CHAT, "hello")  # b does not know the chat yet
    fleet.run()
    assert bob.texts() == []
    for _ in range(30):
        fleet.tick()
    assert bob.texts() == ["hello"]


def test_a_session_that_is_being_opened_is_looked_at_a_moment_later(fleet):
    world = fleet["a"]
    world.next("of_user", WAIT_AFTER)
    ann = world.connect("ann")
    looks_of(world).everywhere()
    fleet.run()
    fleet["b"].post("bob", "ann", "hello")
    fleet["b"].loop.run()
    fleet.net.under_way.clear()
    world.go_on()
    ann.take()
    for _ in range(20):
        fleet.tick()
    assert ann.texts() == ["hello"]
