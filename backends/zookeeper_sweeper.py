"""Takes the dead out of the entries, when instances have gone: slowly, and one of us at a time.

Correct by itself (see `zookeeper_nodes.py`, the fence): nothing that is alive is ever swept.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

from backends.zookeeper_link import Link, NoAuthError, NodeExistsError, NoNodeError
from backends.zookeeper_members import Members
from backends.zookeeper_nodes import (
    OPERATIONS_MAX,
    Nodes,
    Place,
    Write,
    entry_data,
    read_entry,
    swept_write,
    transactions,
)
from whatsapp.errors import Unavailable

PAUSE_SECONDS = 0.001
PAUSE_SECONDS_PER_ENTRY = 50e-6
TRIES = 3


class Sweeper:
    def __init__(self, link: Link, nodes: Nodes, members: Members, own: Place) -> None:
        self._link = link
        self._nodes = nodes
        self._members = members
        self._own = own
        self._wanted = asyncio.Event()
        # One that is away for a moment would have to write all its entries anew.
        self.grace_seconds = link.session_seconds / 2

    def want(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        """Where it fails it is tried again; a sweep that was wanted is made in the end."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(self.grace_seconds * random.uniform(1.0, 1.5))  # noqa: S311
            self._wanted.clear()
            try:
                await self._sweep()
            except (Unavailable, NoAuthError, NoNodeError):
                self._wanted.set()

    async def _sweep(self) -> None:
        if not await self._may():
            return
        try:
            paths: list[str] = []
            for bucket in random.sample(self._nodes.buckets, len(self._nodes.buckets)):
                users = await self._link.children(bucket)
                paths += [f"{bucket}/{user}" for user in users]
                while len(paths) >= OPERATIONS_MAX:
                    await self._sweep_some(paths[:OPERATIONS_MAX])
                    del paths[:OPERATIONS_MAX]
                await asyncio.sleep(PAUSE_SECONDS + PAUSE_SECONDS_PER_ENTRY * len(users))
            await self._sweep_some(paths)
        finally:
            with suppress(NoNodeError):
                await self._link.call(lambda: self._link.client.delete_async(self._nodes.sweeper))

    async def _may(self) -> bool:
        """False: another one sweeps, which sees the same dead as we do."""
        try:
            await self._link.call(
                lambda: self._link.client.create_async(
                    self._nodes.sweeper,
                    entry_data([self._own]),
                    acl=self._link.acl,
                    ephemeral=True,
                )
            )
        except NodeExistsError:
            (node,) = await self._link.read([self._nodes.sweeper])
            sweeping = set(read_entry(node[0])) if node else set()
            if self._own in sweeping:
                return True  # we were cut off in the middle of it
            if sweeping.isdisjoint(self._members.alive):
                self._wanted.set()  # its session is about to end, or just has
            return False
        return True

    async def _sweep_some(self, paths: Sequence[str]) -> None:
        for _ in range(TRIES):
            if not await self._writes(paths):
                return
            # The fence before the instances, or one that joins in between is taken for dead.
            (joins,) = await self._link.read([self._nodes.joins])
            await self._members.refresh()
            writes = await self._writes(paths)
            cuts = list(transactions(writes))
            if joins and all(
                [await self._link.write(cut, (self._nodes.joins, joins[1])) for cut in cuts]
            ):
                return
        self._wanted.set()  # somebody writes here at the same time

    async def _writes(self, paths: Sequence[str]) -> list[Write]:
        spared = self._members.alive | self._members.dead_recently(self.grace_seconds)
        found = await self._link.read(paths)
        return [
            write
            for path, node in zip(paths, found, strict=True)
            if node and (write := swept_write(path, node, spared))
        ]
