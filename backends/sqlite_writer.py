"""The one connection that writes, and when what it has written goes into the database itself.

A checkpoint copies the write-ahead log's pages into the database and syncs that; meanwhile nothing
is committed. Left to SQLite it comes with a commit, once in so many pages, and those who wait for
that commit wait for it, too: with 5,000 messages a second six times a second, for 7 to 19 ms. So
there is a small one after every few pieces of work, when these have been answered; it finds the
thread idle, as a rule. Under full load, where batches are large, SQLite's own comes first: it is
the cheaper way, since a page that was written ten times is copied once.

Neither begins the write-ahead log anew while somebody reads from it, and where one search follows
the other somebody always does. So where it has become long, one checkpoint waits for those who
read: new ones then read from the database, and it gets through in the time of one or two searches,
as a rule; if not, it tries again when the log is twice as long. The index's own log has the same
cure (`Restart`), on the connection that feeds it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import suppress
from pathlib import Path

import aiosqlite

from backends.sqlite_folder import WRITER_PRAGMAS
from backends.sqlite_thread import FATAL_CODES, Fatal, T, Thread, Work, opened
from whatsapp.errors import Unavailable

log = logging.getLogger(__name__)

WORKS_A_CHECKPOINT = 25
LONG_BYTES = 64 << 20
# So long it waits for those who read, and messages with it; a backup reads for longer.
READERS_SECONDS = 0.5


class Writer(Thread):
    """A `Thread` that checkpoints between its works."""

    def __init__(self, connection: aiosqlite.Connection, file: Path, fatal: Fatal) -> None:
        super().__init__(connection, file.name, fatal)
        self._works = 0
        self._checkpointing: asyncio.Task[None] | None = None
        self._restart = Restart(file)
        self._closing = self._told = False

    async def run(self, work: Work[T]) -> T:
        try:
            return await super().run(work)
        finally:
            self._works += 1
            due = self._works >= WORKS_A_CHECKPOINT and not self._closing
            if due and self._checkpointing is None:
                self._works = 0
                self._checkpointing = asyncio.create_task(self._checkpoint(), name="checkpoint")

    async def close(self) -> None:
        self._closing = True
        try:
            if self._checkpointing is not None:
                await asyncio.wait([self._checkpointing])
        finally:
            await super().close()

    async def _checkpoint(self) -> None:
        try:
            with suppress(Unavailable):  # it was logged
                await super().run(self._copy)
        finally:
            self._checkpointing = None

    def _copy(self, db: sqlite3.Connection) -> None:
        try:
            _passively(db)
            self._restart(db)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) in FATAL_CODES:
                raise
            # Nothing is lost: the next one copies these pages, too.
            if not self._told:
                log.warning("checkpoint fails file=%s error=%s", self._name, error)
            self._told = True
        else:
            self._told = False


async def connect_writer(file: Path, fatal: Fatal) -> Writer:
    """As `connect`."""
    return Writer(await opened(file, WRITER_PRAGMAS), file, fatal)


class Restart:
    """Begin the write-ahead log anew where it has become long. Run it on the connection that
    writes, outside of a transaction.
    """

    def __init__(self, file: Path) -> None:
        self._log = Path(f"{file}-wal")
        self._long_bytes = LONG_BYTES

    def __call__(self, db: sqlite3.Connection) -> None:
        size = self._bytes()
        if size < LONG_BYTES:
            self._long_bytes = LONG_BYTES
        if size < self._long_bytes:
            return
        (patience,) = db.execute("PRAGMA busy_timeout").fetchone()
        db.execute(f"PRAGMA busy_timeout = {round(READERS_SECONDS * 1000)}")
        try:
            (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            db.execute(f"PRAGMA busy_timeout = {patience}")
        # Somebody reads for long: not again soon.
        self._long_bytes = 2 * self._bytes() if busy else LONG_BYTES

    def _bytes(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:  # the next write will say what is wrong
            return 0


def _passively(db: sqlite3.Connection) -> None:
    """As far as readers allow."""
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
