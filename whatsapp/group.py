"""The rules of groups: who may do what, and that every change is an entry of the log.

A change is checked when its batch is formed and takes effect when its entry is committed,
in the same order as the messages around it (`journal.py`). So a message is either before a
removal, and the removed one saw it, or after, and it did not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from msgspec import UNSET, Struct

from whatsapp.accounts import Accounts
from whatsapp.clock import Clock, Promise, Scheduler, uuid7
from whatsapp.errors import (
    Answer,
    BadRequest,
    Forbidden,
    GroupFull,
    NotFound,
    NotMember,
    Unavailable,
)
from whatsapp.hub import Hub
from whatsapp.interfaces import ChatStore
from whatsapp.journal import Journal
from whatsapp.model import (
    ABOUT_CHARACTERS_MAX,
    TITLE_CHARACTERS_MAX,
    Actor,
    Change,
    Chat,
    Draft,
    Duplicate,
    Event,
    Member,
    Role,
    Stored,
    is_group,
    plain,
    user_id,
)
from whatsapp.resources import Added, GroupChange, Invite
from whatsapp.room import NO_SUCH_CHAT, Room, Rooms
from whatsapp.sending import Said

MANAGERS = (Role.OWNER, Role.ADMIN)
CODE_CHARACTERS_MAX = 128


class Step(Struct, frozen=True):
    """What one entry says and does."""

    kind: str
    event: Event | None
    change: Change | None


class Nothing(Exception):
    """Raised by a rule where things are already as wished."""


Rule = Callable[[Room], Step]


class Groups:
    """Operations on groups. All raise `NotFound` for a group that is not the actor's to see."""

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        *,
        chats: ChatStore,
        rooms: Rooms,
        journal: Journal,
        hub: Hub,
        accounts: Accounts,
        clock: Clock,
        scheduler: Scheduler,
        random_bytes: Callable[[int], bytes],
        new_code: Callable[[], str],
        members_max: int,
        said: Said | None = None,
    ) -> None:
        self.said = said
        self._chats = chats
        self._rooms = rooms
        self._journal = journal
        self.hub = hub
        self._accounts = accounts
        self.clock = clock
        self._scheduler = scheduler
        self._random_bytes = random_bytes
        self.new_code = new_code
        self._members_max = members_max

    async def create(self, actor: Actor, title: str, members: Sequence[str]) -> str:
        """A new group; the actor owns it. The members' history begins with its creation."""
        title = plain(title, what="the title", characters_max=TITLE_CHARACTERS_MAX)
        users = await self._existing(members, but=actor.user)
        if len(users) + 1 > self._members_max:
            raise self._full()
        chat = f"g:{uuid7(self.clock.now_ms(), self._random_bytes(10))}"
        room = self._rooms.new(Chat(chat=chat, head=0, members={}))
        joins = ((actor.user, Role.OWNER), *((user, Role.MEMBER) for user in users))
        created = Step("created", Event(title=title), Change(title=title, joins=joins))
        await self._commit(actor.user, room, _always(created))
        if users:
            added = Step("added", Event(users=tuple(users)), None)
            await self._commit(actor.user, room, _always(added))
        return chat

    async def change(self, actor: Actor, chat: str, wish: GroupChange) -> None:
        """Title, about, announcement-only; an entry for each that is not so already."""
        room = await self._room(actor, chat)
        if wish.title is not UNSET:
            title = plain(wish.title, what="the title", characters_max=TITLE_CHARACTERS_MAX)
            await self._commit(actor.user, room, lambda now: _retitle(now, actor.user, title))
        if wish.about is not UNSET:
            about = plain(
                wish.about, what="the text", characters_max=ABOUT_CHARACTERS_MAX, empty=True
            )
            await self._commit(actor.user, room, lambda now: _reabout(now, actor.user, about))
        if wish.announce is not UNSET:
            on = wish.announce
            await self._commit(actor.user, room, lambda now: _announce(now, actor.user, on))

    async def add(self, actor: Actor, chat: str, users: Sequence[str]) -> Added:
        """Those of `users` who were not members are now. All of them or none fit."""
        room = await self._room(actor, chat)
        _managing(room, actor.user)
        wanted = await self._existing(users)
        if not wanted:
            raise BadRequest("name at least one user to add")
        step = await self._commit(actor.user, room, lambda now: self._add(now, actor.user, wanted))
        added = step.event.users if step is not None and step.event is not None else ()
        return Added(added=list(added))

    async def remove(self, actor: Actor, chat: str, user: str) -> None:
        """Remove a member, or leave. The last owner who leaves passes ownership on."""
        room = await self._room(actor, chat)
        target = user_id(user)
        if target != actor.user:
            await self._commit(actor.user, room, lambda now: _remove(now, actor.user, target))
            return
        await self._leave(actor.user, room)

    async def set_role(self, actor: Actor, chat: str, user: str, role: Role) -> None:
        room = await self._room(actor, chat)
        target = user_id(user)
        await self._commit(actor.user, room, lambda now: _set_role(now, actor.user, target, role))

    async def invite(self, actor: Actor, chat: str) -> Invite:
        """A new invitation code; the one before is void."""
        room = await self._room(actor, chat)
        _managing(room, actor.user)
        room.invite = code = self.new_code()
        await self._chats.set_invite(room.chat, code)
        return Invite(code=code)

    async def revoke_invite(self, actor: Actor, chat: str) -> None:
        room = await self._room(actor, chat)
        _managing(room, actor.user)
        await self._chats.set_invite(room.chat, "")
        room.invite = ""

    async def join(self, actor: Actor, code: str) -> str:
        """Join by invitation; who is a member already stays one."""
        chat = await self._chats.by_invite(code) if 0 < len(code) <= CODE_CHARACTERS_MAX else None
        if chat is None:
            raise NotFound("this invitation is not, or no longer, valid")
        room = await self._rooms.existing(chat)
        await self._commit(actor.user, room, lambda now: self._join(now, actor.user))
        return chat

    async def leave_all(self, user: str) -> None:
        """The account goes: it leaves every group that it is in."""
        for position in await self._chats.of_user(user, ""):
            if is_group(position.chat):
                await self._leave(user, await self._rooms.existing(position.chat))

    # --- steps -----------------------------------------------------------------------

    async def _leave(self, user: str, room: Room) -> None:
        """Once it has left it has, heard or not: its change says who is the owner now, and the
        entry after it only tells the members.
        """
        step = await self._commit(user, room, lambda now: _leave(now, user))
        for heir, role in step.change.roles if step is not None and step.change is not None else ():
            said = Step("role", Event(user=heir, role=role), None)
            with suppress(Unavailable):
                await self._commit(user, room, _always(said))

    def _add(self, room: Room, actor: str, users: Collection[str]) -> Step:
        _managing(room, actor)
        fresh = [user for user in users if not _is_member(room, user)]
        if not fresh:
            raise Nothing
        if sum(1 for _ in room.active()) + len(fresh) > self._members_max:
            raise self._full()
        joins = tuple((user, Role.MEMBER) for user in fresh)
        return Step("added", Event(users=tuple(fresh)), Change(joins=joins))

    def _join(self, room: Room, user: str) -> Step:
        if _is_member(room, user):
            raise Nothing
        if sum(1 for _ in room.active()) >= self._members_max:
            raise self._full()
        return Step("joined", None, Change(joins=((user, Role.MEMBER),)))

    def _full(self) -> GroupFull:
        return GroupFull(f"a group has at most {self._members_max} members")

    async def _room(self, actor: Actor, chat: str) -> Room:
        if not is_group(chat.lower()):
            raise NotFound(NO_SUCH_CHAT)
        room = await self._rooms.existing(chat.lower())
        if not room.ever(actor.user).active:
            raise NotMember("you are no longer a member of this group")
        return room

    async def _existing(self, users: Sequence[str], but: str = "") -> list[str]:
        """The users in canonical form, each once, or `NotFound` naming one that is not there."""
        if len(users) > 2 * self._members_max:
            raise self._full()
        wanted = list(dict.fromkeys(name for user in users if (name := user_id(user)) != but))
        accounts = await self._accounts.find(wanted)
        for name in wanted:
            if name not in accounts or accounts[name].erased:
                raise NotFound(f"there is no user {name}")
        return wanted

    async def _commit(self, user: str, room: Room, rule: Rule) -> Step | None:
        """Store what `rule` gives when its turn comes; None where there was nothing to do."""
        promise = self._scheduler.promise()
        self._journal.submit(Changing(self, user, room, rule, promise))
        step: Step | None = await promise
        return step


