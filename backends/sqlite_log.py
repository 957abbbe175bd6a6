"""The logs in SQLite: how drafts become entries, and how entries are read.

An append is one transaction and one hop. It is planned in memory (who gets which seq), then
inserted at once; the unique index (chat, sender, id) is the judge of repetitions. They are
rare: where the index objects, the transaction is rolled back, the stored ones are looked up
and the plan is made again, now knowing them. So no look-up is paid for by the others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from backends.sqlite_rows import (
    ENTRY_COLUMNS,
    MEMBER_COLUMNS,
    entry_of,
    entry_row,
    member_of,
    member_row,
)
from backends.sqlite_search import Search
from backends.sqlite_thread import Readers, Thread, snapshot, transaction
from whatsapp.changes import changed_members, named
from whatsapp.model import (
    Change,
    Draft,
    Duplicate,
    Entry,
    Member,
    Outcome,
    Page,
    Scope,
    Stale,
    Stored,
    pair,
)
from whatsapp.words import Terms

CACHED_CHATS_MAX = 50_000

_INSERT = f"INSERT INTO messages (chat, {ENTRY_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
# An entry with its number: what is where in it.
_NUMBERED = f"number, chat, {ENTRY_COLUMNS}"
TIME, KIND, TEXT = 3, 8, 10
_OLDEST = f"SELECT {_NUMBERED} FROM messages WHERE number > ? ORDER BY number LIMIT ?"  # noqa: S608
_INSERT_NUMBERED = f"INSERT INTO messages ({_NUMBERED}) VALUES (?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
_BY_ID = (
    f"SELECT {ENTRY_COLUMNS} FROM messages WHERE sender = ? AND id = ?"  # noqa: S608
    " AND chat = (SELECT number FROM chats WHERE chat = ?)"
)
_PAGE = f"SELECT {ENTRY_COLUMNS} FROM messages WHERE chat = ?"  # noqa: S608
_UPSERT_MEMBER = (
    'INSERT INTO members (chat, user, role, joined, "left", spans) VALUES (?,?,?,?,?,?)'
    " ON CONFLICT DO UPDATE SET role = excluded.role, joined = excluded.joined,"
    ' "left" = excluded."left", spans = excluded.spans'
)

Key = tuple[str, str, str]


@dataclass(slots=True)
class _State:
    """What the writer remembers of a chat. Dropped when a transaction that used it fails."""

    number: int
    head: int
    epoch: int
    direct: tuple[str, ...]
    spoke: set[str] = field(default_factory=set)
    shown: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Plan:
    """What a call of `append` will do."""

    outcomes: list[Outcome] = field(default_factory=list)
    entries: list[tuple[_State, Entry, Change | None]] = field(default_factory=list)


class Appender:
    """The writer's side. Its methods run on the writer's thread, one at a time."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def append(self, db: sqlite3.Connection, drafts: Sequence[Draft]) -> list[Outcome]:
        try:
            return self._append(db, drafts, self._stored(db, drafts, below_epoch=True))
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
                raise
        return self._append(db, drafts, self._stored(db, drafts, below_epoch=False))

    def _append(
        self, db: sqlite3.Connection, drafts: Sequence[Draft], stored: dict[Key, Entry]
    ) -> list[Outcome]:
        try:
            with transaction(db):
                plan = self._plan(db, drafts, stored)
                db.executemany(_INSERT, [entry_row(s.number, e) for s, e, _ in plan.entries])
                for state, entry, change in plan.entries:
                    if change is not None:
                        _apply(db, state, change, entry.seq)
                    if state.direct:
                        _mark(db, state, entry)
        except BaseException:
            for draft in drafts:
                self._states.pop(draft.chat, None)
            raise
        self._bound()
        return plan.outcomes

    def _plan(
        self, db: sqlite3.Connection, drafts: Sequence[Draft], stored: dict[Key, Entry]
    ) -> _Plan:
        plan = _Plan()
        known = dict(stored)
        epochs: dict[str, int] = {}
        for draft in drafts:
            key = (draft.chat, draft.sender, draft.id)
            if (old := known.get(key)) is not None:
                plan.outcomes.append(Duplicate(old))
                continue
            state = self._states.get(draft.chat) or self._loaded(db, draft.chat)
            if draft.epoch < epochs.setdefault(draft.chat, state.epoch):
                plan.outcomes.append(Stale())
                continue
            state.head += 1
            entry = known[key] = draft.entry(state.head)
            if draft.change is not None:
                state.epoch = entry.seq
            plan.entries.append((state, entry, draft.change))
            plan.outcomes.append(Stored(entry))
        return plan

    def _stored(
        self, db: sqlite3.Connection, drafts: Sequence[Draft], *, below_epoch: bool
    ) -> dict[Key, Entry]:
        """The drafts that are stored already, looked for among all or those that seem stale."""
        found: dict[Key, Entry] = {}
        for draft in drafts:
            if below_epoch:
                state = self._states.get(draft.chat)
                epoch = state.epoch if state else _epoch(db, draft.chat)
                if draft.epoch >= epoch:
                    continue
            row = db.execute(_BY_ID, (draft.sender, draft.id, draft.chat)).fetchone()
            if row:
                found[draft.chat, draft.sender, draft.id] = entry_of(draft.chat, row)
        return found

    def _loaded(self, db: sqlite3.Connection, chat: str) -> _State:
        direct = pair(chat) or ()
        row = db.execute(
            "SELECT number, epoch, coalesce((SELECT max(seq) FROM messages"
            " WHERE messages.chat = chats.number), 0) FROM chats WHERE chat = ?",
            (chat,),
        ).fetchone()
        if row is None:
            (number,) = db.execute(
                "INSERT INTO chats (chat) VALUES (?) RETURNING number", (chat,)
            ).fetchone()
            state = _State(number, 0, 0, direct)
            members = [member_row(number, Member(user=user)) for user in dict.fromkeys(direct)]
            db.executemany(_UPSERT_MEMBER, members)
        else:
            number, epoch, head = row
            state = _State(number, head, epoch, direct)
            if direct:
                sql = "SELECT user, spoke, shown FROM members WHERE chat = ?"
                for user, spoke, shown in db.execute(sql, (number,)):
                    if spoke:
                        state.spoke.add(user)
                    if shown is not None:
                        state.shown[user] = shown
        self._states[chat] = state
        return state

    def _bound(self) -> None:
        while len(self._states) > CACHED_CHATS_MAX:
            del self._states[next(iter(self._states))]


