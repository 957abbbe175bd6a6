"""The rules of a conversation: sending, received, read, and what a connecting device gets.

Plain calls wherever the chat is loaded already; a call that must read the store first
returns the awaitable that does it and then goes on. The frames of one connection are
handled one after the other, so their order holds either way.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from whatsapp.catchup import SYNCED, Catchup
from whatsapp.clock import Clock, Scheduler
from whatsapp.cursors import Cursors
from whatsapp.errors import (
    Answer,
    BadRequest,
    NotFound,
    Refusal,
    TooLarge,
)
from whatsapp.hub import Hub
from whatsapp.interfaces import ChatStore, MessageStore
from whatsapp.journal import Journal
from whatsapp.model import (
    TEXT_BYTES_MAX,
    Actor,
    CursorMove,
    Position,
    direct_chat,
    is_group,
    message_id,
    pair,
    user_id,
)
from whatsapp.acks import Acks
from whatsapp.rates import Rates
from whatsapp.receipts import Receipts, direct_receipt
from whatsapp.resources import Posted
from whatsapp.room import NO_SUCH_CHAT, Room, Rooms
from whatsapp.sending import Desk, Sending
from whatsapp.session import Session, State
from whatsapp.wire import (
    TEXT_ENCODED_BYTES_MAX,
    Read,
    Received,
    Send,
    Sent,
    encode,
    error_frame,
)

Later = Coroutine[Any, Any, None] | None

# At a connect; who was away for long asks for the chats that it shows.
MISSED_RECEIPTS_MAX = 50


class Conversations:
    """Direct chats and groups alike: a chat is one log."""

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        *,
        messages: MessageStore,
        chats: ChatStore,
        rooms: Rooms,
        journal: Journal,
        hub: Hub,
        catchup: Catchup,
        cursors: Cursors,
        receipts: Receipts,
        rates: Rates,
        clock: Clock,
        scheduler: Scheduler,
        text_bytes_max: int = TEXT_BYTES_MAX,
    ) -> None:
        self._chats = chats
        self._rooms = rooms
        self._journal = journal
        self._hub = hub
        self._catchup = catchup
        self._cursors = cursors
        self._rates = rates
        self._scheduler = scheduler
        self._text_bytes_max = text_bytes_max
        self._acks = Acks(
            messages=messages,
            hub=hub,
            catchup=catchup,
            cursors=cursors,
            receipts=receipts,
            clock=clock,
            scheduler=scheduler,
        )
        self._desk = Desk(
            messages=messages,
            hub=hub,
            clock=clock,
            scheduler=scheduler,
            device_has=self._acks.device_has,
        )

    # --- sending ---------------------------------------------------------------------

    def send(self, session: Session, frame: Send) -> Later:
        """A text over WebSocket; answered by `sent` or an error with `re`."""
        chat = frame.chat
        if chat is None or frame.to is not None or chat not in self._rooms:
            chat = _addressed(session.user, frame)
        sending = Sending(self._desk, session.user, chat, frame)
        sending.session = session
        return self._send(sending)

    async def post(
        self, actor: Actor, chat: str, message: str, text: str, reply_to: int | None
    ) -> Posted:
        """A text over REST. Returns once it is durable."""
        frame = Send(id=message, text=text, chat=chat, reply_to=reply_to)
        sending = Sending(self._desk, actor.user, chat_id(chat), frame)
        sending.promise = promise = self._scheduler.promise()
        later = self._send(sending)
        if later is not None:
            await later
        sent: Sent = await promise
        return Posted(chat=sent.chat, seq=sent.seq, time=sent.time, dup=sent.dup)

    def _send(self, sending: Sending) -> Later:
        message_id(sending.id)
        self._check_text(sending.text)
        self._rates.take("sends", sending.user)
        room = self._rooms.get(sending.chat)
        if room is None or (room.relations is None and not room.group):
            return self._send_later(sending)
        self._submit(sending, room)
        return None

    async def _send_later(self, sending: Sending) -> None:
        self._submit(sending, await self._rooms.ready(sending.chat, sending.user))

    def _submit(self, sending: Sending, room: Room) -> None:
        sending.room = room
        if room.group:
            self._rates.take("deliveries", sending.user, float(len(room.members)))
        self._journal.submit(sending)

    def _check_text(self, text: str) -> None:
        if not text:
            raise BadRequest("the text is empty")
        size = len(text) if text.isascii() else len(text.encode())
        if size > self._text_bytes_max:
            raise TooLarge(f"a text is at most {self._text_bytes_max} bytes; this one has {size}")
        if "\0" in text:
            raise BadRequest("a text must not contain NUL characters")
        if size > TEXT_ENCODED_BYTES_MAX // 6 and len(encode(text)) > TEXT_ENCODED_BYTES_MAX:
            raise TooLarge("the text has so many control characters that it fits no frame")

    # --- cursors ---------------------------------------------------------------------

    def received(self, session: Session, frame: Received) -> Later:
        """This device has all up to `seq`."""
        room = self._rooms.get(frame.chat)
        if room is None or not room.head:
            return self._cursor_later(session, frame)
        self._acks.received(session, room, frame.seq)
        return None

    def read(self, session: Session, frame: Read) -> Later:
        """The user has read all up to `seq`; so this device has it, too."""
        room = self._rooms.get(frame.chat)
        if room is None or not room.head:
            return self._cursor_later(session, frame)
        self._acks.read(session, room, frame.seq)
        return None

    async def _cursor_later(self, session: Session, frame: Received | Read) -> None:
        chat = chat_id(frame.chat)
        room = await self._rooms.existing(chat)
        if isinstance(frame, Read):
            self._acks.read(session, room, frame.seq)
        else:
            self._acks.received(session, room, frame.seq)

    def tick(self) -> None:
        """What acknowledgements lead to and could wait. Before the receipts' own tick."""
        self._acks.tick()

    # --- connecting ------------------------------------------------------------------

    async def begin(
        self, session: Session, cursors: Mapping[str, int] | None, *, away_since_ms: int
    ) -> None:
        """Give a session, known to the hub already, its positions; then all that is pending.

        Then the receipts of direct chats that it missed since it was last connected.
        """
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
            self._place(session, position, override)
        for chat in overrides:
            _push_refusal(session, NotFound(f"cursor of {chat}: {NO_SUCH_CHAT}"))
        session.state = State.LIVE
        if session.behind:
            self._catchup.wake(session)
        else:
            session.synced = True
            session.push(SYNCED)
        missed = [
            (position.peer.moved_ms, position.chat)
            for position in positions
            if position.peer is not None and position.peer.moved_ms > away_since_ms
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

    def _place(self, session: Session, position: Position, override: int | None) -> None:
        chat, first = position.chat, position.member.joined - 1
        known = self._cursors.device_at(
            chat, session.user, session.device, position.device_received
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


def _addressed(user: str, frame: Send) -> str:
    """The chat that a `send` means."""
    if frame.to is not None and frame.chat is None:
        return direct_chat(user, user_id(frame.to))
    if frame.chat is not None and frame.to is None:
        return chat_id(frame.chat)
    raise BadRequest("name either the chat or, with 'to', a user")


def chat_id(text: str) -> str:
    """A chat's id in canonical form; what cannot be one is answered like one that is not."""
    chat = text.lower()
    if is_group(chat) or pair(chat) is not None:
        return chat
    raise NotFound(NO_SUCH_CHAT)


def _refuse_cursor(session: Session, position: Position, override: int) -> None:
    message = f"cursor of {position.chat}: it ends at seq {position.head}; {override} is beyond it"
    _push_refusal(session, BadRequest(message))


def _push_refusal(session: Session, error: Refusal) -> None:
    session.push(error_frame(error))
