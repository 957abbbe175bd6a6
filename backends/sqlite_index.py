"""The index of words in `search.db`: what it looks like, how it is fed and asked.

It is derived from the log: written without fsync, thrown away and built anew where it is
missing, damaged, of another version, of another log, or was open when the machine stopped.

Why shards: an FTS5 table for each so many entries bounds what one statement does (a query
for `ab*` gathers all positions of all such words before it answers), lets a search begin with
the newest and stop in time, and keeps the merges of the index small.
Why `prefix = 1`: `a*` would gather a tenth of all there is; that list is kept ready instead,
for a tenth more work and 200 bytes more for a text of 1,000.
Why tokens for chat and sender: a search of one user's chats otherwise reads the hits of
everybody. They begin with a private character, which no word of a text has.
Why `tokenize = ascii`: the text comes as the words of `words.words`, one space between; this
tokenizer splits there and nowhere else and leaves other than ASCII alone. So the index and
`Terms.match` cannot disagree about what a word is.
Why contentless, `columnsize = 0`, but `detail = full`: entries are read from the log, and do
not change but for losing their text, for which whole shards are dropped; nobody ranks by length;
but phrases (CJK text is full of them) need positions.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from msgspec import Struct

from backends.sqlite_rows import ENTRY_COLUMNS, entry_of
from backends.sqlite_thread import snapshot, transaction
from whatsapp.errors import Unavailable
from whatsapp.model import Entry, Scope
from whatsapp.words import Terms, fold, words

VERSION = 1
SHARD_BITS = 17
CHATS_NAMED_AT_ONCE = 50
CHATS_A_MATCH_MAX = 500
FEW_HITS = 64
DEAR_PREFIX = 2
CANDIDATES_MAX = 4_000
DEADLINE_SECONDS = 0.2
CHECKED_EVERY = 128

INDEX_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -8000;
PRAGMA temp_store = MEMORY;
PRAGMA trusted_schema = OFF;
"""
_SCHEMA = (
    "CREATE TABLE state (indexed INTEGER, last_id TEXT, identity TEXT, boot TEXT, open INTEGER)",
    "CREATE TABLE shards (number INTEGER PRIMARY KEY, earliest_ms INTEGER NOT NULL)",
)
MARK = "\ue000"


class Row(Struct, frozen=True):
    """What the index wants of an entry."""

    number: int
    chat: int
    sender: str
    time_ms: int
    id: str
    text: str


class Query(Struct, frozen=True, kw_only=True):
    """A search, as `MessageStore.search` has it."""

    terms: Terms
    scopes: Mapping[str, Scope]
    sender: str | None
    before_ms: int | None
    limit: int


class _Look(Struct, frozen=True):
    """A query, and its scopes by the numbers of their chats."""

    query: Query
    scopes: Mapping[int, Scope]


class UnfitError(Exception):
    """This index cannot be used: build it anew."""


def boot() -> str:
    """Which start of the machine this is; what was not synced survives our crash, not its."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def open_index(db: sqlite3.Connection, identity: str) -> tuple[int, str]:
    """How far the index goes: the number and id of the last entry in it."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    with transaction(db):
        if not tables:
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute("INSERT INTO state VALUES (0, '', ?, '', 0)", (identity,))
            db.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise UnfitError("of another version")
        row = db.execute("SELECT indexed, last_id, identity, boot, open FROM state").fetchone()
        if row is None or row[2] != identity:
            raise UnfitError("of another log")
        if row[4] and (not row[3] or row[3] != boot()):
            raise UnfitError("not closed when the machine stopped")
        db.execute("UPDATE state SET boot = ?, open = 1", (boot(),))
    return int(row[0]), str(row[1])


