"""The users of this instance: a wish that is kept, and entries that are made to agree with it.

`here` is the wish. Users whose entry may not agree are *doubted*: those just announced or
withdrawn, those whose write had no answer, all of them after the session was lost. One task
reads the entries of a batch and writes what differs, each by the version that was read, until
nobody is doubted. So everything may be done twice, and nothing needs to be remembered about
what failed. What is asked for while a batch is under way gathers for the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from itertools import islice

from backends.zookeeper_link import Link, NoAuthError
from backends.zookeeper_nodes import (
    OPERATIONS_MAX,
    Nodes,
    Place,
    batches,
    transactions,
    wanted_write,
)
from whatsapp.errors import Unavailable

WISH_SECONDS = 1.0
WISH_SECONDS_PER_USER = 0.001
RETRY_SECONDS = 0.5


class _Wait:
    """One call that waits until so many of its users are seen to."""

    def __init__(self) -> None:
        self.left = 0
        self.done = asyncio.Event()

    def one_less(self) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()


class Entries:
    """`allowed()`: may entries be written now? Not before our node is there, or two instances of
    one name would write over each other's.
    """

    def __init__(self, link: Link, nodes: Nodes, own: Place, allowed: Callable[[], bool]) -> None:
        self._link = link
        self._allowed = allowed
        self._nodes = nodes
        self._own = own
        self.here: set[str] = set()
        self._doubted: dict[str, list[_Wait]] = {}
        self._flying: dict[str, list[_Wait]] = {}
        self._wake = asyncio.Event()

    async def wish(self, users: Collection[str], *, here: bool) -> None:
        """These users are here, or not. `Unavailable` where it could not be entered in time."""
        wait = _Wait()
        for user in set(users):
            if (user in self.here) != here:
                (self.here.add if here else self.here.discard)(user)
                waits = self._doubted.setdefault(user, [])
            elif (known := self._doubted.get(user, self._flying.get(user))) is not None:
                waits = known
            else:
                continue
            waits.append(wait)
            wait.left += 1
        if not wait.left:
            return
        self._wake.set()
        if not (self._allowed() and self._link.usable):
            raise Unavailable("ZooKeeper cannot be reached.")
        try:
            async with asyncio.timeout(WISH_SECONDS + WISH_SECONDS_PER_USER * wait.left):
                await wait.done.wait()
        except TimeoutError as error:
            raise Unavailable("ZooKeeper does not answer.") from error

    @property
    def settled(self) -> bool:
        return not self._doubted and not self._flying

    def doubt_all(self) -> None:
        for user in self.here:
            self._doubted.setdefault(user, [])
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while self._doubted and self._allowed():
                    await self._step()
            except (Unavailable, NoAuthError):
                pass
            if self._doubted:
                self._wake.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def clear(self, seconds: float) -> None:
        """Withdraw everybody, as many as can be in that time."""
        self.doubt_all()
        self.here.clear()
        try:
            async with asyncio.timeout(seconds):
                while self._doubted:
                    await self._step()
        except (TimeoutError, Unavailable, NoAuthError):
            return  # swept by the others

    async def _step(self) -> None:
        """One batch. Where it fails, all of it is doubted again."""
        batch = dict(islice(self._doubted.items(), OPERATIONS_MAX))
        for user in batch:
            del self._doubted[user]
        self._flying = batch
        try:
            await self._agree(list(batch), OPERATIONS_MAX)
        except BaseException:
            for user, waits in batch.items():
                self._doubted.setdefault(user, []).extend(waits)
            raise
        finally:
            self._flying = {}
        for waits in batch.values():
            for wait in waits:
                wait.one_less()

    async def _agree(self, users: Sequence[str], size: int) -> None:
        """Another instance may write the same entry: smaller and smaller parts are tried again.

        Why: a transaction that meets one such entry does nothing, and names the first only.
        """
        paths = [self._nodes.user(user) for user in users]
        found = await self._link.read(paths)
        writes = [
            write
            for user, path, node in zip(users, paths, found, strict=True)
            if (write := wanted_write(path, node, self._own, here=user in self.here))
        ]
        again = [
            write.path.rpartition("/")[2]
            for cut in transactions(writes)
            if not await self._link.write(cut)
            for write in cut
        ]
        if again and size == 1:
            raise Unavailable("An entry changes all the time.")
        size = max(1, size // 4)
        for part in batches(again, size):
            await self._agree(part, size)
