"""Members, cursors and invitations in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

from backends.sqlite_rows import ENTRY_COLUMNS, MEMBER_COLUMNS, entry_of, member_of
from backends.sqlite_thread import Readers, Thread, snapshot, transaction
from whatsapp.model import Chat, ChatLine, CursorMove, Member, Position, direct_chat, pair

UNREAD_MAX = 999
# So many entries are looked at to count the unread ones of a chat; more (own ones, hidden
# ones) than that among them, and the count stays below what it could be.
COUNTED_ENTRIES_MAX = 5_000
ENDLESS = (1 << 63) - 1

_MEMBER = ", ".join(f"m.{column.strip()}" for column in MEMBER_COLUMNS.split(","))
_ENTRY = ", ".join(f"e.{column.strip()}" for column in ENTRY_COLUMNS.split(","))
_ENTRY_AT = 4 + len(MEMBER_COLUMNS.split(","))
_HEAD = "(SELECT max(seq) FROM messages WHERE messages.chat = m.chat)"

# The newest entry that a member may see: of its last span, before entries hidden from it.
_LINES = f"""
SELECT c.chat, c.number, c.title, {_HEAD}, {_MEMBER}, {_ENTRY}
FROM (
    SELECT m.user AS user, m.chat AS chat, e.number AS last, e.time_ms AS time_ms
    FROM members m JOIN messages e ON e.number = (
        SELECT x.number FROM messages x
        WHERE x.chat = m.chat AND x.seq >= m.joined
            AND x.seq <= coalesce(m.shown, iif(m."left", m."left", :endless))
            AND (NOT x.hidden OR x.sender = m.user)
        ORDER BY x.seq DESC LIMIT 1
    )
    WHERE m.user = :user AND e.time_ms < :before_ms
    ORDER BY e.time_ms DESC LIMIT :limit
) found
JOIN members m ON m.user = found.user AND m.chat = found.chat
JOIN chats c ON c.number = found.chat
JOIN messages e ON e.number = found.last
ORDER BY e.time_ms DESC, c.chat
"""  # noqa: S608
_OF_USER = f"""
SELECT c.chat, c.number, {_HEAD}, coalesce(d.received, 0), {_MEMBER}
FROM members m JOIN chats c ON c.number = m.chat
LEFT JOIN cursors d ON d.user = m.user AND d.device = ? AND d.chat = m.chat
WHERE m.user = ? AND m."left" = 0
"""  # noqa: S608
_MEMBER_OF = f"SELECT {MEMBER_COLUMNS} FROM members WHERE user = ? AND chat = ?"  # noqa: S608
_UNREAD = """
SELECT count(*) FROM (
    SELECT 1 FROM (
        SELECT sender, hidden FROM messages WHERE chat = ? AND seq BETWEEN ? AND ?
        ORDER BY seq DESC LIMIT ?
    ) WHERE sender <> ? AND NOT hidden LIMIT ?
)
"""
_MOVE_USER = """
UPDATE members SET received = max(received, :received), read = max(read, :read),
    moved_ms = max(moved_ms, :time_ms)
WHERE user = :user AND chat = (SELECT number FROM chats WHERE chat = :chat)
    AND (received < :received OR read < :read OR moved_ms < :time_ms)
