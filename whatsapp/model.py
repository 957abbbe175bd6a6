"""The nouns: users, devices, chats, entries of a log, cursors; and the rules of their names.

Plain values, no behaviour beyond what a value knows of itself. `wire.py` has what is sent
to clients; these are what is kept. An `Entry` never goes to a client as it is: what a user
sees of it depends on who looks (`wire.message`).
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec
from msgspec import Struct

from whatsapp.errors import BadRequest

USER_PATTERN = r"^([a-z0-9][a-z0-9_.-]{2,31}|\+[1-9][0-9]{6,14})$"
MESSAGE_ID_PATTERN = r"^[A-Za-z0-9_-]{8,64}$"
GROUP_PATTERN = r"^g:[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

FRAME_BYTES_MAX = 65_536
TEXT_BYTES_MAX = 16_384
NAME_CHARACTERS_MAX = 64
ABOUT_CHARACTERS_MAX = 512
TITLE_CHARACTERS_MAX = 100

_user = re.compile(USER_PATTERN)
_message_id = re.compile(MESSAGE_ID_PATTERN)
_group = re.compile(GROUP_PATTERN)


def user_id(text: str) -> str:
    """The canonical form (lower case) of a user id, or `BadRequest`."""
    if _user.fullmatch(lowered := text.lower()) and text.isascii():
        return lowered
    raise BadRequest(
        "a user id is 3 to 32 letters, digits, '_', '.' or '-', or a phone number like +4912345678"
    )


def message_id(text: str) -> str:
    """The id that a client chose for its message, or `BadRequest`."""
    if _message_id.fullmatch(text):
        return text
    raise BadRequest("a message id is 8 to 64 characters of A-Z a-z 0-9 _ -, best a UUID")


def plain(text: str, *, what: str, characters_max: int, empty: bool = False) -> str:
    """A name, title or the like without surrounding space and control characters."""
    text = text.strip()
    if not text and not empty:
        raise BadRequest(f"{what} is empty")
    if len(text) > characters_max:
        raise BadRequest(f"{what} is longer than {characters_max} characters")
    if any(c < " " and c != "\n" for c in text) or "\x7f" in text:
        raise BadRequest(f"{what} has a control character in it")
    return text


def direct_chat(one: str, other: str) -> str:
    """The id of the direct chat of two users (or of a user with itself: a note to self)."""
    return f"{one}:{other}" if one <= other else f"{other}:{one}"


def is_group(chat: str) -> bool:
    return chat.startswith("g:") and _group.fullmatch(chat) is not None


def pair(chat: str) -> tuple[str, str] | None:
    """The two users of a direct chat's id; None where it is no such id in canonical form."""
    one, colon, other = chat.partition(":")
    if not colon or one > other or not _user.fullmatch(one) or not _user.fullmatch(other):
        return None
    return one, other


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class Visibility(StrEnum):
    """Who may see a user online and when it was last seen."""

    EVERYONE = "everyone"
    CONTACTS = "contacts"
    NOBODY = "nobody"


class Account(Struct, frozen=True, kw_only=True):
    """A user. `erased` accounts stay as tombstones, so that nobody can take the name over."""

    user: str
    name: str
    password_hash: str = ""
    about: str = ""
    last_seen_visible: Visibility = Visibility.EVERYONE
    receipts: bool = True
    created_ms: int = 0
    last_seen_ms: int = 0
    erased: bool = False


class Device(Struct, frozen=True, kw_only=True):
    """One login of one user. Of its token only the SHA-256 is kept."""

    device: str
    user: str
    name: str
    token_hash: bytes
    created_ms: int
    last_seen_ms: int


