"""Everything in this process's memory: for tests, trials, and as the detector of one instance.

Nothing is durable. No method waits in the middle of a change, so each call is atomic.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from msgspec.structs import replace

from backends.memory_directory import Board, MemoryDirectory
from whatsapp import config
from whatsapp.changes import changed_members
from whatsapp.interfaces import Instance, Stores
from whatsapp.model import (
    Account,
    Chat,
    ChatLine,
    CursorMove,
    Device,
    Draft,
    Duplicate,
    Entry,
    Member,
    Outcome,
    Page,
    Position,
    Scope,
    Stale,
    Stored,
    pair,
)
from whatsapp.words import Terms, fold

UNREAD_MAX = 999
# A search looks at this many entries at most, and lets others run each so many.
SEARCHED_ENTRIES_MAX = 50_000
SEARCHED_AT_A_TIME = 500


@dataclass(slots=True)
class _Log:
    """One chat. `numbers` has each entry's place in the order of all commits."""

    entries: list[Entry] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    by_id: dict[tuple[str, str], Entry] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    epoch: int = 0
    title: str = ""
    about: str = ""
    announce: bool = False
    invite: str = ""


@dataclass(slots=True)
class _Data:
    """What the stores share."""

    accounts: dict[str, Account] = field(default_factory=dict)
    blocks: dict[str, set[str]] = field(default_factory=dict)
    devices: dict[bytes, Device] = field(default_factory=dict)
    logs: dict[str, _Log] = field(default_factory=dict)
    chats_of: dict[str, set[str]] = field(default_factory=dict)
    cursors: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    commits: int = 0


class MemoryAccounts:
    """`AccountStore`."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    async def create(self, account: Account) -> bool:
        return self._data.accounts.setdefault(account.user, account) is account

    async def find(self, users: Collection[str]) -> dict[str, Account]:
        accounts = self._data.accounts
        return {user: accounts[user] for user in users if user in accounts}

    async def update(self, before: Account, after: Account) -> bool:
        account = self._living(before.user)
        if account is None or account != replace(before, last_seen_ms=account.last_seen_ms):
            return False
        self._data.accounts[before.user] = replace(after, last_seen_ms=account.last_seen_ms)
        return True

    async def saw(self, times_ms: dict[str, int]) -> None:
        for user, time_ms in times_ms.items():
            account = self._living(user)
            if account and account.last_seen_ms < time_ms:
                self._data.accounts[user] = replace(account, last_seen_ms=time_ms)

    async def search(self, prefix: str, limit: int) -> list[Account]:
        wanted = prefix.casefold()
        found = [
            account
            for account in self._data.accounts.values()
            if not account.erased
            and (account.user.startswith(wanted) or account.name.casefold().startswith(wanted))
        ]
        return heapq.nsmallest(limit, found, key=lambda account: account.user)

    async def erase(self, user: str) -> None:
        data = self._data
        if user not in data.accounts:
            return
        data.accounts[user] = Account(user=user, name="", erased=True)
        data.blocks.pop(user, None)
        for blocked in data.blocks.values():
            blocked.discard(user)
        _end(data, [device for device in data.devices.values() if device.user == user])

    async def block(self, user: str, other: str, *, on: bool) -> None:
        blocked = self._data.blocks.setdefault(user, set())
        change = blocked.add if on else blocked.discard
        change(other)

    async def blocks(self, user: str) -> set[str]:
        return set(self._data.blocks.get(user, ()))

    def _living(self, user: str) -> Account | None:
        account = self._data.accounts.get(user)
        return None if account is None or account.erased else account


class MemoryDevices:
    """`DeviceStore`."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    async def add(self, device: Device) -> None:
        self._data.devices[device.token_hash] = device

    async def by_token(self, token_hash: bytes) -> Device | None:
        return self._data.devices.get(token_hash)

    async def of_user(self, user: str) -> list[Device]:
        found = [device for device in self._data.devices.values() if device.user == user]
        return sorted(found, key=lambda device: (device.created_ms, device.device))

    async def end(self, user: str, devices: Collection[str]) -> list[str]:
        wanted = set(devices)
        ended = [device for device in await self.of_user(user) if device.device in wanted]
        _end(self._data, ended)
        return [device.device for device in ended]

    async def saw(self, times_ms: dict[str, int]) -> None:
        for token_hash, device in self._data.devices.items():
            time_ms = times_ms.get(device.device, 0)
            if time_ms > device.last_seen_ms:
                self._data.devices[token_hash] = replace(device, last_seen_ms=time_ms)


