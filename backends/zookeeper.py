"""`Directory` on ZooKeeper, for any number of instances. Answers may be as old as the server
that gives them is behind.

`zookeeper_nodes.py` says what is where; `zookeeper_link.py` has kazoo and its threads; the
parts have one thing each: `…_members` the instances, `…_entries` the users here, `…_watches`
those looked at, `…_sweeper` what the dead leave, `…_guard` a loop that hangs.

This file puts them together and sets right what was lost. What was done on one connection
counts for that connection; on the next one `_set_right` does it again, until it succeeded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from backends.zookeeper_doctor import diagnose
from backends.zookeeper_entries import Entries
from backends.zookeeper_guard import Guard
from backends.zookeeper_link import (
    Link,
    NoAuthError,
    NoNodeError,
    UnimplementedError,
    check,
    hosts_and_root,
)
from backends.zookeeper_members import Members, prepare
from backends.zookeeper_nodes import OPERATIONS_MAX, Nodes, Place, batches, read_entry
from backends.zookeeper_sweeper import Sweeper
from backends.zookeeper_watches import Watches
from whatsapp import config
from whatsapp.errors import StartupError, Unavailable
from whatsapp.interfaces import Instance

__all__ = ["ZookeeperDirectory", "diagnose", "open_directory"]

log = logging.getLogger(__name__)

START_SECONDS = 10.0
BEAT_SECONDS = 0.25
PROBE_SECONDS = 1.0
RETRY_SECONDS = 0.5
LEAVE_SECONDS = 3.0
# Of a session time-out: away for longer, others may have taken us for dead.
AWAY_SHARE = 2 / 3


@asynccontextmanager
async def open_directory(
    settings: config.DirectorySection, instance: Instance
) -> AsyncIterator[ZookeeperDirectory]:
    """The directory, once this instance is in it.

    `StartupError`: no kazoo, no server, one that is too old, credentials that are refused or
    missing, another instance of this name.
    """
    check(settings)
    directory = ZookeeperDirectory(settings, instance)
    try:
        await directory.open()
        yield directory
    finally:
        await directory.close()


class ZookeeperDirectory:
    """`Directory`."""

    def __init__(self, settings: config.DirectorySection, instance: Instance) -> None:
        own: Place = (instance.name, instance.epoch)
        self._settings = settings
        self._instance = instance
        self._link = Link(settings)
        self._nodes = Nodes(hosts_and_root(settings)[1])
        self._members = Members(self._link, self._nodes, instance, self._places_changed)
        self._entries = Entries(self._link, self._nodes, own, lambda: self._session is not None)
        self._watches = Watches(self._link, self._nodes)
        self._sweeper = Sweeper(self._link, self._nodes, self._members, own)
        self._guard = Guard(self._link, self._nodes.instance(instance.name))
        self._tasks: list[asyncio.Task[None]] = []
        self._listeners: list[Callable[[], None]] = []
        self._wake = asyncio.Event()
        self._set_right_for = 0  # the connection on which all is as it should be
        self._session: int | None = None  # the one that our node belongs to
        self._changed_places: set[Place] = set()
        self._refresh = False
        self._was_healthy = False
        self._taken = False

    async def announce(self, users: Collection[str]) -> None:
        await self._entries.wish(users, here=True)

    async def withdraw(self, users: Collection[str]) -> None:
        await self._entries.wish(users, here=False)

    async def locate(self, users: Collection[str]) -> dict[str, list[str]]:
        if not (self.healthy() and self._link.usable):
            raise Unavailable("The directory is away.")
        entries: dict[str, list[Place]] = {}
        with _translated():
            for some in batches(users, OPERATIONS_MAX):
                found = await self._link.read([self._nodes.user(user) for user in some])
                entries |= {
                    user: read_entry(node[0])
                    for user, node in zip(some, found, strict=True)
                    if node
                }
            await self._members.settle({p for places in entries.values() for p in places})
        alive = self._members.alive
        located = {
            user: sorted(name for name, epoch in places if (name, epoch) in alive)
            for user, places in entries.items()
        }
        return {user: names for user, names in located.items() if names}

    async def instances(self) -> list[Instance]:
        with _translated():
            return await self._members.refresh()

    def watch(self, users: Collection[str], changed: Callable[[str], None]) -> Callable[[], None]:
        return self._watches.watch(users, changed)

    def on_change(self, changed: Callable[[], None]) -> None:
        self._listeners.append(changed)

    def healthy(self) -> bool:
        return self._link.healthy and self._session is not None

    async def open(self) -> None:
        """Connect, join, and keep it so."""
        self._link.changed = self._wake.set
        self._link.start()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._until_connected()
                await prepare(self._link, self._nodes)
                await self._link.read([self._nodes.joins])
            await self._join_at_first()
        except (TimeoutError, Unavailable) as error:
            raise StartupError(
                f"No ZooKeeper server answers at {self._settings.hosts}",
                "Start it, or set [directory] hosts; `whatsapp doctor` looks at it.",
            ) from error
        except NoAuthError as error:
            raise StartupError(
                f"ZooKeeper refuses us at {self._nodes.root}",
                "[directory] user and password must be those that its nodes were made with.",
            ) from error
        except UnimplementedError as error:
            raise StartupError(
                "This ZooKeeper is too old", "Use version 3.6 or later on all servers."
            ) from error
        self._guard.start()
        self._link.changed = self._link_changed
        self._members.stirred = self._stirred
        self._was_healthy = True
        self._sweeper.want()
        work = (self._keep(), self._beat(), self._probe(), self._entries.run(), self._sweeper.run())
        self._tasks = [asyncio.create_task(coroutine) for coroutine in work]

    async def close(self) -> None:
        """Our node first: from then on all our entries count as absent, removed or not."""
        self._guard.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            with suppress(Unavailable, NoAuthError, NoNodeError):
                await self._members.leave()
                await self._entries.clear(LEAVE_SECONDS)
        await self._link.stop()

    async def _until_connected(self) -> None:
        while not self._link.connected:
            self._wake.clear()
            await self._wake.wait()

    async def _join_at_first(self) -> None:
        """A predecessor that crashed is in the directory until its session ends: wait for that."""
        end = time.monotonic() + 1.5 * self._link.session_seconds + 2
        while not await self._joined():
            if not self._taken:
                self._taken = True
                log.warning(
                    "instance name in use, waiting for its session to end name=%s",
                    self._instance.name,
                )
            if time.monotonic() > end:
                raise StartupError(
                    f"Another instance is running under the name {self._instance.name!r}",
                    "Set another [directory] instance, or leave it empty.",
                )
            await asyncio.sleep(BEAT_SECONDS)
        await self._members.refresh()
        self._set_right_for = self._link.connections

    async def _joined(self) -> bool:
        session = self._link.session
        if not await self._members.join():
            return False
        self._session = session
        self._guard.joined(session)
        self._taken = False
        return True

    async def _keep(self) -> None:
        """Whenever something was lost or has changed: set it right, however often it takes."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._set_right()
            except (Unavailable, NoAuthError, NoNodeError):
                self._wake.set()
                await asyncio.sleep(RETRY_SECONDS)
            self._look()

    async def _set_right(self) -> None:
        connection = self._link.connections
        if connection != self._set_right_for:
            await self._return()
            self._set_right_for = connection
            self._watches.set_all()
            self._tell()
        elif self._refresh:
            self._refresh = False
            try:
                await self._members.refresh()
            except BaseException:
                self._refresh = True
                raise
        if places := self._changed_places:
            self._changed_places = set()
            self._tell()
            try:
                await self._watches.tell_of(places)
            except BaseException:
                self._changed_places |= places
                raise

    async def _return(self) -> None:
        """We are connected again, or were thought to hang."""
        was_in = self._session is not None
        if not was_in:
            await prepare(self._link, self._nodes)
        if not await self._joined():
            if not self._taken:
                self._taken = True
                log.error("instance name taken by another name=%s", self._instance.name)
            self._session = None
            raise Unavailable("Another instance has our name.")
        if not was_in or self._link.was_away_seconds > AWAY_SHARE * self._link.session_seconds:
            self._entries.doubt_all()
        self._refresh = False
        await self._members.refresh()

    async def _beat(self) -> None:
        while True:
            if self._guard.beat():
                log.warning("event loop did not run, instance joins again")
                self._session = None
                self._set_right_for = 0
                self._wake.set()
            self._look()
            await asyncio.sleep(BEAT_SECONDS)

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS if self._link.usable else BEAT_SECONDS)
            with suppress(Unavailable, NoAuthError):
                await self._link.probe()

    def _look(self) -> None:
        """Lost, or regained? Said once."""
        healthy = self.healthy()
        if healthy == self._was_healthy:
            return
        self._was_healthy = healthy
        if healthy:
            log.warning("directory regained users=%d", len(self._entries.here))
        else:
            log.warning("directory lost")
        self._tell()

    def _link_changed(self) -> None:
        if self._link.connected and self._session != self._link.session:
            self._session = None  # ZooKeeper has ended it, and our node with it
        self._wake.set()
        self._look()

    def _stirred(self) -> None:
        self._refresh = True
        self._wake.set()

    def _places_changed(self, places: set[Place]) -> None:
        self._changed_places |= places
        if places - self._members.alive:
            self._sweeper.want()
        self._wake.set()

    def _tell(self) -> None:
        for changed in tuple(self._listeners):
            try:
                changed()
            except Exception:
                log.exception("a listener failed")


@contextmanager
def _translated() -> Iterator[None]:
    """Answers that nobody expects once all nodes are there."""
    try:
        yield
    except (NoAuthError, NoNodeError) as error:
        raise Unavailable("ZooKeeper refuses to answer.") from error
