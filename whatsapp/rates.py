"""How often anybody may do anything: token buckets, and the delay after wrong passwords.

A bucket holds `burst` and fills at a steady rate. What is asked for costs; what is not
there must be waited for. Over a long time the rate holds, in a first moment the burst comes
on top (a user may look up `lookups_per_day` people at once, and that many again over a day).

Each instance counts for itself. Memory is bounded: buckets that are full again are forgotten,
and beyond `KEYS_MAX` of a kind the one that was longest unused.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from typing import Literal

from msgspec import Struct

from whatsapp import config
from whatsapp.clock import Clock
from whatsapp.errors import RateLimited

KEYS_MAX = 100_000
WAIT_SECONDS_MAX = 86_400.0
# Room for the rounding of floats: whoever waited as long as it was told to is let in.
_TOLERANCE = 1e-6

Kind = Literal["frames", "sends", "deliveries", "lookups", "logins", "registrations"]


class Bucket:
    """One bucket, full at first. Times are seconds of one monotonic clock."""

    __slots__ = ("_burst", "_level", "_per_second", "_then")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = max(burst, 1.0)
        self._level = self._burst
        self._then = now

    def take(self, now: float, cost: float = 1.0) -> float:
        """Pay `cost` and return 0.0; or pay nothing and return the seconds to wait."""
        level = self._level
        if now > self._then:
            level = min(self._burst, level + (now - self._then) * self._per_second)
            self._then = now
        if cost <= level:  # as nearly always
            self._level = level - cost
            return 0.0
        self._level = level
        wait = self.wait(now, cost)
        if wait == 0.0:
            self.pay(cost)
        return wait

    def wait(self, now: float, cost: float) -> float:
        """Seconds until `cost` is there. A cost above the burst asks for a full bucket."""
        self._fill(now)
        missing = min(cost, self._burst) - self._level
        if missing <= _TOLERANCE:
            return 0.0
        if self._per_second <= 0.0:
            return WAIT_SECONDS_MAX
        return min(missing / self._per_second, WAIT_SECONDS_MAX)

    def pay(self, cost: float) -> None:
        self._level = max(0.0, self._level - cost)

    def full(self, now: float) -> bool:
        self._fill(now)
        return self._level >= self._burst

    def _fill(self, now: float) -> None:
        if now > self._then:
            added = (now - self._then) * self._per_second
            self._level = min(self._burst, self._level + added)
            self._then = now


class Unlimited(Bucket):
    """Never empty; for servers that set no rates."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0.0, 1.0, 0.0)

    def take(self, now: float, cost: float = 1.0) -> float:
        return 0.0


class Limit(Struct, frozen=True):
    """What one kind of thing may be done: the sentence of a refusal, and (per second, burst)."""

    sentence: str
    shapes: tuple[tuple[float, float], ...]


