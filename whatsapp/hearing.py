"""What the hints of other instances do here.

An entry is offered to the sessions of its readers as if it had been committed here, where it is
the next one of its chat. Everything else ends in a look at the store (`looks.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import msgspec

from whatsapp.clock import Scheduler
from whatsapp.errors import Answer
from whatsapp.hints import (
    Absent,
    AnyHint,
    Bye,
    Came,
    Ended,
    Forget,
    Grown,
    Here,
    Moved,
    Receipted,
    Said,
    Typed,
    pack,
    unpack,
)
from whatsapp.hub import Hub
from whatsapp.interfaces import Directory
from whatsapp.looks import Looks
from whatsapp.metrics import Metrics
from whatsapp.model import pair
from whatsapp.receipts import direct_receipt
from whatsapp.room import Room, Rooms
from whatsapp.routes import Post
from whatsapp.session import Session
from whatsapp.wire import CLOSE_REPLACED, Cursor, Receipt, TypingShown, encode

log = logging.getLogger(__name__)


class Effects(Protocol):
    """What hints do beyond rooms and sessions: `effects.py`."""

    def forget(self, user: str) -> None:
        """Drop what is cached of this account."""
        ...

    def forget_all(self) -> None:
        """Drop what is cached of all accounts and logins."""
        ...

    def ended(self, user: str, devices: Collection[str], sure: bool) -> None:  # noqa: FBT001 — as `Cluster.ended`
        """Close the sockets of these devices."""
        ...

    def elsewhere(self) -> None:
        """Whom others show, and how, may be another."""
        ...

    async def look_again(self, session: Session) -> None:
        """Read the heads of its chats; what is behind catches up."""
        ...


class Hearing:
    """`leaving`: the instances that have said goodbye."""

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        *,
        post: Post,
        looks: Looks,
        directory: Directory,
        me: str,
        rooms: Rooms,
        hub: Hub,
        effects: Effects,
        scheduler: Scheduler,
        metrics: Metrics,
    ) -> None:
        self.leaving: set[str] = set()
        self._post = post
        self._looks = looks
        self._directory = directory
        self._me = me
        self._rooms = rooms
        self._hub = hub
        self._effects = effects
        self._scheduler = scheduler
        self._metrics = metrics
        self._hearers: dict[type[AnyHint], Callable[..., None]] = {
            Said: self._said,
            Absent: self._absent,
            Grown: self._grown,
            Receipted: self._receipted,
            Moved: self._moved,
            Typed: self._typed,
            Came: self._came,
            Here: self._here,
            Ended: self._ended,
            Forget: self._forget,
            Bye: self._bye,
        }

    def heard(self, name: str, messages: Iterable[bytes]) -> None:
        """Another instance told this. What cannot be understood is dropped: a newer version's."""
        for message in messages:
            self._metrics.hints_heard.value += 1
            try:
                hint = unpack(message)
                self._hearers[type(hint)](name, hint)
            except msgspec.MsgspecError:
                log.warning("hint not understood, dropped instance=%s", name)
            except Exception:
                log.exception("hint failed instance=%s", name)

    def _said(self, name: str, hint: Said) -> None:
        entry = hint.entry
        users = pair(entry.chat)
        room = self._rooms.get(entry.chat)
        if users is not None and not any(map(self._hub.online, users)):
            if room is not None:
                room.stale = True
            self._post.to((name,), pack(Absent(entry.chat)))
        elif room is None or room.stale:
            self._looks.chat(entry.chat)
        elif entry.seq == room.head + 1:
            self._hub.follow(room, entry, hint.change)
            if users is None and not any(map(self._hub.online, room.active())):
                self._post.to((name,), pack(Absent(entry.chat)))
        elif entry.seq > room.head:
            room.stale = True
            self._looks.chat(entry.chat)
        elif hint.change is None:
            # The room was read after this was committed; nobody need have been told.
            self._hub.deliver(entry, room.active(), origin=None)
        else:
            self._hub.grown(room)

    def _absent(self, name: str, hint: Absent) -> None:
        room = self._rooms.get(hint.chat)
        users = pair(hint.chat) if room is None else tuple(room.active())
        if users and self._directory.healthy():
            self._scheduler.spawn(self._tell_again(name, hint.chat, users))

    async def _tell_again(self, name: str, chat: str, users: Collection[str]) -> None:
        """They have moved: look once more where they are."""
        instances = await self._post.locate(users)
        self._post.to([other for other in instances if other != name], pack(Grown((chat,))), chat)

    def _grown(self, name: str, hint: Grown) -> None:
        if hint.chats is None:
            self._effects.forget_all()
            self._effects.elsewhere()
            self._looks.everywhere()
            return
        for chat in hint.chats:
            room = self._rooms.get(chat)
            if room is not None:
                room.stale = True
            users = pair(chat)
            if room is not None or users is None or any(map(self._hub.online, users)):
                self._looks.chat(chat)

    def _receipted(self, name: str, hint: Receipted) -> None:
        """Told by way of the room, as to an author who connects: so none goes backward."""
        room = self._rooms.get(hint.chat)
        if room is not None:
            _learn(room, hint)
        if not any(map(self._hub.online, hint.authors)):
            return
        if room is None or (room.relations is None and not room.group):
            self._scheduler.spawn(self._receipted_later(hint))
        else:
            self._show_receipt(room, hint)

    async def _receipted_later(self, hint: Receipted) -> None:
        try:
            room = await self._rooms.ready(hint.chat, hint.reader)
        except Answer:
            return  # a receipt is a courtesy: the next one tells the same and more
        _learn(room, hint)
        self._show_receipt(room, hint)

    def _show_receipt(self, room: Room, hint: Receipted) -> None:
        reader = hint.reader
        if room.group:
            # Of a reader who has just joined, nothing may be known here but this.
            received = max(hint.received, room.received.get(reader, 0))
            read = max(hint.read, room.read.get(reader, 0))
            frame: bytes | None = encode(Receipt(room.chat, reader, received, read))
        else:
            frame = direct_receipt(room, reader)
        if frame is not None:
            self._hub.tell_all((user for user in hint.authors if _is_in(room, user)), frame)

    def _moved(self, name: str, hint: Moved) -> None:
        room, user = self._rooms.get(hint.chat), hint.user
        received, read = hint.received, hint.read
        if room is not None:
            if not _is_in(room, user):
                return
            room.learn(user, received, read)
            received, read = room.received[user], room.read[user]
        self._hub.tell(user, encode(Cursor(hint.chat, received, read)))

    def _typed(self, name: str, hint: Typed) -> None:
        room = self._rooms.get(hint.chat)
        if room is not None and room.stale:  # who is in there is not known
            return
        users = (pair(hint.chat) or ()) if room is None else room.active()
        frame = encode(TypingShown(hint.chat, hint.user, hint.on))
        self._hub.tell_all((user for user in users if user != hint.user), frame)

    def _came(self, name: str, hint: Came) -> None:
        self._post.routes.forget(hint.users)

    def _here(self, name: str, hint: Here) -> None:
        theirs = hint.since_ms - self._post.links.offset_ms(name)
        for session in self._hub.of(hint.user):
            if session.device != hint.device:
                continue
            if (session.since_ms, self._me) < (theirs, name):
                session.close(CLOSE_REPLACED, "replaced by a newer connection of this device")
            elif not hint.answer:
                self._post.to((name,), pack(here(session, answer=True)))

    def _ended(self, name: str, hint: Ended) -> None:
        self._effects.ended(hint.user, hint.devices, hint.sure)

    def _forget(self, name: str, hint: Forget) -> None:
        for user in hint.users:
            self._effects.forget(user)

    def _bye(self, name: str, hint: Bye) -> None:
        self.leaving.add(name)


def _learn(room: Room, hint: Receipted) -> None:
    if hint.reader in room.members:
        room.learn(hint.reader, hint.received, hint.read)


def _is_in(room: Room, user: str) -> bool:
    """Others may not have heard yet that it was removed here."""
    member = room.members.get(user)
    return member is not None and member.active


def here(session: Session, *, answer: bool = False) -> Here:
    """Which device is here since when."""
    return Here(session.user, session.device, session.since_ms, answer)
