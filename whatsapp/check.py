"""`whatsapp check`: is what a store keeps what it promised to keep? It only reads.

Over the interfaces, so for every backend: each chat's seqs without a hole, no id twice,
members, title and epoch as the log says, cursors not beyond the head, everybody named has an
account. Beside a running server too: each chat is looked at as of one moment. What only the
technology knows (pages, indexes, rows without their owner) its own module looks at.

In memory: the names of all users and chats, and the ids of one batch of chats.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field

from whatsapp import app
from whatsapp.config import Config, data_folder
from whatsapp.errors import StartupError, Unavailable
from whatsapp.interfaces import Stores
from whatsapp.model import Chat, Entry, Member, Page, Position, pair
from whatsapp.progress import Tell
from whatsapp.replay import Replay

CHATS_AT_ONCE = 50
ENTRIES_AT_ONCE = 500
ENDLESS = (1 << 31) - 1
UNREADABLE = (Unavailable, ValueError, TypeError, msgspec.MsgspecError)


class Report(Struct):
    """What was looked at, and what is wrong, each in one sentence."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    accounts: int = 0
    chats: int = 0
    entries: int = 0


def run(config: Config, tell: Tell, backup: Path | None = None) -> Report:
    """Look at the configured store, or at a backup. `StartupError` where there is nothing."""
    if config.storage.backend == "memory":
        raise StartupError("the memory store keeps nothing to check", "Use one that does: sqlite.")
    if backup is None and config.storage.backend != "sqlite":
        return asyncio.run(_opened(config, tell))
    upkeep = app.upkeep(config)
    file = upkeep.messages_file(data_folder(config.storage)) if backup is None else backup
    return of_file(config, file, tell, index=backup is None)


def of_file(config: Config, file: Path, tell: Tell, *, index: bool = False) -> Report:
    """A file of messages, with the index beside it where `index`."""
    upkeep = app.upkeep(config)
    report = Report()
    with upkeep.explaining(file):
        looks = [upkeep.faults(file, tell)]
        if index:
            looks.append(upkeep.index_faults(file.parent, tell))
        for problems, notes in looks:
            report.problems += problems
            report.notes += notes
        asyncio.run(_of_file(config, file, tell, report))
    return report


async def _of_file(config: Config, file: Path, tell: Tell, report: Report) -> None:
    upkeep = app.upkeep(config)
    async with upkeep.reading(file) as (stores, known):
        try:
            chats = await known()
        except UNREADABLE as error:
            report.problems.append(_unreadable("the list of chats", error))
            chats = []
        await examine(stores, report, tell, known=chats)


async def _opened(config: Config, tell: Tell) -> Report:
    report = Report()
    async with app.opened_stores(config) as stores:
        await examine(stores, report, tell)
    return report


async def examine(
    stores: Stores, report: Report, tell: Tell, *, known: Collection[str] = ()
) -> None:
    """Add to the report what the interfaces show. `known`: chats that surely are there.

    Chats whose members have all erased their accounts are found only by `known`.
    """
    try:
        users = [account.user for account in await stores.accounts.search("", ENDLESS)]
    except UNREADABLE as error:
        report.problems.append(_unreadable("the accounts", error))
        users = []
    report.accounts = len(users)
    chats = dict.fromkeys(known)
    for done, user in enumerate(users):
        tell("users and their devices", done, len(users))
        try:
            chats |= dict.fromkeys([chat async for chat in _of_user(stores, user, report)])
        except UNREADABLE as error:
            report.problems.append(_unreadable(f"what belongs to {user}", error))
    report.chats = len(chats)
    waiting = iter(chats)
    for done in range(0, len(chats), CHATS_AT_ONCE):
        tell("chats and their logs", done, len(chats))
        await _batch(stores, list(itertools.islice(waiting, CHATS_AT_ONCE)), report)


async def _of_user(stores: Stores, user: str, report: Report) -> AsyncIterator[str]:
    """The user's chats; on the way its devices' cursors are looked at."""
    devices = [device.device for device in await stores.devices.of_user(user)]
    for device in devices or [""]:
        for position in await stores.chats.of_user(user, device):
            report.problems += _device_beyond(position, device)
            yield position.chat
    for line in await stores.chats.lines(user, limit=ENDLESS, before_ms=None):
        yield line.chat


def _device_beyond(position: Position, device: str) -> Iterator[str]:
    if position.device_received > position.head:
        yield (
            f"chat {position.chat}: the cursor of {position.member.user}'s device {device} is at"
            f" {position.device_received}, beyond the head {position.head}"
        )


