"""Documents of MongoDB as the model's values, and back. What is at its default is left out.

An entry's `_id` is its chat and seq, so that (chat, seq) is unique and in order without an
index of its own. Beside what was said an entry carries `epoch`, the chat's after it;
`stored_us`, by which a search across chats orders; `words`, by which it is found; and where it
changes the chat, the `change` and `prior`, the epoch before it: changes are a chain that is
followed backwards.
"""

from __future__ import annotations

from typing import Any

import msgspec

from whatsapp.model import (
    Account,
    Change,
    Device,
    Draft,
    Entry,
    Member,
    Role,
    Visibility,
    decode_event,
    encode_event,
)
from whatsapp.words import words

Document = dict[str, Any]

SEQ_DIGITS = 12
# A longer word is found by its beginning, and then compared in full.
WORD_CHARACTERS_MAX = 64

# What is read of an entry; never the words.
ENTRY_FIELDS = {"words": 0}

_change = msgspec.json.Decoder(Change)


def entry_id(chat: str, seq: int) -> str:
    """Sorts by seq within a chat. No chat's id has a slash in it."""
    return f"{chat}/{max(seq, 0):0{SEQ_DIGITS}}"


def chat_end(chat: str) -> str:
    """Beyond all entries of the chat: '0' follows '/'."""
    return f"{chat}0"


def seq_of(document: Document) -> int:
    return int(document["_id"][-SEQ_DIGITS:])


def entry_document(draft: Draft, seq: int, epoch: int, stored_us: int) -> Document:
    document: Document = {
        "_id": entry_id(draft.chat, seq),
        "chat": draft.chat,
        "sender": draft.sender,
        "id": draft.id,
        "time_ms": draft.time_ms,
        "text": draft.text,
        "epoch": epoch if draft.change is None else seq,
        "stored_us": stored_us,
    }
    if draft.kind == "text":
        document["words"] = tokens(draft.text)
    else:
        document["kind"] = draft.kind
    if draft.reply_to:
        document["reply_to"] = draft.reply_to
    if draft.event is not None:
        document["event"] = encode_event(draft.event).decode()
    if draft.hidden:
        document["hidden"] = True
    if draft.change is not None:
        document["change"] = msgspec.json.encode(draft.change).decode()
        document["prior"] = epoch
    return document


def entry_of(document: Document) -> Entry:
    # Times come as `Int64`, which our encoders do not know: plain ints from here on.
    event = document.get("event")
    return Entry(
        chat=document["chat"],
        seq=seq_of(document),
        id=document["id"],
        sender=document["sender"],
        time_ms=int(document["time_ms"]),
        kind=document.get("kind", "text"),
        text=document["text"],
        reply_to=document.get("reply_to", 0),
        event=None if event is None else decode_event(event),
        hidden=document.get("hidden", False),
    )


def change_of(document: Document) -> Change:
    return _change.decode(document["change"])


def tokens(text: str) -> list[str]:
    """What a text is found by."""
    return sorted({word[:WORD_CHARACTERS_MAX] for word in words(text)})


def member_id(user: str, chat: str) -> str:
    """Begins with the user, whose chats are thus one range."""
    return f"{user}/{chat}"


def member_document(chat: str, member: Member, at: int) -> Document:
    """`at`: the seq of the last change that this state has in it."""
    return {"_id": member_id(member.user, chat), "user": member.user, "chat": chat} | (
        member_fields(member, at)
    )


def member_fields(member: Member, at: int) -> Document:
    """What a change may change."""
    return {
        "role": member.role.value,
        "joined": member.joined,
        "left": member.left,
        "spans": [seq for span in member.spans for seq in span],
        "at": at,
    }


def member_of(document: Document, cursor: Document | None = None) -> Member:
    cursor = cursor or {}
    return Member(
        user=document["user"],
        role=Role(document["role"]),
        joined=document["joined"],
        left=document["left"],
        spans=tuple(zip(document["spans"][::2], document["spans"][1::2], strict=True)),
        received=cursor.get("received", 0),
        read=cursor.get("read", 0),
        moved_ms=int(cursor.get("moved_ms", 0)),
    )


def cursor_id(user: str, device: str, chat: str) -> str:
    """One device's, or with an empty `device` the user's. A device's are one range."""
    return f"{user}/{device}/{chat}"


def chat_document(chat: str) -> Document:
    """A chat before its first entry. `applied`: the last change that is in it and its members.

    `head`: where to begin looking for the newest entry.
    """
    return {"_id": chat, "applied": 0, "head": 0, "title": "", "about": "", "announce": False}


def account_document(account: Account) -> Document:
    return {
        "_id": account.user,
        "name": account.name,
        "folded": account.name.casefold(),
        "password_hash": account.password_hash,
        "about": account.about,
        "last_seen_visible": account.last_seen_visible.value,
        "receipts": account.receipts,
        "created_ms": account.created_ms,
        "last_seen_ms": account.last_seen_ms,
        "erased": account.erased,
    }


def account_of(document: Document) -> Account:
    if document["erased"]:
        return Account(user=document["_id"], name="", erased=True)
    return Account(
        user=document["_id"],
        name=document["name"],
        password_hash=document["password_hash"],
        about=document["about"],
        last_seen_visible=Visibility(document["last_seen_visible"]),
        receipts=document["receipts"],
        created_ms=int(document["created_ms"]),
        last_seen_ms=int(document["last_seen_ms"]),
    )


def device_document(device: Device) -> Document:
    return {
        "_id": device.token_hash.hex(),
        "device": device.device,
        "user": device.user,
        "name": device.name,
        "created_ms": device.created_ms,
        "last_seen_ms": device.last_seen_ms,
    }


def device_of(document: Document) -> Device:
    return Device(
        device=document["device"],
        user=document["user"],
        name=document["name"],
        token_hash=bytes.fromhex(document["_id"]),
        created_ms=int(document["created_ms"]),
        last_seen_ms=int(document["last_seen_ms"]),
    )