def _epoch(db: sqlite3.Connection, chat: str) -> int:
    row = db.execute("SELECT epoch FROM chats WHERE chat = ?", (chat,)).fetchone()
    return row[0] if row else 0


def _apply(db: sqlite3.Connection, state: _State, change: Change, seq: int) -> None:
    db.execute(
        "UPDATE chats SET epoch = ?, title = coalesce(?, title), about = coalesce(?, about),"
        " announce = coalesce(?, announce) WHERE number = ?",
        (seq, change.title, change.about, change.announce, state.number),
    )
    sql = f"SELECT {MEMBER_COLUMNS} FROM members WHERE user = ? AND chat = ?"  # noqa: S608
    rows = (db.execute(sql, (user, state.number)).fetchone() for user in named(change))
    members = {row[0]: member_of(row) for row in rows if row}
    changed = changed_members(members, change, seq).values()
    db.executemany(_UPSERT_MEMBER, [member_row(state.number, member) for member in changed])


def _mark(db: sqlite3.Connection, state: _State, entry: Entry) -> None:
    """Keep `spoke` and `shown` of a direct chat's members; most entries change neither."""
    number, sender = state.number, entry.sender
    if not entry.hidden and entry.kind == "text" and sender not in state.spoke:
        state.spoke.add(sender)
        sql = "UPDATE members SET spoke = 1 WHERE user = ? AND chat = ?"
        db.execute(sql, (sender, number))
    if not entry.hidden and not state.shown:
        return
    shown: dict[str, int] = {}
    if entry.hidden:
        others = (user for user in state.direct if user != sender)
        shown = {user: state.shown.get(user, entry.seq - 1) for user in others}
    state.shown = shown
    sql = "UPDATE members SET shown = ? WHERE user = ? AND chat = ?"
    db.executemany(sql, [(shown.get(user), user, number) for user in state.direct])


