"""Sessions that are behind are brought up to the log, at a bounded pace."""

from __future__ import annotations

import pytest

from tests.support.world import FAIL_BEFORE, WAIT, WAIT_AFTER, World
from whatsapp import catchup
from whatsapp.model import FRAME_BYTES_MAX, Actor
from whatsapp.wire import Messages, Received, Synced, encode

CHAT = "ann:bob"


@pytest.fixture
def world():
    return World("ann", "bob", "cid")


def say(world, count, chat=CHAT, text="text"):
    for number in range(count):
        world.post("ann", chat, f"{text} {number}")


def seqs(peer):
    return [item.seq for item in peer.items()]


def synced(peer):
    frames = peer.take()
    assert frames.count(Synced()) <= 1
    return Synced() in frames


def test_a_new_device_gets_everything_oldest_first(world):
    say(world, 5)
    bob = world.connect("bob")
    assert [len(frame.items) for frame in bob.frames if isinstance(frame, Messages)] == [5]
    assert bob.frames[-1] == Synced()
    assert seqs(bob) == [1, 2, 3, 4, 5]


def test_nothing_pending_is_synced_at_once(world):
    assert synced(world.connect("bob"))


def test_a_long_run_is_read_page_by_page(world):
    count = catchup.ENTRIES_PER_CHAT_MAX + 20
    say(world, count)
    bob = world.connect("bob")
    assert [len(frame.items) for frame in bob.take(Messages)] == [100, 20]


def test_a_run_is_cut_so_that_each_frame_fits(world):
    say(world, 6, text="x" * 15_000)
    bob = world.connect("bob")
    frames = bob.take(Messages)
    assert [item.seq for frame in frames for item in frame.items] == [1, 2, 3, 4, 5, 6]
    assert len(frames) == 2
    assert all(len(encode(frame)) <= FRAME_BYTES_MAX for frame in frames)


def test_many_chats_take_several_rounds():
    names = [f"user{number:02}" for number in range(catchup.CHATS_PER_ROUND_MAX + 5)]
    world = World("bob", *names)
    for name in names:
        world.post(name, "bob", "hello")
    world.calls.clear()
    bob = world.connect("bob")
    assert len(bob.items()) == len(names)
    assert world.calls.count("pages") == 2


def test_the_window_is_kept_and_goes_on_with_received():
    world = World("ann", "bob", window=3)
    say(world, 7)
    bob = world.connect("bob")
    assert seqs(bob) == [1, 2, 3]
    assert len(world.core.catchup) == 1
    world.say(bob, Received(CHAT, 1))
    assert seqs(bob) == [4]
    world.say(bob, Received(CHAT, 4))
    assert seqs(bob) == [5, 6, 7]
    world.say(bob, Received(CHAT, 7))
    assert len(world.core.catchup) == 0


def test_live_messages_wait_for_what_came_before():
    world = World("ann", "bob", window=2)
    say(world, 3)
    bob = world.connect("bob")
    assert seqs(bob) == [1, 2]
    say(world, 1)
    assert seqs(bob) == []
    world.say(bob, Received(CHAT, 2))
    assert seqs(bob) == [3, 4]


def test_what_is_committed_while_the_log_is_read_comes_once(world):
    say(world, 2)
    world.next("pages", WAIT_AFTER)
    bob = world.connect("bob")
    say(world, 2)
    assert seqs(bob) == [1, 2, 3, 4]  # another reading was quicker
    world.go_on()
    assert seqs(bob) == []
    assert bob.session.behind == set()


def test_a_socket_that_drains_is_seen_at_the_tick():
    world = World("ann", "bob", outbox_bytes_max=10_000)
    bob = world.connect("bob")
    bob.buffered = 10_001
    say(world, 1)
    world.tick()
    assert seqs(bob) == []
    assert len(world.core.catchup) == 1
    bob.buffered = 0
    world.tick()
    assert seqs(bob) == [1]
    assert len(world.core.catchup) == 0


def test_where_the_store_is_away_it_is_tried_again_at_the_tick(world):
    say(world, 2)
    world.next("pages", FAIL_BEFORE, FAIL_BEFORE)
    bob = world.connect("bob")
    assert not any(isinstance(frame, Synced) for frame in bob.frames)
    world.tick()
    assert seqs(bob) == []
    world.tick()
    assert seqs(bob) == [1, 2]


def test_no_more_workers_than_the_limit():
    world = World("ann", *(f"user{number}" for number in range(8)))
    for number in range(8):
        world.post("ann", f"user{number}", "hello")
    world.next("pages", *[WAIT] * 20)
    peers = [world.connect(f"user{number}") for number in range(8)]
    assert len(world.loop.stalled) == catchup.WORKERS_MAX
    assert len(world.core.catchup) == 8 - catchup.WORKERS_MAX
    world.go_on()
    assert all(seqs(peer) == [1] for peer in peers)


def test_who_was_removed_meanwhile_gets_nothing(world):
    group = world.group("ann", "bob")
    say(world, 2, chat=group)
    world.next("pages", WAIT_AFTER)
    bob = world.connect("bob")
    world.do(world.core.groups.remove(Actor("ann", "rest"), group, "bob"))
    world.go_on()
    assert seqs(bob) == []
    assert bob.session.behind == set()


def test_a_session_that_ended_is_left_alone(world):
    say(world, 2)
    world.next("pages", WAIT_AFTER)
    bob = world.connect("bob")
    bob.session.close(1000, "over")
    world.drop(bob)
    world.go_on()
    assert seqs(bob) == []
    assert len(world.core.catchup) == 0


def test_a_parked_session_that_ended_is_forgotten():
    world = World("ann", "bob", window=1)
    say(world, 2)
    bob = world.connect("bob")
    assert len(world.core.catchup) == 1
    world.drop(bob)
    assert len(world.core.catchup) == 0


def test_a_chat_that_is_not_there_is_no_longer_behind(world):
    bob = world.connect("bob")
    bob.session.behind.add("bob:nobody")
    world.core.catchup.wake(bob.session)
    world.loop.run()
    assert bob.session.behind == set()


def test_who_came_back_meanwhile_begins_there(world):
    group = world.group("ann", "bob")
    bob = world.connect("bob")
    seqs(bob)
    world.drop(bob)
    world.do(world.core.groups.remove(Actor("ann", "rest"), group, "bob"))
    say(world, 1, chat=group)
    world.do(world.core.groups.add(Actor("ann", "rest"), group, ["bob"]))
    bob = world.connect("bob")
    assert seqs(bob) == [5]
    bob.session._positions[group] = 2
    bob.session.behind.add(group)
    world.core.catchup.wake(bob.session)
    world.loop.run()
    assert seqs(bob) == [5]


def test_what_a_slow_socket_does_not_take_stays_in_the_log():
    world = World("ann", "bob", outbox_bytes_max=70_000)
    say(world, 10, text="x" * 15_000)
    bob = world.connect("bob")
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]
    assert len(world.core.catchup) == 1
    world.tick()
    assert seqs(bob) == [7, 8, 9, 10]
    assert len(world.core.catchup) == 0


def test_one_who_is_no_member_any_more_is_not_behind(world):
    group = world.group("ann", "bob")
    bob = world.connect("bob")
    seqs(bob)
    world.do(world.core.groups.remove(Actor("ann", "rest"), group, "bob"))
    seqs(bob)
    bob.session.behind.add(group)
    world.core.catchup.wake(bob.session)
    world.loop.run()
    assert seqs(bob) == []
    assert bob.session.behind == set()