def close_index(db: sqlite3.Connection) -> None:
    """Say that all is written, as far as a file without fsync can say it."""
    with transaction(db):
        db.execute("UPDATE state SET open = 0")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def remove(file: Path) -> None:
    """Begin with nothing. No connection may have the file open."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    file.touch(mode=0o600)


def add(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Index a small batch in one transaction."""
    with transaction(db):
        for shard in sorted({row.number >> SHARD_BITS for row in rows}):
            part = [row for row in rows if row.number >> SHARD_BITS == shard]
            earliest_ms = min(row.time_ms for row in part)
            if not db.execute("SELECT 1 FROM shards WHERE number = ?", (shard,)).fetchone():
                db.execute(
                    f"CREATE VIRTUAL TABLE words_{shard} USING fts5 (words, content = '',"
                    " columnsize = 0, detail = full, prefix = '1', tokenize = 'ascii')"
                )
            db.execute(
                "INSERT INTO shards VALUES (?, ?) ON CONFLICT DO UPDATE"
                " SET earliest_ms = min(earliest_ms, excluded.earliest_ms)",
                (shard, earliest_ms),
            )
            db.executemany(
                f"INSERT INTO words_{shard} (rowid, words) VALUES (?, ?)",  # noqa: S608
                [(row.number, document(row)) for row in part],
            )
        last = rows[-1]
        db.execute("UPDATE state SET indexed = ?, last_id = ?", (last.number, last.id))


def drop(db: sqlite3.Connection, shard: int) -> None:
    """Forget the shards before this one."""
    with transaction(db):
        sql = "DELETE FROM shards WHERE number < ? RETURNING number"
        for (number,) in db.execute(sql, (shard,)).fetchall():
            db.execute(f"DROP TABLE words_{number}")


def document(row: Row) -> str:
    """What is indexed of an entry."""
    return f"{_chat_token(row.chat)} {_sender_token(row.sender)} {' '.join(words(row.text))}"


def unindexed(db: sqlite3.Connection, after: int, limit: int) -> list[Row]:
    """The next text entries of the log; on a connection to the log."""
    return [
        Row(*row)
        for row in db.execute(
            "SELECT number, chat, sender, time_ms, id, text FROM messages"
            " WHERE number > ? AND kind = 'text' AND text <> '' ORDER BY number LIMIT ?",
            (after, limit),
        )
    ]


