"""Who is connected here: user → sessions of this instance; fan-out to them.

An entry is encoded once, whatever the number of readers. What a session cannot take now it
reads from the log later; a fan-out waits for nobody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator

from whatsapp.clock import Clock
from whatsapp.model import Change, Entry
from whatsapp.room import Room
from whatsapp.session import Session, State
from whatsapp.wire import CLOSE_REPLACED, CLOSE_REVOKED, message_frame

# Devices whose last disconnect is remembered.
AWAY_DEVICES_MAX = 100_000


class Hub:
    """The sessions of this instance that have said who they are."""

    def __init__(
        self,
        clock: Clock,
        *,
        came: Callable[[str], None],
        went: Callable[[str], None],
        wake: Callable[[Session], None],
    ) -> None:
        self._came = came
        self._went = went
        self._wake = wake
        self._clock = clock
        self._sessions: dict[str, tuple[Session, ...]] = {}
        self._away_since_ms: OrderedDict[str, int] = OrderedDict()
        self.count = 0

    def online(self, user: str) -> bool:
        return user in self._sessions

    def users(self) -> Collection[str]:
        return self._sessions.keys()

    def of(self, user: str) -> tuple[Session, ...]:
        """The user's sessions here."""
        return self._sessions.get(user, ())

    def all(self) -> Iterator[Session]:
        for sessions in list(self._sessions.values()):
            yield from sessions

    def add(self, session: Session) -> None:
        """This session is who it says; an older one of the same device is replaced."""
        before = self.of(session.user)
        for old in before:
            if old.device == session.device:
                old.close(CLOSE_REPLACED, "replaced by a newer connection of this device")
        kept = tuple(old for old in before if old.device != session.device)
        self._sessions[session.user] = (*kept, session)
        self.count += 1 + len(kept) - len(before)
        if not before:
            self._came(session.user)

    def remove(self, session: Session) -> None:
        """The session is over. One that was replaced is not here any more: no effect."""
        before = self.of(session.user)
        kept = tuple(other for other in before if other is not session)
        if len(kept) == len(before):
            return
        self.count -= 1
        self._away_since_ms[session.device] = self._clock.now_ms()
        if len(self._away_since_ms) > AWAY_DEVICES_MAX:
            self._away_since_ms.popitem(last=False)
        if kept:
            self._sessions[session.user] = kept
        else:
            del self._sessions[session.user]
            self._went(session.user)

    def away_since_ms(self, device: str) -> int | None:
        """When this device's last connection here ended; None where that is not known."""
        return self._away_since_ms.get(device)

    def revoke(self, user: str, devices: Collection[str]) -> None:
        """These devices of the user were logged out: their sessions close."""
        for session in self.of(user):
            if session.device in devices:
                session.close(CLOSE_REVOKED, "logged out")

    def deliver(self, entry: Entry, readers: Iterable[str], *, origin: Session | None) -> None:
        """Offer a committed entry to the sessions of its readers. `origin` has it already."""
        chat, seq, sender, sessions = entry.chat, entry.seq, entry.sender, self._sessions
        frame = message_frame(entry, sender)
        for_others = message_frame(entry, "") if entry.hidden else frame
        for user in readers:
            for session in sessions.get(user, ()):
                if session is not origin:
                    session.offer(chat, seq, frame if user == sender else for_others)
                if session.behind:
                    self._wake(session)

    def follow(self, room: Room, entry: Entry, change: Change | None) -> list[str]:
        """An entry that may change its chat is committed: the room follows, and all hear of it.

        Who joins by it sees it first, who leaves by it sees it last. Its readers. Where a look at
        the store was quicker, those who are members by now read it there.
        """
        readers = list(room.active())
        overtaken = entry.seq <= room.head
        room.committed(entry, change)
        if change is None:
            self.deliver(entry, readers, origin=None)
            return readers
        joins = [user for user, _ in change.joins]
        readers = list(dict.fromkeys((*readers, *joins, *change.leaves)))
        if overtaken:
            self.grown(room)
        else:
            self._begin(entry, joins)
            self.deliver(entry, readers, origin=None)
            self._leave(entry, change.leaves)
        return readers

    def _begin(self, entry: Entry, joins: Iterable[str]) -> None:
        for user in joins:
            for session in self.of(user):
                # Unless it was read from the log already.
                if session.position(entry.chat) < entry.seq:
                    session.begin(entry.chat, entry.seq - 1)

    def _leave(self, entry: Entry, leaves: Iterable[str]) -> None:
        for user in leaves:
            for session in self.of(user):
                session.leave(entry.chat)

    def grown(self, room: Room) -> None:
        """The log has entries that were not delivered: whoever may see them reads them there."""
        for user, member in room.members.items():
            for session in self.of(user):
                if not member.active:
                    session.leave(room.chat)
                elif session.position(room.chat) < room.head:
                    session.behind.add(room.chat)
                    self._wake(session)

    def tell(self, user: str, frame: bytes, *, but: Session | None = None) -> None:
        """Push a frame to all sessions of a user."""
        for session in self.of(user):
            if session is not but and session.state is not State.CLOSED:
                session.push(frame)

    def tell_all(self, users: Iterable[str], frame: bytes) -> None:
        for user in users:
            self.tell(user, frame)
