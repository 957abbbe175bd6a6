"""One SQLite connection on a thread of its own, and what becomes of SQLite's errors.

Why one hop: an awaited call of aiosqlite costs about 100 µs, whatever it does. So a piece of
work is one function that runs on the connection's thread from begin to end; a transaction
never waits for the event loop, and no two of them mix.

Why a failed fsync ends the process: the kernel reports such an error once and may mark the
pages clean that it could not write. A second fsync then succeeds with the data lost
("fsyncgate", 2018), so nothing this process remembers of the file can be trusted. After a
new start SQLite reads from the disk what is really there, and checks it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from whatsapp.errors import Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Fatal = Callable[[BaseException], None]

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h
FATAL_CODES = frozenset(
    {
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
    }
)


def die(error: BaseException) -> None:
    """End this process at once: nothing it would still do could be trusted."""
    log.critical("disk failed to keep data, ending now error=%s", error)
    logging.shutdown()
    os._exit(EXIT_CODE)


def commit(db: sqlite3.Connection) -> None:
    """The moment at which a transaction becomes durable."""
    db.execute("COMMIT")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing. For the writer."""
    if db.in_transaction:
        db.execute("ROLLBACK")
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        commit(db)
    except BaseException:
        with suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
        raise


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Several reads as of one moment."""
    if db.in_transaction:
        db.execute("ROLLBACK")
    db.execute("BEGIN")
    try:
        yield
    finally:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")


class Thread:
    """A connection and its thread. `close` it, or the process hangs at its end."""

    def __init__(self, connection: aiosqlite.Connection, name: str, fatal: Fatal) -> None:
        self._connection = connection
        self._name = name
        self._fatal = fatal
        self._failing = False
        self._dead = False
        self.waiting = 0

    async def run(self, work: Work[T]) -> T:
        """Do `work`; SQLite's errors become `Unavailable`.

        A cancelled caller stops waiting; the work, once queued, is done all the same.
        """
        self.waiting += 1
        try:
            return await _hop(self._connection, partial(self._translated, work))
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        """After what is queued. Never raises SQLite's errors: there is nobody to cure them."""
        try:
            await self._connection.close()
        except sqlite3.Error as error:
            log.warning("closing failed file=%s error=%s", self._name, error)

    def _translated(self, work: Work[T], db: sqlite3.Connection) -> T:
        if self._dead:
            raise Unavailable("the store has failed and needs a new start")
        try:
            result = work(db)
        except (sqlite3.Error, MemoryError) as error:
            raise self._trouble(error) from error
        if self._failing:
            self._failing = False
            log.warning("database works again file=%s", self._name)
        return result

    def _trouble(self, error: sqlite3.Error | MemoryError) -> Unavailable:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in FATAL_CODES:
            self._dead = True
            self._fatal(error)
        elif not self._failing:
            self._failing = True
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            log.error("database fails file=%s code=%s error=%s", self._name, name, error)
        return Unavailable("the store is not available; try again in a moment")


class Readers:
    """A few connections that only read; a call takes the one with the fewest waiting."""

    def __init__(self, threads: list[Thread]) -> None:
        self._threads = threads

    @property
    def waiting(self) -> int:
        return sum(thread.waiting for thread in self._threads)

    async def run(self, work: Work[T]) -> T:
        return await min(self._threads, key=lambda thread: thread.waiting).run(work)


async def connect(file: Path, pragmas: str, fatal: Fatal, *, only_read: bool = False) -> Thread:
    """A thread with a connection that is open already; raises `sqlite3.Error`, for the one who
    opens to explain. `only_read`: as `read_only` does.
    """
    return Thread(await opened(_address(file) if only_read else file, pragmas), file.name, fatal)


async def opened(file: Path | str, pragmas: str) -> aiosqlite.Connection:
    """The connection alone; a str is a file's address.

    A caller cancelled meanwhile still closes it: aiosqlite would lose the open file.
    """
    opening = asyncio.ensure_future(_opened(file, pragmas))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with suppress(sqlite3.Error):
            await (await opening).close()
        raise


def read_only(file: Path) -> sqlite3.Connection:
    """A connection that cannot write, nor checkpoint when it is closed; beside a server, too."""
    return sqlite3.connect(_address(file), uri=True, isolation_level=None, timeout=5.0)


def _address(file: Path) -> str:
    return f"{file.absolute().as_uri()}?mode=ro"


async def _opened(file: Path | str, pragmas: str) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(
        file, uri=isinstance(file, str), isolation_level=None, timeout=5.0
    )
    try:
        await _hop(connection, lambda db: db.executescript(pragmas))
    except BaseException:
        await connection.close()
        raise
    return connection


async def _hop(connection: aiosqlite.Connection, work: Work[T]) -> T:
    """Run `work` on the connection's thread.

    aiosqlite offers that for single statements only; this is the one place that touches its
    private names (`_conn`, `_execute`), and a contract test holds them.
    """
    try:
        db = connection._conn  # noqa: SLF001
    except ValueError:
        raise Unavailable("the store is closed") from None
    result: T = await connection._execute(work, db)  # type: ignore[no-untyped-call]  # noqa: SLF001
    return result
