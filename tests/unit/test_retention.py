"""When old texts are emptied: step by step while there are some, else a look now and then."""

from __future__ import annotations

from typing import cast

import pytest

from tests.support.clocks import ManualClock
from whatsapp.clock import LoopScheduler
from whatsapp.errors import Unavailable
from whatsapp.interfaces import MessageStore
from whatsapp.metrics import Metrics
from whatsapp.retention import (
    AHEAD_SECONDS_MAX,
    DAY_MS,
    ENTRIES_AT_ONCE,
    LOOK_SECONDS,
    START_SECONDS,
    Retention,
)


class Log:
    """`MessageStore`, as far as it is needed: what each call finds."""

    def __init__(self, *counts: int | Exception) -> None:
        self.counts = list(counts)
        self.asked: list[tuple[int, int]] = []

    async def expire(self, before_ms: int, entries_max: int) -> int:
        self.asked.append((before_ms, entries_max))
        count = self.counts.pop(0) if self.counts else 0
        if isinstance(count, Exception):
            raise count
        return count


class JumpingClock(ManualClock):
    """Its clock for display may jump."""

    ahead_seconds = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.ahead_seconds * 1000)


class World:
    def __init__(self, *counts: int | Exception, days: int = 30) -> None:
        self.log = Log(*counts)
        self.clock = JumpingClock()
        self.metrics = Metrics(version="test", store="memory")
        self.scheduler = LoopScheduler()
        log = cast(MessageStore, self.log)
        self.retention = Retention(log, self.clock, self.scheduler, self.metrics, days=days)
        self.clock.pass_seconds(START_SECONDS)

    async def ticks(self, number: int) -> int:
        """How often the store was asked meanwhile."""
        before = len(self.log.asked)
        for _ in range(number):
            self.retention.tick()
            self.retention.tick()  # while a step is on its way there is no other
            await self.scheduler.settled()
        return len(self.log.asked) - before


async def test_for_ever_asks_nothing():
    assert await World(days=0).ticks(5) == 0


async def test_steps_follow_each_other_until_nothing_is_left():
    world = World(500, 500, 7)
    assert await world.ticks(9) == 4
    assert world.metrics.entries_expired.value == 1007
    assert world.log.asked[0] == (world.clock.now_ms() - 30 * DAY_MS, ENTRIES_AT_ONCE)
    assert await world.ticks(3) == 0
    world.clock.pass_seconds(LOOK_SECONDS)
    assert await world.ticks(3) == 1


@pytest.mark.parametrize("trouble", [Unavailable("away")])
async def test_a_store_that_is_away_is_asked_again_later(trouble):
    world = World(trouble, 3)
    assert await world.ticks(3) == 1
    world.clock.pass_seconds(LOOK_SECONDS)
    assert await world.ticks(3) == 2
    assert world.metrics.entries_expired.value == 3


async def test_nothing_in_the_first_minutes():
    world = World(3)
    world.clock.pass_seconds(-1.0)
    assert await world.ticks(3) == 0
    world.clock.pass_seconds(1.0)
    assert await world.ticks(1) == 1


async def test_a_clock_that_jumps_ahead_empties_nothing(caplog):
    world = World()
    world.clock.ahead_seconds = AHEAD_SECONDS_MAX + 1
    assert await world.ticks(1) == 1
    assert world.log.asked == [(0, ENTRIES_AT_ONCE)]
    assert "clock jumped ahead" in caplog.text
