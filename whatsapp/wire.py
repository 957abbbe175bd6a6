"""The grammar of `whatsapp.v1`: every frame, typed; decode and encode.

    client → server   hello  send  received  read  typing  watch  ping
    server → client   welcome  synced  sent  message  messages  receipt  cursor
                      typing  presence  pong  error  draining

One JSON object per text frame; its "type" picks the struct. `openapi.json` and
`asyncapi.json` are generated from these same structs (`contract.py`), so that what is
published cannot drift from what is decoded. Unknown types and members are `BadRequest`;
what is not JSON is a `ProtocolViolation`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from whatsapp.errors import Answer, BadRequest, ProtocolViolation
from whatsapp.model import MESSAGE_ID_PATTERN, USER_PATTERN, Entry, Event, Role

SUBPROTOCOL = "whatsapp.v1.json"

# A text of control characters grows sixfold in JSON; the message must still fit a frame.
TEXT_ENCODED_BYTES_MAX = 60_000
WATCHED_USERS_MAX = 256
HELLO_CURSORS_MAX = 10_000
ANSWERED_ID_CHARACTERS_MAX = 64
ANSWERED_NUMBER_BITS_MAX = 63
# What msgspec says may quote the peer at length.
COMPLAINT_CHARACTERS_MAX = 200

# Close codes (RFC 6455, 7.4, and protocol.md section 4).
CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_BROKEN_FRAME = 1007
CLOSE_FRAME_TOO_BIG = 1009
CLOSE_NO_TOKEN = 4001
CLOSE_NO_HELLO = 4002
CLOSE_TOO_SLOW = 4008
CLOSE_REPLACED = 4009
CLOSE_REVOKED = 4010
CLOSE_FLOODING = 4029

ChatId = Annotated[str, Meta(min_length=3, max_length=80, description="A chat's id")]
UserId = Annotated[str, Meta(max_length=64, description=f"A user's id: {USER_PATTERN}")]
MessageId = Annotated[
    str, Meta(max_length=64, description=f"Chosen by the client: {MESSAGE_ID_PATTERN}")
]
Seq = Annotated[int, Meta(ge=0, le=2**53 - 1, description="A position in a chat's log")]
Time = Annotated[int, Meta(description="Milliseconds since the Unix epoch, UTC")]


class ClientFrame(Struct, tag_field="type", forbid_unknown_fields=True, gc=False, frozen=True):
    """What a client may send."""


class Hello(ClientFrame, frozen=True, tag="hello"):
    """The first frame. `cursors`: what this client has really applied, per chat."""

    token: str | None = None
    cursors: dict[ChatId, Seq] | None = None


class Send(ClientFrame, frozen=True, tag="send"):
    """A text for a chat, or `to` a user; answered by `sent` once it is durable."""

    id: MessageId
    text: str
    chat: ChatId | None = None
    to: UserId | None = None
    reply_to: Seq | None = None


class Received(ClientFrame, frozen=True, tag="received"):
    """This device has everything of `chat` up to `seq`."""

    chat: ChatId
    seq: Seq


class Read(ClientFrame, frozen=True, tag="read"):
    """The user has read `chat` up to `seq`."""

    chat: ChatId
    seq: Seq


class Typing(ClientFrame, frozen=True, tag="typing"):
    """The user begins or stops typing; stops by itself after 6 s."""

    chat: ChatId
    on: bool


class Watch(ClientFrame, frozen=True, tag="watch"):
    """Replaces the users whose presence this connection wants."""

    users: list[UserId]


class Ping(ClientFrame, frozen=True, tag="ping"):
    """Answered by `pong`."""

    n: int | None = None


class ServerFrame(Struct, tag_field="type", omit_defaults=True, frozen=True, gc=False):
    """What the server sends."""


class Limits(Struct, frozen=True):
    """What a client must keep to."""

    frame_bytes: int
    text_bytes: int
    window: int
    heartbeat_s: int


class Welcome(ServerFrame, frozen=True, tag="welcome"):
    """The answer to `hello`."""

    user: str
    device: str
    instance: str
    time: Time
    durable: bool
    limits: Limits


class Synced(ServerFrame, frozen=True, tag="synced"):
    """All that was pending has been pushed; live from here."""


class Sent(ServerFrame, frozen=True, tag="sent"):
    """The message is durable, at this place of the log. `dup`: it was already."""

    id: MessageId
    chat: ChatId
    seq: Seq
    time: Time
    dup: bool = False


class Item(Struct, omit_defaults=True, frozen=True, rename={"sender": "from"}, kw_only=True):
    """An entry of a chat's log, as its reader may see it. `kind` says which members it has."""

    chat: ChatId
    seq: Seq
    time: Time
    kind: str
    id: str | None = None
    sender: str | None = None
    text: str | None = None
    reply_to: Seq | None = None
    users: tuple[str, ...] | None = None
    title: str | None = None
    about: str | None = None
    user: str | None = None
    role: Role | None = None
    on: bool | None = None


class Message(Item, frozen=True, tag_field="type", tag="message", kw_only=True):
    """An item, pushed."""


