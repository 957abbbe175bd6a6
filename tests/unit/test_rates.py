"""Buckets, their memory, and the delay after wrong passwords."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clocks import ManualClock
from whatsapp import config, rates
from whatsapp.errors import RateLimited
from whatsapp.rates import Bucket, Delays, Rates, address_key


@pytest.fixture
def clock():
    return ManualClock()


def refusals(take, times):
    """How many of so many tries were refused."""
    count = 0
    for _ in range(times):
        try:
            take()
        except RateLimited:
            count += 1
    return count


def test_a_bucket_gives_its_burst_and_then_its_rate():
    bucket = Bucket(per_second=2.0, burst=3, now=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(0.0) == 0.5
    assert bucket.take(0.5) == 0.0
    assert bucket.take(0.5) == 0.5


def test_a_bucket_never_holds_more_than_its_burst():
    bucket = Bucket(per_second=100.0, burst=2, now=0.0)
    assert [bucket.take(1e6) for _ in range(3)] == [0.0, 0.0, 0.01]


def test_a_refusal_costs_nothing():
    bucket = Bucket(per_second=1.0, burst=1, now=0.0)
    assert bucket.take(0.0) == 0.0
    assert {bucket.take(0.0) for _ in range(100)} == {1.0}
    assert bucket.take(1.0) == 0.0


def test_what_costs_more_than_the_burst_needs_a_full_bucket():
    bucket = Bucket(per_second=1.0, burst=10, now=0.0)
    assert bucket.take(0.0, cost=1000) == 0.0
    assert bucket.take(0.0) == 1.0
    assert bucket.take(5.0, cost=1000) == 5.0
    assert bucket.take(10.0, cost=1000) == 0.0


def test_a_rate_of_nothing_is_waited_for_a_day():
    bucket = Bucket(per_second=0.0, burst=0, now=0.0)
    assert bucket.take(0.0) == 0.0
    assert bucket.take(1e9) == rates.WAIT_SECONDS_MAX


def test_a_clock_that_stands_or_steps_back_gives_nothing():
    bucket = Bucket(per_second=1.0, burst=1, now=10.0)
    assert bucket.take(10.0) == 0.0
    assert bucket.take(3.0) == 1.0
    assert bucket.take(10.5) == 0.5


@given(
    per_second=st.floats(0.001, 1e5),
    burst=st.floats(1, 1e6),
    costs=st.lists(st.floats(0.0, 1e4), max_size=20),
)
def test_who_waits_as_long_as_it_is_told_is_let_in(per_second, burst, costs):
    bucket = Bucket(per_second, burst, now=0.0)
    now = 0.0
    for cost in costs:
        wait = bucket.take(now, cost)
        if 0.0 < wait < rates.WAIT_SECONDS_MAX:
            now += math.ceil(wait * 1000) / 1000
            assert bucket.take(now, cost) == 0.0


def test_a_refusal_says_when_to_come_again(clock):
    limits = Rates(config.Rates(sends_per_second=0.5, sends_burst=1), clock)
    limits.take("sends", "ann")
    with pytest.raises(RateLimited, match="too many messages; try again in 2 s") as refused:
        limits.take("sends", "ann")
    assert refused.value.retry_after_ms == 2000
    clock.pass_seconds(2)
    limits.take("sends", "ann")


def test_kinds_and_keys_are_counted_apart(clock):
    limits = Rates(config.Rates(sends_burst=1, deliveries_burst=1), clock)
    limits.take("sends", "ann")
    limits.take("sends", "bob")
    limits.take("deliveries", "ann")
    assert refusals(lambda: limits.take("sends", "ann"), 1) == 1


@pytest.mark.parametrize("kind", ["sends", "deliveries", "lookups", "logins", "registrations"])
def test_refusals_of_every_kind_are_counted(clock, kind):
    limits = Rates(config.Rates(), clock)
    count = refusals(lambda: limits.take(kind, "ann", cost=1e9), 3)
    assert (count, limits.refused[kind]) == (2, 2)


def test_deliveries_cost_as_many_as_there_are_members(clock):
    limits = Rates(config.Rates(deliveries_per_second=10, deliveries_burst=2000), clock)
    limits.take("deliveries", "ann", cost=1024)
    with pytest.raises(RateLimited) as refused:
        limits.take("deliveries", "ann", cost=1024)
    assert refused.value.retry_after_ms == 4800


def test_look_ups_are_limited_by_the_minute_and_by_the_day(clock):
    limits = Rates(config.Rates(lookups_per_minute=30, lookups_per_day=100), clock)
    assert refusals(lambda: limits.take("lookups", "ann"), 31) == 1
    clock.pass_seconds(60)
    assert refusals(lambda: limits.take("lookups", "ann"), 30) == 0
    clock.pass_seconds(60)
    assert refusals(lambda: limits.take("lookups", "ann"), 30) == 0
    clock.pass_seconds(60)
    assert refusals(lambda: limits.take("lookups", "ann"), 30) == 20
    with pytest.raises(RateLimited) as refused:
        limits.take("lookups", "ann")
    assert (refused.value.retry_after_ms or 0) > 60_000
    clock.pass_days(1)
    assert refusals(lambda: limits.take("lookups", "ann"), 30) == 0


def test_a_look_up_that_one_limit_refuses_is_not_counted_by_the_other(clock):
    limits = Rates(config.Rates(lookups_per_minute=1, lookups_per_day=2), clock)
    assert refusals(lambda: limits.take("lookups", "ann"), 100) == 99
    clock.pass_seconds(60)
    limits.take("lookups", "ann")


@pytest.mark.parametrize("kind", ["logins", "registrations"])
def test_logins_and_registrations_are_limited_by_address(clock, kind):
    limits = Rates(config.Rates(logins_per_minute=60, logins_burst=5), clock)
    assert refusals(lambda: limits.take(kind, "192.0.2.1"), 7) == 2
    clock.pass_seconds(1)
    limits.take(kind, "192.0.2.1")
    limits.take(kind, "192.0.2.2")


def test_a_connection_owns_its_bucket_of_frames(clock):
    limits = Rates(config.Rates(frames_per_second=10, frames_burst=2), clock)
    one, other = limits.connection(), limits.connection()
    assert [one.take(clock.monotonic()) for _ in range(3)] == [0.0, 0.0, 0.1]
    assert other.take(clock.monotonic()) == 0.0
    limits.take("frames", "by key too")


def test_switched_off_nothing_is_limited(clock):
    limits = Rates(config.Rates(enabled=False, sends_burst=1, frames_burst=1), clock)
    assert refusals(lambda: limits.take("sends", "ann"), 100) == 0
    bucket = limits.connection()
    assert {bucket.take(0.0, cost=1e9) for _ in range(100)} == {0.0}
    assert len(limits._buckets["sends"]) == 0


def test_full_buckets_are_forgotten(clock):
    limits = Rates(config.Rates(), clock)
    for number in range(1000):
        limits.take("sends", f"user{number}")
    clock.pass_seconds(3600)
    for number in range(1000):
        limits.take("sends", f"other{number}")
    assert all(key.startswith("other") for key in limits._buckets["sends"])


def test_memory_is_bounded_and_the_longest_unused_goes_first(clock):
    limits = Rates(config.Rates(sends_burst=1, sends_per_second=0), clock, keys_max=3)
    for key in ("a", "b", "c"):
        limits.take("sends", key)
    assert refusals(lambda: limits.take("sends", "a"), 1) == 1
    limits.take("sends", "d")
    assert list(limits._buckets["sends"]) == ["c", "a", "d"]


def delays(clock, **changed):
    keys_max = changed.pop("keys_max", 1000)
    return Delays(config.Auth(**changed), clock, keys_max=keys_max)


def waits(subject, key="ann"):
    try:
        subject.check(key)
    except RateLimited as refused:
        return refused.retry_after_ms
    return 0


def test_some_wrong_passwords_are_free_and_then_the_delay_doubles(clock):
    subject = delays(clock, failures_free=3)
    seen = []
    for _ in range(7):
        subject.failed("ann")
        seen.append(waits(subject))
        clock.pass_seconds(seen[-1] / 1000)
        assert waits(subject) == 0
    assert seen == [0, 0, 1000, 2000, 4000, 8000, 16_000]


def test_the_delay_has_a_limit(clock):
    subject = delays(clock, failures_free=1, failure_delay_seconds_max=10)
    for _ in range(2000):
        subject.failed("ann")
    assert waits(subject) == 10_000


def test_without_free_ones_the_first_wrong_password_costs_a_second(clock):
    subject = delays(clock, failures_free=0)
    assert waits(subject) == 0
    subject.failed("ann")
    assert waits(subject) == 1000


def test_a_right_password_forgets_the_wrong_ones(clock):
    subject = delays(clock, failures_free=2)
    subject.failed("ann")
    subject.succeeded("ann")
    subject.succeeded("ann")
    subject.failed("ann")
    assert waits(subject) == 0


def test_one_account_does_not_delay_another(clock):
    subject = delays(clock, failures_free=1)
    subject.failed("ann")
    assert waits(subject, "bob") == 0


def test_the_memory_of_wrong_passwords_is_bounded(clock):
    subject = delays(clock, failures_free=1, keys_max=3)
    for key in ("a", "b", "a", "c", "d"):
        subject.failed(key)
    assert [waits(subject, key) for key in "abcd"] == [2000, 0, 1000, 1000]


@pytest.mark.parametrize(
    "address,key",
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_address_counts_as(address, key):
    assert address_key(address) == key
