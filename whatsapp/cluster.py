"""One conversation over several instances: what this one tells the others, and hears of them.

An entry that is committed here goes, as one hint, to each other instance on which a reader
is. Theirs is the same road as ours from there: `hub.py` offers it to their sessions, and what
does not fit is *behind* and is read from the log. So a hint that is lost is healed like
everything else; what is needed is only to notice. Who may have missed something looks again
(`looks.py`):

- an instance, at all its sessions: when a link ends or comes back, when an instance dies, when
  the directory was away;
- a session that has just connected, once more after `SECOND_LOOK_SECONDS`: somebody may have
  asked the directory just before it was in there;
- a chat, when its next hint leaves a gap, or its sender knows that one did not fit.

While the directory is away, hints go to all instances that are linked (`routes.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import msgspec

from whatsapp.clock import Clock, Scheduler
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
from whatsapp.interfaces import Directory, Instance
from whatsapp.looks import Looks
from whatsapp.metrics import Metrics
from whatsapp.model import Change, Entry, pair
from whatsapp.room import Room, Rooms
from whatsapp.routes import Post
from whatsapp.session import Session, State
from whatsapp.wire import CLOSE_REPLACED, Cursor, Receipt, TypingShown, encode

log = logging.getLogger(__name__)

# Longer than a route is kept and a directory lags, and within the 5 s that a message may take.
SECOND_LOOK_SECONDS = 4.0
# After a link ended: time for what its instance had committed to be readable everywhere.
LOST_SECONDS = 0.5
# While an instance cannot be heard, what it would tell us to forget is forgotten so often.
DEAF_SECONDS = 1.0
# Clocks further apart than this are told: times that users see differ by as much.
CLOCKS_APART_MS_MAX = 1000


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
        """Who is online on other instances may be another."""
        ...

    async def look_again(self, session: Session) -> None:
        """Read the heads of its chats; what is behind catches up."""
        ...


class Cluster:
    """See the head of this file. Nothing here waits for another instance.

    `effects` is given once the modules that hints concern are built.
    """

    effects: Effects

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        *,
        post: Post,
        looks: Looks,
        directory: Directory,
        me: str,
        rooms: Rooms,
        hub: Hub,
        clock: Clock,
        scheduler: Scheduler,
        metrics: Metrics,
    ) -> None:
        self._post = post
        self._looks = looks
        looks.look_again = self._look_again
        self._directory = directory
        self._me = me
        self._rooms = rooms
        self._hub = hub
        self._clock = clock
        self._scheduler = scheduler
        self._metrics = metrics
        self._live: dict[str, Instance] = {}
        self._met: dict[str, int] = {}  # the epoch with which an instance was last linked
        self._leaving: set[str] = set()
        self._arrived: list[Session] = []
        self._to_learn = True
        self._was_healthy = True
        self._forgotten_at = 0.0
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
        directory.on_change(self._directory_changed)

    # --- telling ---------------------------------------------------------------------

    def said(self, entry: Entry, change: Change | None, readers: Iterable[str]) -> None:
        """An entry was committed here."""
        self._post.to_users(tuple(readers), Said(entry, change), entry.chat)

    def receipted(
        self, room: Room, reader: str, received: int, read: int, authors: Sequence[str]
    ) -> None:
        """`reader` has this much of the authors' messages, as far as they may know."""
        self._post.to_users(authors, Receipted(room.chat, reader, received, read, tuple(authors)))

    def moved(self, room: Room, user: str) -> None:
        """The user has read up to its cursor: for its devices elsewhere."""
        hint = Moved(room.chat, user, room.received.get(user, 0), room.read.get(user, 0))
        self._post.to_users((user,), hint)

    def typed(self, chat: str, user: str, readers: Iterable[str], *, on: bool) -> None:
        self._post.to_users(tuple(readers), Typed(chat, user, on))

    def arrived(self, session: Session) -> None:
        """The session said who it is: an older one of its device, elsewhere, has to end."""
        self._arrived.append(session)
        self._looks.at(session, self._clock.monotonic() + SECOND_LOOK_SECONDS)

    def ended(self, user: str, devices: Collection[str], sure: bool) -> None:  # noqa: FBT001 — a callback
        """These devices were logged out here. Not `sure`: the store did not say."""
        self._post.to_all(Ended(user, tuple(devices), sure))

    def forget(self, user: str) -> None:
        """Profile, blocks or existence of this user changed here."""
        self._post.to_all(Forget((user,)))

    def bye(self) -> None:
        """Going away: nobody needs to look for what we may not have told."""
        self._post.to_all(Bye())

    # --- hearing ---------------------------------------------------------------------

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
        room = self._rooms.get(hint.chat)
        if room is not None:
            self._show_receipt(room, hint)
        elif any(map(self._hub.online, hint.authors)):
            # What a connecting author is told comes of the room, too: neither goes backward.
            self._scheduler.spawn(self._receipted_later(hint))

    async def _receipted_later(self, hint: Receipted) -> None:
        try:
            room = (await self._rooms.load([hint.chat])).get(hint.chat)
        except Answer:
            return  # a receipt is a courtesy: the next one tells the same and more
        if room is not None:
            self._show_receipt(room, hint)

    def _show_receipt(self, room: Room, hint: Receipted) -> None:
        received, read = hint.received, hint.read
        if hint.reader in room.members:
            room.learn(hint.reader, received, read)
            received = room.received[hint.reader]
            read = room.read[hint.reader] if read else 0
        frame = encode(Receipt(hint.chat, hint.reader, received, read))
        for author in hint.authors:
            self._hub.tell(author, frame)

    def _moved(self, name: str, hint: Moved) -> None:
        room = self._rooms.get(hint.chat)
        if room is not None and hint.user in room.members:
            room.learn(hint.user, hint.received, hint.read)
        self._hub.tell(hint.user, encode(Cursor(hint.chat, hint.received, hint.read)))

    def _typed(self, name: str, hint: Typed) -> None:
        room = self._rooms.get(hint.chat)
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
                self._post.to((name,), pack(_here(session, answer=True)))

    def _ended(self, name: str, hint: Ended) -> None:
        self.effects.ended(hint.user, hint.devices, hint.sure)

    def _forget(self, name: str, hint: Forget) -> None:
        for user in hint.users:
            self.effects.forget(user)

    def _bye(self, name: str, hint: Bye) -> None:
        self._leaving.add(name)

    # --- instances come and go -------------------------------------------------------

    def linked(self, name: str) -> None:
        """A link is there. The same run of it as before: neither side has heard the other."""
        epoch = self._post.links.epoch(name)
        self._leaving.discard(name)
        if self._met.get(name) == epoch:
            self.effects.forget_all()
            self._looks.everywhere()
        self._met[name] = epoch
        offset_ms = self._post.links.offset_ms(name)
        if abs(offset_ms) > CLOCKS_APART_MS_MAX:
            log.warning(
                "clocks differ peer=%s offset_ms=%d cause=%s cure=%s",
                name,
                offset_ms,
                "the clock of one of the machines is wrong",
                "let NTP set the clocks of all machines",
            )
        self._post.tick()

    def lost(self, name: str) -> None:
        """A link is gone, and with it what was under way, unless it has said goodbye."""
        if name in self._leaving:
            self._leaving.discard(name)
            return
        self.effects.forget_all()
        self._looks.everywhere_at(self._clock.monotonic() + LOST_SECONDS)

    def tick(self) -> None:
        """Several times a second."""
        healthy = self._directory.healthy()
        if healthy and not self._was_healthy:
            self._post.routes.clear()
            self.effects.elsewhere()
            self._looks.everywhere()
            self._to_learn = True
        self._was_healthy = healthy
        if self._to_learn and healthy:
            self._scheduler.spawn(self._learn())
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            self._scheduler.spawn(self._announce(arrived))
        self._forget_if_deaf()
        self._post.tick()
        self._looks.tick()

    def _directory_changed(self) -> None:
        self._to_learn = True

    async def _learn(self) -> None:
        """Which instances live now?"""
        self._to_learn = False
        try:
            instances = await self._directory.instances()
        except Answer:
            self._to_learn = True
            return
        before, self._live = self._live, {instance.name: instance for instance in instances}
        self._post.live(self._live)
        self._post.links.know(instances)
        if any(self._live.get(name) != instance for name, instance in before.items()):
            self._post.routes.clear()
            self.effects.elsewhere()

    async def _look_again(self, session: Session) -> None:
        await self.effects.look_again(session)

    def _forget_if_deaf(self) -> None:
        """Somebody lives whom we cannot hear: it may have changed what we keep in memory."""
        now = self._clock.monotonic()
        deaf = len(self._post.links.names()) < len(self._live) - 1
        if deaf and now - self._forgotten_at >= DEAF_SECONDS:
            self._forgotten_at = now
            self.effects.forget_all()

    async def _announce(self, sessions: Sequence[Session]) -> None:
        """Tell the other instances of these users which device is where now."""
        sessions = [session for session in sessions if session.state is not State.CLOSED]
        users = {session.user for session in sessions}
        self._post.to_all(Came(tuple(users)))
        places = await self._post.locate(users)
        if not places:
            return
        for session in sessions:
            known, unknown = self._post.routes.split([session.user])
            self._post.to(tuple(places if unknown else known), pack(_here(session)))


def _here(session: Session, *, answer: bool = False) -> Here:
    return Here(session.user, session.device, session.since_ms, answer)
