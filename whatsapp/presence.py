"""Online, last seen, typing: what is shown of a user to whom. Lossy; shed first.

A session is told about the users that it watches, and about nobody else. Changes gather
until the next tick, so a flapping connection is one frame, and what has not changed for a
watcher is not told again.

Who hides itself does not see others (reciprocal): a subject is shown to a viewer only if
each of the two would show itself to the other, and neither blocks the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Protocol

from whatsapp.accounts import Accounts
from whatsapp.clock import Clock, Scheduler
from whatsapp.errors import Answer, BadRequest, NotFound
from whatsapp.hub import Hub
from whatsapp.interfaces import Directory
from whatsapp.model import Account, Actor, Visibility, user_id
from whatsapp.resources import PresenceInfo
from whatsapp.room import Room, Rooms
from whatsapp.session import Session, Shown, State
from whatsapp.wire import WATCHED_USERS_MAX, Presence, Typing, TypingShown, Watch, encode

TYPING_SECONDS = 6.0
# The same again within this time is not passed on: clients repeat it while keys are pressed.
TYPING_REPEAT_SECONDS = 2.0
TYPERS_MAX = 10_000
# Users looked at in one go; a mass logout is told in several ticks.
CHANGES_PER_TICK_MAX = 500

HIDDEN = Shown(online=False, last_seen_ms=None)
Contacts = Callable[[str, Collection[str]], Awaitable[set[str]]]


class Typed(Protocol):
    """Tells the other instances of these readers."""

    def __call__(self, chat: str, user: str, readers: Iterable[str], /, *, on: bool) -> None: ...


class Presences:
    """Who is shown how, and who types."""

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        *,
        accounts: Accounts,
        contacts: Contacts,
        directory: Directory,
        instance: str,
        hub: Hub,
        rooms: Rooms,
        clock: Clock,
        scheduler: Scheduler,
        typed: Typed | None = None,
    ) -> None:
        self._typed = typed  # None: there are no other instances
        self._accounts = accounts
        self._contacts = contacts
        self._directory = directory
        self._instance = instance
        self._hub = hub
        self._rooms = rooms
        self._clock = clock
        self._scheduler = scheduler
        self._watchers: dict[str, dict[Session, None]] = {}
        self._unwatch: dict[str, Callable[[], None]] = {}
        self._changed: dict[str, None] = {}
        self._refreshes = 0
        self._typing: dict[tuple[str, str], tuple[float, float]] = {}
        self._seen: dict[str, int] = {}  # when users were last seen, not written yet
        self._since: dict[str, int] = {}  # since when users are here
        self._left: set[str] = set()  # to be withdrawn from the directory

    # --- coming and going ------------------------------------------------------------

    def came(self, user: str) -> None:
        """The user's first session here."""
        self._since[user] = self._clock.now_ms()
        if self._typed is not None:
            self._seen[user] = self._since[user]  # other instances read it in the store
        self._left.discard(user)
        self._note_change(user)

    def went(self, user: str) -> None:
        """The user's last session here is over: it was seen until now."""
        self._seen[user] = self._clock.now_ms()
        self._since.pop(user, None)
        self._left.add(user)
        self._note_change(user)

    def refresh(self, user: str) -> None:
        """What may be shown of or to this user has changed: tell again what is different."""
        self._refreshes += 1
        self._note_change(user)
        for session in self._hub.of(user):
            if session.watching:
                self._scheduler.spawn(self._tell(session, list(session.watching)))

    def elsewhere(self) -> None:
        """What others told may not have been heard: who came or went there, or hides itself now."""
        self._refreshes += 1
        for user in self._watchers:
            self._changed_elsewhere(user)

    def tick(self) -> None:
        """Tell what has changed; end what nobody types any more; write when users were seen."""
        if self._changed:
            users = list(self._changed)[:CHANGES_PER_TICK_MAX]
            for user in users:
                del self._changed[user]
            self._scheduler.spawn(self._tell_watchers(users))
        if self._left:
            self._scheduler.spawn(self._withdraw())
        now = self._clock.monotonic()
        for key in [key for key, (ends, _) in self._typing.items() if ends <= now]:
            del self._typing[key]
            self._show_typing(*key, on=False)

    async def _withdraw(self) -> None:
        left, self._left = self._left, set()
        if self._typed is not None:
            await self.flush()  # so that others, told that it is gone, read when
            left = {user for user in left if not self._hub.online(user)}  # not back meanwhile
        try:
            await self._directory.withdraw(left)
        except Answer:
            self._left |= {user for user in left if not self._hub.online(user)}

    async def flush(self) -> None:
        """Write when users were last seen."""
        seen, self._seen = self._seen, {}
        if seen:
            try:
                await self._accounts.saw(seen)
            except Answer:
                self._seen = seen | self._seen

    # --- watching --------------------------------------------------------------------

    def watch(self, session: Session, frame: Watch) -> None:
        """Replace the users whose presence this session wants."""
        if len(frame.users) > WATCHED_USERS_MAX:
            raise BadRequest(f"at most {WATCHED_USERS_MAX} users can be watched at once")
        wanted = dict.fromkeys(user_id(user) for user in frame.users)
        self.forget(session)
        session.watching = dict.fromkeys(wanted)
        for user in wanted:
            if user not in self._watchers:
                self._watchers[user] = {}
                if self._typed is not None:
                    self._accounts.forget_last_seen(user)
                    stop = self._directory.watch([user], self._changed_elsewhere)
                    self._unwatch[user] = stop
            self._watchers[user][session] = None
        self._scheduler.spawn(self._tell(session, list(wanted)))

    def forget(self, session: Session) -> None:
        """The session is over, or watches others from now on."""
        for user in session.watching:
            watchers = self._watchers.get(user)
            if watchers is not None:
                watchers.pop(session, None)
                if not watchers:
                    del self._watchers[user]
                    if (stop := self._unwatch.pop(user, None)) is not None:
                        stop()
        session.watching = {}

    async def show(self, actor: Actor, user: str) -> PresenceInfo:
        """The presence of one user; `NotFound` for one that does not exist."""
        user = user_id(user)
        if self._typed is not None and user not in self._watchers:
            self._accounts.forget_last_seen(user)
        account = (await self._accounts.find([user])).get(user)
        if account is None or account.erased:
            raise NotFound("there is no such user")
        shown = (await self._shown(actor.user, [user]))[user]
        return PresenceInfo(user=user, online=shown.online, last_seen=shown.last_seen_ms)

    async def _tell_watchers(self, users: Sequence[str]) -> None:
        for user in users:
            for session in list(self._watchers.get(user, ())):
                await self._tell(session, [user])

    async def _tell(self, session: Session, users: Sequence[str]) -> None:
        try:
            shown = await self._shown(session.user, users)
        except Answer:
            self._changed |= dict.fromkeys(users)  # lossy, but not for ever
            return
        if session.state is not State.LIVE:
            return
        for user, now in shown.items():
            before = session.watching.get(user, now)
            still_online = before is not None and before.online and now.online
            if before != now and not still_online:
                session.watching[user] = now
                session.push(encode(Presence(user, now.online, now.last_seen_ms)))

    async def _shown(self, viewer: str, users: Collection[str]) -> dict[str, Shown]:
        """What `viewer` may see of each of these users now.

        Who was looked up while somebody hid itself is looked up again.
        """
        while True:
            refreshes = self._refreshes
            shown = await self._shown_then(viewer, users)
            if refreshes == self._refreshes:
                return shown

    async def _shown_then(self, viewer: str, users: Collection[str]) -> dict[str, Shown]:
        accounts = await self._accounts.find([*users, viewer])
        contacts = await self._contacts_among(viewer, accounts)
        hidden_by_me = await self._accounts.blocks(viewer)
        hides_from_me = {user for user in users if viewer in await self._accounts.blocks(user)}
        elsewhere = await self._elsewhere([user for user in users if not self._hub.online(user)])
        # From here on nothing waits: who comes or goes is told after this.
        shown = {}
        for user in users:
            account = accounts.get(user)
            if (
                account is None
                or account.erased
                or user in hidden_by_me
                or user in hides_from_me
                or (user != viewer and not _mutual(account, accounts.get(viewer), contacts))
            ):
                shown[user] = HIDDEN
            elif self._hub.online(user) or user in elsewhere:
                since_ms = self._since.get(user) or account.last_seen_ms or self._clock.now_ms()
                shown[user] = Shown(online=True, last_seen_ms=since_ms)
            else:
                seen_ms = max(self._seen.get(user, 0), account.last_seen_ms)
                shown[user] = Shown(online=False, last_seen_ms=seen_ms or None)
        return shown

    async def _elsewhere(self, users: Collection[str]) -> set[str]:
        """Those on other instances. Of ourselves we know better: the directory lags behind."""
        located = await self._directory.locate(users)
        return {user for user, names in located.items() if set(names) - {self._instance}}

    async def _contacts_among(self, viewer: str, accounts: dict[str, Account]) -> set[str]:
        """Asked of the store only where somebody shows itself to contacts only."""
        if all(a.last_seen_visible is not Visibility.CONTACTS for a in accounts.values()):
            return set()
        return await self._contacts(viewer, [user for user in accounts if user != viewer])

    def _changed_elsewhere(self, user: str) -> None:
        self._accounts.forget(user)  # its last seen is in the store
        self._note_change(user)

    def _note_change(self, user: str) -> None:
        if user in self._watchers:
            self._changed[user] = None

    # --- typing ----------------------------------------------------------------------

    def typing(self, session: Session, frame: Typing) -> Awaitable[None] | None:
        """Pass on that the user types or stopped; unchanged repeats are not passed on."""
        room = self._rooms.get(frame.chat)
        if (
            room is None
            or room.stale
            or frame.chat not in session.chats()
            or (room.relations is None and not room.group)
        ):
            return self._typing_later(session, frame)
        self._types(session.user, room, on=frame.on)
        return None

    async def _typing_later(self, session: Session, frame: Typing) -> None:
        await self._rooms.existing(frame.chat)
        self._types(session.user, await self._rooms.ready(frame.chat, session.user), on=frame.on)

    def _types(self, user: str, room: Room, *, on: bool) -> None:
        room.member(user)
        key = (room.chat, user)
        now = self._clock.monotonic()
        _, told_at = self._typing.get(key, (0.0, -TYPING_SECONDS))
        if not on:
            if self._typing.pop(key, None) is not None:
                self._show_typing(*key, on=False)
            return
        if len(self._typing) >= TYPERS_MAX and key not in self._typing:
            return
        fresh = now - told_at >= TYPING_REPEAT_SECONDS
        self._typing[key] = (now + TYPING_SECONDS, now if fresh else told_at)
        if fresh:
            self._show_typing(*key, on=True)

    def _show_typing(self, chat: str, user: str, *, on: bool) -> None:
        room = self._rooms.get(chat)
        if room is None or (room.relations is not None and room.relations.blockers):
            return
        frame = encode(TypingShown(chat, user, on))
        self._hub.tell_all((name for name in room.active() if name != user), frame)
        if self._typed is not None:
            self._typed(chat, user, room.active(), on=on)


def _mutual(one: Account, other: Account | None, contacts: Collection[str]) -> bool:
    """Would each of the two show itself to the other? (To be contacts is mutual.)"""
    if other is None:
        return False
    return all(
        account.last_seen_visible is Visibility.EVERYONE
        or (account.last_seen_visible is Visibility.CONTACTS and one.user in contacts)
        for account in (one, other)
    )
