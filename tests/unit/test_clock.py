"""Time, ids and tasks as the server has them."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp import clock
from whatsapp.model import is_group


def test_the_clock_shows_milliseconds_since_1970():
    before = time.time_ns() // 1_000_000
    assert before <= clock.SystemClock().now_ms() <= time.time_ns() // 1_000_000


def test_the_other_clock_never_goes_back():
    system = clock.SystemClock()
    times = [system.monotonic() for _ in range(100)]
    assert times == sorted(times)


def test_unique_ids_are_long_safe_in_addresses_and_different():
    ids = {clock.unique_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", one) for one in ids)


@given(now_ms=st.integers(0, 2**48 - 1), chance=st.binary(min_size=10, max_size=10))
def test_uuid7_is_one(now_ms, chance):
    text = clock.uuid7(now_ms, chance)
    parsed = uuid.UUID(text)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert (str(parsed), parsed.int >> 80) == (text, now_ms)
    assert is_group(f"g:{text}")


def test_uuid7_sorts_by_time():
    assert clock.uuid7(1, b"\xff" * 10) < clock.uuid7(2, bytes(10))


async def test_soon_is_after_this_turn_and_in_order():
    scheduler, seen = clock.LoopScheduler(), []
    scheduler.soon(lambda: seen.append("first"))
    scheduler.soon(lambda: seen.append("second"))
    assert seen == []
    await asyncio.sleep(0)
    assert seen == ["first", "second"]


async def test_spawned_work_ends_before_it_is_settled():
    scheduler, seen = clock.LoopScheduler(), []

    async def inner() -> None:
        seen.append("inner")

    async def outer() -> None:
        await asyncio.sleep(0)
        scheduler.spawn(inner())
        seen.append("outer")

    scheduler.spawn(outer())
    await scheduler.settled()
    assert seen == ["outer", "inner"]


async def test_work_that_fails_is_logged_with_its_traceback(caplog):
    scheduler = clock.LoopScheduler()

    async def broken() -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, logger="whatsapp.clock"):
        scheduler.spawn(broken())
        await scheduler.settled()
        await asyncio.sleep(0)
    [record] = caplog.records
    assert record.getMessage().startswith("background task failed task=")
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_work_that_was_cancelled_is_no_error(caplog):
    scheduler = clock.LoopScheduler()

    async def cancelled() -> None:
        raise asyncio.CancelledError

    scheduler.spawn(cancelled())
    await scheduler.settled()
    await asyncio.sleep(0)
    assert not caplog.records


async def test_a_promise_is_settled_once():
    promise = clock.LoopScheduler().promise()
    assert not promise.done()
    promise.set_result(7)
    assert (promise.done(), await promise) == (True, 7)
    with pytest.raises(asyncio.InvalidStateError):
        promise.set_result(8)


async def test_a_promise_may_be_broken():
    promise = clock.LoopScheduler().promise()
    promise.set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await promise
