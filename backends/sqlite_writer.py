"""The one connection that writes, and when what it has written goes into the database itself.

A checkpoint copies the write-ahead log's pages into the database and syncs that; meanwhile nothing
is committed. Left to SQLite it comes with a commit, once in so many pages, and those who wait for
that commit wait for it, too: with 5,000 messages a second six times a second, for 7 to 19 ms. So
there is a small one after every few pieces of work, when these have been answered; it finds the
thread idle, as a rule. Under full load, where batches are large, SQLite's own comes first: it is
the cheaper way, since a page that was written ten times is copied once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path

import aiosqlite

from backends.sqlite_folder import WRITER_PRAGMAS
from backends.sqlite_thread import Fatal, T, Thread, Work, opened
from whatsapp.errors import Unavailable

WORKS_A_CHECKPOINT = 25


class Writer(Thread):
    """A `Thread` that checkpoints between its works."""

    def __init__(self, connection: aiosqlite.Connection, name: str, fatal: Fatal) -> None:
        super().__init__(connection, name, fatal)
        self._works = 0
        self._checkpointing: asyncio.Task[None] | None = None

    async def run(self, work: Work[T]) -> T:
        try:
            return await super().run(work)
        finally:
            self._works += 1
            if self._works >= WORKS_A_CHECKPOINT and self._checkpointing is None:
                self._works = 0
                self._checkpointing = asyncio.create_task(self._checkpoint(), name="checkpoint")

    async def close(self) -> None:
        if self._checkpointing is not None:
            await asyncio.wait([self._checkpointing])
        await super().close()

    async def _checkpoint(self) -> None:
        try:
            with suppress(Unavailable):  # it was logged; the next one copies these pages, too
                await super().run(_passively)
        finally:
            self._checkpointing = None


async def connect_writer(file: Path, fatal: Fatal) -> Writer:
    """As `connect`."""
    return Writer(await opened(file, WRITER_PRAGMAS), file.name, fatal)


def _passively(db: sqlite3.Connection) -> None:
    """As far as readers allow."""
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
