"""Everything in one folder of this machine: SQLite, for one process at a time.

`messages.db` is the log and all that belongs to it, `search.db` an index derived from it.
One connection writes, in whole transactions; two read beside it; two more are the search's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from backends.sqlite_accounts import SqliteAccounts, SqliteDevices
from backends.sqlite_chats import SqliteChats
from backends.sqlite_folder import (
    MESSAGES,
    READER_PRAGMAS,
    WRITER_PRAGMAS,
    explained,
    locked_folder,
    prepare,
)
from backends.sqlite_log import SqliteMessages
from backends.sqlite_search import open_search
from backends.sqlite_thread import Fatal, Readers, Thread, connect, die
from whatsapp import config
from whatsapp.errors import Unavailable
from whatsapp.interfaces import Stores

READERS = 2


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
            writer = await connect(folder / MESSAGES, WRITER_PRAGMAS, fatal)
            stack.push_async_callback(_close_writer, writer)
            identity = await _prepared(writer)
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
        )


def _folder(settings: config.Storage) -> Path:
    return Path(settings.data or config.default_data_folder()).expanduser()


async def _prepared(writer: Thread) -> str:
    try:
        return await writer.run(prepare)
    except Unavailable as error:
        if isinstance(error.__cause__, sqlite3.Error):
            raise error.__cause__ from None
        raise


async def _close_writer(writer: Thread) -> None:
    with suppress(Unavailable):
        await writer.run(_checkpoint)
    await writer.close()


def _checkpoint(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