"""
_MOVE_DEVICE = """
INSERT INTO cursors (user, device, chat, received)
SELECT m.user, :device, m.chat, :device_received
FROM chats c JOIN members m ON m.chat = c.number AND m.user = :user
WHERE c.chat = :chat
ON CONFLICT DO UPDATE SET received = """
_BY_MAX = "max(received, excluded.received)"
_BY_REWIND = "excluded.received"


class SqliteChats:
    """`ChatStore`."""

    def __init__(self, writer: Thread, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def load(self, chats: Collection[str]) -> dict[str, Chat]:
        def work(db: sqlite3.Connection) -> dict[str, Chat]:
            with snapshot(db):
                found = (_loaded(db, chat) for chat in set(chats))
                return {chat.chat: chat for chat in found if chat is not None}

        return await self._readers.run(work)

    async def of_user(self, user: str, device: str) -> list[Position]:
        def work(db: sqlite3.Connection) -> list[Position]:
            with snapshot(db):
                return [_position(db, row) for row in db.execute(_OF_USER, (device, user))]

        return await self._readers.run(work)

    async def lines(self, user: str, *, limit: int, before_ms: int | None) -> list[ChatLine]:
        before_ms = ENDLESS if before_ms is None else before_ms
        values = {"user": user, "limit": limit, "before_ms": before_ms, "endless": ENDLESS}

        def work(db: sqlite3.Connection) -> list[ChatLine]:
            with snapshot(db):
                return [_line(db, row) for row in db.execute(_LINES, values).fetchall()]

        return await self._readers.run(work)

    async def advance(self, moves: Sequence[CursorMove]) -> None:
        rows = [_move_row(move) for move in moves]

        def work(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.executemany(_MOVE_USER, rows)
                own = [row for row in rows if row["device"]]
                for rewind, run in groupby(own, key=lambda row: row["rewind"]):
                    sql = _MOVE_DEVICE + (_BY_REWIND if rewind else _BY_MAX)
                    db.executemany(sql, run)

        if rows:
            await self._writer.run(work)

    async def set_invite(self, chat: str, code: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute("UPDATE chats SET invite = ? WHERE chat = ?", (code, chat))

        await self._writer.run(work)

    async def by_invite(self, code: str) -> str | None:
        def work(db: sqlite3.Connection) -> str | None:
            sql = "SELECT chat FROM chats WHERE invite <> '' AND invite = ?"
            row = db.execute(sql, (code,)).fetchone()
            return row[0] if row else None

        return await self._readers.run(work)

    async def contacts(self, user: str, others: Collection[str]) -> set[str]:
        def work(db: sqlite3.Connection) -> set[str]:
            return {other for other in set(others) if _talked(db, user, other)}

        return await self._readers.run(work)


def _move_row(move: CursorMove) -> dict[str, Any]:
    return {
        "chat": move.chat,
        "user": move.user,
        "device": move.device,
        "device_received": move.device_received,
        "received": move.received,
        "read": move.read,
        "rewind": move.rewind,
        "time_ms": move.time_ms,
    }


def _loaded(db: sqlite3.Connection, chat: str) -> Chat | None:
    row = db.execute(
        "SELECT number, epoch, title, about, announce, invite,"
        " (SELECT max(seq) FROM messages WHERE messages.chat = chats.number)"
        " FROM chats WHERE chat = ?",
        (chat,),
    ).fetchone()
    if row is None:
        return None
    number, epoch, title, about, announce, invite, head = row
    sql = f"SELECT {MEMBER_COLUMNS} FROM members WHERE chat = ?"  # noqa: S608
    members = map(member_of, db.execute(sql, (number,)))
    return Chat(
        chat=chat,
        head=head,
        epoch=epoch,
        title=title,
        about=about,
        announce=bool(announce),
        invite=invite,
        members={member.user: member for member in members},
    )


def _position(db: sqlite3.Connection, row: tuple[Any, ...]) -> Position:
    chat, number, head, own = row[:4]
    member = member_of(row[4:])
    peer = next((user for user in pair(chat) or () if user != member.user), None)
    found = peer and db.execute(_MEMBER_OF, (peer, number)).fetchone()
    return Position(
        chat=chat,
        head=head,
        member=member,
        device_received=own,
        peer=member_of(found) if found else None,
    )


def _line(db: sqlite3.Connection, row: tuple[Any, ...]) -> ChatLine:
    chat, number, title, head = row[:4]
    member = member_of(row[4:_ENTRY_AT])
    last = entry_of(chat, row[_ENTRY_AT:])
    return ChatLine(
        chat=chat,
        title=title,
        head=head,
        member=member,
        last=last,
        unread=_unread(db, number, member, last.seq) if member.active else 0,
    )


def _unread(db: sqlite3.Connection, number: int, member: Member, last: int) -> int:
    """Newest first, so that a bound reached leaves out the oldest."""
    count = 0
    for first, end in ((member.joined, last), *reversed(member.spans)):
        start = max(first, member.read + 1)
        left = UNREAD_MAX - count
        if start <= end and left > 0:
            values = (number, start, end, COUNTED_ENTRIES_MAX, member.user, left)
            count += db.execute(_UNREAD, values).fetchone()[0]
    return count


def _talked(db: sqlite3.Connection, user: str, other: str) -> bool:
    both = {user, other}
    (count,) = db.execute(
        "SELECT count(*) FROM members m JOIN chats c ON c.number = m.chat"
        " WHERE c.chat = ? AND m.spoke",
        (direct_chat(user, other),),
    ).fetchone()
    return bool(count == len(both))
