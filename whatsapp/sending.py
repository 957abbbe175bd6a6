"""A text on its way into the journal, and the way back for its answer.

    admit → (stored) → settle → `sent` to its sender, the entry to everybody else
          ↘ refused, or not stored → fail → an error to its sender

A refusal may hit the repeat of a message that was stored while it was still allowed; so
before anything is refused, the log is asked for its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from whatsapp.clock import Clock, Promise, Scheduler
from whatsapp.errors import (
    Answer,
    BadRequest,
    Forbidden,
    IdReused,
    NotFound,
    NotMember,
    Refusal,
)
from whatsapp.hub import Hub
from whatsapp.interfaces import MessageStore
from whatsapp.journal import Unready
from whatsapp.model import Change, Draft, Duplicate, Entry, Role, Stored
from whatsapp.room import NO_SUCH_CHAT, Room
from whatsapp.session import Session, State
from whatsapp.wire import Send, Sent, encode, error_frame

Said = Callable[[Entry, Change | None, Iterable[str]], None]


class Desk(Struct, frozen=True, kw_only=True):
    """What every sending needs. `device_has(session, room, seq)`: its device's cursor moved.

    `said(entry, change, readers)`: tell the other instances, where there are any.
    """

    messages: MessageStore
    hub: Hub
    clock: Clock
    scheduler: Scheduler
    device_has: Callable[[Session, Room, int], None]
    said: Said | None = None


class Sending:
    """See the head of this file. Either `session` or `promise` hears of the end."""

    __slots__ = (
        "_desk",
        "chat",
        "id",
        "looked",
        "promise",
        "reply_to",
        "room",
        "session",
        "text",
        "user",
    )

    room: Room

    def __init__(self, desk: Desk, user: str, chat: str, frame: Send) -> None:
        self._desk = desk
        self.user = user
        self.chat = chat
        self.id = frame.id
        self.text = frame.text
        self.reply_to = frame.reply_to or 0
        self.session: Session | None = None
        self.promise: Promise | None = None
        self.looked = False

    def admit(self) -> Draft:
        try:
            return self._draft()
        except Refusal:
            if self.looked or self._desk.said is None:
                raise
            # Other instances write, too: what we know of the chat may be old.
            self.looked = True
            raise Unready from None

    def _draft(self) -> Draft:
        room = self.room
        hidden = self._check_group(room) if room.group else self._check_direct(room)
        if self.reply_to:
            member = room.members.get(self.user)
            if self.reply_to > room.head or member is None or not member.sees(self.reply_to):
                raise BadRequest(f"reply_to: there is no message {self.reply_to} in this chat")
        return Draft(
            chat=self.chat,
            sender=self.user,
            id=self.id,
            time_ms=self._desk.clock.now_ms(),
            text=self.text,
            reply_to=self.reply_to,
            hidden=hidden,
            epoch=room.epoch,
        )

    def _check_group(self, room: Room) -> bool:
        member = room.members.get(self.user)
        if member is None or not room.head:
            raise NotFound(NO_SUCH_CHAT)
        if not member.active:
            raise NotMember("you are no longer a member of this group")
        if room.announce and member.role is Role.MEMBER:
            raise Forbidden("only admins send in this group")
        return False

    def _check_direct(self, room: Room) -> bool:
        """Is it to be hidden from the other one, since that one blocks the sender?"""
        relations = room.relations
        if relations is None:
            raise Unready
        peer = room.peer(self.user)
        if self.user not in room.members or peer in relations.gone:
            raise NotFound("there is no such user")
        return peer in relations.blockers and peer != self.user

    def settle(self, outcome: Stored | Duplicate) -> None:
        entry = outcome.entry
        if isinstance(outcome, Duplicate):
            self._answer_duplicate(entry)
            return
        desk, room, session = self._desk, self.room, self.session
        room.committed(entry, None)
        if session is not None and session.state is State.LIVE:
            has = session.sent(entry.chat, entry.seq)
            if has is not None:
                desk.device_has(session, room, has)
        self._answer(entry, dup=False)
        desk.hub.deliver(entry, room.active(), origin=session)
        if desk.said is not None:
            desk.said(entry, None, room.active())

    def fail(self, error: Answer) -> None:
        if isinstance(error, Refusal):
            # It may be the repeat of one that was stored while it was still allowed.
            self._desk.scheduler.spawn(self._refuse(error))
        else:
            self._tell(error)

    async def _refuse(self, error: Refusal) -> None:
        try:
            entry = await self._desk.messages.find(self.chat, self.user, self.id)
        except Answer as trouble:
            self._tell(trouble)
            return
        if entry is None:
            self._tell(error)
        else:
            self._answer_duplicate(entry)

    def _answer_duplicate(self, entry: Entry) -> None:
        same = entry.kind == "text" and entry.text == self.text and entry.reply_to == self.reply_to
        if same or entry.expired:  # nobody knows any more what it said
            self._answer(entry, dup=True)
        else:
            self._tell(IdReused("this id was used for another message; take a new one"))

    def _answer(self, entry: Entry, *, dup: bool) -> None:
        sent = Sent(self.id, entry.chat, entry.seq, entry.time_ms, dup)
        if self.promise is not None:
            if not self.promise.done():
                self.promise.set_result(sent)
        elif self.session is not None:
            self.session.push(encode(sent))

    def _tell(self, error: Answer) -> None:
        if self.promise is not None:
            if not self.promise.done():
                self.promise.set_exception(error)
        elif self.session is not None:
            self.session.push(error_frame(error, self.id))
