"""The devices known here: bounded, never older than the store, dead once ended."""

from __future__ import annotations

import pytest

from tests.support.clocks import START_MS, ManualClock
from whatsapp import config, logins
from whatsapp.logins import Logins
from whatsapp.model import Actor, Device


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def known(clock):
    return Logins(config.Auth(), clock, cached_max=3)


def device(name, clock, user="ann"):
    now_ms = clock.now_ms()
    return Device(
        device=name,
        user=user,
        name="phone",
        token_hash=name.encode(),
        created_ms=now_ms,
        last_seen_ms=now_ms,
    )


def test_what_was_kept_is_found_by_its_hash(known, clock):
    assert known.get(b"d1") is None
    assert known.keep(device("d1", clock), known.ticket()) == Actor("ann", "d1")
    assert known.keep(device("d1", clock), known.ticket()) == Actor("ann", "d1")
    assert known.get(b"d1") == Actor("ann", "d1")
    assert known.of_user("ann") == ["d1"]


def test_the_longest_unused_is_forgotten_and_not_ended(known, clock):
    for name in ("d1", "d2", "d3"):
        known.keep(device(name, clock), known.ticket())
    known.get(b"d1")
    known.keep(device("d4", clock, user="bob"), known.ticket())
    assert [known.get(name) is not None for name in (b"d1", b"d2", b"d3", b"d4")] == [
        True,
        False,
        True,
        True,
    ]
    assert not known.ended("d2")
    assert known.of_user("ann") == ["d1", "d3"]


def test_what_has_ended_never_comes_back(known, clock):
    late = device("d1", clock)
    known.keep(late, known.ticket())
    known.end("ann", ["d1"])
    assert known.get(b"d1") is None
    assert known.keep(late, known.ticket()) is None
    assert known.ended("d1")
    assert known.of_user("ann") == []


def test_what_is_forgotten_may_come_back(known, clock):
    known.keep(device("d1", clock), known.ticket())
    known.forget("bob", ["d1"])
    assert known.get(b"d1") is not None
    known.forget("ann", ["d1", "never heard of"])
    assert known.get(b"d1") is None
    assert known.keep(device("d1", clock), known.ticket()) is not None


def test_the_memory_of_the_ended_is_bounded(known, clock, monkeypatch):
    monkeypatch.setattr(logins, "ENDED_MAX", 2)
    known.end("ann", ["d1", "d2", "d3"])
    assert [known.ended(name) for name in ("d1", "d2", "d3")] == [False, True, True]


def test_use_is_noted_once_a_minute(known, clock):
    known.keep(device("d1", clock), known.ticket())
    clock.pass_seconds(59)
    known.get(b"d1")
    assert not known.anything_seen
    clock.pass_seconds(1)
    known.get(b"d1")
    assert known.take_seen() == {"d1": START_MS + 1_060_000}
    known.get(b"d1")
    assert not known.anything_seen


def test_a_device_that_is_not_in_memory_is_seen_too(known, clock):
    stored = device("d1", clock)
    clock.pass_seconds(5)
    known.saw(Actor("ann", "d1"))
    assert known.last_seen_ms(stored) == clock.now_ms()
    assert known.take_seen() == {"d1": clock.now_ms()}


def test_an_ended_device_is_not_seen(known, clock):
    known.keep(device("d1", clock), known.ticket())
    clock.pass_seconds(60)
    known.get(b"d1")
    taken = known.take_seen()
    known.end("ann", ["d1"])
    known.saw(Actor("ann", "d1"))
    known.give_back(taken)
    assert not known.anything_seen


def test_the_use_of_a_device_that_has_ended_is_not_written(known):
    known.saw(Actor("ann", "d1"))
    known.end("ann", ["d1"])
    assert not known.anything_seen


def test_what_is_given_back_does_not_hide_later_use(known, clock):
    known.saw(Actor("ann", "d1"))
    early = known.take_seen()
    clock.pass_seconds(1)
    known.saw(Actor("ann", "d1"))
    known.give_back(early)
    assert known.take_seen() == {"d1": clock.now_ms()}


def test_the_memory_of_use_is_bounded(known, clock, monkeypatch):
    monkeypatch.setattr(logins, "SEEN_MAX", 2)
    for name in ("d1", "d2", "d3"):
        known.saw(Actor("ann", name))
    assert set(known.take_seen()) == {"d1", "d2"}


def test_a_clock_that_steps_back_makes_nothing_older(known, clock):
    known.keep(device("d1", clock), known.ticket())
    clock.pass_days(1)
    known.get(b"d1")
    later_ms = clock.now_ms()
    clock.pass_days(-1)
    known.get(b"d1")
    assert known.last_seen_ms(device("d1", clock)) == later_ms
