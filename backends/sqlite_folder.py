"""The data folder: made, locked, its database opened and brought to this version.

Whatever is wrong with it is told here, at the start, as a `StartupError`: cause and cure.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backends.sqlite_thread import transaction
from whatsapp.errors import StartupError

MESSAGES = "messages.db"
SEARCH = "search.db"
LOCK = "lock"

APPLICATION_ID = 0x77686174  # "what", in the file's head: it tells our files from others
CHECKED_BYTES_MAX = 16 << 20  # a larger file is not read through at every start

# The writer alone checkpoints: SQLite before 3.51.3 could lose a commit where two did
# (the WAL-reset bug). Readers do not write, so never checkpoint, and are closed first.
WRITER_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 2000;
PRAGMA journal_size_limit = 67108864;
PRAGMA cache_size = -32000;
PRAGMA temp_store = MEMORY;
PRAGMA trusted_schema = OFF;
"""
READER_PRAGMAS = """
PRAGMA query_only = ON;
PRAGMA wal_autocheckpoint = 0;
PRAGMA cache_size = -16000;
PRAGMA temp_store = MEMORY;
PRAGMA trusted_schema = OFF;
"""

# Why a rowid table: with 1,000-byte texts a commit into a table that is ordered by
# (chat, seq) costs four times as much. `number` is also the order of all commits, which the
# search index follows. Small columns stand before the text, so that they are read without it.
# Why chats are numbers: three indexes and each row have them.
_FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE chats (
    number INTEGER PRIMARY KEY,
    chat TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL DEFAULT 0,
    title TEXT NOT NULL DEFAULT '',
    about TEXT NOT NULL DEFAULT '',
    announce INTEGER NOT NULL DEFAULT 0,
    invite TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX chats_invite ON chats (invite) WHERE invite <> '';
CREATE TABLE messages (
    number INTEGER PRIMARY KEY,
    chat INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    hidden INTEGER NOT NULL,
    reply_to INTEGER NOT NULL,
    sender TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    event TEXT,
    text TEXT NOT NULL
);
CREATE UNIQUE INDEX messages_seq ON messages (chat, seq);
CREATE UNIQUE INDEX messages_id ON messages (chat, sender, id);
-- `spoke`: has an entry of text here that is not hidden (kept for direct chats).
-- `shown`: where the chat ends in entries hidden from this member, the last that it sees.
CREATE TABLE members (
    user TEXT NOT NULL,
    chat INTEGER NOT NULL,
    role TEXT NOT NULL,
    joined INTEGER NOT NULL,
    "left" INTEGER NOT NULL DEFAULT 0,
    spans TEXT NOT NULL DEFAULT '[]',
    received INTEGER NOT NULL DEFAULT 0,
    read INTEGER NOT NULL DEFAULT 0,
    moved_ms INTEGER NOT NULL DEFAULT 0,
    spoke INTEGER NOT NULL DEFAULT 0,
    shown INTEGER,
    PRIMARY KEY (user, chat)
) WITHOUT ROWID;
CREATE INDEX members_chat ON members (chat);
CREATE TABLE cursors (
    user TEXT NOT NULL,
    device TEXT NOT NULL,
    chat INTEGER NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (user, device, chat)
) WITHOUT ROWID;
CREATE TABLE accounts (
    user TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    about TEXT NOT NULL,
    last_seen_visible TEXT NOT NULL,
    receipts INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    erased INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX accounts_folded ON accounts (folded);
CREATE TABLE blocks (
    user TEXT NOT NULL,
    other TEXT NOT NULL,
    PRIMARY KEY (user, other)
) WITHOUT ROWID;
CREATE INDEX blocks_other ON blocks (other);
CREATE TABLE devices (
    token_hash BLOB PRIMARY KEY,
    device TEXT NOT NULL,
    user TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX devices_user ON devices (user);
CREATE INDEX devices_device ON devices (device);
"""

# Step n brings a file of version n to version n + 1. Steps are only ever added.
MIGRATIONS: tuple[str, ...] = (_FIRST,)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """The folder, made where it is missing, for this process alone."""
    descriptor = _lock_file(folder)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            who = f"process {owner}" if owner else "another process"
            raise StartupError(
                f"{folder} is in use by {who}",
                "Stop that server first, or name another folder: --data FOLDER.",
            ) from None
        with suppress(OSError):  # who we are is a courtesy; a full disk is told below
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock_file(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (MESSAGES, SEARCH):
            os.close(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileExistsError, NotADirectoryError):
        raise StartupError(
            f"{folder} is not a folder", "Move that file away, or name a folder: --data FOLDER."
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(folder) from None
        raise StartupError(
            f"{folder} cannot be written: {error.strerror}",
            "Give this user the right to write there, or name another folder: --data FOLDER.",
        ) from None


def prepare(db: sqlite3.Connection) -> str:
    """Check the file, bring it to this version; its identity. The writer's first work."""
    version = _recognised(db)
    _check(db)
    for step in range(version, len(MIGRATIONS)):
        with transaction(db):
            _migrate(db, step)
    with transaction(db):  # writing works: told now, not with the first message
        db.execute("UPDATE meta SET value = value + 1 WHERE name = 'starts'")
    (identity,) = db.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()
    return str(identity)


def recognise(db: sqlite3.Connection) -> None:
    """Is it a file of this version? For those that only read it."""
    version = _recognised(db)
    if version < len(MIGRATIONS):
        raise StartupError(
            f"{MESSAGES} has data of an older version (schema {version})",
            "Start the server once: it brings the data to this version.",
        )


def _recognised(db: sqlite3.Connection) -> int:
    """The version of a file of ours, 0 for an empty one."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and owner != APPLICATION_ID:
        raise StartupError(
            f"{MESSAGES} in the data folder is a database of some other program",
            "Name another folder: --data FOLDER.",
        )
    if version > len(MIGRATIONS):
        raise StartupError(
            f"{MESSAGES} has data of a newer version (schema {version}, known {len(MIGRATIONS)})",
            "Start the newer server that wrote it, or name another folder: --data FOLDER.",
        )
    return int(version)


def explained(folder: Path, error: sqlite3.Error) -> StartupError:
    """What an error of SQLite at the start means to the one who starts."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    match code & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            cause = f"{folder / MESSAGES} is not a database"
        case sqlite3.SQLITE_CORRUPT:
            cause = f"{folder / MESSAGES} is damaged: {error}"
        case sqlite3.SQLITE_FULL:
            return _full(folder)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StartupError(
                f"{folder / MESSAGES} is in use by another program",
                "Close it, or name another folder: --data FOLDER.",
            )
        case _:
            return StartupError(
                f"{folder / MESSAGES} cannot be opened: {error}",
                "See that this user may write there, that the disk is well and has room,"
                " or name another folder: --data FOLDER.",
            )
    return StartupError(
        cause, "Put a backup of the folder in its place, or name another folder: --data FOLDER."
    )


def _full(folder: Path) -> StartupError:
    return StartupError(
        f"the disk with {folder} is full",
        "Make room on it, or name a folder on another disk: --data FOLDER.",
    )


def _check(db: sqlite3.Connection) -> None:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    if pages * page_bytes <= CHECKED_BYTES_MAX:
        (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            error = sqlite3.DatabaseError(" ".join(answer.split()))  # told in one line
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error


def _migrate(db: sqlite3.Connection, step: int) -> None:
    for statement in MIGRATIONS[step].split(";\n"):
        if statement.strip():
            db.execute(statement)
    if step == 0:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        identity = secrets.token_hex(16)
        db.execute("INSERT INTO meta VALUES ('identity', ?), ('starts', 0)", (identity,))
    db.execute(f"PRAGMA user_version = {step + 1}")
