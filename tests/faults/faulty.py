"""Stores that are late, away, or of unknown outcome."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from msgspec import Struct

from tests.faults.loop import Loop
from whatsapp.errors import Unavailable

# What of a backend waits; the rest is passed through.
ASYNC = {
    *("create", "find", "update", "saw", "search", "erase", "block", "blocks"),
    *("add", "by_token", "of_user", "end", "append", "pages", "load", "lines", "advance"),
    *("set_invite", "by_invite", "contacts", "announce", "withdraw", "locate", "instances"),
}


class Fate(Struct, frozen=True):
    """What happens to one call."""

    wait_before: bool = False
    wait_after: bool = False
    fails: str = ""  # "", "before" (no effect), "after" (all of it), "partly" (appends: some)


GOOD = Fate()


class Weather:
    """Chooses the fate of each call from the world's chance."""

    def __init__(self, chance: random.Random, *, delay: float, before: float, after: float) -> None:
        self._chance = chance
        self.delay = delay
        self.before = before
        self.after = after

    def heal(self) -> None:
        self.delay = self.before = self.after = 0.0

    def fate(self, name: str) -> Fate:
        draw = self._chance.random
        fails = ""
        if self.before and draw() < self.before:
            fails = "before"
        elif self.after and draw() < self.after:
            fails = "partly" if draw() < 0.3 else "after"
        if not self.delay:
            return Fate(fails=fails) if fails else GOOD
        return Fate(draw() < self.delay, draw() < self.delay, fails)


class NthCall:
    """Only the n-th call fails, in one way; every call waits, both before and after.

    "crash before" and "crash after": the call never ends, and `crash_due` says that the
    process ends now.
    """

    def __init__(self, nth: int, fails: str) -> None:
        self._nth = nth
        self._fails = fails
        self._fate = Fate(wait_before=True, wait_after=True)
        self.count = 0
        self.name = ""
        self.crash_due = False

    def heal(self) -> None:
        self._nth, self._fate = 0, GOOD

    def fate(self, name: str) -> Fate:
        self.count += 1
        if self.count != self._nth:
            return self._fate
        self.name = name
        if self._fails.startswith("crash"):
            self.crash_due = True
            return Fate(wait_before=self._fails == "crash before", wait_after=True)
        return Fate(wait_before=True, wait_after=True, fails=self._fails)


class Fates(Protocol):
    """Who says what happens to a call."""

    def fate(self, name: str) -> Fate: ...


class Calls:
    """All calls of all stores of one process, each with its fate."""

    def __init__(
        self,
        weather: Fates,
        loop: Loop,
        committed: Callable[[Any, Any], None],
        trace: Callable[..., None],
    ) -> None:
        self._weather = weather
        self._loop = loop
        self._committed = committed
        self._trace = trace

    async def run(
        self, name: str, method: Callable[..., Awaitable[Any]], given: Any, named: Any
    ) -> Any:
        fate = self._weather.fate(name)
        if fate.wait_before:
            await self._loop.stall(f"before {name}")
        if fate.fails == "before":
            self._trace("store %s fails before", name)
            raise Unavailable("the store is away")
        if name == "append":
            if fate.fails == "partly":
                given = (given[0][: len(given[0]) // 2],)
            result = await method(*given)
            self._committed(given[0], result)
        else:
            result = await method(*given, **named)
        if fate.wait_after:
            await self._loop.stall(f"after {name}")
        if fate.fails:
            self._trace("store %s fails %s", name, fate.fails)
            raise Unavailable("the store is away, the outcome is unknown")
        return result


class Faulty:
    """Any store or directory, with each of its calls going through `Calls`."""

    def __init__(self, inner: Any, calls: Calls) -> None:
        self._inner = inner
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in ASYNC:
            return method
        calls = self._calls

        async def call(*given: Any, **named: Any) -> Any:
            return await calls.run(name, method, given, named)

        setattr(self, name, call)
        return call
