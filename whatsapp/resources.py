"""The JSON objects of the REST interface, typed: bodies that come in, answers that go out.

`rest.py` decodes and encodes with these and `contract.py` publishes them, so that the
document is what the server does. Unknown members of a body are refused by name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from whatsapp.model import Role, Visibility
from whatsapp.wire import ChatId, Item, MessageId, Seq, Time, UserId

# What one answer holds at most, and what a search for people needs at least.
PEOPLE_MAX = 50
CHATS_MAX = 200
HISTORY_MAX = 200
FOUND_MAX = 100
PREFIX_CHARACTERS_MIN = 3

Password = Annotated[str, Meta(max_length=1024, description="8 characters or more")]


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request carries."""


class Register(Body, frozen=True):
    user: UserId
    password: Password
    name: str | None = None
    invite: str | None = None


class Registered(Struct, frozen=True, kw_only=True):
    user: UserId
    name: str


class Login(Body, frozen=True):
    user: UserId
    password: Password
    device: str | None = None


class LoggedIn(Struct, frozen=True, kw_only=True):
    token: str
    user: UserId
    device: str


class DeviceInfo(Struct, frozen=True, kw_only=True):
    device: str
    name: str
    created: Time
    last_seen: Time
    current: bool


class Privacy(Struct, frozen=True, kw_only=True):
    last_seen: Visibility
    receipts: bool


class PrivacyChange(Body, frozen=True):
    last_seen: Visibility | UnsetType = UNSET
    receipts: bool | UnsetType = UNSET


class Profile(Struct, frozen=True, kw_only=True):
    user: UserId
    name: str
    about: str
    privacy: Privacy


class ProfileChange(Body, frozen=True):
    name: str | UnsetType = UNSET
    about: str | UnsetType = UNSET
    privacy: PrivacyChange | UnsetType = UNSET


class PasswordChange(Body, frozen=True):
    old: Password
    new: Password


class Erasure(Body, frozen=True):
    password: Password


class UserName(Struct, frozen=True, kw_only=True):
    user: UserId
    name: str


class UserInfo(Struct, frozen=True, kw_only=True):
    user: UserId
    name: str
    about: str


class PresenceInfo(Struct, frozen=True, kw_only=True):
    user: UserId
    online: bool
    last_seen: Time | None


class MemberInfo(Struct, frozen=True, kw_only=True):
    user: UserId
    role: Role
    received: Seq
    read: Seq


class ChatInfo(Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"with_": "with"}):
    """A chat as one user sees it. `received` and `read` are that user's own cursors.

    `members` only where one chat is asked for. In a direct chat they are the two users, and
    the other's cursors are its ticks. `left`: the seq at which this user left the group.
    """

    chat: ChatId
    kind: Literal["direct", "group"]
    title: str
    last: Item | None
    head: Seq
    received: Seq
    read: Seq
    unread: int
    with_: UserId | UnsetType = UNSET
    about: str | UnsetType = UNSET
    announce: bool | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    left: Seq | UnsetType = UNSET
    members: list[MemberInfo] | UnsetType = UNSET


class Post(Body, frozen=True):
    id: MessageId
    text: str
    reply_to: Seq | None = None


class Posted(Struct, frozen=True, kw_only=True):
    chat: ChatId
    seq: Seq
    time: Time
    dup: bool


class History(Struct, frozen=True, kw_only=True):
    messages: list[Item]
    more: bool


class Hit(Struct, frozen=True, kw_only=True):
    message: Item
    chat: ChatId
    snippet: str


class Found(Struct, frozen=True, kw_only=True):
    results: list[Hit]
    more: bool


class NewGroup(Body, frozen=True):
    title: str
    members: list[UserId]


class GroupChange(Body, frozen=True):
    title: str | UnsetType = UNSET
    about: str | UnsetType = UNSET
    announce: bool | UnsetType = UNSET


class Users(Body, frozen=True):
    users: list[UserId]


class Added(Struct, frozen=True, kw_only=True):
    added: list[UserId]


class NewRole(Body, frozen=True):
    role: Role


class Invite(Struct, frozen=True, kw_only=True):
    code: str


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details, with our `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retry_after_ms: int | None = None
