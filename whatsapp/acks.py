"""How far devices and users have come in a chat: what `received` and `read` lead to.

An acknowledgement makes room in its session's window at once. What else it leads to (cursors
to write, a receipt for the author) is done at once in a direct chat, where somebody looks at
the ticks. In a group, and for what a device sent itself, it is done at the next tick, once for
each device, however much it has by then: else that would be the dearest part of a delivery to
a busy room.
"""

from __future__ import annotations

from collections.abc import Callable

from whatsapp.catchup import Catchup
from whatsapp.clock import Clock, Scheduler
from whatsapp.cursors import Cursors
from whatsapp.errors import Answer, BadRequest, NotFound, NotMember
from whatsapp.hub import Hub
from whatsapp.interfaces import MessageStore
from whatsapp.model import CursorMove, Page
from whatsapp.receipts import Receipts
from whatsapp.room import NO_SUCH_CHAT, Room
from whatsapp.session import Session
from whatsapp.wire import Cursor, encode

# How many entries that a cursor passed at once are looked at to find whom to tell.
COVERED_ENTRIES_MAX = 10_000
COVERED_PAGE = 200


class Acks:
    """Moves the cursors of sessions, devices and users, and notes whom to tell.

    `moved(room, user)`: the user has read, which its devices on other instances hear.
    """

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        *,
        messages: MessageStore,
        hub: Hub,
        catchup: Catchup,
        cursors: Cursors,
        receipts: Receipts,
        clock: Clock,
        scheduler: Scheduler,
        moved: Callable[[Room, str], None] | None = None,
    ) -> None:
        self._elsewhere = moved
        self._messages = messages
        self._hub = hub
        self._catchup = catchup
        self._cursors = cursors
        self._receipts = receipts
        self._clock = clock
        self._scheduler = scheduler
        # What devices have, for the next tick.
        self._gathered: dict[tuple[Session, Room], int] = {}

    def __len__(self) -> int:
        return len(self._gathered)

    def received(self, session: Session, room: Room, seq: int) -> bool:
        """This device has all up to `seq`.

        False for a former member: it acknowledges its last entries, and that is the end.
        """
        chat = room.chat
        member = room.members.get(session.user)
        if member is None:
            raise NotFound(NO_SUCH_CHAT)
        if member.left:
            if seq > member.left:
                raise NotMember("you are no longer a member of this group")
            return False
        if seq > room.head and seq > session.position(chat):
            raise BadRequest(f"chat {chat} ends at seq {room.head}; {seq} is beyond it")
        new = session.received(chat, seq)
        if new is not None:
            if room.group:
                self._gathered[session, room] = new
            else:
                self._has(session, room, new)
        if session.behind:
            self._catchup.wake(session)
        return True

    def read(self, session: Session, room: Room, seq: int) -> None:
        """The user has read all up to `seq`; so this device has it, too."""
        if self.received(session, room, seq):
            self._move(session.user, room, read=seq, session=session)

    def device_has(self, session: Session, room: Room, seq: int) -> None:
        """It sent entry `seq` itself, and has all before: shown at once, written at the tick.

        Nobody else waits to be told.
        """
        user = session.user
        if room.received.get(user, 0) == seq - 1:
            room.received[user] = seq
        self._gathered[session, room] = seq

    def user_has(self, user: str, room: Room, seq: int) -> None:
        """A device of the user has it; that device's own cursor is moved already."""
        self._move(user, room, received=seq)

    def tick(self) -> None:
        """Do what was put off. Before the receipts' own tick; sooner where somebody must know."""
        gathered, self._gathered = self._gathered, {}
        for (session, room), seq in gathered.items():
            self._has(session, room, seq)

    def _has(self, session: Session, room: Room, seq: int) -> None:
        """The device's own cursor is at `seq` now, and the user's at least there."""
        user, device = session.user, session.device
        if not self._move(user, room, received=seq, device=device):
            # The user's own may have been moved by `device_has`.
            self._cursors.move(
                CursorMove(
                    chat=room.chat,
                    user=user,
                    device=device,
                    device_received=seq,
                    received=room.received.get(user, 0),
                )
            )

    def _move(
        self,
        user: str,
        room: Room,
        *,
        received: int = 0,
        read: int = 0,
        session: Session | None = None,
        device: str = "",
    ) -> bool:
        """Move the user's cursors and tell the authors newly covered.

        `device` has received it, which is to be written with it; False where that was not.
        Over entries that the user may not see its cursors do not move: an author whom it
        blocks must not learn that they arrived.
        """
        new = read or received
        old = (room.read if read else room.received).get(user, 0)
        old = max(old, room.members[user].joined - 1)
        if new <= old:
            return False
        covered = room.covered(user, old, new)
        if covered is None:
            self._scheduler.spawn(self._move_far(user, room, old, received, read, session))
            return False
        has = (device, received) if device else ("", 0)
        self._moved(user, room, covered, is_read=bool(read), session=session, has=has)
        return True

    def _moved(
        self,
        user: str,
        room: Room,
        covered: tuple[int, set[str]],
        *,
        is_read: bool,
        session: Session | None = None,
        has: tuple[str, int] = ("", 0),
    ) -> None:
        last, authors = covered
        if last > room.received.get(user, 0):
            room.received[user] = last
        if is_read and last > room.read.get(user, 0):
            room.read[user] = last
            self._tell_own(user, room, session)
        self._cursors.move(
            CursorMove(
                chat=room.chat,
                user=user,
                device=has[0],
                device_received=has[1],
                received=room.received.get(user, 0),
                read=room.read.get(user, 0),
                time_ms=self._clock.now_ms() if authors else 0,
            )
        )
        if authors:
            self._receipts.note(room, user, authors)

    async def _move_far(
        self, user: str, room: Room, old: int, received: int, read: int, session: Session | None
    ) -> None:
        """The cursor moved over entries that the room does not remember: read who wrote them."""
        last, authors, at = old, set[str](), old
        new = read or received
        while at < new and at - old < COVERED_ENTRIES_MAX:
            wish = Page(chat=room.chat, after=at, limit=COVERED_PAGE)
            try:
                [entries] = await self._messages.pages([wish])
            except Answer:
                return  # the next move covers these, too
            entries = [entry for entry in entries if entry.seq <= new]
            if not entries:
                break
            at = entries[-1].seq
            seen = [entry for entry in entries if not entry.hidden or entry.sender == user]
            last = seen[-1].seq if seen else last
            authors |= {entry.sender for entry in seen}
        if at < new and at - old >= COVERED_ENTRIES_MAX:
            last = new
        if room.members[user].active:  # it may have left meanwhile
            covered = (last, authors - {user})
            self._moved(user, room, covered, is_read=bool(read), session=session)

    def _tell_own(self, user: str, room: Room, session: Session | None) -> None:
        others = self._hub.of(user)
        if len(others) > (session is not None):
            cursor = Cursor(room.chat, room.received.get(user, 0), room.read[user])
            self._hub.tell(user, encode(cursor), but=session)
        if self._elsewhere is not None:
            self._elsewhere(room, user)
