"""Looks at a store of ours from outside, beside a running server: it reads and never writes.

Connections are read-only (`mode=ro`), so they neither checkpoint nor keep the writer waiting.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

from backends import sqlite_index as index
from backends.sqlite_accounts import SqliteAccounts, SqliteDevices
from backends.sqlite_chats import SqliteChats
from backends.sqlite_folder import (
    APPLICATION_ID,
    MESSAGES,
    MIGRATIONS,
    READER_PRAGMAS,
    SEARCH,
)
from backends.sqlite_log import SqliteMessages
from backends.sqlite_search import Search
from backends.sqlite_thread import Readers, connect, read_only, snapshot
from whatsapp.errors import StartupError
from whatsapp.interfaces import Stores
from whatsapp.words import Term, Terms, words

Tell = Callable[[str, int, int], None]
Known = Callable[[], Awaitable[list[str]]]

FAULTS_TOLD_MAX = 20
NAMED_MAX = 3
STEPS_A_TICK = 100_000
SAMPLES_A_SHARD = 100
WORDS_A_SAMPLE = 8

# What must not be, and how many of it there are. Each statement gives one row for each fault.
_ORPHANS = {
    "entries of a chat that does not exist": (
        "SELECT DISTINCT m.chat FROM messages m LEFT JOIN chats c ON c.number = m.chat"
        " WHERE c.number IS NULL"
    ),
    "chats without an entry": (
        "SELECT chat FROM chats c"
        " WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.chat = c.number)"
    ),
    "members of a chat that does not exist": (
        "SELECT user FROM members WHERE chat NOT IN (SELECT number FROM chats)"
    ),
    "cursors of a chat that does not exist": (
        "SELECT user FROM cursors WHERE chat NOT IN (SELECT number FROM chats)"
    ),
    "devices without an account": (
        "SELECT d.user FROM devices d LEFT JOIN accounts a ON a.user = d.user"
        " WHERE a.user IS NULL OR a.erased"
    ),
    "blocks without an account": (
        "SELECT user || ' blocks ' || other FROM blocks"
        " WHERE user NOT IN (SELECT user FROM accounts)"
        " OR other NOT IN (SELECT user FROM accounts)"
    ),
}
# Written behind the messages: a device that logs out may leave its last ones.
_LEFT_OVER = (
    "SELECT count(*) FROM cursors c WHERE NOT EXISTS"
    " (SELECT 1 FROM devices d WHERE d.device = c.device AND d.user = c.user)"
)


def messages_file(folder: Path) -> Path:
    """The file in a data folder, or `StartupError` where there is none."""
    file = folder / MESSAGES
    if not file.is_file() or not (file.stat().st_size or _log_of(file).exists()):
        raise StartupError(
            f"there is no store in {folder}", "Name the server's data folder: --data FOLDER."
        )
    return file


@contextmanager
def explaining(file: Path) -> Iterator[None]:
    """What SQLite says of a file that cannot be used, as cause and cure."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise StartupError(f"{file} is not a database", "Name a store or a backup.") from None
        raise StartupError(
            f"{file} cannot be read: {error}",
            "See that this user may read it and write beside it. If it is damaged: a backup.",
        ) from error


@asynccontextmanager
async def reading(file: Path) -> AsyncIterator[tuple[Stores, Known]]:
    """Stores that only read (what would write fails), and who lists all chats."""
    async with AsyncExitStack() as stack:
        thread = await connect(file, READER_PRAGMAS, _ignore, only_read=True)
        stack.push_async_callback(thread.close)
        readers = Readers([thread])
        search = Search(file.parent, "", readers, thread)  # never started: it finds nothing

        async def known() -> list[str]:
            sql = "SELECT chat FROM chats ORDER BY number"
            return await readers.run(lambda db: [chat for (chat,) in db.execute(sql)])

        yield (
            Stores(
                accounts=SqliteAccounts(thread, readers),
                devices=SqliteDevices(thread, readers),
                messages=SqliteMessages(thread, readers, search),
                chats=SqliteChats(thread, readers),
                durable=True,
            ),
            known,
        )