class Changing:
    """A change on its way into the journal."""

    __slots__ = ("_id", "_module", "_promise", "_room", "_rule", "_step", "_user", "chat")

    def __init__(self, module: Groups, user: str, room: Room, rule: Rule, promise: Promise) -> None:
        self.chat = room.chat
        self._module = module
        self._user = user
        self._room = room
        self._rule = rule
        self._promise = promise
        self._id = module.new_code()
        self._step: Step | None = None

    def admit(self) -> Draft | None:
        try:
            self._step = step = self._rule(self._room)
        except Nothing:
            self._promise.set_result(None)
            return None
        return Draft(
            chat=self.chat,
            sender=self._user,
            id=self._id,
            time_ms=self._module.clock.now_ms(),
            kind=step.kind,
            event=step.event,
            change=step.change,
            epoch=self._room.epoch,
        )

    def settle(self, outcome: Stored | Duplicate) -> None:
        entry, room, module = outcome.entry, self._room, self._module
        change = None if self._step is None else self._step.change
        readers = module.hub.follow(room, entry, change)
        if module.said is not None:
            module.said(entry, change, readers)
        if not self._promise.done():
            self._promise.set_result(self._step)

    def fail(self, error: Answer) -> None:
        if not self._promise.done():
            self._promise.set_exception(error)


