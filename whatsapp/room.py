"""What this instance knows of one chat, and the cache of such knowledge.

A `Room` is loaded when its chat is first used and follows every entry that is committed
here. It is a cache: the store is the authority, and an append that rests on an old room is
refused there as stale.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

from msgspec import Struct

from whatsapp.accounts import Accounts
from whatsapp.changes import changed_members
from whatsapp.clock import Clock
from whatsapp.errors import Answer, NotFound
from whatsapp.interfaces import ChatStore
from whatsapp.model import Change, Chat, Entry, Member, is_group, pair

# Authors of the newest entries, so that a cursor's move finds whom to tell without a read.
TAIL_ENTRIES_MAX = 512
# In front of the author of an entry that nobody else may see. No user id begins like that.
HIDDEN = "!"
# A room that was used within this time is never evicted.
ROOM_IDLE_SECONDS = 60.0

NO_SUCH_CHAT = "there is no such chat, or it is not yours to see"


class Relations(Struct, frozen=True):
    """What the two users of a direct chat are to each other, as of now."""

    blockers: frozenset[str]  # those of the two who block the other
    gone: frozenset[str]  # those of the two whose account was erased
    read_receipts: bool  # both show when they have read


class Room:
    """One chat. Direct chats that nobody has written in yet have `head` 0."""

    __slots__ = (
        "_active",
        "about",
        "announce",
        "chat",
        "epoch",
        "group",
        "head",
        "invite",
        "members",
        "read",
        "received",
        "relations",
        "stale",
        "tail",
        "title",
        "used_at",
    )

    def __init__(self, record: Chat) -> None:
        self.chat = record.chat
        self.group = is_group(record.chat)
        self.relations: Relations | None = None
        self.used_at = 0.0
        self.stale = False  # others have written: look before relying on it
        self.received = {name: member.received for name, member in record.members.items()}
        self.read = {name: member.read for name, member in record.members.items()}
        self.tail: deque[str] = deque(maxlen=TAIL_ENTRIES_MAX)
        self.take(record)

    def take(self, record: Chat) -> None:
        """Know what the store knows; cursors only move forward."""
        self.head = record.head
        self.epoch = record.epoch
        self.title = record.title
        self.about = record.about
        self.announce = record.announce
        self.invite = record.invite
        self._set_members(dict(record.members))
        for name, member in record.members.items():
            self.learn(name, member.received, member.read)

    def learn(self, user: str, received: int, read: int) -> None:
        """The user's cursors are at least there."""
        self.received[user] = max(self.received.get(user, 0), received)
        self.read[user] = max(self.read.get(user, 0), read)

    def member(self, user: str) -> Member:
        """The user's part in this chat now; `NotFound` where it has none."""
        member = self.members.get(user)
        if member is None or not member.active or not self.head:
            raise NotFound(NO_SUCH_CHAT)
        return member

    def ever(self, user: str) -> Member:
        """The user's part in this chat, now or formerly; `NotFound` where it never had one."""
        member = self.members.get(user)
        if member is None or not self.head:
            raise NotFound(NO_SUCH_CHAT)
        return member

    def active(self) -> tuple[str, ...]:
        """Those who are members now."""
        return self._active

    def peer(self, user: str) -> str:
        """The other one of a direct chat (the user itself in a note to self)."""
        names = list(self.members)
        return names[-1] if names[0] == user else names[0]

    def committed(self, entry: Entry, change: Change | None) -> None:
        """The entry is stored: it is the head now, and its change holds."""
        if entry.seq <= self.head:
            return  # a look at the store was quicker
        if entry.seq != self.head + 1:
            self.tail.clear()  # somebody else wrote in between
        self.head = entry.seq
        self.tail.append(_author(entry))
        if change is not None:
            self._apply(entry.seq, change)

    def recall(self, entries: Sequence[Entry]) -> None:
        """These were read from the log: who wrote them, if they are the newest, is known again."""
        if len(entries) > len(self.tail) and entries[-1].seq == self.head:
            self.tail.clear()
            self.tail.extend(map(_author, entries))

    def covered(self, user: str, old: int, new: int) -> tuple[int, set[str]] | None:
        """Of the entries in (old, new]: the last that is visible to `user`, and their authors.

        Without `user` itself. None: it reaches further than the room remembers.
        """
        tail = self.tail
        first = self.head - len(tail) + 1
        if old + 1 < first or new > self.head:
            return None
        last, authors = old, set()
        for seq in range(old + 1, new + 1):
            author = tail[seq - first]
            if author == user:
                last = seq
            elif author[0] != HIDDEN:
                last = seq
                authors.add(author)
            elif author[1:] == user:
                last = seq
        return last, authors

    def _apply(self, seq: int, change: Change) -> None:
        self.epoch = seq
        self.title = self.title if change.title is None else change.title
        self.about = self.about if change.about is None else change.about
        self.announce = self.announce if change.announce is None else change.announce
        self._set_members(self.members | changed_members(self.members, change, seq))

    def _set_members(self, members: dict[str, Member]) -> None:
        self.members = members
        self._active = tuple(name for name, member in members.items() if member.active)


def _author(entry: Entry) -> str:
    return HIDDEN + entry.sender if entry.hidden else entry.sender


