"""Examples for the published documents: real values of the real structs.

Why structs and not JSON: a member that is renamed or dropped breaks here at once, and a test
decodes each of them with the decoder that the server uses.
"""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from whatsapp import operations as o
from whatsapp import resources as r
from whatsapp import wire as w
from whatsapp.model import Role, Visibility

_TIME: Final = 1_764_000_000_000
_CHAT: Final = "alice:bob"
_GROUP: Final = "g:019ab1c2-7d3e-7f00-8a1b-2c3d4e5f6071"
_DEVICE: Final = "uV3Wq0b1Xc7dT9eK5fYh2g"
_TOKEN: Final = "EXAMPLE-n5Jq8sVb2wLkT0yXr4dGm7hCz1pFu9eAi3oB6t"  # noqa: S105
_ID: Final = "3f1c9b52-6f0e-4d0c-9d59-0f4f1f6a7c11"
_PHRASE: Final = "a long sentence nobody guesses"

_hi = w.Item(
    chat=_CHAT, seq=42, time=_TIME, kind="text", id=_ID, sender="alice", text="See you at eight?"
)
_answer = w.Item(
    chat=_CHAT,
    seq=43,
    time=_TIME + 61_000,
    kind="text",
    id="7d0f6f0a-0c55-4a4b-b1a9-7f7a3e2f9c20",
    sender="bob",
    text="Yes, by the station.",
    reply_to=42,
)
_joined = w.Item(
    chat=_GROUP,
    seq=2,
    time=_TIME,
    kind="added",
    id="0b8e5a34-1f6d-4b3e-8a75-52b0c1d9ee42",
    sender="alice",
    users=("bob", "carol"),
)
_direct = r.ChatInfo(
    chat=_CHAT,
    kind="direct",
    title="Bob",
    last=_answer,
    head=43,
    received=43,
    read=42,
    unread=1,
    with_="bob",
)
_group = r.ChatInfo(
    chat=_GROUP,
    kind="group",
    title="Sunday football",
    about="Ten o'clock, whatever the weather",
    announce=False,
    role=Role.OWNER,
    last=_joined,
    head=2,
    received=2,
    read=2,
    unread=0,
    members=[
        r.MemberInfo(user="alice", role=Role.OWNER, received=2, read=2),
        r.MemberInfo(user="bob", role=Role.MEMBER, received=2, read=1),
        r.MemberInfo(user="carol", role=Role.MEMBER, received=0, read=0),
    ],
)

_VALUES: tuple[Struct, ...] = (
    r.Register(user="alice", password=_PHRASE, name="Alice"),
    r.Registered(user="alice", name="Alice"),
    r.Login(user="alice", password=_PHRASE, device="Alice's phone"),
    r.LoggedIn(token=_TOKEN, user="alice", device=_DEVICE),
    r.DeviceInfo(
        device=_DEVICE, name="Alice's phone", created=_TIME, last_seen=_TIME, current=True
    ),
    r.PasswordChange(old=_PHRASE, new="another sentence nobody guesses"),
    r.Erasure(password=_PHRASE),
    r.Profile(
        user="alice",
        name="Alice",
        about="At the lake",
        privacy=r.Privacy(last_seen=Visibility.EVERYONE, receipts=True),
    ),
    r.ProfileChange(about="At the lake", privacy=r.PrivacyChange(last_seen=Visibility.CONTACTS)),
    r.UserName(user="bob", name="Bob"),
    r.UserInfo(user="bob", name="Bob", about="Available"),
    r.PresenceInfo(user="bob", online=False, last_seen=_TIME),
    _direct,
    r.Post(id=_ID, text="See you at eight?"),
    r.Posted(chat=_CHAT, seq=42, time=_TIME, dup=False),
    r.History(messages=[_hi, _answer], more=True),
    r.Found(results=[r.Hit(message=_answer, chat=_CHAT, snippet=str(_answer.text))], more=False),
    r.NewGroup(title="Sunday football", members=["bob", "carol"]),
    r.GroupChange(about="Ten o'clock, whatever the weather"),
    r.Users(users=["dave"]),
    r.Added(added=["dave"]),
    r.NewRole(role=Role.ADMIN),
    r.Invite(code="p6Kd0wQz3mXb9RtY"),
    o.PeopleQuery(q="ali"),
    o.ChatsQuery(limit=20),
    o.HistoryQuery(before=42, limit=50),
    o.SearchQuery(q='station "at eig"', sender="bob"),
    w.Hello(token=_TOKEN, cursors={_CHAT: 41}),
    w.Send(id=_ID, to="bob", text="See you at eight?"),
    w.Received(chat=_CHAT, seq=43),
    w.Read(chat=_CHAT, seq=43),
    w.Typing(chat=_CHAT, on=True),
    w.Watch(users=["bob", "carol"]),
    w.Ping(n=7),
    w.Welcome(
        user="alice",
        device=_DEVICE,
        instance="chat-1",
        time=_TIME,
        durable=True,
        limits=w.Limits(frame_bytes=65_536, text_bytes=16_384, window=512, heartbeat_s=30),
    ),
    w.Synced(),
    w.Sent(id=_ID, chat=_CHAT, seq=42, time=_TIME),
    w.Message(**msgspec.structs.asdict(_hi)),
    w.Messages(chat=_CHAT, items=[_hi, _answer]),
    w.Receipt(chat=_CHAT, user="bob", received=42, read=41),
    w.Cursor(chat=_CHAT, received=43, read=43),
    w.TypingShown(chat=_CHAT, user="bob", on=True),
    w.Presence(user="bob", online=True, last_seen=_TIME),
    w.Pong(time=_TIME, n=7),
    w.Error(
        re=_ID,
        code="rate_limited",
        message="too many messages at once; wait and send again",
        retryable=True,
        retry_after_ms=1500,
    ),
    w.Draining(reconnect_ms=2000),
)
_BY_TYPE: Final[dict[Any, Struct]] = {type(value): value for value in _VALUES}
_BY_OPERATION: Final[dict[str, Any]] = {
    "createGroup": _group,
    "changeGroup": _group,
    "join": _group,
    "listBlocks": ["mallory"],
}

PATH: Final = {"user": "bob", "chat": _CHAT, "device": _DEVICE, "code": "p6Kd0wQz3mXb9RtY"}
PATH_OF_GROUPS: Final = PATH | {"chat": _GROUP}


def value(kind: type[Struct]) -> Struct:
    """An example of a struct."""
    return _BY_TYPE[kind]


def of(kind: Any) -> Any:
    """An example of a struct, or of a list of them, as JSON has it.

    Members that need not be given and say nothing are left out.
    """
    if parts := get_args(kind):
        return [of(parts[0])]
    optional = {f.encode_name for f in msgspec.structs.fields(kind) if not f.required}
    members = _json(value(kind)).items()
    return {name: v for name, v in members if v is not None or name not in optional}


def answer(operation: o.Operation[Any, Any]) -> Any:
    """What an operation may answer."""
    if operation.name in _BY_OPERATION:
        return _json(_BY_OPERATION[operation.name])
    return of(operation.answer)


def path(operation: o.Operation[Any, Any]) -> dict[str, str]:
    """The parameters of an example path, by name."""
    known = PATH_OF_GROUPS if operation.path.startswith("/v1/groups") else PATH
    return {name: known[name] for name in operation.parameters}


def _json(given: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(given))
