"""Cursors gather, the furthest counts, and what could not be written is not forgotten."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.faults.loop import Loop
from whatsapp.cursors import WRITES_KEPT, Cursors
from whatsapp.errors import Unavailable
from whatsapp.model import CursorMove

CHAT = "ann:bob"


class Store:
    """`advance`; `fails` has the errors of the next calls, `waits` holds them up."""

    def __init__(self, loop):
        self.loop = loop
        self.written = []
        self.fails = []
        self.waits = False

    async def advance(self, moves):
        if self.waits:
            await self.loop.stall("advance")
        if self.fails:
            raise self.fails.pop(0)
        self.written.append(list(moves))


class Desk:
    def __init__(self):
        self.loop = Loop()
        self.store = Store(self.loop)
        self.cursors = Cursors(cast("Any", self.store), self.loop)

    def device(self, seq, *, rewind=False):
        self.cursors.move(
            CursorMove(chat=CHAT, user="ann", device="phone", device_received=seq, rewind=rewind)
        )

    def user(self, received=0, read=0, time_ms=0, user="ann"):
        self.cursors.move(
            CursorMove(chat=CHAT, user=user, received=received, read=read, time_ms=time_ms)
        )

    def tick(self):
        self.cursors.tick()
        self.loop.run()

    def go_on(self):
        while self.loop.stalled:
            self.loop.resume(0)
            self.loop.run()


@pytest.fixture
def desk():
    return Desk()


def test_moves_gather_until_the_tick(desk):
    desk.device(3)
    desk.device(5)
    desk.device(4)
    desk.user(received=5, time_ms=7)
    desk.user(received=4, read=2, time_ms=9)
    assert len(desk.cursors) == 2
    assert desk.store.written == []
    desk.tick()
    [[device, user]] = desk.store.written
    assert device.device_received == 5
    assert (user.received, user.read, user.time_ms) == (5, 2, 9)
    assert len(desk.cursors) == 0
    desk.tick()
    assert len(desk.store.written) == 1


def test_a_rewind_counts_as_it_is(desk):
    desk.device(9)
    desk.device(4, rewind=True)
    desk.tick()
    [[move]] = desk.store.written
    assert (move.device_received, move.rewind) == (4, True)


def test_what_comes_after_a_rewind_goes_on_from_there(desk):
    desk.device(4, rewind=True)
    desk.device(6)
    desk.tick()
    [[move]] = desk.store.written
    assert (move.device_received, move.rewind) == (6, True)


def test_one_write_at_a_time(desk):
    desk.store.waits = True
    desk.device(1)
    desk.tick()
    desk.device(2)
    desk.tick()
    assert len(desk.loop.stalled) == 1
    desk.go_on()
    assert [[move.device_received for move in moves] for moves in desk.store.written] == [[1]]
    desk.tick()
    desk.go_on()
    assert len(desk.store.written) == 2


def test_what_was_not_written_is_kept_and_what_came_later_counts(desk):
    desk.store.waits = True
    desk.store.fails = [Unavailable("away")]
    desk.device(4)
    desk.user(received=4, user="bob")
    desk.tick()
    desk.device(6)
    desk.go_on()
    assert len(desk.cursors) == 2
    desk.store.waits = False
    desk.tick()
    [moves] = desk.store.written
    assert {(move.user, move.device_received, move.received) for move in moves} == {
        ("ann", 6, 0),
        ("bob", 0, 4),
    }


def test_a_rewind_that_came_while_a_write_failed_stays_a_rewind(desk):
    desk.store.waits = True
    desk.store.fails = [Unavailable("away")]
    desk.device(9)
    desk.tick()
    desk.device(4, rewind=True)
    desk.go_on()
    desk.tick()
    desk.go_on()
    [[move]] = desk.store.written
    assert (move.device_received, move.rewind) == (4, True)


def test_a_device_is_where_it_said_it_is_written_or_not(desk):
    def at(ticket=None):
        ticket = desk.cursors.ticket() if ticket is None else ticket
        return desk.cursors.device_at(CHAT, "ann", "phone", 2, ticket)

    assert at() == 2
    desk.device(1)
    assert at() == 2
    desk.device(5)
    assert at() == 5
    desk.store.waits = True
    desk.tick()
    assert (len(desk.cursors), at()) == (0, 5)
    desk.device(3, rewind=True)
    assert at() == 3
    before = desk.cursors.ticket()
    desk.go_on()
    desk.tick()
    desk.go_on()
    assert at(before) == 3  # the store may have been read before it was written there
    assert at() == 2  # it was read after that
    desk.user(received=9)
    desk.tick()
    desk.go_on()
    assert at(before) == 3  # also two writes later
    for _ in range(WRITES_KEPT):
        desk.user(received=10)
        desk.tick()
        desk.go_on()
    assert at(before) == 2  # a reading does not take so long


def test_all_is_written_at_the_end(desk):
    desk.device(1)
    desk.user(received=1)
    ended = []
    desk.loop.start(desk.cursors.flush(), lambda result, error: ended.append(error))
    desk.loop.run()
    assert ended == [None]
    assert len(desk.store.written[0]) == 2


def test_what_cannot_be_written_at_the_end_is_told(desk):
    desk.store.fails = [Unavailable("away")]
    desk.device(1)
    ended = []
    desk.loop.start(desk.cursors.flush(), lambda result, error: ended.append(error))
    desk.loop.run()
    assert isinstance(ended[0], Unavailable)
    assert len(desk.cursors) == 1