class SqliteMessages:
    """`MessageStore`."""

    def __init__(self, writer: Thread, readers: Readers, search: Search) -> None:
        self._writer = writer
        self._readers = readers
        self._search = search
        self._appender = Appender()

    async def append(self, drafts: Sequence[Draft]) -> list[Outcome]:
        if not drafts:
            return []
        append = self._appender.append
        outcomes = await self._writer.run(lambda db: append(db, drafts))
        self._search.wake(len(outcomes))
        return outcomes

    async def find(self, chat: str, sender: str, message_id: str) -> Entry | None:
        def work(db: sqlite3.Connection) -> Entry | None:
            row = db.execute(_BY_ID, (sender, message_id, chat)).fetchone()
            return entry_of(chat, row) if row else None

        return await self._readers.run(work)

    async def pages(self, wishes: Sequence[Page]) -> list[list[Entry]]:
        def work(db: sqlite3.Connection) -> list[list[Entry]]:
            with snapshot(db):
                return [_page(db, wish) for wish in wishes]

        return await self._readers.run(work)

    async def search(
        self,
        terms: Terms,
        scopes: Sequence[Scope],
        *,
        sender: str | None,
        before_ms: int | None,
        limit: int,
    ) -> list[Entry]:
        if not scopes or limit <= 0:
            return []
        return await self._search.find(
            terms, scopes, sender=sender, before_ms=before_ms, limit=limit
        )

    async def expire(self, before_ms: int, entries_max: int) -> int:
        count, last = await self._writer.run(lambda db: _expire(db, before_ms, entries_max))
        await self._search.forget(last)
        return count


def _expire(db: sqlite3.Connection, before_ms: int, entries_max: int) -> tuple[int, int]:
    """How many entries, and the number of the last that is done with.

    Not by UPDATE: SQLite does not give back pages that it leaves nearly empty.
    """
    row = db.execute("SELECT value FROM meta WHERE name = 'expired'").fetchone()
    last = int(row[0]) if row else 0
    rows = db.execute(_OLDEST, (last, entries_max))
    old = list(takewhile(lambda row: row[TIME] < before_ms, rows))
    if not old:
        return 0, last
    emptied = [(*row[:TEXT], "") if row[KIND] == "text" else row for row in old]
    first, last = old[0][0], old[-1][0]
    with transaction(db):
        db.execute("DELETE FROM messages WHERE number BETWEEN ? AND ?", (first, last))
        db.executemany(_INSERT_NUMBERED, emptied)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('expired', ?)", (last,))
    return len(old), last


def _page(db: sqlite3.Connection, wish: Page) -> list[Entry]:
    row = db.execute("SELECT number FROM chats WHERE chat = ?", (wish.chat,)).fetchone()
    if row is None or wish.limit <= 0:
        return []
    rows: Iterable[tuple[Any, ...]]
    if wish.after is not None:
        sql = _PAGE + " AND seq > ? ORDER BY seq LIMIT ?"
        rows = db.execute(sql, (row[0], wish.after, wish.limit))
    else:
        sql = _PAGE + " AND seq < ? ORDER BY seq DESC LIMIT ?"
        rows = reversed(db.execute(sql, (row[0], wish.before, wish.limit)).fetchall())
    return [entry_of(wish.chat, row) for row in rows]
