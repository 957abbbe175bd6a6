"""Where a device stands in its chats: what it gets when it connects, and when we look again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whatsapp.acks import Acks
from whatsapp.catchup import SYNCED, Catchup
from whatsapp.clock import Scheduler
from whatsapp.cursors import Cursors
from whatsapp.errors import Answer, BadRequest, NotFound, Refusal
from whatsapp.interfaces import ChatStore
from whatsapp.model import CursorMove, Position
from whatsapp.receipts import direct_receipt
from whatsapp.room import NO_SUCH_CHAT, Rooms
from whatsapp.session import Session, State
from whatsapp.wire import error_frame

# At a connect; who was away for long asks for the chats that it shows.
MISSED_RECEIPTS_MAX = 50
# Cursors that moved on another instance may be in no store for so long.
UNWRITTEN_MS = 2_000


class Positions:
    """Of the devices that are connected here."""

    def __init__(
        self,
        *,
        chats: ChatStore,
        rooms: Rooms,
        catchup: Catchup,
        cursors: Cursors,
        scheduler: Scheduler,
        acks: Acks,
    ) -> None:
        self._chats = chats
        self._rooms = rooms
        self._catchup = catchup
        self._cursors = cursors
        self._scheduler = scheduler
        self._acks = acks

    async def begin(
        self, session: Session, cursors: Mapping[str, int] | None, *, away_since_ms: int
    ) -> None:
        """Give a session, known to the hub already, its positions; then all that is pending.

        Then the receipts of direct chats that it missed since it was last connected.
        """
        ticket = self._cursors.ticket()
        positions = await self._chats.of_user(session.user, session.device)
        # From here on nothing waits: what is committed from now on is offered to the session.
        if session.state is State.CLOSED:
            return
        self._acks.tick()  # the device may have acknowledged over its last connection
        overrides = dict(cursors or {})
        for position in positions:
            override = overrides.pop(position.chat, None)
            if override is not None and override > position.head:
                _refuse_cursor(session, position, override)
                override = None
            self._learn(position)
            self._place(session, position, override, ticket)
        for chat in overrides:
            _push_refusal(session, NotFound(f"cursor of {chat}: {NO_SUCH_CHAT}"))
        session.state = State.LIVE
        if session.behind:
            self._catchup.wake(session)
        else:
            session.synced = True
            session.push(SYNCED)
        self._show_missed(session, positions, away_since_ms)

    async def look_again(self, session: Session) -> None:
        """Others may have written, or moved cursors, without our hearing of it: as at a connect."""
        positions = await self._chats.of_user(session.user, session.device)
        left = set(session.chats())
        for position in positions:
            left.discard(position.chat)
            self._learn(position)
        for chat in [*left, *(position.chat for position in positions)]:
            room = self._rooms.get(chat)
            # One that it was removed from is left at once: its window may be full of that chat.
            if chat in left or (room is not None and room.stale):
                await self._rooms.refresh(chat)
        if session.state is not State.LIVE:
            return
        session.behind |= left
        for position in positions:
            if position.head > session.position(position.chat):
                session.behind.add(position.chat)
        if session.behind:
            self._catchup.wake(session)
        self._show_missed(session, positions, session.since_ms - UNWRITTEN_MS)

    def _learn(self, position: Position) -> None:
        """What the store says of a chat that is loaded here, maybe without anybody following it."""
        room = self._rooms.get(position.chat) if self._rooms.shared else None
        if room is None:
            return
        if position.head > room.head:
            room.stale = True
        for member in (position.member, position.peer):
            if member is not None:
                room.learn(member.user, member.received, member.read)

    def _show_missed(self, session: Session, positions: Sequence[Position], since_ms: int) -> None:
        missed = [
            (position.peer.moved_ms, position.chat)
            for position in positions
            if position.peer is not None and position.peer.moved_ms > since_ms
        ]
        if missed:
            newest = sorted(missed, reverse=True)[:MISSED_RECEIPTS_MAX]
            self._scheduler.spawn(self._tell_missed(session, [chat for _, chat in newest]))

    async def _tell_missed(self, session: Session, chats: Sequence[str]) -> None:
        for chat in chats:
            try:
                room = await self._rooms.ready(chat, session.user)
            except Answer:
                return  # a courtesy; `GET /v1/chats/{chat}` tells it too
            frame = direct_receipt(room, room.peer(session.user))
            if frame is not None:
                session.push(frame)

    def _place(
        self, session: Session, position: Position, override: int | None, ticket: int
    ) -> None:
        chat, first = position.chat, position.member.joined - 1
        known = self._cursors.device_at(
            chat, session.user, session.device, position.device_received, ticket
        )
        cursor = known if override is None else override
        if override is not None and override != known:
            self._cursors.move(
                CursorMove(
                    chat=chat,
                    user=session.user,
                    device=session.device,
                    device_received=override,
                    rewind=True,
                )
            )
            if override > known:
                self._scheduler.spawn(self._has_since(session.user, chat, override))
        session.begin(chat, max(cursor, first))
        if position.head > max(cursor, first):
            session.behind.add(chat)

    async def _has_since(self, user: str, chat: str, seq: int) -> None:
        """A device says at connect that it has more than we knew: as good as `received`."""
        try:
            room = await self._rooms.existing(chat)
            room.member(user)
        except Answer:
            return
        self._acks.user_has(user, room, seq)


def _refuse_cursor(session: Session, position: Position, override: int) -> None:
    message = f"cursor of {position.chat}: it ends at seq {position.head}; {override} is beyond it"
    _push_refusal(session, BadRequest(message))


def _push_refusal(session: Session, error: Refusal) -> None:
    session.push(error_frame(error))
