"""The directory of a world of several instances: late, away, and with a memory of its own.

Each instance sees it as it was some time ago. While it is away for one of them, nothing can be
asked or entered there; the instance is forgotten after a while, and its users with it. What
was to be entered meanwhile is kept as a wish, and made so some time after it is back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from tests.faults.faulty import Calls
from tests.support.clocks import ManualClock
from whatsapp.errors import Unavailable
from whatsapp.interfaces import Instance

# How long ago what an instance sees may be: the ensemble's followers.
LAG_SECONDS_MAX = 0.8
ENTERED_SECONDS_MAX = 1.0
REMEMBERED_SECONDS = 2.0
Places = dict[str, tuple[str, ...]]


class Detector:
    """What all see in the end."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.instances: dict[str, Instance] = {}
        self.places: dict[str, set[str]] = {}
        self._past: deque[tuple[float, dict[str, Instance], Places]] = deque()
        self.directories: dict[str, LateDirectory] = {}
        self._write_down()

    def joined(self, instance: Instance) -> None:
        self.instances[instance.name] = instance
        self._changed([], instances=True)

    def expired(self, name: str) -> None:
        """Its session is over: it is gone, and so are its users."""
        if self.instances.pop(name, None) is None:
            return
        gone = [user for user, places in self.places.items() if name in places]
        for user in gone:
            self.places[user].discard(name)
        self._changed(gone, instances=True)

    def entered(self, name: str, here: set[str]) -> None:
        """Exactly these users are there."""
        changed = []
        for user in sorted(here | set(self.places)):
            places = self.places.setdefault(user, set())
            if (user in here) != (name in places):
                (places.add if user in here else places.discard)(name)
                changed.append(user)
        if changed:
            self._changed(changed, instances=False)

    def as_of(self, seconds: float) -> tuple[dict[str, Instance], Places]:
        for at, instances, places in reversed(self._past):
            if at <= seconds:
                return instances, places
        return self._past[0][1:]

    def _changed(self, users: Collection[str], *, instances: bool) -> None:
        self._write_down()
        for directory in self.directories.values():
            directory.told(users, instances=instances)

    def _write_down(self) -> None:
        now, past = self.clock.seconds, self._past
        while len(past) > 1 and past[1][0] < now - REMEMBERED_SECONDS:
            past.popleft()
        places = {user: tuple(sorted(names)) for user, names in self.places.items() if names}
        past.append((now, dict(self.instances), places))


class LateDirectory:
    """`Directory`."""

    def __init__(self, detector: Detector, instance: Instance, calls: Calls, lag: float) -> None:
        self._detector = detector
        self._instance = instance
        self._calls = calls
        self.lag = lag
        self.away = False
        self.joined = True
        self._lost = False  # and nobody was told of it yet
        self._right_at = detector.clock.seconds
        self.here: set[str] = set()
        self._watchers: dict[str, list[Callable[[str], None]]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._to_tell: deque[tuple[float, list[str], bool]] = deque()
        detector.directories[instance.name] = self
        detector.joined(instance)

    @property
    def settled(self) -> bool:
        return self._entered and not self._to_tell

    @property
    def _entered(self) -> bool:
        places, name = self._detector.places, self._instance.name
        entered = {user for user, names in places.items() if name in names}
        return self.joined and entered == self.here

    # --- what happens to it -------------------------------------------------------------

    def told(self, users: Collection[str], *, instances: bool) -> None:
        """It sees this later, and so do those who watch by then."""
        self._to_tell.append((self._detector.clock.seconds + self.lag, list(users), instances))

    def forget_session(self) -> None:
        """It did not show itself for too long."""
        self.joined = False
        self._lost = True
        self._detector.expired(self._instance.name)

    def beat(self, *, agrees: bool) -> None:
        """What is due is told. `agrees`: if it can be, all is entered as it was wished.

        So it is after a second in any case: the cluster's second looks count on that.
        """
        now = self._detector.clock.seconds
        if self.away or self._entered:
            self._right_at = now
        agrees = agrees or now - self._right_at >= ENTERED_SECONDS_MAX
        if self._lost:
            self._lost = False
            self._tell([], instances=True)
        if self.away:
            return
        if agrees and not self.joined:
            self.joined = True
            self._detector.joined(self._instance)
            self._tell([], instances=True)
        elif agrees:
            self._detector.entered(self._instance.name, self.here)
        while self._to_tell and self._to_tell[0][0] <= now:
            _, users, instances = self._to_tell.popleft()
            self._tell(users, instances=instances)

    def _tell(self, users: Collection[str], *, instances: bool) -> None:
        for user in users:
            for changed in tuple(self._watchers.get(user, ())):
                changed(user)
        if instances:
            for listener in self._listeners:
                listener()

    # --- as the core sees it ------------------------------------------------------------

    async def announce(self, users: Collection[str]) -> None:
        self.here |= set(users)
        await self._run("announce", self._enter)

    async def withdraw(self, users: Collection[str]) -> None:
        self.here -= set(users)
        await self._run("withdraw", self._enter)

    async def locate(self, users: Collection[str]) -> dict[str, list[str]]:
        async def look() -> dict[str, list[str]]:
            instances, places = self._seen()
            found = {
                user: [name for name in places[user] if name in instances]
                for user in users
                if user in places
            }
            return {user: names for user, names in found.items() if names}

        located: dict[str, list[str]] = await self._run("locate", look)
        return located

    async def instances(self) -> list[Instance]:
        async def look() -> list[Instance]:
            instances, _ = self._seen()
            return [instances[name] for name in sorted(instances)]

        found: list[Instance] = await self._run("instances", look)
        return found

    def watch(self, users: Collection[str], changed: Callable[[str], None]) -> Callable[[], None]:
        for user in users:
            self._watchers.setdefault(user, []).append(changed)

        def stop() -> None:
            for user in users:
                self._watchers[user].remove(changed)

        return stop

    def on_change(self, changed: Callable[[], None]) -> None:
        self._listeners.append(changed)

    def healthy(self) -> bool:
        return self.joined and not self.away

    async def _enter(self) -> None:
        self._check()
        self._detector.entered(self._instance.name, self.here)

    def _seen(self) -> tuple[dict[str, Instance], Places]:
        self._check()
        return self._detector.as_of(self._detector.clock.seconds - self.lag)

    def _check(self) -> None:
        if not self.healthy():
            raise Unavailable("the directory is away")

    async def _run(self, name: str, work: Callable[[], Any]) -> Any:
        return await self._calls.run(name, work, (), {})
