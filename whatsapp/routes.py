"""On which other instances users are, and getting a hint there.

What the directory said is kept for a moment.

Why no longer: who comes to a further instance is not heard of here. Its instance looks into
the store again once these answers are old (`SECOND_LOOK_SECONDS` in `cluster.py`), so what
was not sent to it meanwhile reaches it all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from whatsapp.clock import Clock, Scheduler
from whatsapp.errors import Answer
from whatsapp.hints import Grown, Hint, pack
from whatsapp.interfaces import Directory, Instance
from whatsapp.metrics import Metrics

ROUTE_SECONDS = 2.5
USERS_MAX = 200_000
NOWHERE: tuple[str, ...] = ()
HELD_MAX = 10_000
MISSED_CHATS_MAX = 10_000


class Routes:
    """User → instances, without this one."""

    def __init__(self, directory: Directory, me: str, clock: Clock) -> None:
        self._directory = directory
        self.me = me
        self._clock = clock
        self._places: dict[str, tuple[float, tuple[str, ...]]] = {}

    def split(self, users: Iterable[str]) -> tuple[set[str], list[str]]:
        """The instances that users are on as far as that is known, and the users to ask for."""
        now = self._clock.monotonic()
        instances: set[str] = set()
        unknown: list[str] = []
        for user in users:
            ends, places = self._places.get(user, (0.0, NOWHERE))
            if ends < now:
                unknown.append(user)
            elif places:
                instances.update(places)
        return instances, unknown

    def known(self, users: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The instances of each user of whom that is known."""
        now = self._clock.monotonic()
        return {
            user: place[1]
            for user in users
            if (place := self._places.get(user)) is not None and place[0] >= now
        }

    async def ask(self, users: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The instances that each of these users is on now. `Unavailable` with the directory.

        It is as old as the question, however long the answer took.
        """
        if len(self._places) > USERS_MAX:
            self._places.clear()
        ends = self._clock.monotonic() + ROUTE_SECONDS
        located = await self._directory.locate(users)
        asked = {
            user: tuple(name for name in located.get(user, NOWHERE) if name != self.me)
            for user in users
        }
        for user, places in asked.items():
            self._places[user] = (ends, places)
        return asked

    def forget(self, users: Iterable[str]) -> None:
        for user in users:
            self._places.pop(user, None)

    def clear(self) -> None:
        self._places.clear()


class Links(Protocol):
    """What carries hints: `peers.py`, or a test."""

    def know(self, instances: Collection[Instance], /) -> None: ...
    def send(self, name: str, message: bytes, /) -> bool: ...
    def names(self) -> Collection[str]: ...
    def offset_ms(self, name: str, /) -> int: ...
    def epoch(self, name: str, /) -> int: ...
    def depth_bytes(self) -> dict[str, int]: ...


class Post:
    """Sends hints to the instances of users, in order; remembers what did not fit.

    While users must be located first, what comes after them waits, too. Where the directory
    is away, hints go to every instance.
    """

    def __init__(
        self, links: Links, routes: Routes, scheduler: Scheduler, metrics: Metrics
    ) -> None:
        self.links = links
        self.routes = routes
        self._scheduler = scheduler
        self.metrics = metrics
        self._live: Collection[str] = ()
        self._held: deque[tuple[Sequence[str], bytes, str]] = deque()
        self._resolving = False
        # By instance the chats of hints that did not fit; None: too many to tell.
        self._missed: dict[str, dict[str, None] | None] = {}
        self._strange: set[str] = set()  # those of them that were on no list

    def __len__(self) -> int:
        """Hints that wait until their users are located."""
        return len(self._held)

    def live(self, names: Collection[str]) -> None:
        """These instances live; of those that lived and do no more, nothing is remembered."""
        for name in set(self._live) - set(names):
            self._missed.pop(name, None)
        self._live = names
        # One that was located and is on no list yet is remembered till the next one.
        for name in self._strange - set(names):
            self._missed.pop(name, None)
        self._strange = self._missed.keys() - set(names)

    @property
    def strange(self) -> bool:
        """Was an instance located that is on no list of the living? Then there is a newer one."""
        return not self._missed.keys() <= set(self._live)

    def _everywhere(self) -> set[str]:
        """Those that are not linked too: what they miss is remembered."""
        return {*self._live, *self.links.names()} - {self.routes.me}

    def to_users(self, users: Sequence[str], hint: Hint, chat: str = "") -> None:
        """`chat`: whose entry it is; if it does not fit, its reader will be told to look."""
        message = pack(hint)
        if not self._resolving:
            instances, unknown = self.routes.split(users)
            if not unknown:
                self.to(instances, message, chat)
                return
            self._resolving = True
            self._scheduler.spawn(self._resolve())
        elif len(self._held) >= HELD_MAX:
            for name in self._live:
                self.missed_all(name)
            return
        self._held.append((users, message, chat))

    def to(self, instances: Iterable[str], message: bytes, chat: str = "") -> None:
        for name in instances:
            if self.links.send(name, message):
                self.metrics.hints_sent.value += 1
            elif chat:
                self._miss(name, chat)

    def to_all(self, hint: Hint, *, lasting: bool = True) -> None:
        """`lasting`: one that is not linked yet has to know it too, and will look at everything."""
        message = pack(hint)
        for name in self._everywhere() if lasting else tuple(self.links.names()):
            if self.links.send(name, message):
                self.metrics.hints_sent.value += 1
            else:
                self.missed_all(name)

    def missed_all(self, name: str) -> None:
        """It may have missed anything: it will be told to look at everything."""
        self._missed[name] = None

    async def locate(self, users: Collection[str]) -> Collection[str]:
        """Where these users are, asked anew; all instances where nobody can be asked."""
        self.routes.forget(users)
        try:
            asked = await self.routes.ask(users)
        except Answer:
            return self._everywhere()
        return dict.fromkeys(name for places in asked.values() for name in places)

    def tick(self) -> None:
        """Tell those that missed something what to look at."""
        for name in [name for name in self._missed if name in self.links.names()]:
            chats = self._missed[name]
            if self.links.send(name, pack(Grown(None if chats is None else tuple(chats)))):
                self.metrics.hints_sent.value += 1
                del self._missed[name]

    async def _resolve(self) -> None:
        try:
            while self._held:
                held, self._held = self._held, deque()
                everybody = dict.fromkeys(user for users, _, _ in held for user in users)
                # What is known now may be forgotten while the others are asked for.
                places = self.routes.known(everybody)
                try:
                    places |= await self.routes.ask([one for one in everybody if one not in places])
                    located = True
                except Answer:
                    located = False
                for users, message, chat in held:
                    names = dict.fromkeys(name for user in users for name in places.get(user, ()))
                    self.to(tuple(names if located else self._everywhere()), message, chat)
        finally:
            self._resolving = False

    def _miss(self, name: str, chat: str) -> None:
        self.metrics.hints_missed.value += 1
        chats = self._missed.setdefault(name, {})
        if chats is not None:
            chats[chat] = None
            if len(chats) > MISSED_CHATS_MAX:
                self._missed[name] = None
