"""Several cores over one memory store and one directory, with links that tests cut and mend."""

from __future__ import annotations

from collections.abc import Callable, Collection

from backends.memory import _Data
from backends.memory_directory import Board
from tests.support.clocks import ManualClock
from tests.support.world import World
from whatsapp.interfaces import Instance


class Net:
    """All links. What is sent waits in `under_way` until `Fleet.run` hands it over."""

    def __init__(self) -> None:
        self.ends: dict[str, Ends] = {}
        self.epochs: dict[str, int] = {}
        self.cut: set[frozenset[str]] = set()
        self.full: set[str] = set()
        self.under_way: list[tuple[str, str, bytes]] = []
        self.sent: list[tuple[str, str, bytes]] = []

    def linked(self, one: str, other: str) -> bool:
        return one != other and other in self.ends and frozenset((one, other)) not in self.cut


class Ends:
    """One instance's ends of its links: `routes.Links`."""

    def __init__(self, name: str, net: Net) -> None:
        self._name = name
        self._net = net
        self.known: Collection[Instance] = ()
        self.offset = 0

    def know(self, instances: Collection[Instance], /) -> None:
        self.known = instances

    def names(self) -> Collection[str]:
        return [name for name in self._net.ends if self._net.linked(self._name, name)]

    def send(self, name: str, message: bytes, /) -> bool:
        if not self._net.linked(self._name, name) or name in self._net.full:
            return False
        self._net.under_way.append((self._name, name, message))
        self._net.sent.append((self._name, name, message))
        return True

    def depth_bytes(self) -> dict[str, int]:
        return {}

    def offset_ms(self, name: str, /) -> int:
        return self.offset

    def epoch(self, name: str, /) -> int:
        return self._net.epochs[name]


class Fleet:
    """`fleet["a"]` is the `World` of instance a."""

    def __init__(self, *users: str, names: str = "abc") -> None:
        self.data = _Data()
        self.board = Board()
        self.clock = ManualClock()
        self.net = Net()
        self.worlds: dict[str, World] = {}
        for name in names:
            self.start(name, users if name == names[0] else ())
        self.run()

    def __getitem__(self, name: str) -> World:
        return self.worlds[name]

    def start(self, name: str, users: Collection[str] = (), epoch: int = 1) -> None:
        ends = self.net.ends[name] = Ends(name, self.net)
        instance = Instance(name=name, address=f"{name}:1", epoch=epoch)
        more = {"instance": instance, "board": self.board, "links": ends}
        self.net.epochs[name] = epoch
        self.worlds[name] = World(
            *users, data=self.data, clock=self.clock, ids=f"{name}{epoch}", more=more
        )
        for other in self.worlds:
            if other != name:
                self._told("linked", name, other)

    def run(self, drop: Callable[[bytes], bool] = lambda _: False) -> None:
        """Until nothing is under way any more; what `drop` says is lost on the way."""
        self._turn()
        while self.net.under_way:
            sender, name, message = self.net.under_way.pop(0)
            if name in self.worlds and not drop(message):
                cluster = self.worlds[name].core.cluster
                assert cluster is not None
                cluster.heard(sender, [message])
            self._turn()

    def _turn(self) -> None:
        for world in self.worlds.values():
            world.loop.run()
            world.raise_failed()

    def tick(self, seconds: float = 0.1) -> None:
        self.clock.pass_seconds(seconds)
        for world in self.worlds.values():
            world.core.tick()
        self.run()

    def cut(self, one: str, other: str) -> None:
        self.net.cut.add(frozenset((one, other)))
        self.net.under_way = [way for way in self.net.under_way if {way[0], way[1]} != {one, other}]
        self._told("lost", one, other)

    def mend(self, one: str, other: str) -> None:
        self.net.cut.discard(frozenset((one, other)))
        self._told("linked", one, other)

    def kill(self, name: str) -> None:
        """kill -9, seen by the others at once; the directory has noticed."""
        world = self.worlds.pop(name)
        world.loop.kill()
        del self.net.ends[name]
        self.board.instances.pop(name)
        for places in self.board.places.values():
            places.discard(name)
        self.board.tell_of_instances()
        for other in self.worlds.values():
            assert other.core.cluster is not None
            other.core.cluster.lost(name)

    def _told(self, what: str, one: str, other: str) -> None:
        for here, there in ((one, other), (other, one)):
            getattr(self.worlds[here].core.cluster, what)(there)
        self.run()
