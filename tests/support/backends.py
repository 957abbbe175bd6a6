"""The backends that the contract suites run over, and short ways to say things to them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import backends
from tests.support import mongo
from whatsapp import config
from whatsapp.interfaces import Stores
from whatsapp.model import Change, Draft, Entry, Member, Page, Role, Scope, Stored, direct_chat

# Those that need a service; the same code over either driver.
MONGO_STORES = [
    pytest.param("mongo-motor", marks=pytest.mark.external),
    pytest.param("mongo-pymongo", marks=pytest.mark.external),
]
DURABLE_STORES = [pytest.param("sqlite"), *MONGO_STORES]
STORES = [pytest.param("memory"), *DURABLE_STORES]
DIRECTORIES = [
    pytest.param("memory"),
    pytest.param("zookeeper", marks=pytest.mark.external),
]

GROUP = "g:01890a5d-ac96-774b-bcce-b302099a8057"
PAIR = direct_chat("ann", "bob")

Open = Callable[[], AbstractAsyncContextManager[Stores]]

_ids = itertools.count(1)


def opener(name: str, folder: Path) -> Open:
    """Call the result to open the backend; again, after closing, on the same data."""
    if name.startswith("mongo-"):
        storage = mongo.settings(folder, name.removeprefix("mongo-"))
        return lambda: backends.stores("mongo").open_stores(storage)
    return lambda: backends.stores(name).open_stores(config.Storage(data=str(folder)))


@asynccontextmanager
async def opened(name: str, folder: Path) -> AsyncIterator[Stores]:
    async with opener(name, folder)() as stores:
        yield stores


def say(text: str = "hello", sender: str = "ann", chat: str = PAIR, **more: Any) -> Draft:
    """A draft of text with an id of its own; its number is its time, unless said otherwise."""
    number = next(_ids)
    more.setdefault("id", f"id-{number:08}")
    more.setdefault("time_ms", number)
    return Draft(chat=chat, sender=sender, text=text, **more)


def change(sender: str = "ann", chat: str = GROUP, epoch: int = 0, **parts: Any) -> Draft:
    """An entry that changes a group."""
    return say("", sender, chat, kind="changed", epoch=epoch, change=Change(**parts))


def founded(*users: str, chat: str = GROUP, title: str = "Climbing") -> Draft:
    """The first entry of a group: its first user is the owner."""
    roles = (Role.OWNER, *[Role.MEMBER] * (len(users) - 1))
    joins = tuple(zip(users, roles, strict=True))
    return change(users[0], chat, title=title, joins=joins)


async def append(stores: Stores, *drafts: Draft) -> list[Entry]:
    """Append drafts that must be new."""
    outcomes = await stores.messages.append(drafts)
    assert all(isinstance(outcome, Stored) for outcome in outcomes), outcomes
    return [outcome.entry for outcome in outcomes if isinstance(outcome, Stored)]


async def log_of(stores: Stores, chat: str = PAIR) -> list[Entry]:
    """The whole log; it must be without holes."""
    (entries,) = await stores.messages.pages([Page(chat=chat, after=0, limit=100_000)])
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return entries


async def member(stores: Stores, user: str, chat: str = PAIR) -> Member:
    return (await stores.chats.load([chat]))[chat].members[user]


async def scope(stores: Stores, user: str, chat: str = PAIR) -> Scope:
    return Scope(chat=chat, member=await member(stores, user, chat))


async def indexed(stores: Stores) -> bool:
    """Wait until the search index is complete; false for a backend without one."""
    search = getattr(stores.messages, "_search", None)
    if search is None:
        return False
    await search.caught_up()
    return True