def find(db: sqlite3.Connection, query: Query, *, attached: bool) -> list[Entry]:
    """Newest first, from the log's end that is not indexed yet, then shard by shard.

    After `DEADLINE_SECONDS` or `CANDIDATES_MAX` hits that the user may not see, what was
    found so far is the answer: only older entries are missing. Nothing found by then is
    `Unavailable`, since it would be no answer. On a connection to the log with the index
    attached as `search`.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    found: list[Entry] = []
    with snapshot(db):
        indexed = _indexed(db) if attached else 0
        look = _Look(query, _numbered(db, query.scopes))
        entries: Iterable[Entry | None] = _in_tail(db, look, indexed, deadline)
        if attached:
            entries = chain(entries, _in_index(db, look, deadline))
        for entry in entries if look.scopes else ():
            if entry is None:
                if not found:
                    raise Unavailable("the search took too long; use more or longer words")
                break
            found.append(entry)
            if len(found) >= query.limit:
                break
    return found


def match_expression(terms: Terms, chats: Sequence[int], sender: str | None) -> str:
    """The query in FTS5's syntax: quoted words and our own operators, nothing of a user's."""
    parts = [_quoted(" ".join(term.words)) + (" *" if term.prefix else "") for term in terms.all]
    if chats:
        parts.append(f"({' OR '.join(_quoted(_chat_token(chat)) for chat in chats)})")
    if sender is not None:
        parts.append(_quoted(_sender_token(sender)))
    return " AND ".join(parts)


def _in_tail(
    db: sqlite3.Connection, look: _Look, indexed: int, deadline: float
) -> Iterator[Entry | None]:
    """Hits that the user may see in what is not indexed; None at the bound."""
    rows = db.execute(_TAIL, (indexed,))
    for looked, row in enumerate(rows, 1):
        if looked % CHECKED_EVERY == 0 and time.monotonic() > deadline:
            yield None
        if (entry := _allowed(row, look)) and _matches(look.query.terms, entry.text):
            yield entry


def _in_index(db: sqlite3.Connection, look: _Look, deadline: float) -> Iterator[Entry | None]:
    """Hits that the user may see in the shards; None at the bound."""
    looked = 0
    for shard in _shards(db, look.query.before_ms):
        for number in _hits(db, shard, look):
            looked += 1
            row = db.execute(_ONE, (number,)).fetchone()
            if row and (entry := _allowed(row, look)):
                yield entry
            if looked >= CANDIDATES_MAX or time.monotonic() > deadline:
                break
        if looked >= CANDIDATES_MAX or time.monotonic() > deadline:
            yield None


_ONE = f"SELECT chat, {ENTRY_COLUMNS} FROM main.messages WHERE number = ?"  # noqa: S608
_TAIL = (
    f"SELECT chat, {ENTRY_COLUMNS} FROM main.messages WHERE number > ?"  # noqa: S608
    " ORDER BY number DESC"
)


def _allowed(row: tuple[Any, ...], look: _Look) -> Entry | None:
    query, scope = look.query, look.scopes.get(row[0])
    if scope is None:
        return None
    _, seq, time_ms, hidden, _, sender, _, kind, _, text = row
    if kind != "text" or not text or not scope.member.sees(seq):
        return None
    if hidden and sender != scope.member.user:
        return None
    if query.sender not in (None, sender):
        return None
    if query.before_ms is not None and time_ms >= query.before_ms:
        return None
    return entry_of(scope.chat, row[1:])


def _matches(terms: Terms, text: str) -> bool:
    folded = fold(text)  # a look that costs a tenth and mostly says no
    return all(word in folded for t in terms.all for word in t.words) and terms.match(text)


def _hits(db: sqlite3.Connection, shard: int, look: _Look) -> Iterable[int]:
    """Numbers in this shard, newest first.

    To name the chats costs some 30 µs each. Where the words alone have few hits in the shard,
    reading those is cheaper; and most words have few.
    """
    query, chats = look.query, list(look.scopes)
    if len(chats) > CHATS_NAMED_AT_ONCE and not _dear(query.terms):
        numbers = _asked(db, shard, match_expression(query.terms, (), query.sender), FEW_HITS)
        if len(numbers) < FEW_HITS:
            return numbers
    if len(chats) <= CHATS_A_MATCH_MAX:
        return _streamed(db, shard, match_expression(query.terms, chats, query.sender))
    found: list[int] = []
    for at in range(0, len(chats), CHATS_A_MATCH_MAX):
        part = match_expression(query.terms, chats[at : at + CHATS_A_MATCH_MAX], query.sender)
        found += _asked(db, shard, part, CANDIDATES_MAX)
    return sorted(found, reverse=True)


def _dear(terms: Terms) -> bool:
    """Is there a prefix of two letters? It has many hits, and gathers them all first."""
    return any(term.prefix and len(term.words[-1]) == DEAR_PREFIX for term in terms.all)


def _asked(db: sqlite3.Connection, shard: int, expression: str, limit: int) -> list[int]:
    return list(islice(_streamed(db, shard, expression), limit))


def _streamed(db: sqlite3.Connection, shard: int, expression: str) -> Iterator[int]:
    sql = (
        f"SELECT rowid FROM search.words_{shard} WHERE words_{shard} MATCH ?"  # noqa: S608
        " ORDER BY rowid DESC"
    )
    try:
        for (number,) in db.execute(sql, (expression,)):
            yield number
    except sqlite3.Error as error:
        raise UnfitError(str(error)) from error


def _shards(db: sqlite3.Connection, before_ms: int | None) -> list[int]:
    sql = "SELECT number FROM search.shards WHERE ? IS NULL OR earliest_ms < ? ORDER BY number DESC"
    try:
        return [number for (number,) in db.execute(sql, (before_ms, before_ms))]
    except sqlite3.Error as error:
        raise UnfitError(str(error)) from error


def _indexed(db: sqlite3.Connection) -> int:
    try:
        (indexed,) = db.execute("SELECT indexed FROM search.state").fetchone()
    except sqlite3.Error as error:
        raise UnfitError(str(error)) from error
    return int(indexed)


def _numbered(db: sqlite3.Connection, scopes: Mapping[str, Scope]) -> dict[int, Scope]:
    sql = "SELECT number FROM main.chats WHERE chat = ?"
    rows = ((db.execute(sql, (chat,)).fetchone(), scope) for chat, scope in scopes.items())
    return {row[0]: scope for row, scope in rows if row}


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _chat_token(number: int) -> str:
    return f"{MARK}c{number}"


def _sender_token(user: str) -> str:
    return f"{MARK}u{user.encode().hex()}"
