"""Everything in one folder of this machine: SQLite, for one process at a time.

`messages.db` is the log and all that belongs to it, `search.db` an index derived from it.
One connection writes, in whole transactions; two read beside it; two more are the search's.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from backends.sqlite_accounts import SqliteAccounts, SqliteDevices
from backends.sqlite_chats import SqliteChats
from backends.sqlite_folder import (
    MESSAGES,
    READER_PRAGMAS,
    SEARCH,
    explained,
    locked_folder,
    prepare,
    recognise,
)
from backends.sqlite_log import SqliteMessages
from backends.sqlite_search import Search, open_search
from backends.sqlite_thread import Fatal, Readers, T, Thread, Work, connect, die
from backends.sqlite_writer import connect_writer
from whatsapp import config
from whatsapp.errors import StartupError, Unavailable
from whatsapp.interfaces import Figure, Stores

READERS = 2
# With less than this on the disk the server is not ready: SQLite would soon say no.
FREE_BYTES_MIN = 16 << 20


@asynccontextmanager
async def open_stores(settings: config.Storage, *, fatal: Fatal = die) -> AsyncIterator[Stores]:
    """The stores in the folder `settings.data`, or `StartupError`.

    `fatal` is called where the disk failed to keep what was written; by default it ends the
    process (`sqlite_thread` says why).
    """
    folder = _folder(settings)
    async with AsyncExitStack() as stack:
        stack.enter_context(locked_folder(folder))
        try:
            writer = await connect_writer(folder / MESSAGES, fatal)
            stack.push_async_callback(_close_writer, writer)
            identity = await _translated(writer, prepare)
            threads = []
            for _ in range(READERS):
                threads.append(await connect(folder / MESSAGES, READER_PRAGMAS, fatal))
                stack.push_async_callback(threads[-1].close)
            readers = Readers(threads)
            search = await stack.enter_async_context(open_search(folder, identity, readers))
        except sqlite3.Error as error:
            raise explained(folder, error) from error
        yield Stores(
            accounts=SqliteAccounts(writer, readers),
            devices=SqliteDevices(writer, readers),
            messages=SqliteMessages(writer, readers, search),
            chats=SqliteChats(writer, readers),
            durable=True,
            figures=_figures(folder, writer, readers, search),
            missing=lambda: _missing(folder),
        )


@asynccontextmanager
async def open_reading(settings: config.Storage, *, fatal: Fatal = die) -> AsyncIterator[Stores]:
    """The same stores to be looked at, beside the process that has the folder or without one.

    What that process has committed is seen; whatever would write is `Unavailable`. A search
    does without the index. `StartupError` where there is nothing to read.
    """
    folder = _folder(settings)
    if not (folder / MESSAGES).is_file():
        raise StartupError(f"{folder} has no data", "Name the server's folder: --data FOLDER.")
    try:
        reader = await connect(folder / MESSAGES, READER_PRAGMAS, fatal, only_read=True)
    except sqlite3.Error as error:
        raise explained(folder, error) from error
    try:
        readers = Readers([reader])
        await _translated(reader, recognise)
        yield Stores(
            accounts=SqliteAccounts(reader, readers),
            devices=SqliteDevices(reader, readers),
            messages=SqliteMessages(reader, readers, Search(folder, "", readers, reader)),
            chats=SqliteChats(reader, readers),
            durable=True,
        )
    except sqlite3.Error as error:
        raise explained(folder, error) from error
    finally:
        await reader.close()


def _figures(folder: Path, writer: Thread, readers: Readers, search: Search) -> tuple[Figure, ...]:
    return (
        Figure(
            "whatsapp_sqlite_writer_waiting",
            "Calls that wait for the writer, or are with it.",
            lambda: writer.waiting,
        ),
        Figure(
            "whatsapp_sqlite_readers_waiting",
            "Calls that wait for a reader, or are with one.",
            lambda: readers.waiting,
        ),
        Figure(
            "whatsapp_sqlite_bytes",
            "Size of the database of messages.",
            lambda: (folder / MESSAGES).stat().st_size,
        ),
        Figure(
            "whatsapp_sqlite_wal_bytes",
            "Size of its write-ahead log.",
            lambda: (folder / f"{MESSAGES}-wal").stat().st_size,
        ),
        Figure(
            "whatsapp_sqlite_search_bytes",
            "Size of the search index.",
            lambda: (folder / SEARCH).stat().st_size,
        ),
        Figure(
            "whatsapp_search_behind_entries",
            "Log entries that the search index has still to read.",
            lambda: search.behind,
        ),
        Figure(
            "whatsapp_disk_free_bytes",
            "Free on the disk with the data folder.",
            lambda: _free_bytes(folder),
        ),
    )


def _missing(folder: Path) -> list[str]:
    try:
        return [] if _free_bytes(folder) >= FREE_BYTES_MIN else ["disk"]
    except OSError:  # unmounted, or no longer there
        return ["disk"]


def _free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _folder(settings: config.Storage) -> Path:
    return Path(settings.data or config.default_data_folder()).expanduser()


async def _translated(thread: Thread, work: Work[T]) -> T:
    """What goes wrong at the start as it is, for `explained`."""
    try:
        return await thread.run(work)
    except Unavailable as error:
        if isinstance(error.__cause__, sqlite3.Error):
            raise error.__cause__ from None
        raise


async def _close_writer(writer: Thread) -> None:
    try:
        with suppress(Unavailable):
            await writer.run(_checkpoint)
    finally:
        await writer.close()


def _checkpoint(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