def faults(file: Path, tell: Tell) -> tuple[list[str], list[str]]:
    """Of the file itself: whose it is, its pages and indexes, rows whose owner is missing.

    And notes, of what does no harm.
    """
    notes: list[str] = []
    with closing(read_only(file)) as db, _ticking(db, "pages and indexes", tell), snapshot(db):
        _ours(db, file)
        found = [f"file: {text}" for text in _integrity(db)]
        found += _schema(db)
        for what, sql in _ORPHANS.items():
            try:
                rows = [str(row[0]) for row in db.execute(sql)]
            except sqlite3.Error as error:
                found.append(f"{what} cannot be looked for: {error}")
                continue
            if rows:
                more = ", …" if len(rows) > NAMED_MAX else ""
                found.append(f"{what}: {len(rows)} ({', '.join(rows[:NAMED_MAX])}{more})")
        with suppress(sqlite3.Error):
            (left_over,) = db.execute(_LEFT_OVER).fetchone()
            if left_over:
                notes.append(f"cursors of ended devices: {left_over}; they do no harm")
    return found, notes


def index_faults(folder: Path, tell: Tell) -> tuple[list[str], list[str]]:
    """What is wrong with the search index; and notes, of what mends itself."""
    file = folder / SEARCH
    if not file.is_file() or not (file.stat().st_size or _log_of(file).exists()):
        return [], ["the search index is not there yet; a server builds it"]
    try:
        with closing(read_only(folder / MESSAGES)) as db:
            db.execute("ATTACH ? AS search", (f"{file.absolute().as_uri()}?mode=ro",))
            with _ticking(db, "search index", tell), snapshot(db):
                return _compared(db)
    except sqlite3.Error as error:
        return [f"search index: {error}"], []


def _compared(db: sqlite3.Connection) -> tuple[list[str], list[str]]:
    """The index first: its moment is then not after the log's."""
    (version,) = db.execute("PRAGMA search.user_version").fetchone()
    if version != index.VERSION:
        return [], ["the search index is of another version; a server builds it anew"]
    row = db.execute("SELECT indexed, last_id, identity, open, boot FROM search.state").fetchone()
    if row is None:
        return ["search index: it does not say how far it goes"], []
    indexed, last_id, identity, opened, boot = row
    if opened and boot != index.boot():
        return [], ["the search index was open when the machine stopped; a server builds it anew"]
    (owner,) = db.execute("SELECT value FROM main.meta WHERE name = 'identity'").fetchone()
    if identity != owner:
        return ["search index: it belongs to another log"], []
    last = db.execute("SELECT id FROM main.messages WHERE number = ?", (indexed,)).fetchone()
    if indexed and (last is None or last[0] != last_id):
        return ["search index: it is ahead of the log"], []
    (waiting,) = db.execute(
        "SELECT count(*) FROM main.messages WHERE kind = 'text' AND text <> '' AND number > ?",
        (indexed,),
    ).fetchone()
    notes = [f"entries not in the search index yet: {waiting}; a server catches up"]
    found: list[str] = []
    for shard in range((indexed >> index.SHARD_BITS) + 1):
        found += _shard(db, shard, indexed)
    return found, notes if waiting else []


