"""The instances: our own node among them, and who else is alive."""

from __future__ import annotations

import time
from collections.abc import Callable

from backends.zookeeper_link import Link, NodeExistsError, NoNodeError
from backends.zookeeper_nodes import (
    Nodes,
    Place,
    Write,
    batches,
    instance_data,
    read_instance,
    transactions,
)
from whatsapp.errors import Unavailable
from whatsapp.interfaces import Instance

TRIES = 10


async def prepare(link: Link, nodes: Nodes) -> None:
    """Make the nodes that everything stands on, where they are missing; repeatable.

    Two may do it at once.
    """
    parts = nodes.root.strip("/").split("/")
    above = ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]
    for path in [*above, nodes.joins, nodes.instances, nodes.users]:
        await _create(link, path)
    for _ in range(TRIES):
        there = set(await link.children(nodes.users))
        missing = [p for p in nodes.buckets if p.rpartition("/")[2] not in there]
        writes = [Write(path, b"", None) for path in missing]
        if all([await link.write(cut) for cut in transactions(writes)]):
            return
    raise Unavailable("ZooKeeper is too busy to be prepared.")


async def _create(link: Link, path: str) -> None:
    if await link.call(lambda: link.client.exists_async(path)):
        return
    try:
        await link.call(lambda: link.client.create_async(path, acl=link.acl))
    except NodeExistsError:
        return


class Members:
    """`changed(places)` is called with those that have come or gone."""

    def __init__(
        self, link: Link, nodes: Nodes, own: Instance, changed: Callable[[set[Place]], None]
    ) -> None:
        self._link = link
        self._nodes = nodes
        self._own = own
        self._changed = changed
        self.alive: set[Place] = set()
        self._unknown: set[Place] = set()  # looked for since the last change, and not there
        self._died: dict[Place, float] = {}
        self.stirred: Callable[[], None] = lambda: None  # there may be news: `refresh`
        self._watcher = link.on_loop(lambda event: self.stirred())

    async def join(self) -> bool:
        """Enter our node. False: another start under our name is there.

        One that an earlier session of this very start left behind is replaced.
        """
        path = self._nodes.instance(self._own.name)
        for _ in range(TRIES):
            (joins,) = await self._link.read([self._nodes.joins])
            if joins is None:
                await prepare(self._link, self._nodes)
                continue
            held = await self._held(path)
            if held and held[1] == self._link.session:
                return True
            if held and held[0] != self._own.epoch:
                return False
            transaction = self._link.client.transaction()
            transaction.set_data(self._nodes.joins, b"", joins[1])
            if held:
                transaction.delete(path)
            transaction.create(path, instance_data(self._own), acl=self._link.acl, ephemeral=True)
            if await self._link.commit(transaction):
                return True
        raise Unavailable("Too many instances start at once.")

    async def leave(self) -> None:
        """Take our node away: all that names us counts as absent from now on."""
        path = self._nodes.instance(self._own.name)
        held = await self._held(path)
        if held and held[1] == self._link.session:
            await self._link.call(lambda: self._link.client.delete_async(path))

    async def refresh(self) -> list[Instance]:
        """The live instances, by name, as ZooKeeper has them now; changes are told."""
        names = sorted(await self._link.children(self._nodes.instances, self._watcher))
        instances: list[Instance] = []
        for some in batches(names, 100):
            found = await self._link.read([self._nodes.instance(name) for name in some])
            for name, node in zip(some, found, strict=True):
                instance = read_instance(name, node[0]) if node else None
                if instance:
                    instances.append(instance)
        alive = {(instance.name, instance.epoch) for instance in instances}
        before, self.alive = self.alive, alive
        if alive != before:
            self._unknown.clear()
            self._died |= dict.fromkeys(before - alive, time.monotonic())
            self._changed(alive ^ before)
        return instances

    async def settle(self, places: set[Place]) -> None:
        """Make sure that `alive` knows of those of these that are alive.

        We may hear of an instance by an entry before we hear that it has come.
        """
        if not places <= self.alive | self._unknown:
            await self.refresh()
            self._unknown |= places - self.alive

    def dead_recently(self, seconds: float) -> set[Place]:
        """Those that may be back any moment."""
        since = time.monotonic() - seconds
        self._died = {place: at for place, at in self._died.items() if at > since}
        return set(self._died) - self.alive

    async def _held(self, path: str) -> tuple[int, int] | None:
        """Epoch and session of the instance at this node."""
        try:
            data, stat = await self._link.call(lambda: self._link.client.get_async(path))
        except NoNodeError:
            return None
        instance = read_instance("", data)
        return (instance.epoch if instance else -1), stat.ephemeralOwner