def _always(step: Step) -> Rule:
    return lambda _: step


def _is_member(room: Room, user: str) -> bool:
    member = room.members.get(user)
    return member is not None and member.active


def _active(room: Room, user: str) -> Member:
    member = room.members.get(user)
    if member is None or not member.active:
        raise NotMember("you are no longer a member of this group")
    return member


def _managing(room: Room, actor: str) -> Member:
    member = _active(room, actor)
    if member.role not in MANAGERS:
        raise Forbidden("only the group's owners and admins do that")
    return member


def _target(room: Room, user: str) -> Member:
    member = room.members.get(user)
    if member is None or not member.active:
        raise NotFound(f"{user} is not a member of this group")
    return member


def _retitle(room: Room, actor: str, title: str) -> Step:
    _managing(room, actor)
    if room.title == title:
        raise Nothing
    return Step("title", Event(title=title), Change(title=title))


def _reabout(room: Room, actor: str, about: str) -> Step:
    _managing(room, actor)
    if room.about == about:
        raise Nothing
    return Step("about", Event(about=about), Change(about=about))


def _announce(room: Room, actor: str, on: bool) -> Step:  # noqa: FBT001 — the wish itself
    _managing(room, actor)
    if room.announce == on:
        raise Nothing
    return Step("announce", Event(on=on), Change(announce=on))


def _remove(room: Room, actor: str, user: str) -> Step:
    manager = _managing(room, actor)
    target = _target(room, user)
    if target.role is Role.OWNER and manager.role is not Role.OWNER:
        raise Forbidden("only an owner removes an owner")
    return Step("removed", Event(users=(user,)), Change(leaves=(user,)))


def _leave(room: Room, user: str) -> Step:
    me = _active(room, user)
    others = [room.members[name] for name in room.active() if name != user]
    orphaned = me.role is Role.OWNER and not any(one.role is Role.OWNER for one in others)
    roles: tuple[tuple[str, Role], ...] = ()
    if orphaned and others:
        heir = min(others, key=lambda one: (one.role is not Role.ADMIN, one.joined))
        roles = ((heir.user, Role.OWNER),)
    return Step("left", None, Change(leaves=(user,), roles=roles))


def _set_role(room: Room, actor: str, user: str, role: Role) -> Step:
    me = _active(room, actor)
    if me.role is not Role.OWNER:
        raise Forbidden("only the group's owners change roles")
    target = _target(room, user)
    if target.role is role:
        raise Nothing
    owners = sum(room.members[name].role is Role.OWNER for name in room.active())
    if target.role is Role.OWNER and owners == 1:
        raise Forbidden("make somebody else an owner first: a group has at least one")
    return Step("role", Event(user=user, role=role), Change(roles=((user, role),)))
