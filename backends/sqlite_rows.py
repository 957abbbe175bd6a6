"""Rows of SQLite as the model's values, and back."""

from __future__ import annotations

from typing import Any

import msgspec

from whatsapp.model import Entry, Member, Role, decode_event, encode_event

ENTRY_COLUMNS = "seq, time_ms, hidden, reply_to, sender, id, kind, event, text"
MEMBER_COLUMNS = 'user, role, joined, "left", spans, received, read, moved_ms'

_spans = msgspec.json.Decoder(tuple[tuple[int, int], ...])


def entry_of(chat: str, row: tuple[Any, ...]) -> Entry:
    """From `ENTRY_COLUMNS`."""
    seq, time_ms, hidden, reply_to, sender, message_id, kind, event, text = row
    return Entry(
        chat=chat,
        seq=seq,
        id=message_id,
        sender=sender,
        time_ms=time_ms,
        kind=kind,
        text=text,
        reply_to=reply_to,
        event=decode_event(event) if event is not None else None,
        hidden=bool(hidden),
    )


def entry_row(chat_number: int, entry: Entry) -> tuple[Any, ...]:
    """The chat's number, then `ENTRY_COLUMNS`."""
    return (
        chat_number,
        entry.seq,
        entry.time_ms,
        entry.hidden,
        entry.reply_to,
        entry.sender,
        entry.id,
        entry.kind,
        encode_event(entry.event).decode() if entry.event is not None else None,
        entry.text,
    )


def member_of(row: tuple[Any, ...]) -> Member:
    """From `MEMBER_COLUMNS`."""
    user, role, joined, left, spans, received, read, moved_ms = row
    return Member(
        user=user,
        role=Role(role),
        joined=joined,
        left=left,
        spans=() if spans == "[]" else _spans.decode(spans),
        received=received,
        read=read,
        moved_ms=moved_ms,
    )


def member_row(chat_number: int, member: Member) -> tuple[Any, ...]:
    """The chat's number, then what a change may change."""
    return (
        chat_number,
        member.user,
        member.role.value,
        member.joined,
        member.left,
        msgspec.json.encode(member.spans).decode(),
    )
