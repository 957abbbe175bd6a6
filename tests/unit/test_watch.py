"""What is watched: times, failures, what is slow, and whether the store is there."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.support.clocks import ManualClock
from whatsapp import watch
from whatsapp.errors import Unavailable
from whatsapp.interfaces import Stores
from whatsapp.metrics import Metrics
from whatsapp.model import CursorMove
from whatsapp.watch import Watch

MOVE = CursorMove(chat="ann:ben", user="ann")


class Chats:
    """The one method that these tests call, with a disk that can be slow or away."""

    def __init__(self, clock):
        self.clock = clock
        self.seconds = 0.0
        self.away = False
        self.moves = []
        self.go_on = None

    async def advance(self, moves):
        if self.go_on:
            await self.go_on.wait()
        self.clock.pass_seconds(self.seconds)
        if self.away:
            raise Unavailable("away")
        self.moves += moves

    async def search(self):
        raise Unavailable("too long")

    def healthy(self):
        return True


class Scene:
    def __init__(self):
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.spans: list[Any] = []
        self.watch = Watch(self.metrics, self.clock, slow_seconds=1.0)
        self.watch.span = self.spans.append
        self.inner = Chats(self.clock)
        self.chats = self.watch.over("chats", self.inner)


@pytest.fixture
def scene():
    return Scene()


async def test_a_call_is_measured_and_answers_as_it_would(scene):
    scene.inner.seconds = 0.3
    assert await scene.chats.advance([MOVE, MOVE]) is None
    assert scene.inner.moves == [MOVE, MOVE]
    seen = scene.metrics.store_seconds["chats.advance"]
    assert sum(seen.counts) == 1
    assert seen.sum == pytest.approx(0.3)
    assert scene.chats.healthy()
    [span] = scene.spans
    assert (span.name, span.count, span.failed) == ("chats.advance", 2, False)
    assert span.seconds == pytest.approx(0.3)


async def test_a_failing_write_is_the_store_away_until_one_works(scene, caplog):
    caplog.set_level(logging.WARNING)
    scene.inner.away = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            await scene.chats.advance([MOVE])
    assert scene.watch.missing() == ["store"]
    assert scene.metrics.store_failures["chats.advance"].value == 3
    scene.inner.away = False
    await scene.chats.advance([MOVE])
    assert scene.watch.missing() == []
    assert [record.message.split("=")[0] for record in caplog.records] == [
        "not ready: the store is away call",
        "the store is back call",
    ]


async def test_another_failing_call_says_nothing_of_the_store(scene):
    with pytest.raises(Unavailable):
        await scene.chats.search()
    assert scene.watch.missing() == []
    assert scene.metrics.store_failures["chats.search"].value == 1


def test_what_is_slow_gets_a_line_and_not_too_many(scene, caplog):
    caplog.set_level(logging.WARNING)
    for _ in range(5):
        scene.watch.slow("chats.advance", 1.5, 7)
    scene.watch.slow("loop", 2.0)
    scene.clock.pass_seconds(watch.SLOW_LINE_EVERY_SECONDS + 1)
    scene.watch.slow("chats.advance", 2.5)
    assert [record.getMessage() for record in caplog.records] == [
        "slow operation what=chats.advance state=over seconds=1.500 count=7 left_out=0",
        "slow operation what=loop state=over seconds=2.000 count=1 left_out=0",
        "slow operation what=chats.advance state=over seconds=2.500 count=1 left_out=4",
    ]
    assert scene.metrics.slow["chats.advance"].value == 6


async def test_slow_calls_requests_and_turns_of_the_loop_are_told(scene, caplog):
    caplog.set_level(logging.WARNING)
    scene.inner.seconds = 1.2
    await scene.chats.advance([MOVE])
    scene.watch.request("search", 200, 1.3, {})
    scene.watch.request("search", 200, 0.3, {})
    scene.metrics.gc_pause_seconds.observe(1.1)
    scene.watch.lagged(1.4)
    scene.watch.lagged(-0.1)
    told = [record.args for record in caplog.records]
    assert [(args[0], round(args[2], 3)) for args in told] == [
        ("chats.advance", 1.2),
        ("rest.search", 1.3),
        ("loop", 1.4),
        ("collecting garbage", 1.1),
    ]
    assert scene.metrics.requests["search", "200"].value == 2
    assert sum(scene.metrics.loop_lag_seconds.counts) == 2


async def test_a_write_that_hangs_is_told_while_it_does(scene, caplog):
    caplog.set_level(logging.WARNING)
    go_on = asyncio.Event()
    scene.inner.go_on = go_on
    hanging = asyncio.ensure_future(scene.chats.advance([MOVE]))
    await asyncio.sleep(0)
    assert scene.watch.missing() == []
    scene.clock.pass_seconds(watch.STUCK_SECONDS + 1)
    assert scene.watch.missing() == ["store"]
    await scene.watch.probe()
    assert "what=chats.advance state=not over yet seconds=4.000" in caplog.text
    go_on.set()
    await hanging
    assert scene.watch.missing() == []


async def test_a_probe_is_believed_some_time_after_the_last_failure(scene):
    """Only writes that have no effect work: there is no room, say."""
    room = asyncio.Event()

    class Full(Chats):
        async def advance(self, moves):
            if moves != [watch.NO_MOVE] and not room.is_set():
                raise Unavailable("no room")

    stores = watch_stores(scene, Full(scene.clock))
    with pytest.raises(Unavailable):
        await stores.chats.advance([MOVE])
    for _ in range(3):
        scene.clock.pass_seconds(watch.PROBE_BELIEVED_AFTER_SECONDS / 2)
        await scene.watch.probe()
        assert scene.watch.missing() == ["store"]
        with pytest.raises(Unavailable):
            await stores.chats.advance([MOVE])
    room.set()
    scene.clock.pass_seconds(watch.PROBE_BELIEVED_AFTER_SECONDS + 1)
    await scene.watch.probe()
    assert scene.watch.missing() == []
    assert scene.metrics.store_failures["chats.advance"].value == 4


async def test_a_probe_that_fails_is_a_failure(scene):
    chats = Chats(scene.clock)
    stores = watch_stores(scene, chats)
    chats.away = True
    with pytest.raises(Unavailable):
        await stores.chats.advance([MOVE])
    scene.clock.pass_seconds(watch.PROBE_BELIEVED_AFTER_SECONDS + 1)
    await scene.watch.probe()
    chats.away = False
    await scene.watch.probe()
    assert scene.watch.missing() == ["store"]
    scene.clock.pass_seconds(watch.PROBE_BELIEVED_AFTER_SECONDS + 1)
    await scene.watch.probe()
    assert scene.watch.missing() == []


def watch_stores(scene, chats):
    nothing: Any = object()
    return scene.watch.stores(
        Stores(accounts=nothing, devices=nothing, messages=nothing, chats=chats, durable=True)
    )