class Rooms:
    """The loaded rooms. At most about `rooms_max`; the longest unused go first.

    `grown(room)`: a look has shown entries, or changes of members, of which nobody here was told.
    `unwritten()`: the chats of cursors that only their rooms know yet; these stay.
    `shared`: other instances write to the same store, and a room is only followed here while
    members are connected here. So it is read anew where it must be right, and where it is stale.
    """

    def __init__(  # noqa: PLR0913 — built in one place
        self,
        chats: ChatStore,
        accounts: Accounts,
        clock: Clock,
        *,
        grown: Callable[[Room], None],
        unwritten: Callable[[], Collection[str]],
        rooms_max: int,
        shared: bool = False,
    ) -> None:
        self.shared = shared
        self._unwritten = unwritten
        self._chats = chats
        self._grown = grown
        self._accounts = accounts
        self._clock = clock
        self._rooms_max = rooms_max
        self._rooms: dict[str, Room] = {}
        self._relations_version = 0

    def __len__(self) -> int:
        return len(self._rooms)

    def __contains__(self, chat: str) -> bool:
        return chat in self._rooms

    def get(self, chat: str) -> Room | None:
        """The room if it is loaded."""
        room = self._rooms.get(chat)
        if room is not None:
            room.used_at = self._clock.monotonic()
        return room

    async def load(self, chats: Collection[str]) -> dict[str, Room]:
        """These rooms, as far as the chats have an entry; one read for all that are missing."""
        found = {chat: room for chat in chats if (room := self.get(chat)) is not None}
        for room in [room for room in found.values() if room.stale]:
            await self.refresh(room.chat)
        missing = [chat for chat in chats if chat not in found]
        if missing:
            for chat, record in (await self._chats.load(missing)).items():
                if (room := self._rooms.get(chat)) is None:
                    found[chat] = self._keep(Room(record))
                else:  # since we asked; maybe from an older reading
                    found[chat] = self._taken(room, record)
        return found

    def new(self, record: Chat) -> Room:
        """The room of a chat that is about to get its first entry."""
        return self._keep(Room(record))

    async def existing(self, chat: str) -> Room:
        """One room of a chat that has an entry, or `NotFound`."""
        known = chat in self._rooms
        room = (await self.load([chat])).get(chat)
        if room is not None and (not room.head or (known and self.shared)):
            await self.refresh(chat)  # entries may have been stored without our knowing
        if room is None or not room.head:
            raise NotFound(NO_SUCH_CHAT)
        return room

    async def ready(self, chat: str, user: str) -> Room:
        """The room as `user` needs it to write there: with relations, new direct chats too."""
        room = (await self.load([chat])).get(chat)
        if room is None:
            room = await self._new_direct(chat, user)
        if room.relations is None and not room.group:
            await self._relate(room)
        return room

    async def refresh(self, chat: str) -> None:
        """Look again: somebody else wrote, or we do not know what became of our writing."""
        room = self._rooms.get(chat)
        if room is not None:
            room.stale = False  # unless it becomes so while we look
        try:
            record = (await self._chats.load([chat])).get(chat)
        except Answer:
            if room is not None:
                room.stale = True
            raise
        if record is not None:
            room = self._taken(room, record)
        if room is not None and not room.group:
            await self._relate(room)

    def _taken(self, room: Room | None, record: Chat) -> Room:
        grown = room is None or record.head > room.head
        room = self._keep(Room(record))
        if record.head > room.head:
            room.tail.clear()
        if record.head >= room.head:
            room.take(record)
        if grown:
            self._grown(room)
        return room

    def unrelate(self, user: str) -> None:
        """The user's blocks, privacy or existence changed: direct rooms must look again."""
        self._relations_version += 1
        for room in self._rooms.values():
            if not room.group and user in room.members:
                room.relations = None

    def unrelate_all(self) -> None:
        """What was changed elsewhere was not heard: all direct rooms must look again."""
        self._relations_version += 1
        for room in self._rooms.values():
            room.relations = None

    def tick(self) -> None:
        """Evict what is too much."""
        if len(self._rooms) <= self._rooms_max:
            return
        idle_before = self._clock.monotonic() - ROOM_IDLE_SECONDS
        oldest = sorted(self._rooms.values(), key=lambda room: room.used_at)
        unwritten = self._unwritten()
        for room in oldest[: len(self._rooms) - self._rooms_max]:
            if room.used_at < idle_before and room.chat not in unwritten:
                del self._rooms[room.chat]

    def _keep(self, room: Room) -> Room:
        room.used_at = self._clock.monotonic()
        return self._rooms.setdefault(room.chat, room)

    async def _new_direct(self, chat: str, user: str) -> Room:
        users = pair(chat)
        if users is None or user not in users:
            raise NotFound(NO_SUCH_CHAT)
        accounts = await self._accounts.find(users)
        if any(name not in accounts or accounts[name].erased for name in users):
            raise NotFound("there is no such user")
        members = {name: Member(user=name) for name in users}
        return self.new(Chat(chat=chat, head=0, members=members))

    async def _relate(self, room: Room) -> None:
        # What was read while a block or a setting changed is old: read again.
        while room.relations is None:
            version = self._relations_version
            relations = await self._read_relations(room)
            if version == self._relations_version:
                room.relations = relations

    async def _read_relations(self, room: Room) -> Relations:
        users = list(room.members)
        accounts = await self._accounts.find(users)
        blockers = set()
        for name in users:
            if room.peer(name) in await self._accounts.blocks(name):
                blockers.add(name)
        gone = {name for name in users if name not in accounts or accounts[name].erased}
        shown = all(accounts[name].receipts for name in users if name in accounts)
        return Relations(frozenset(blockers), frozenset(gone), shown)