class Rates:
    """The buckets of every kind and key (a user, an address, a connection)."""

    def __init__(self, settings: config.Rates, clock: Clock, *, keys_max: int = KEYS_MAX) -> None:
        self._settings = settings
        self._clock = clock
        self._keys_max = keys_max
        self._limits = _limits(settings)
        self.refused: dict[str, int] = dict.fromkeys(self._limits, 0)
        self._buckets: dict[Kind, OrderedDict[str, tuple[Bucket, ...]]] = {
            kind: OrderedDict() for kind in self._limits
        }

    def take(self, kind: Kind, key: str, cost: float = 1.0) -> None:
        """Pay for one thing, or `RateLimited` with the time to wait; then nothing is paid."""
        if not self._settings.enabled:
            return
        now = self._clock.monotonic()
        buckets = self._of(kind, key, now)
        if len(buckets) == 1:
            wait = buckets[0].take(now, cost)
            if wait > 0.0:
                self.refused[kind] += 1
                raise _refusal(self._limits[kind].sentence, wait)
            return
        wait = max(bucket.wait(now, cost) for bucket in buckets)
        if wait > 0.0:
            self.refused[kind] += 1
            raise _refusal(self._limits[kind].sentence, wait)
        for bucket in buckets:
            bucket.pay(cost)

    def connection(self) -> Bucket:
        """A bucket of frames for one connection to own; cheaper than `take` by key."""
        if not self._settings.enabled:
            return Unlimited()
        per_second, burst = self._limits["frames"].shapes[0]
        return Bucket(per_second, burst, self._clock.monotonic())

    def _of(self, kind: Kind, key: str, now: float) -> tuple[Bucket, ...]:
        table = self._buckets[kind]
        if (buckets := table.get(key)) is not None:
            table.move_to_end(key)
            return buckets
        self._make_room(table, now)
        shapes = self._limits[kind].shapes
        table[key] = buckets = tuple(Bucket(rate, burst, now) for rate, burst in shapes)
        return buckets

    def _make_room(self, table: OrderedDict[str, tuple[Bucket, ...]], now: float) -> None:
        """Two looks for each newcomer: the table shrinks while nobody needs it."""
        for _ in range(min(2, len(table))):
            oldest = next(iter(table))
            if not all(bucket.full(now) for bucket in table[oldest]):
                break
            del table[oldest]
        while len(table) >= self._keys_max:
            table.popitem(last=False)


class Delays:
    """How long an account waits after wrong passwords: 1 s, 2 s, 4 s … after the free ones.

    It stops guessing from many addresses, which no limit per address does. Whoever is logged
    in notices nothing: tokens are not passwords. Ids that do not exist are delayed alike.
    """

    def __init__(self, settings: config.Auth, clock: Clock, *, keys_max: int = KEYS_MAX) -> None:
        self._free = max(settings.failures_free, 1)
        self._delay_seconds_max = settings.failure_delay_seconds_max
        self._clock = clock
        self._keys_max = keys_max
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.refused = 0

    def check(self, key: str) -> None:
        """`RateLimited` while a delay runs. An attempt that is refused so does not count."""
        _, until = self._failures.get(key, (0, 0.0))
        wait = until - self._clock.monotonic()
        if wait > 0.0:
            self.refused += 1
            raise _refusal("too many wrong passwords", wait)

    def failed(self, key: str) -> None:
        failures = self._failures.pop(key, (0, 0.0))[0] + 1
        until = self._clock.monotonic() + self._delay_seconds(failures)
        while len(self._failures) >= self._keys_max:
            self._failures.popitem(last=False)
        self._failures[key] = (failures, until)

    def succeeded(self, key: str) -> None:
        self._failures.pop(key, None)

    def _delay_seconds(self, failures: int) -> float:
        beyond = failures - self._free
        if beyond < 0:
            return 0.0
        return min(2.0 ** min(beyond, 32), self._delay_seconds_max)


def address_key(address: str) -> str:
    """Whom an address counts as. A customer of an IPv6 network has a whole /64 to itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


def _limits(settings: config.Rates) -> dict[Kind, Limit]:
    logins = ((settings.logins_per_minute / 60, float(settings.logins_burst)),)
    lookups = (
        (settings.lookups_per_minute / 60, settings.lookups_per_minute),
        (settings.lookups_per_day / 86_400, float(settings.lookups_per_day)),
    )
    frames = ((settings.frames_per_second, float(settings.frames_burst)),)
    sends = ((settings.sends_per_second, float(settings.sends_burst)),)
    deliveries = ((settings.deliveries_per_second, float(settings.deliveries_burst)),)
    return {
        "frames": Limit("this connection sends too much", frames),
        "sends": Limit("you send too many messages", sends),
        "deliveries": Limit("you send too much to large groups", deliveries),
        "lookups": Limit("you look up too many people", lookups),
        "logins": Limit("too many logins from your address", logins),
        "registrations": Limit("too many registrations from your address", logins),
    }


def _refusal(sentence: str, wait_seconds: float) -> RateLimited:
    return RateLimited(
        f"{sentence}; try again in {math.ceil(wait_seconds)} s",
        retry_after_ms=math.ceil(wait_seconds * 1000),
    )
