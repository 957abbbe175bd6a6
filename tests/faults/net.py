"""The links of a world of several instances, as late and as lossy as `whatsapp/peers.py` may be.

What an instance will hear of another one waits in a *pipe*: that a link is there, messages in
their order, that it is lost. When a link breaks, the last messages on their way vanish, and so
does what is sent until the sender has heard of it too. Each side hears in its own time.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection

from whatsapp.interfaces import Instance

Way = tuple[str, str]
# How the name of this hint is packed.
SAID = b"\xa4said"


class Link:
    """One connection of two instances."""

    def __init__(self) -> None:
        self.whole = True


class Up:
    """In a pipe: the link is there, with this start of the instance at its other end."""

    def __init__(self, link: Link, epoch: int) -> None:
        self.link = link
        self.epoch = epoch


class Down:
    """In a pipe: the link is lost."""


class Ends:
    """One instance's ends of its links: `routes.Links`."""

    def __init__(self, net: Net, instance: Instance, offset_ms: int) -> None:
        self._net = net
        self.instance = instance
        self.wall_ms = offset_ms
        self.known: dict[str, Instance] = {}
        self.up: dict[str, Up] = {}

    def know(self, instances: Collection[Instance], /) -> None:
        self.known = {instance.name: instance for instance in instances}
        for name, up in list(self.up.items()):
            alive = self.known.get(name)
            if alive is None or alive.epoch > up.epoch:
                self._net.cut(self.instance.name, name)

    def names(self) -> Collection[str]:
        return tuple(self.up)

    def send(self, name: str, message: bytes, /) -> bool:
        up = self.up.get(name)
        if up is None or (self.instance.name, name) in self._net.full:
            return False
        self._net.check((self.instance.name, name), message)
        if up.link.whole:
            self._net.pipes[self.instance.name, name].append(message)
        return True

    def offset_ms(self, name: str, /) -> int:
        other = self._net.ends.get(name)
        return other.wall_ms - self.wall_ms if name in self.up and other is not None else 0

    def epoch(self, name: str, /) -> int:
        return self.up[name].epoch if name in self.up else 0

    def depth_bytes(self) -> dict[str, int]:
        return {}


class Net:
    """All links. `hear(name)` is the cluster of this instance."""

    def __init__(
        self, chance: random.Random, trace: Callable[..., None], fail: Callable[[str], None]
    ) -> None:
        self._chance = chance
        self._trace = trace
        self.ends: dict[str, Ends] = {}
        self.links: dict[Way, Link] = {}
        self.pipes: dict[Way, deque[bytes | Up | Down]] = {}
        self.parted: set[Way] = set()
        self.full: set[Way] = set()
        self._fail = fail
        self._said: set[tuple[Way, bytes]] = set()

    # --- instances come and go ----------------------------------------------------------

    def enter(self, ends: Ends) -> None:
        name = ends.instance.name
        for other in self.ends:
            self.pipes[other, name] = deque()
            self.pipes.setdefault((name, other), deque())
        self.ends[name] = ends

    def leave(self, name: str) -> None:
        """It is dead: what it said may still be on its way."""
        del self.ends[name]
        for other in self.ends:
            self.cut(name, other)
        for way in [way for way in self.pipes if way[1] == name]:
            del self.pipes[way]

    # --- links come and go --------------------------------------------------------------

    def pairs(self) -> list[Way]:
        names = sorted(self.ends)
        return [(one, other) for one in names for other in names if one < other]

    def dial(self, asleep: Collection[str], share: float) -> None:
        """Those that know of each other link, one time or another."""
        for one, other in self.pairs():
            here, there = self.ends[one], self.ends[other]
            if (one, other) in self.links or (one, other) in self.parted:
                continue
            if one in asleep or other in asleep or self._chance.random() >= share:
                continue
            if here.known.get(other) == there.instance and there.known.get(one) == here.instance:
                link = self.links[one, other] = Link()
                self.pipes[one, other].append(Up(link, here.instance.epoch))
                self.pipes[other, one].append(Up(link, there.instance.epoch))

    def cut(self, one: str, other: str) -> None:
        """The link of these breaks, if there is one."""
        link = self.links.pop((min(one, other), max(one, other)), None)
        if link is None:
            return
        self._trace(" link %s-%s breaks", one, other)
        link.whole = False
        for way in ((one, other), (other, one)):
            pipe = self.pipes[way]
            for _ in range(self._chance.randint(0, len(pipe))):
                if not isinstance(pipe[-1], bytes):
                    break
                pipe.pop()
            pipe.append(Down())

    def part(self, one: str, other: str) -> None:
        self.parted.add((min(one, other), max(one, other)))
        self.cut(one, other)

    def check(self, way: Way, message: bytes) -> None:
        """An entry costs one hint to an instance, however many of its readers are there."""
        if SAID in message[:8]:
            if (way, message) in self._said:
                self._fail(f"said to {way[1]} twice: {message!r}")
            self._said.add((way, message))

    # --- what is heard ------------------------------------------------------------------

    def next(self, way: Way) -> bytes | Up | Down:
        """What comes next out of this pipe; names and epochs of the link follow it."""
        sender, name = way
        what = self.pipes[way].popleft()
        if isinstance(what, Up):
            self.ends[name].up[sender] = what
        elif isinstance(what, Down):
            self.ends[name].up.pop(sender, None)
        return what

    def waiting(self, asleep: Collection[str]) -> list[Way]:
        """The pipes with something in them for somebody who hears."""
        return [way for way, pipe in self.pipes.items() if pipe and way[1] not in asleep]