def _shard(db: sqlite3.Connection, shard: int, indexed: int) -> Iterator[str]:
    first = shard << index.SHARD_BITS
    end = min(indexed, first + (1 << index.SHARD_BITS) - 1)
    wanted = {
        number
        for (number,) in db.execute(
            "SELECT number FROM main.messages"
            " WHERE kind = 'text' AND text <> '' AND number BETWEEN ? AND ?",
            (first, end),
        )
    }
    listed = db.execute("SELECT 1 FROM search.shards WHERE number = ?", (shard,)).fetchone()
    if not listed:
        if wanted:
            yield f"search index: entries that it lacks: {len(wanted)} (part {shard})"
        return
    # Each document begins with tokens that no text has: their common prefix finds all.
    there = set(_hits(db, shard, f'"{index.MARK}" *'))
    if missing := len(wanted - there):
        yield f"search index: entries that it lacks: {missing} (part {shard})"
    if superfluous := len(there - wanted - _expired(db, first, end)):
        yield f"search index: entries that the log lacks: {superfluous} (part {shard})"
    sample = sorted(wanted & there)
    sample = sample[:: max(1, len(sample) // SAMPLES_A_SHARD)]
    if wrong := sum(not _found(db, shard, number) for number in sample):
        yield f"search index: entries with other words: {wrong} of {len(sample)} (part {shard})"


def _expired(db: sqlite3.Connection, first: int, end: int) -> set[int]:
    sql = "SELECT number FROM main.messages WHERE text = '' AND number BETWEEN ? AND ?"
    return {number for (number,) in db.execute(sql, (first, end))}


def _found(db: sqlite3.Connection, shard: int, number: int) -> bool:
    chat, sender, text = db.execute(
        "SELECT chat, sender, text FROM main.messages WHERE number = ?", (number,)
    ).fetchone()
    terms = Terms(tuple(Term((word,), prefix=False) for word in words(text)[:WORDS_A_SAMPLE]))
    expression = index.match_expression(terms, [chat], sender)
    return number in set(_hits(db, shard, expression, f" AND rowid = {number}"))


def _hits(db: sqlite3.Connection, shard: int, expression: str, more: str = "") -> Iterator[int]:
    sql = f"SELECT rowid FROM search.words_{shard} WHERE words_{shard} MATCH ?{more}"  # noqa: S608
    for (number,) in db.execute(sql, (expression,)):
        yield number


def _ours(db: sqlite3.Connection, file: Path) -> None:
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION_ID:
        raise StartupError(
            f"{file} is a database of some other program", "Name a store or a backup of ours."
        )
    if version > len(MIGRATIONS):
        raise StartupError(
            f"{file} has data of a newer version (schema {version}, known {len(MIGRATIONS)})",
            "Use the newer version that wrote it.",
        )


def _integrity(db: sqlite3.Connection) -> list[str]:
    try:
        rows = db.execute(f"PRAGMA integrity_check({FAULTS_TOLD_MAX})").fetchall()
    except sqlite3.Error as error:
        return [str(error)]
    # A damaged page is told over several lines, with a heading of its own.
    lines = [line for (text,) in rows for line in str(text).splitlines()]
    return [line for line in lines if line != "ok" and not line.startswith("***")]


def _schema(db: sqlite3.Connection) -> list[str]:
    """Tables and indexes that are missing or otherwise: those are what keeps rows unique."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    with closing(sqlite3.connect(":memory:")) as fresh:
        for step in range(version):
            fresh.executescript(MIGRATIONS[step])
        wanted = _names(fresh)
    there = _names(db)
    return [
        f"file: the {kind} {name} is {'not as made' if (kind, name) in there else 'missing'}"
        for (kind, name), sql in wanted.items()
        if there.get((kind, name)) != sql
    ]


def _names(db: sqlite3.Connection) -> dict[tuple[str, str], str]:
    sql = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
    return {(kind, name): text for kind, name, text in db.execute(sql)}


@contextmanager
def _ticking(db: sqlite3.Connection, what: str, tell: Tell) -> Iterator[None]:
    """Tell that long statements go on; how far is not known."""
    tell(what, 0, 0)
    db.set_progress_handler(lambda: tell(what, 0, 0), STEPS_A_TICK)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)


def _log_of(file: Path) -> Path:
    return Path(f"{file}-wal")


def _ignore(error: BaseException) -> None:
    """Reading loses nothing: no error of it ends a process."""
