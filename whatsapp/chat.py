"""The rules of a conversation: sending, received, read.

Plain calls wherever the chat is loaded already; a call that must read the store first
returns the awaitable that does it and then goes on. The frames of one connection are
handled one after the other, so their order holds either way.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from whatsapp.acks import Acks
from whatsapp.clock import Clock, Scheduler
from whatsapp.errors import (
    BadRequest,
    NotFound,
    TooLarge,
)
from whatsapp.hub import Hub
from whatsapp.interfaces import MessageStore
from whatsapp.journal import Journal
from whatsapp.model import (
    TEXT_BYTES_MAX,
    Actor,
    direct_chat,
    is_group,
    message_id,
    pair,
    user_id,
)
from whatsapp.rates import Rates
from whatsapp.resources import Posted
from whatsapp.room import NO_SUCH_CHAT, Room, Rooms
from whatsapp.sending import Desk, Said, Sending
from whatsapp.session import Session
from whatsapp.wire import (
    TEXT_ENCODED_BYTES_MAX,
    Read,
    Received,
    Send,
    Sent,
    encode,
)

Later = Coroutine[Any, Any, None] | None


class Conversations:
    """Direct chats and groups alike: a chat is one log."""

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        *,
        messages: MessageStore,
        rooms: Rooms,
        journal: Journal,
        hub: Hub,
        acks: Acks,
        rates: Rates,
        clock: Clock,
        scheduler: Scheduler,
        text_bytes_max: int = TEXT_BYTES_MAX,
        said: Said | None = None,
    ) -> None:
        self._rooms = rooms
        self._journal = journal
        self._rates = rates
        self._scheduler = scheduler
        self._text_bytes_max = text_bytes_max
        self._acks = acks
        self._desk = Desk(
            messages=messages,
            hub=hub,
            clock=clock,
            scheduler=scheduler,
            device_has=acks.device_has,
            said=said,
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
        if room is None or frame.seq > room.head or frame.chat not in session.chats():
            return self._cursor_later(session, frame)
        self._acks.received(session, room, frame.seq)
        return None

    def read(self, session: Session, frame: Read) -> Later:
        """The user has read all up to `seq`; so this device has it, too."""
        room = self._rooms.get(frame.chat)
        if room is None or frame.seq > room.head or frame.chat not in session.chats():
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
