"""Copies of the store: taken beside a running server, and put back where none runs.

A copy is one file, the log as of one moment: SQLite's online backup inside one read
transaction. Why inside one: without it the copy begins anew whenever the server commits, and
under load never ends. The price: as long as it takes, the server's write-ahead log is not used
again from its beginning and grows by what is written. The server itself waits for nothing.

The search index is not copied; it is derived from the log, and a server builds it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from backends import sqlite_index as index
from backends.sqlite_folder import LOCK, MESSAGES, SEARCH, locked_folder
from backends.sqlite_thread import read_only, snapshot, transaction
from whatsapp.errors import StartupError

PAGES_AT_ONCE = 1000
SUFFIXES = ("", "-wal", "-shm")
CANNOT_WRITE = (
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_FSYNC,
)
RESTORING = "messages.db.restoring"

Tell = Callable[[str, int, int], None]


@contextmanager
def copy(source: Path, target: Path, tell: Tell) -> Iterator[Path]:
    """A whole and synced copy beside `target`, under a name of its own, for the block to judge.

    What the block leaves there becomes `target` when it ends well; otherwise it is removed.
    """
    part = target.with_name(target.name + ".part")
    with _claimed(part):
        try:
            _copy(source, part, tell)
            yield part
            part.replace(target)
        except BaseException:
            forget(part)
            raise
        # From here on a file of that name is another process's.
        _sync(target.parent)


@contextmanager
def put_back(source: Path, folder: Path, aside: str, tell: Tell) -> Iterator[Path]:
    """Copy `source` into the folder, for the block to judge; then it is the folder's store.

    What was there goes into the folder `aside` below it. `StartupError` where a server runs on it.
    """
    with locked_folder(folder):
        part = folder / RESTORING
        try:
            forget(part)
            with _telling_of_space(part):
                os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            _copy(source, part, tell)
            yield part
            _move_aside(folder, folder / aside)
            part.replace(folder / MESSAGES)
            _sync(folder)
        finally:
            forget(part)


def kept(folder: Path) -> list[Path]:
    """What is in a data folder; an empty file is nothing, nor is the lock."""
    if not folder.is_dir():
        return []
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name != LOCK and (path.is_dir() or path.stat().st_size)
    ]


def end_logins(file: Path) -> None:
    """Forget all devices of a copy, and what each had received."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db, transaction(db):
        db.execute("DELETE FROM devices")
        db.execute("DELETE FROM cursors")


def drop_index(folder: Path) -> None:
    """Remove the search index, to be built anew. `StartupError` where a server runs on it."""
    with locked_folder(folder):
        index.remove(folder / SEARCH)


def forget(file: Path) -> None:
    """Remove a copy and what SQLite may have made beside it."""
    for suffix in (*SUFFIXES, "-journal"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)


@contextmanager
def _claimed(part: Path) -> Iterator[None]:
    """The file of an unfinished copy, for this process alone; a dead one's is taken over."""
    with _telling_of_space(part):
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(descriptor, part):
            raise StartupError(
                f"another backup is writing {part}", "Wait for it, or name another file."
            )
        os.ftruncate(descriptor, 0)
        os.fchmod(descriptor, 0o600)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int, part: Path) -> bool:
    """Ours, and still of that name: one that ended since we opened it made a backup of it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), part.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _copy(source: Path, target: Path, tell: Tell) -> None:
    """All pages as of one moment, into an empty file; synced."""

    def progress(_: int, left: int, whole: int) -> None:
        tell("copying", whole - left, whole)

    with (
        _telling_of_space(target),
        closing(read_only(source)) as db,
        closing(sqlite3.connect(target, isolation_level=None)) as copied,
    ):
        copied.execute("PRAGMA synchronous = OFF")  # synced at the end, once
        with snapshot(db):
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the moment
            db.backup(copied, pages=PAGES_AT_ONCE, progress=progress)
        # One file, without a write-ahead log beside it.
        copied.execute("PRAGMA journal_mode = DELETE")
    _sync(target)


@contextmanager
def _telling_of_space(file: Path) -> Iterator[None]:
    """A disk that is full and a folder that may not be written, as cause and cure."""
    full = StartupError(
        f"the disk with {file.parent} is full", "Make room on it, or name a file on another disk."
    )
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise full from error
        if error.sqlite_errorcode in CANNOT_WRITE:
            raise StartupError(
                f"{file} cannot be written: {error}",
                "See to that disk, and to limits on the size of files; or name another file.",
            ) from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full from error
        raise StartupError(
            f"{file} cannot be written: {error.strerror}",
            "Name a file in a folder that exists and that this user may write in.",
        ) from None


def _move_aside(folder: Path, aside: Path) -> None:
    """The old store with its write-ahead log, whole, so that it can still be used there."""
    old = [folder / f"{MESSAGES}{suffix}" for suffix in SUFFIXES]
    if any(path.exists() and path.stat().st_size for path in old):
        aside.mkdir(mode=0o700)
        for path in old:
            with suppress(FileNotFoundError):
                path.replace(aside / path.name)
        _sync(aside)
    for path in old:
        path.unlink(missing_ok=True)
    index.remove(folder / SEARCH)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
