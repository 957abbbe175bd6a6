"""The accounts as this instance knows them: read often, changed seldom, one change at a time.

Why: an account is stored as a whole. If a new name and a new password were written side by
side, each from its own reading, the later would bring the old password back, or an erased
account to life. So every change of an account goes through here, and those of one user wait
for each other. Between instances the store decides: it takes a change only of what it still
has, and the slower one reads again.

What is read is kept (`forget` drops it). A change that another instance made is seen
only once the account is forgotten here; so `changed` tells the others of each change.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from whatsapp.clock import Promise, Scheduler
from whatsapp.errors import Busy, NotFound
from whatsapp.interfaces import AccountStore
from whatsapp.model import Account

log = logging.getLogger(__name__)

CACHED_MAX = 100_000
CHANGES_WAITING_MAX = 32
# How often a change begins anew because another instance was quicker.
TRIES_MAX = 8

Value = TypeVar("Value")
Work = Callable[[], Awaitable[Any]]


class Cache(Generic[Value]):
    """The values used last, at most `size_max`.

    Why tickets: what was read from a store may be older than a change that was made while
    the reading took place. Then it is not kept.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._changes = 0

    def get(self, key: str) -> Value | None:
        if (value := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return value

    def ticket(self) -> int:
        """Take one before reading, and give it to `keep`."""
        return self._changes

    def keep(self, key: str, value: Value, ticket: int) -> None:
        if ticket == self._changes:
            self._put(key, value)

    def amend(self, key: str, value: Value) -> None:
        """Replace what is there, where it does not matter if a reader misses it."""
        if key in self._values:
            self._values[key] = value

    def forget(self, key: str) -> None:
        self._changes += 1
        self._values.pop(key, None)

    def clear(self) -> None:
        self._changes += 1
        self._values.clear()

    def _put(self, key: str, value: Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size_max:
            self._values.popitem(last=False)


class Accounts:
    """Reads through a cache; changes in order. Raises `Unavailable` like the store."""

    def __init__(
        self,
        store: AccountStore,
        scheduler: Scheduler,
        *,
        cached_max: int = CACHED_MAX,
    ) -> None:
        self._store = store
        self.changed: Callable[[str], None] | None = None  # told of each change, also unsure ones
        self._scheduler = scheduler
        self._accounts: Cache[Account] = Cache(cached_max)
        self._blocks: Cache[frozenset[str]] = Cache(cached_max)
        self._waiting: dict[str, deque[tuple[Work, Promise]]] = {}

    async def find(self, users: Collection[str]) -> dict[str, Account]:
        """Those of these accounts that exist, erased ones too. May come from memory."""
        found: dict[str, Account] = {}
        missing: list[str] = []
        for user in users:
            if (account := self._accounts.get(user)) is not None:
                found[user] = account
            else:
                missing.append(user)
        if missing:
            ticket = self._accounts.ticket()
            read = await self._store.find(missing)
            for user, account in read.items():
                self._accounts.keep(user, account, ticket)
            found.update(read)
        return found

    def cached(self, user: str) -> Account | None:
        """The account if it is in memory; None says nothing."""
        return self._accounts.get(user)

    async def fresh(self, user: str) -> Account | None:
        """The account as the store has it now; None where there is none, or it was erased."""
        account = (await self._store.find([user])).get(user)
        return None if account is None or account.erased else account

    async def search(self, prefix: str, limit: int) -> list[Account]:
        return await self._store.search(prefix, limit)

    async def create(self, account: Account) -> bool:
        return await self._store.create(account)

    async def edit(self, user: str, change: Callable[[Account], Account]) -> Account:
        """Store `change` of the account as it is then. What `change` raises comes back.

        `NotFound` where there is no such user, or no more.
        """

        async def work() -> Account:
            for _ in range(TRIES_MAX):
                account = await self.fresh(user)
                if account is None:
                    raise NotFound("there is no such user")
                changed = change(account)
                if changed == account:
                    return changed
                if await self._write(user, self._store.update(account, changed)):
                    return changed
            raise Busy("this account is being changed elsewhere; try again", retry_after_ms=1000)

        edited: Account = await self._in_turn(user, work)
        return edited

    async def erase(self, user: str) -> None:
        async def work() -> None:
            await self._write(user, self._store.erase(user))

        await self._in_turn(user, work)

    async def saw(self, times_ms: dict[str, int]) -> None:
        """As the store's, and in memory too."""
        for user, time_ms in times_ms.items():
            account = self._accounts.get(user)
            if account is not None and account.last_seen_ms < time_ms:
                self._accounts.amend(user, replace(account, last_seen_ms=time_ms))
        await self._store.saw(times_ms)

    async def blocks(self, user: str) -> frozenset[str]:
        """Whom `user` blocks."""
        if (known := self._blocks.get(user)) is not None:
            return known
        ticket = self._blocks.ticket()
        read = frozenset(await self._store.blocks(user))
        self._blocks.keep(user, read, ticket)
        return read

    def cached_blocks(self, user: str) -> frozenset[str] | None:
        """Whom `user` blocks if that is in memory; None where it must be asked."""
        return self._blocks.get(user)

    async def block(self, user: str, other: str, *, on: bool) -> bool:
        """Whether this changed anything."""

        async def work() -> bool:
            before = frozenset(await self._store.blocks(user))
            if (other in before) == on:
                return False
            await self._write(user, self._store.block(user, other, on=on))
            return True

        changed: bool = await self._in_turn(user, work)
        return changed

    def forget(self, user: str) -> None:
        """Drop what is in memory; the next asking reads it anew."""
        self._accounts.forget(user)
        self._blocks.forget(user)

    def forget_last_seen(self, user: str) -> None:
        """As `forget`, where another instance may have written when it was last seen."""
        self._accounts.forget(user)

    def forget_all(self) -> None:
        self._accounts.clear()
        self._blocks.clear()

    async def _write(self, user: str, writing: Awaitable[Value]) -> Value:
        """What was in memory may be wrong now, also when it failed. What was written is not kept
        either: another instance may have changed it since.
        """
        try:
            return await writing
        finally:
            self.forget(user)
            if self.changed is not None:
                self.changed(user)

    async def _in_turn(self, user: str, work: Work) -> Any:
        """Run it once all earlier changes of this user are done. `Busy` if they are too many.

        It runs in a task of its own: who asked may be cancelled, a change is not cut in two.
        """
        promise = self._scheduler.promise()
        queue = self._waiting.get(user)
        if queue is None:
            queue = self._waiting[user] = deque()
            self._scheduler.spawn(self._work(user, queue))
        elif len(queue) >= CHANGES_WAITING_MAX:
            raise Busy("too many changes of this account at once; try again", retry_after_ms=1000)
        queue.append((work, promise))
        return await promise

    async def _work(self, user: str, queue: deque[tuple[Work, Promise]]) -> None:
        try:
            while queue:
                await _settle(*queue.popleft())
        finally:
            del self._waiting[user]


async def _settle(work: Work, promise: Promise) -> None:
    try:
        result = await work()
    except Exception as error:
        if promise.done():
            log.exception("account change failed and nobody waits for it")
        else:
            promise.set_exception(error)
    else:
        if not promise.done():
            promise.set_result(result)