async def _batch(stores: Stores, chats: Sequence[str], report: Report) -> None:
    """Some chats together; where that fails one by one, so that the bad one is named."""
    try:
        loaded = await stores.chats.load(chats)
        looks = [_Look(chat) for chat in loaded.values()]
        await _read(stores, looks)
        problems = [
            f"chat {chat}: it is listed, and has no log" for chat in chats if chat not in loaded
        ]
        for look in looks:
            problems += look.problems()
        problems += await _people(stores, looks)
        problems += await _invitations(stores, loaded.values())
    except UNREADABLE as error:
        if len(chats) > 1:
            for chat in chats:
                await _batch(stores, [chat], report)
        else:
            report.problems.append(_unreadable(f"chat {chats[0]}", error))
        return
    report.entries += sum(look.count for look in looks)
    report.problems += problems


async def _read(stores: Stores, looks: Sequence[_Look]) -> None:
    waiting = list(looks)
    while waiting:
        wishes = [
            Page(chat=look.chat.chat, after=look.at, limit=min(ENTRIES_AT_ONCE, look.left))
            for look in waiting
        ]
        for look, entries in zip(waiting, await stores.messages.pages(wishes), strict=True):
            look.take(entries)
        waiting = [look for look in waiting if look.left]


async def _people(stores: Stores, looks: Sequence[_Look]) -> list[str]:
    named = {user for look in looks for user in look.chat.members}
    there = await stores.accounts.find(named)
    return [
        f"chat {look.chat.chat}: its member {user} has no account"
        for look in looks
        for user in sorted(look.chat.members.keys() - there.keys())
    ]


async def _invitations(stores: Stores, chats: Iterable[Chat]) -> list[str]:
    return [
        f"chat {chat.chat}: its invitation leads to {leads or 'nothing'}"
        for chat in chats
        if chat.invite and (leads := await stores.chats.by_invite(chat.invite)) != chat.chat
    ]


class _Look:
    """One chat as it was when it was loaded, and its log up to there."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.at = 0
        self.count = 0
        self.left = chat.head
        self._replay = Replay(chat)
        self._ids: dict[tuple[str, str], int] = {}
        self._problems: list[str] = []

    def take(self, entries: Sequence[Entry]) -> None:
        """The next page; what is beyond the head of that moment is not looked at."""
        if not entries:
            self._gap(self.at + 1, self.chat.head)
            self.left = 0
            return
        for entry in entries:
            if entry.seq > self.chat.head:
                break
            if entry.seq <= self.at:
                self._problems.append(f"seq {entry.seq} is there twice")
            elif entry.seq > self.at + 1:
                self._gap(self.at + 1, entry.seq - 1)
            self._one(entry)
        self.at = max(self.at, entries[-1].seq)
        self.left = max(0, self.chat.head - self.at)

    def problems(self) -> Iterator[str]:
        name = f"chat {self.chat.chat}"
        found = [*self._problems, *self._replay.differences()]
        for member in self.chat.members.values():
            found += _beyond(member, self.chat.head)
        if (two := pair(self.chat.chat)) and set(self.chat.members) != set(two):
            found.append(f"it is of {' and '.join(two)}, and has other members")
        yield from (f"{name}: {text}" for text in found)

    def _one(self, entry: Entry) -> None:
        self.at = max(self.at, entry.seq)
        self.count += 1
        first = self._ids.setdefault((entry.sender, entry.id), entry.seq)
        if first != entry.seq:
            self._problems.append(
                f"seq {first} and seq {entry.seq} have one sender and one id"
                f" ({entry.sender}, {entry.id})"
            )
        if entry.sender not in self.chat.members:
            self._problems.append(f"seq {entry.seq} is by {entry.sender}, who never was a member")
        self._replay.take(entry)

    def _gap(self, first: int, last: int) -> None:
        what = f"seq {first} is" if first == last else f"seqs {first} to {last} are"
        self._problems.append(f"{what} missing, and the head is {self.chat.head}")


def _beyond(member: Member, head: int) -> Iterator[str]:
    for what in ("received", "read"):
        at = getattr(member, what)
        if at > head:
            yield f"{member.user}'s {what} cursor is at {at}, beyond the head {head}"


def _unreadable(what: str, error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, Unavailable) and error.__cause__ else error
    return f"{what} cannot be read: {cause}"