class MemoryMessages:
    """`MessageStore`."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    async def append(self, drafts: Sequence[Draft]) -> list[Outcome]:
        logs = self._data.logs
        epochs = {draft.chat: logs[draft.chat].epoch for draft in drafts if draft.chat in logs}
        return [self._one(draft, epochs.get(draft.chat, 0)) for draft in drafts]

    async def find(self, chat: str, sender: str, message_id: str) -> Entry | None:
        log = self._data.logs.get(chat)
        return log.by_id.get((sender, message_id)) if log else None

    async def pages(self, wishes: Sequence[Page]) -> list[list[Entry]]:
        return [self._page(wish) for wish in wishes]

    async def search(
        self,
        terms: Terms,
        scopes: Sequence[Scope],
        *,
        sender: str | None,
        before_ms: int | None,
        limit: int,
    ) -> list[Entry]:
        found: list[Entry] = []
        parts = [word for term in terms.all for word in term.words]
        newest = heapq.merge(*(self._backwards(scope) for scope in scopes), reverse=True)
        for looked, (_, _, entry) in enumerate(newest):
            if len(found) >= limit or looked >= SEARCHED_ENTRIES_MAX:
                break
            if looked % SEARCHED_AT_A_TIME == SEARCHED_AT_A_TIME - 1:
                await asyncio.sleep(0)
            if sender not in (None, entry.sender):
                continue
            if before_ms is not None and entry.time_ms >= before_ms:
                continue
            folded = fold(entry.text)
            if all(part in folded for part in parts) and terms.match(entry.text):
                found.append(entry)
        return found

    async def expire(self, before_ms: int, entries_max: int) -> int:
        count = 0
        for log in self._data.logs.values():
            for index, entry in enumerate(log.entries):
                if count == entries_max or entry.time_ms >= before_ms:
                    break
                if entry.kind == "text" and entry.text:
                    log.entries[index] = replace(entry, text="")
                    log.by_id[entry.sender, entry.id] = log.entries[index]
                    count += 1
        return count

    def _one(self, draft: Draft, epoch: int) -> Outcome:
        log = self._data.logs.get(draft.chat)
        if log and (entry := log.by_id.get((draft.sender, draft.id))):
            return Duplicate(entry)
        if draft.epoch < epoch:
            return Stale()
        if log is None:
            log = self._data.logs[draft.chat] = _Log()
            for user in pair(draft.chat) or ():
                self._put(draft.chat, log, Member(user=user))
        entry = draft.entry(len(log.entries) + 1)
        self._data.commits += 1
        log.entries.append(entry)
        log.numbers.append(self._data.commits)
        log.by_id[entry.sender, entry.id] = entry
        if draft.change is not None:
            change = draft.change
            log.epoch = entry.seq
            log.title = log.title if change.title is None else change.title
            log.about = log.about if change.about is None else change.about
            log.announce = log.announce if change.announce is None else change.announce
            for member in changed_members(log.members, change, entry.seq).values():
                self._put(draft.chat, log, member)
        return Stored(entry)

    def _put(self, chat: str, log: _Log, member: Member) -> None:
        log.members[member.user] = member
        self._data.chats_of.setdefault(member.user, set()).add(chat)

    def _page(self, wish: Page) -> list[Entry]:
        log = self._data.logs.get(wish.chat)
        if log is None or wish.limit <= 0:
            return []
        if wish.after is not None:
            start = max(0, wish.after)
            return log.entries[start : start + wish.limit]
        end = min(len(log.entries), max(0, (wish.before or 0) - 1))
        return log.entries[max(0, end - wish.limit) : end]

    def _backwards(self, scope: Scope) -> Iterator[tuple[int, int, Entry]]:
        log = self._data.logs.get(scope.chat)
        if log is None:
            return
        for index in range(len(log.entries) - 1, -1, -1):
            entry = log.entries[index]
            if entry.kind == "text" and _visible(entry, scope.member):
                yield log.numbers[index], 0, entry


class MemoryChats:
    """`ChatStore`."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    async def load(self, chats: Collection[str]) -> dict[str, Chat]:
        return {
            chat: Chat(
                chat=chat,
                head=len(log.entries),
                epoch=log.epoch,
                title=log.title,
                about=log.about,
                announce=log.announce,
                invite=log.invite,
                members=dict(log.members),
            )
            for chat in chats
            if (log := self._data.logs.get(chat)) is not None
        }

    async def of_user(self, user: str, device: str) -> list[Position]:
        cursors = self._data.cursors.get((user, device), {})
        positions = []
        for chat in sorted(self._data.chats_of.get(user, ())):
            log = self._data.logs[chat]
            if (member := log.members[user]).active:
                positions.append(
                    Position(
                        chat=chat,
                        head=len(log.entries),
                        member=member,
                        device_received=cursors.get(chat, 0),
                        peer=next((log.members[u] for u in pair(chat) or () if u != user), None),
                    )
                )
        return positions

    async def lines(self, user: str, *, limit: int, before_ms: int | None) -> list[ChatLine]:
        found = []
        for chat in self._data.chats_of.get(user, ()):
            line = self._line(user, chat)
            if line.last and (before_ms is None or line.last.time_ms < before_ms):
                found.append((-line.last.time_ms, chat, line))
        return [line for _, _, line in heapq.nsmallest(limit, found)]

    async def advance(self, moves: Sequence[CursorMove]) -> None:
        for move in moves:
            log = self._data.logs.get(move.chat)
            if log is None or (member := log.members.get(move.user)) is None:
                continue
            log.members[move.user] = replace(
                member,
                received=max(member.received, move.received),
                read=max(member.read, move.read),
                moved_ms=max(member.moved_ms, move.time_ms),
            )
            if move.device:
                cursors = self._data.cursors.setdefault((move.user, move.device), {})
                old = 0 if move.rewind else cursors.get(move.chat, 0)
                cursors[move.chat] = max(old, move.device_received)

    async def set_invite(self, chat: str, code: str) -> None:
        if log := self._data.logs.get(chat):
            log.invite = code

    async def by_invite(self, code: str) -> str | None:
        logs = self._data.logs
        return next((chat for chat in logs if code and logs[chat].invite == code), None)

    async def contacts(self, user: str, others: Collection[str]) -> set[str]:
        return {other for other in others if self._talked(user, other)}

    def _talked(self, user: str, other: str) -> bool:
        log = self._data.logs.get(f"{min(user, other)}:{max(user, other)}")
        if log is None:
            return False
        said = {e.sender for e in log.entries if e.kind == "text" and not e.hidden}
        return {user, other} <= said

    def _line(self, user: str, chat: str) -> ChatLine:
        log = self._data.logs[chat]
        member = log.members[user]
        newest = (entry for entry in reversed(log.entries) if _visible(entry, member))
        unread = 0
        if member.active:
            for entry in log.entries[member.read :]:
                unread += entry.sender != user and _visible(entry, member)
                if unread >= UNREAD_MAX:
                    break
        return ChatLine(
            chat=chat,
            title=log.title,
            head=len(log.entries),
            member=member,
            last=next(newest, None),
            unread=unread,
        )


@asynccontextmanager
async def open_stores(settings: config.Storage) -> AsyncIterator[Stores]:
    """Empty stores, gone when closed. No setting matters."""
    data = _Data()
    yield Stores(
        accounts=MemoryAccounts(data),
        devices=MemoryDevices(data),
        messages=MemoryMessages(data),
        chats=MemoryChats(data),
        durable=False,
    )


@asynccontextmanager
async def open_directory(
    settings: config.DirectorySection, instance: Instance, board: Board | None = None
) -> AsyncIterator[MemoryDirectory]:
    """A detector that knows this process only; several share a `board`."""
    directory = MemoryDirectory(instance, board or Board())
    try:
        yield directory
    finally:
        await directory.close()


def _visible(entry: Entry, member: Member) -> bool:
    return member.sees(entry.seq) and (not entry.hidden or entry.sender == member.user)


def _end(data: _Data, devices: Sequence[Device]) -> None:
    for device in devices:
        del data.devices[device.token_hash]
        data.cursors.pop((device.user, device.device), None)
