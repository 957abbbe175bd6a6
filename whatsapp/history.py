"""What a user may look at: its list of chats, one chat, pages of a log, search.

Every answer is drawn from the store and cut to what this user may see there: from where it
joined to where it left, and of hidden entries only that they are there.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from whatsapp.accounts import Accounts
from whatsapp.errors import BadRequest, NotFound
from whatsapp.interfaces import ChatStore, MessageStore
from whatsapp.model import Account, Actor, ChatLine, Entry, Member, Page, Scope, is_group, user_id
from whatsapp.resources import HISTORY_MAX, ChatInfo, Found, History, Hit, MemberInfo
from whatsapp.room import NO_SUCH_CHAT, Room, Rooms
from whatsapp.wire import item
from whatsapp.words import parse, snippet

UNREAD_MAX = 999
DEVICE_OF_NOBODY = ""
CHAT_CHARACTERS_MAX = 80


class Histories:
    """Reading, for REST. Nothing here changes anything."""

    def __init__(
        self, *, messages: MessageStore, chats: ChatStore, rooms: Rooms, accounts: Accounts
    ) -> None:
        self._messages = messages
        self._chats = chats
        self._rooms = rooms
        self._accounts = accounts

    async def lines(self, actor: Actor, limit: int, before_ms: int | None) -> list[ChatInfo]:
        """The user's chats, newest activity first; `before_ms` is the last one's time."""
        lines = await self._chats.lines(actor.user, limit=limit, before_ms=before_ms)
        accounts = await self._accounts.find({_peer(line, actor.user) for line in lines} - {""})
        lines = [await self._now(actor.user, line) for line in lines]
        return [self._info(actor.user, line, accounts) for line in lines]

    async def _now(self, user: str, line: ChatLine) -> ChatLine:
        """Cursors are written a moment later than they move: count again what is unread."""
        room = self._rooms.get(line.chat)
        if room is None or room.read.get(user, 0) <= line.member.read or not line.unread:
            return line
        return replace(line, unread=await self._unread(room, line.member, user, line.head))

    async def show(self, actor: Actor, chat: str) -> ChatInfo:
        """One chat, with its members and their cursors. Former members see it without them."""
        room = await self._rooms.existing(_canonical(chat))
        member = room.ever(actor.user)
        if member.active and not room.group:
            room = await self._rooms.ready(room.chat, actor.user)
        line = ChatLine(
            chat=room.chat,
            title=room.title,
            head=room.head,
            member=member,
            last=await self._last(room, member),
            unread=0,
        )
        accounts = await self._accounts.find({_peer(line, actor.user)} - {""})
        info = self._info(actor.user, line, accounts, room)
        unread = await self._unread(room, member, actor.user, room.head)
        seen_until = await self._seen_until(room, actor.user)
        return replace(info, unread=unread, members=_members(room, actor.user, member, seen_until))

    async def _seen_until(self, room: Room, user: str) -> int:
        """How far a user whom the other one blocks may see that one's cursors.

        What it wrote since it was blocked arrives nowhere, as far as it knows. Looked at are
        the newest entries; a block that is older than those has nothing left to tell.
        """
        relations = room.relations
        if relations is None:
            return room.head
        # Read whether there is a block or not, or the time that it takes would tell.
        wish = Page(chat=room.chat, before=room.head + 1, limit=HISTORY_MAX)
        [entries] = await self._messages.pages([wish])
        if room.peer(user) not in relations.blockers:
            return room.head
        hidden = [entry.seq for entry in entries if entry.hidden and entry.sender == user]
        return hidden[0] - 1 if hidden else room.head

    async def history(
        self, actor: Actor, chat: str, before: int | None, after: int | None, limit: int
    ) -> History:
        """A page: the newest, or those before or after a seq. In seq order either way."""
        if before is not None and after is not None:
            raise BadRequest("name 'before' or 'after', not both")
        room = await self._rooms.existing(_canonical(chat))
        member = room.ever(actor.user)
        if after is not None:
            entries, more = await self._ascending(room, member, after, limit)
        else:
            entries, more = await self._descending(room, member, before, limit)
        return History(messages=[item(entry, actor.user) for entry in entries], more=more)

    async def search(
        self,
        actor: Actor,
        query: str,
        chat: str | None,
        sender: str | None,
        before_ms: int | None,
        limit: int,
    ) -> Found:
        """Texts in the user's chats (or one of them) with all the words, newest first."""
        terms = parse(query)
        scopes, heads = await self._scopes(actor, chat)
        entries = await self._messages.search(
            terms,
            scopes,
            sender=None if sender is None else user_id(sender),
            before_ms=before_ms,
            limit=limit + 1,
        )
        hits = [
            Hit(
                message=item(entry, actor.user),
                chat=entry.chat,
                snippet=snippet(terms, entry.text),
            )
            for entry in entries[:limit]
            if entry.seq <= heads[entry.chat]
        ]
        return Found(results=hits, more=len(entries) > limit)

    async def _scopes(
        self, actor: Actor, chat: str | None
    ) -> tuple[Sequence[Scope], dict[str, int]]:
        """Where the user may search, and the heads up to which that was true."""
        if chat is not None:
            room = await self._rooms.existing(_canonical(chat))
            return [Scope(chat=room.chat, member=room.member(actor.user))], {room.chat: room.head}
        positions = await self._chats.of_user(actor.user, DEVICE_OF_NOBODY)
        scopes = [Scope(chat=position.chat, member=position.member) for position in positions]
        return scopes, {position.chat: position.head for position in positions}

    async def _ascending(
        self, room: Room, member: Member, after: int, limit: int
    ) -> tuple[list[Entry], bool]:
        """Across the gaps between the spans that the user sees. `more` comes from seqs."""
        found: list[Entry] = []
        for first, last in _spans(room, member):
            at = max(after, first - 1)
            while at < last and len(found) < limit:
                wish = Page(chat=room.chat, after=at, limit=limit - len(found))
                [entries] = await self._messages.pages([wish])
                entries = [entry for entry in entries if entry.seq <= last]
                if not entries:
                    break
                found += entries
                at = entries[-1].seq
        newest = _spans(room, member)[-1][1]
        return found, bool(found) and found[-1].seq < newest

    async def _descending(
        self, room: Room, member: Member, before: int | None, limit: int
    ) -> tuple[list[Entry], bool]:
        found: list[Entry] = []
        spans = _spans(room, member)
        for first, last in reversed(spans):
            at = last + 1 if before is None else min(before, last + 1)
            while at > first and len(found) < limit:
                wish = Page(chat=room.chat, before=at, limit=limit - len(found))
                [entries] = await self._messages.pages([wish])
                entries = [entry for entry in entries if entry.seq >= first]
                if not entries:
                    break
                found = entries + found
                at = entries[0].seq
        return found, bool(found) and found[0].seq > spans[0][0]

    async def _last(self, room: Room, member: Member) -> Entry | None:
        before = room.head + 1 if member.active else member.left + 1
        while before > member.joined:
            [entries] = await self._messages.pages([Page(chat=room.chat, before=before, limit=20)])
            for entry in reversed(entries):
                if member.sees(entry.seq) and (not entry.hidden or entry.sender == member.user):
                    return entry
            if not entries:
                return None
            before = entries[0].seq
        return None

    async def _unread(self, room: Room, member: Member, user: str, head: int) -> int:
        """`head`: the chat's, which a room here may be behind of (`Rooms`, `shared`)."""
        if not member.active:
            return 0
        count, at = 0, room.read.get(user, 0)
        while count < UNREAD_MAX and at < head:
            [entries] = await self._messages.pages([Page(chat=room.chat, after=at, limit=200)])
            if not entries:
                break
            count += sum(
                member.sees(entry.seq) and not entry.hidden and entry.sender != user
                for entry in entries
            )
            at = entries[-1].seq
        return min(count, UNREAD_MAX)

    def _info(
        self,
        user: str,
        line: ChatLine,
        accounts: dict[str, Account],
        room: Room | None = None,
    ) -> ChatInfo:
        group = is_group(line.chat)
        peer = _peer(line, user)
        member = line.member
        room = room or self._rooms.get(line.chat)
        followed = room if group and room is not None and room.head >= line.head else None
        return ChatInfo(
            chat=line.chat,
            kind="group" if group else "direct",
            title=line.title if group else _name(accounts, peer),
            last=None if line.last is None else item(line.last, user),
            head=line.head if member.active else member.left,
            received=max(room.received.get(user, 0), member.received) if room else member.received,
            read=max(room.read.get(user, 0), member.read) if room else member.read,
            unread=line.unread,
            with_=UNSET if group else peer,
            about=followed.about if followed else UNSET,
            announce=followed.announce if followed else UNSET,
            role=member.role if group and member.active else UNSET,
            left=member.left or UNSET,
        )


