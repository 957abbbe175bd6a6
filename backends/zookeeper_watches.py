"""Users that somebody here looks at. ZooKeeper's watches fire once and end with the connection.

So a watch is set again whenever it fired, *before* `changed` is called: who looks then sees
at least what fired. After a reconnect all are set again and all are told of. At most
`FLYING_MAX` requests are under way at once, so that a thousand watches do not stand before a
message that wants to know where its readers are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from backends.zookeeper_link import Link
from backends.zookeeper_nodes import OPERATIONS_MAX, Nodes, Place, batches, read_entry

log = logging.getLogger(__name__)

FLYING_MAX = 200


class Watches:
    def __init__(self, link: Link, nodes: Nodes) -> None:
        self._link = link
        self._nodes = nodes
        self._watchers: dict[str, list[Callable[[str], None]]] = {}
        self._armed: set[str] = set()
        self._flying: set[str] = set()
        self._waiting: dict[str, bool] = {}  # to be set, and whether to tell then
        self._fired = link.on_loop(self._on_event)

    def watch(self, users: Collection[str], changed: Callable[[str], None]) -> Callable[[], None]:
        watched = set(users)
        for user in watched:
            self._watchers.setdefault(user, []).append(changed)
            if user not in self._armed:
                self._waiting.setdefault(user, False)
        self._pump()
        # What had to wait may miss what happens now: it is told of when it is set.
        self._waiting.update(dict.fromkeys(watched & self._waiting.keys(), True))

        def stop() -> None:
            while watched:
                user = watched.pop()
                self._watchers[user].remove(changed)
                if not self._watchers[user]:
                    del self._watchers[user]
                    self._waiting.pop(user, None)

        return stop

    def set_all(self) -> None:
        """After a reconnect: none is set any more, and anything may have happened."""
        self._armed.clear()
        self._flying.clear()
        self._waiting = dict.fromkeys(self._watchers, True)
        self._pump()

    async def tell_of(self, places: set[Place]) -> None:
        """Tell of the watched users that are on these instances, which came or went."""
        for users in batches(list(self._watchers), OPERATIONS_MAX):
            found = await self._link.read([self._nodes.user(user) for user in users])
            for user, node in zip(users, found, strict=True):
                if node and not places.isdisjoint(read_entry(node[0])):
                    self._tell(user)

    def _pump(self) -> None:
        while self._waiting and len(self._flying) < FLYING_MAX and self._link.connected:
            user = next(iter(self._waiting))
            tell = self._waiting.pop(user)
            self._flying.add(user)
            self._armed.add(user)  # it may fire before we see that it is set
            path = self._nodes.user(user)
            future = self._link.begin(partial(self._link.client.exists_async, path, self._fired))
            future.add_done_callback(partial(self._set, user, tell, self._link.connections))

    def _set(self, user: str, tell: bool, connection: int, future: asyncio.Future[Any]) -> None:  # noqa: FBT001
        failed = future.cancelled() or future.exception() is not None
        if connection != self._link.connections:
            return  # `set_all` has seen to it
        self._flying.discard(user)
        if failed:
            self._armed.discard(user)
        elif tell:
            self._tell(user)
        # One that failed did so with the connection: it is set after the reconnect.
        self._pump()

    def _on_event(self, event: Any) -> None:
        user = event.path.rpartition("/")[2]
        self._armed.discard(user)
        if user in self._watchers:
            self._waiting[user] = True
            self._pump()

    def _tell(self, user: str) -> None:
        for changed in tuple(self._watchers.get(user, ())):
            try:
                changed(user)
            except Exception:
                log.exception("a watcher failed")
