"""What the terminal client knows: chats, the loaded parts of their logs, ticks, who types.

Plain values and rules; no screen, no network, no clock. `session.py` feeds it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from enum import Enum

from msgspec import UNSET, Struct
from msgspec.structs import replace

from whatsapp import model, wire
from whatsapp.outbox import Pending
from whatsapp.resources import ChatInfo, History
from whatsapp.wire import Item

THREAD_ENTRIES_MAX = 1_000  # kept of one chat; beyond, what is furthest from where one reads goes
UNREAD_MAX = 999  # as far as the server counts
TYPING_SECONDS = 6.0


class Tick(Enum):
    """How far a message of one's own has come."""

    QUEUED = "queued"
    REFUSED = "refused"
    STORED = "stored"
    DELIVERED = "delivered"
    READ = "read"


class Queued(Struct, frozen=True, kw_only=True):
    """A message without a place in the log. `refused`: why it will never have one."""

    id: str
    chat: str
    text: str
    reply_to: int | None = None
    refused: str = ""


class Thread:
    """The loaded part of a chat's log: one run of entries, in seq order."""

    def __init__(self) -> None:
        self.entries: list[Item] = []
        self.loaded = False
        self.more_before = True
        self.more_after = False  # after a jump: the run does not reach the newest

    def find(self, seq: int) -> Item | None:
        at = self._at(seq)
        found = self.entries[at : at + 1]
        return found[0] if found and found[0].seq == seq else None

    def arrived(self, item: Item) -> None:
        """A new entry at the end of the log."""
        if not self.more_after:
            self._put(item)
            if len(self.entries) > THREAD_ENTRIES_MAX:
                del self.entries[: -THREAD_ENTRIES_MAX // 2]
                self.more_before = True

    def newest(self, page: History) -> None:
        """The end of the log; what arrived meanwhile is kept."""
        if self.more_after or (
            self.entries and page.messages and page.messages[0].seq > self.entries[-1].seq + 1
        ):
            self.entries = []
        if not self.loaded or not self.entries:
            self.more_before = page.more
        self.more_after = False
        self.loaded = True
        self._put_all(page.messages)

    def older(self, page: History) -> None:
        self.more_before = page.more and bool(page.messages)
        self._put_all(page.messages)
        if len(self.entries) > THREAD_ENTRIES_MAX:
            del self.entries[THREAD_ENTRIES_MAX:]
            self.more_after = True

    def newer(self, page: History) -> None:
        self.more_after = page.more and bool(page.messages)
        self._put_all(page.messages)
        if len(self.entries) > THREAD_ENTRIES_MAX:
            del self.entries[:-THREAD_ENTRIES_MAX]
            self.more_before = True

    def window(self, before: History, after: History) -> None:
        """Somewhere in the middle of the log."""
        self.entries = []
        self.loaded = True
        self.more_before, self.more_after = before.more, after.more
        self._put_all([*before.messages, *after.messages])

    def _put_all(self, items: Iterable[Item]) -> None:
        for item in items:
            self._put(item)

    def _put(self, item: Item) -> None:
        if item.kind == "void":
            return
        at = self._at(item.seq)
        if at == len(self.entries) or self.entries[at].seq != item.seq:
            self.entries.insert(at, item)

    def _at(self, seq: int) -> int:
        if self.entries and self.entries[-1].seq < seq:
            return len(self.entries)
        return bisect_left(self.entries, seq, key=lambda item: item.seq)


class State:
    """See the head of this file."""

    def __init__(self, me: str) -> None:
        self.me = me
        self.chats: dict[str, ChatInfo] = {}
        self.threads: dict[str, Thread] = {}
        self.queued: dict[str, Queued] = {}
        self.names: dict[str, str] = {}
        self.presences: dict[str, wire.Presence] = {}
        self.cursors: dict[str, dict[str, tuple[int, int]]] = {}  # chat → user → received, read
        self._typing: dict[tuple[str, str], float] = {}  # until when, on a monotonic clock

    # --- what the screen asks -------------------------------------------------------

    def listed(self) -> list[ChatInfo]:
        """Newest activity first."""
        return sorted(self.chats.values(), key=lambda info: -(info.last.time if info.last else 0))

    def thread(self, chat: str) -> Thread:
        return self.threads.setdefault(chat, Thread())

    def peer(self, chat: str) -> str | None:
        """The other user of a direct chat; oneself in a note to self."""
        users = model.pair(chat)
        if users is None:
            return None
        return users[1] if users[0] == self.me else users[0]

    def name(self, user: str) -> str:
        return self.names.get(user) or user

    def title(self, chat: str) -> str:
        peer = self.peer(chat)
        if peer is None:
            info = self.chats.get(chat)
            return info.title if info else "a group"
        return "Note to self" if peer == self.me else self.name(peer)

    def waiting(self, chat: str) -> list[Queued]:
        return [queued for queued in self.queued.values() if queued.chat == chat]

    def typing(self, chat: str, now: float) -> list[str]:
        """Who types there now; the names."""
        self._typing = {key: until for key, until in self._typing.items() if until > now}
        return [self.name(user) for where, user in self._typing if where == chat]

    def moves(self) -> bool:
        """Does something on the screen end by itself?"""
        return bool(self._typing)

    def tick(self, item: Item) -> Tick:
        """Of an own message that is stored."""
        cursors = self.cursors.get(item.chat, {})
        others = [both for user, both in cursors.items() if user != self.me]
        if not others:
            return Tick.READ if self.peer(item.chat) == self.me else Tick.STORED
        if all(read >= item.seq for _, read in others):
            return Tick.READ
        if all(received >= item.seq for received, _ in others):
            return Tick.DELIVERED
        return Tick.STORED

    def unread_chats(self) -> int:
        return sum(1 for info in self.chats.values() if info.unread)

    # --- what happens ---------------------------------------------------------------

    def known(self, infos: Iterable[ChatInfo]) -> None:
        """The server's word on these chats."""
        for info in infos:
            self.chats[info.chat] = replace(info, members=UNSET)
            if info.with_ is not UNSET:
                self.names[info.with_] = info.title
            if info.members is not UNSET:
                self.cursors[info.chat] = {
                    member.user: (member.received, member.read) for member in info.members
                }

    def started(self, chat: str) -> None:
        """A direct chat that has no message yet."""
        peer = self.peer(chat)
        if chat not in self.chats and peer is not None:
            self.chats[chat] = ChatInfo(
                chat=chat,
                kind="direct",
                title=self.name(peer),
                last=None,
                head=0,
                received=0,
                read=0,
                unread=0,
                with_=peer,
            )

    def arrived(self, item: Item) -> None:
        """An entry of any chat."""
        self._typing.pop((item.chat, item.sender or ""), None)
        self.thread(item.chat).arrived(item)
        info = self.chats.get(item.chat)
        if info is None or item.seq <= info.head:
            return
        new = item.sender != self.me and item.seq > info.read
        self.chats[item.chat] = replace(
            info,
            head=item.seq,
            last=item,
            title=item.title if item.kind == "title" and item.title else info.title,
            unread=min(info.unread + new, UNREAD_MAX),
        )

    def posted(self, queued: Queued) -> None:
        self.queued[queued.id] = queued

    def waits(self, pending: Pending) -> None:
        """From the outbox: of this run or of one before."""
        self.posted(
            Queued(id=pending.id, chat=pending.chat, text=pending.text, reply_to=pending.reply_to)
        )

    def sent(self, frame: wire.Sent) -> None:
        queued = self.queued.pop(frame.id, None)
        if queued is None:
            return
        self.started(frame.chat)
        self.arrived(
            Item(
                chat=frame.chat,
                seq=frame.seq,
                time=frame.time,
                kind="text",
                id=frame.id,
                sender=self.me,
                text=queued.text,
                reply_to=queued.reply_to,
            )
        )

    def refused(self, message_id: str, why: str) -> None:
        queued = self.queued.get(message_id)
        if queued is not None:
            self.queued[message_id] = replace(queued, refused=why)

    def dropped(self, chat: str) -> None:
        """Forget what was refused there."""
        self.queued = {
            id_: one for id_, one in self.queued.items() if one.chat != chat or not one.refused
        }

    def heard(self, frame: object, now: float) -> None:
        """What passes by: receipts, typing, presence. `now`: on a monotonic clock."""
        match frame:
            case wire.Receipt():
                self.receipt(frame)
            case wire.TypingShown():
                self.types(frame, now)
            case wire.Presence():
                self.presences[frame.user] = frame
            case _:
                pass

    def receipt(self, frame: wire.Receipt) -> None:
        cursors = self.cursors.setdefault(frame.chat, {})
        received, read = cursors.get(frame.user, (0, 0))
        cursors[frame.user] = (max(received, frame.received), max(read, frame.read))

    def read(self, chat: str, seq: int) -> bool:
        """The user has read up to here; is that new?"""
        info = self.chats.get(chat)
        if info is None or (seq <= info.read and not info.unread):
            return False
        unread = 0 if seq >= info.head else info.unread
        self.chats[chat] = replace(info, read=max(info.read, seq), unread=unread)
        return True

    def types(self, frame: wire.TypingShown, now: float) -> None:
        if frame.on:
            self._typing[(frame.chat, frame.user)] = now + TYPING_SECONDS
        else:
            self._typing.pop((frame.chat, frame.user), None)
