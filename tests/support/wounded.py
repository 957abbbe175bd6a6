"""Backends with one promise broken each: the contract suite must notice.

A suite that cannot fail proves nothing. `WOUNDS` names each wound; `wounded` gives stores
that have it; `tests/contracts/test_wounded.py` says which test must fail on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tests.support.backends import opened
from whatsapp.interfaces import Stores
from whatsapp.model import Member, Stored


class Around:
    """All of a store, but for what a subclass does otherwise."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class ReversedBatch(Around):
    async def append(self, drafts):
        return (await self._store.append(list(drafts)[::-1]))[::-1]


class EarlyAnswer(Around):
    """Answers with what it is going to store."""

    def __init__(self, store):
        super().__init__(store)
        self._heads = {}
        self._tasks = set()

    async def append(self, drafts):
        outcomes = []
        for draft in drafts:
            self._heads[draft.chat] = self._heads.get(draft.chat, 0) + 1
            outcomes.append(Stored(draft.entry(self._heads[draft.chat])))
        task = asyncio.ensure_future(self._later(drafts))
        self._tasks.add(task)
        return outcomes

    async def _later(self, drafts):
        await asyncio.sleep(0.05)
        await self._store.append(drafts)


class NoEpochs(Around):
    """Never finds a draft stale."""

    async def append(self, drafts):
        return await self._store.append([replace(draft, epoch=1 << 50) for draft in drafts])


class OneByOne(Around):
    """Forgets that a call's own epochs are forgiven."""

    async def append(self, drafts):
        return [(await self._store.append([draft]))[0] for draft in drafts]


class LostChange(Around):
    async def append(self, drafts):
        return await self._store.append([replace(draft, change=None) for draft in drafts])


class ShortPages(Around):
    """Loses the first entry of a page."""

    async def pages(self, wishes):
        return [page[1:] if len(page) > 1 else page for page in await self._store.pages(wishes)]


class LeakySearch(Around):
    """Does not ask when somebody was a member."""

    async def search(self, terms, scopes, **more):
        every = [replace(s, member=Member(user=s.member.user)) for s in scopes]
        return await self._store.search(terms, every, **more)


class ShowsHidden(Around):
    async def search(self, terms, scopes, **more):
        found = await self._store.search(terms, scopes, **more)
        for scope in scopes:
            for user in scope.chat.split(":"):
                other = replace(scope, member=replace(scope.member, user=user))
                found += await self._store.search(terms, [other], **more)
        return sorted(set(found), key=lambda entry: -entry.seq)


class ForgetfulCursors(Around):
    """Takes the last value, not the furthest."""

    async def advance(self, moves):
        await self._store.advance([replace(move, rewind=True) for move in moves])


class RevivedAccounts(Around):
    """Gives the name of an erased account away."""

    async def create(self, account):
        created = await self._store.create(account)
        found = await self._store.find([account.user])
        return created or found[account.user].erased


def with_messages(wound: type[Around]) -> Callable[[Stores], Stores]:
    return lambda stores: replace(stores, messages=wound(stores.messages))


WOUNDS: dict[str, Callable[[Stores], Stores]] = {
    "reversed batch": with_messages(ReversedBatch),
    "early answer": with_messages(EarlyAnswer),
    "no epochs": with_messages(NoEpochs),
    "one by one": with_messages(OneByOne),
    "lost change": with_messages(LostChange),
    "short pages": with_messages(ShortPages),
    "leaky search": with_messages(LeakySearch),
    "hidden shown": with_messages(ShowsHidden),
    "forgetful cursors": lambda s: replace(s, chats=ForgetfulCursors(s.chats)),
    "revived accounts": lambda s: replace(s, accounts=RevivedAccounts(s.accounts)),
    "no unique id": lambda stores: stores,
    "no unique seq": lambda stores: stores,
}
DROPPED = {"no unique id": "messages_id", "no unique seq": "messages_seq"}


@asynccontextmanager
async def wounded(wound: str, folder: Path) -> AsyncIterator[Stores]:
    """SQLite's stores with this wound."""
    async with opened("sqlite", folder) as stores:
        writer: Any = stores.messages
        if index := DROPPED.get(wound):
            await writer._writer.run(lambda db: db.execute(f"DROP INDEX {index}"))
        if wound == "no unique seq":
            # The index is what keeps two writers apart; this one forgets the head each time.
            writer._appender._states = Forgetful()
        yield WOUNDS[wound](stores)


class Forgetful(dict[str, Any]):
    """A cache whose states begin at nought."""

    def __setitem__(self, chat: str, state: Any) -> None:
        state.head = 0

    def __len__(self) -> int:
        return 0