class Messages(ServerFrame, frozen=True, tag="messages"):
    """A run of one chat, in order; used while catching up."""

    chat: ChatId
    items: list[Item]


class Receipt(ServerFrame, frozen=True, tag="receipt"):
    """`user`'s cursors in `chat` moved."""

    chat: ChatId
    user: UserId
    received: Seq
    read: Seq


class Cursor(ServerFrame, frozen=True, tag="cursor"):
    """Another device of this user moved its cursors."""

    chat: ChatId
    received: Seq
    read: Seq


class TypingShown(ServerFrame, frozen=True, tag="typing"):
    """`user` types in `chat`, or stopped."""

    chat: ChatId
    user: UserId
    on: bool


class Presence(ServerFrame, frozen=True, tag="presence"):
    """A watched user's presence; `last_seen` is null where hidden or never."""

    user: UserId
    online: bool
    last_seen: Time | None


class Pong(ServerFrame, frozen=True, tag="pong"):
    """The answer to `ping`."""

    time: Time
    n: int | None = None


class Error(ServerFrame, frozen=True, tag="error"):
    """What was refused or failed; `re` is the `id` (or `n`) it answers."""

    code: str
    message: str
    retryable: bool
    re: str | int | None = None
    retry_after_ms: int | None = None


class Draining(ServerFrame, frozen=True, tag="draining"):
    """This instance is going away; reconnect after that time, jittered."""

    reconnect_ms: int


AnyClientFrame = Hello | Send | Received | Read | Typing | Watch | Ping
AnyServerFrame = (
    Welcome
    | Synced
    | Sent
    | Message
    | Messages
    | Receipt
    | Cursor
    | TypingShown
    | Presence
    | Pong
    | Error
    | Draining
)

_decoder: msgspec.json.Decoder[AnyClientFrame] = msgspec.json.Decoder(AnyClientFrame)
_server_decoder: msgspec.json.Decoder[AnyServerFrame] = msgspec.json.Decoder(AnyServerFrame)
encode = msgspec.json.Encoder().encode


def decode(data: bytes) -> AnyClientFrame:
    """A client's frame. `BadRequest`: not one of ours. `ProtocolViolation`: not JSON."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _must_be_json(data)
        told = str(error)[:COMPLAINT_CHARACTERS_MAX]
        raise BadRequest(f"{told[:1].lower()}{told[1:]}; see /docs for the frames") from None


def decode_server(data: bytes | str) -> AnyServerFrame:
    """A server's frame, for clients."""
    return _server_decoder.decode(data)


def answers(data: bytes) -> str | int | None:
    """The `id` or `n` that an error about this undecodable frame should name, if it has one."""
    try:
        frame = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(frame, dict):
        return None
    match frame.get("id", frame.get("n")):
        case str(text) if len(text) <= ANSWERED_ID_CHARACTERS_MAX:
            return text
        case int(number) if number.bit_length() <= ANSWERED_NUMBER_BITS_MAX:
            return None if isinstance(number, bool) else number
    return None


def error_frame(error: Answer, re: str | int | None = None) -> bytes:
    """The `error` frame of an answer; `re` is what it answers."""
    return encode(Error(error.code, error.message, error.retryable, re, error.retry_after_ms))


def item(entry: Entry, viewer: str) -> Item:
    """What `viewer` may see of an entry, inside of something else."""
    return Item(**_seen(entry, viewer))


def message_frame(entry: Entry, viewer: str) -> bytes:
    """The encoded `message` frame of what `viewer` may see of an entry."""
    if entry.kind == "text" and not entry.hidden and entry.text:
        # The common case, spelled out: this is done for every message.
        return encode(
            Message(
                chat=entry.chat,
                seq=entry.seq,
                id=entry.id,
                sender=entry.sender,
                time=entry.time_ms,
                kind="text",
                text=entry.text,
                reply_to=entry.reply_to or None,
            )
        )
    return encode(Message(**_seen(entry, viewer)))


def _seen(entry: Entry, viewer: str) -> dict[str, Any]:
    if entry.expired or (entry.hidden and viewer != entry.sender):
        return {"chat": entry.chat, "seq": entry.seq, "time": entry.time_ms, "kind": "void"}
    seen: dict[str, Any] = {
        "chat": entry.chat,
        "seq": entry.seq,
        "id": entry.id,
        "sender": entry.sender,
        "time": entry.time_ms,
        "kind": entry.kind,
    }
    if entry.kind == "text":
        seen["text"] = entry.text
        seen["reply_to"] = entry.reply_to or None
    elif entry.event is not None:
        seen |= _said(entry.event)
    return seen


def _said(event: Event) -> dict[str, Any]:
    return {
        "users": event.users or None,
        "title": event.title,
        "about": event.about,
        "user": event.user,
        "role": event.role,
        "on": event.on,
    }


def _must_be_json(data: bytes) -> None:
    try:
        msgspec.json.decode(data)
    except RecursionError:
        raise BadRequest("the frame is nested too deeply") from None
    except ValueError as error:
        raise ProtocolViolation(CLOSE_BROKEN_FRAME, f"not JSON: {error}"[:120]) from None