class Event(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What an entry says that is not text; the members depend on its kind."""

    users: tuple[str, ...] = ()
    title: str | None = None
    about: str | None = None
    user: str | None = None
    role: Role | None = None
    on: bool | None = None


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """One entry of a chat's log, as it is stored. `seq` was given by the store at commit.

    `hidden`: only the author may see it (the other one had blocked the author at that time).
    """

    chat: str
    seq: int
    id: str
    sender: str
    time_ms: int
    kind: str = "text"
    text: str = ""
    reply_to: int = 0
    event: Event | None = None
    hidden: bool = False

    @property
    def expired(self) -> bool:
        """Is this a text that was not kept? (No text is empty when it is sent.)"""
        return self.kind == "text" and not self.text


class Change(Struct, frozen=True, kw_only=True):
    """What an entry changes in its chat. Applied with the entry, in one atomic step.

    `joins` begin at the entry's own seq, `leaves` end at it. None means unchanged.
    """

    title: str | None = None
    about: str | None = None
    announce: bool | None = None
    joins: tuple[tuple[str, Role], ...] = ()
    leaves: tuple[str, ...] = ()
    roles: tuple[tuple[str, Role], ...] = ()


class Draft(Struct, frozen=True, kw_only=True):
    """An entry that wants to be stored; the store gives it its seq.

    `epoch`: the seq of the last entry with a `change` that the author of this draft's
    admission knew of. A store that knows a later one refuses the draft as stale.
    """

    chat: str
    sender: str
    id: str
    time_ms: int
    kind: str = "text"
    text: str = ""
    reply_to: int = 0
    event: Event | None = None
    hidden: bool = False
    change: Change | None = None
    epoch: int = 0

    def entry(self, seq: int) -> Entry:
        return Entry(
            chat=self.chat,
            seq=seq,
            id=self.id,
            sender=self.sender,
            time_ms=self.time_ms,
            kind=self.kind,
            text=self.text,
            reply_to=self.reply_to,
            event=self.event,
            hidden=self.hidden,
        )


class Stored(Struct, frozen=True, gc=False):
    """The draft is committed and durable, as this entry."""

    entry: Entry


class Duplicate(Struct, frozen=True, gc=False):
    """The sender had used this id in this chat before, for this entry. Nothing was stored."""

    entry: Entry


class Stale(Struct, frozen=True, gc=False):
    """The chat has changed since the draft was admitted. Nothing was stored; look again."""


Outcome = Stored | Duplicate | Stale


class Member(Struct, frozen=True, kw_only=True):
    """A user's part in a chat.

    It sees the seqs of its `spans` (first, last), and, while a member, all from `joined` on.
    `left` is 0 while a member. `received` and `read` are the user's cursors: the furthest of
    its devices; `moved_ms` is when they last moved over messages of others.
    """

    user: str
    role: Role = Role.MEMBER
    joined: int = 1
    left: int = 0
    spans: tuple[tuple[int, int], ...] = ()
    received: int = 0
    read: int = 0
    moved_ms: int = 0

    @property
    def active(self) -> bool:
        return self.left == 0

    def sees(self, seq: int) -> bool:
        if seq >= self.joined and (not self.left or seq <= self.left):
            return True
        return any(first <= seq <= last for first, last in self.spans)


class Chat(Struct, frozen=True, kw_only=True):
    """All that a store knows of a chat but its entries.

    `epoch` is the seq of the last entry that carried a change; `members` has former ones too
    (`left` > 0). A direct chat has its one or two users as members from seq 1.
    """

    chat: str
    head: int
    epoch: int = 0
    title: str = ""
    about: str = ""
    announce: bool = False
    invite: str = ""
    members: dict[str, Member]


class Position(Struct, frozen=True, kw_only=True):
    """Where one device of one user stands in one chat. `peer`: a direct chat's other user."""

    chat: str
    head: int
    member: Member
    device_received: int
    peer: Member | None = None


class CursorMove(Struct, frozen=True, kw_only=True):
    """Cursors to write. They move by max; `rewind` sets the device's own, backward too.

    An empty `device` moves the user's cursors alone, and `time_ms` says when that was over
    others' messages: it becomes the member's `moved_ms` where it is later.
    """

    chat: str
    user: str
    device: str = ""
    device_received: int = 0
    received: int = 0
    read: int = 0
    rewind: bool = False
    time_ms: int = 0


class ChatLine(Struct, frozen=True, kw_only=True):
    """A line of a user's list of chats. `last` is the newest entry that the user may see."""

    chat: str
    title: str
    head: int
    member: Member
    last: Entry | None
    unread: int


class Page(Struct, frozen=True, kw_only=True):
    """A wish for a run of entries: after a seq (ascending), or the newest before a seq.

    Exactly one of `after` and `before` is set; `before` may be beyond the head.
    """

    chat: str
    limit: int
    after: int | None = None
    before: int | None = None


class Scope(Struct, frozen=True, kw_only=True):
    """A chat in which a search may look, with the seqs that the user may see there."""

    chat: str
    member: Member


def encode_event(event: Event) -> bytes:
    return msgspec.json.encode(event)


def decode_event(data: bytes | str) -> Event:
    return msgspec.json.decode(data, type=Event)


class Actor(Struct, frozen=True):
    """Who asks: a user on one of its devices. Comes from the token, never from a frame."""

    user: str
    device: str