def _members(
    room: Room, viewer: str, member: Member, seen_until: int
) -> list[MemberInfo] | UnsetType:
    if not member.active:
        return UNSET
    return [_member(room, viewer, one, seen_until) for one in room.members.values() if one.active]


def _member(room: Room, viewer: str, one: Member, seen_until: int) -> MemberInfo:
    """A member's cursors, as far as the viewer may know them."""
    received, read = room.received.get(one.user, 0), room.read.get(one.user, 0)
    if not room.group and one.user != viewer and room.relations is not None:
        received = min(received, seen_until)
        read = min(read, seen_until) if room.relations.read_receipts else 0
    return MemberInfo(user=one.user, role=one.role, received=received, read=read)


def _spans(room: Room, member: Member) -> list[tuple[int, int]]:
    now = (member.joined, room.head if member.active else min(member.left, room.head))
    return [*member.spans, now]


def _peer(line: ChatLine, user: str) -> str:
    if is_group(line.chat):
        return ""
    one, _, other = line.chat.partition(":")
    return other if one == user else one


def _name(accounts: dict[str, Account], user: str) -> str:
    account = accounts.get(user)
    return "Deleted account" if account is None or account.erased else account.name


def _canonical(chat: str) -> str:
    if not chat or len(chat) > CHAT_CHARACTERS_MAX:
        raise NotFound(NO_SUCH_CHAT)
    return chat.lower()
