"""Search in SQLite: the task that feeds the index from the log, and the search over both.

The index is behind the log by a moment. No failure of it touches a message: a search that
meets one raises `Unavailable`, and the index is built anew beside everything else.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

from backends import sqlite_index as index
from backends.sqlite_folder import MESSAGES, READER_PRAGMAS, SEARCH
from backends.sqlite_thread import Readers, Thread, connect
from backends.sqlite_writer import Restart
from whatsapp.errors import Unavailable
from whatsapp.model import Entry, Scope
from whatsapp.words import Terms

log = logging.getLogger(__name__)

BATCH_ENTRIES = 100
# A pause before indexing makes batches of what would be single entries.
LINGER_SECONDS = 0.25
RETRY_SECONDS = 1.0
PROGRESS_SECONDS = 10.0


class Search:
    """One index, its feeding task, and the connection that searches it."""

    def __init__(self, folder: Path, identity: str, readers: Readers, searcher: Thread) -> None:
        self._file = folder / SEARCH
        self._identity = identity
        self._readers = readers
        self._searcher = searcher
        self._indexer: Thread | None = None
        self._restart = Restart(self._file)
        self._indexed = 0
        self._dropped = 0  # the first part of the index that is not dropped
        self._unfit = ""
        self._wake = asyncio.Event()
        self._wake.set()
        self._caught_up = asyncio.Event()
        self._told = monotonic()
        self._stuck = False
        # About how many entries of the log the index has not read; exact when it has all.
        self.behind = 0

    def wake(self, entries: int) -> None:
        """There are about so many new entries in the log."""
        self.behind += entries
        self._caught_up.clear()
        self._wake.set()

    async def find(
        self,
        terms: Terms,
        scopes: Sequence[Scope],
        *,
        sender: str | None,
        before_ms: int | None,
        limit: int,
    ) -> list[Entry]:
        query = index.Query(
            terms=terms,
            scopes={scope.chat: scope for scope in scopes},
            sender=sender,
            before_ms=before_ms,
            limit=limit,
        )
        attached = self._indexer is not None and not self._unfit
        try:
            return await self._searcher.run(lambda db: index.find(db, query, attached=attached))
        except index.UnfitError as error:
            self._unfit = str(error)
            self._wake.set()
            raise Unavailable("the search is being built anew; try again in a moment") from error

    async def forget(self, last: int) -> None:
        """Nothing up to this number of the log has words any more.

        A part of the index is dropped when it is all so old; until then it keeps the words,
        and no search shows them.
        """
        shard = (last + 1) >> index.SHARD_BITS
        if shard <= self._dropped or self._indexer is None:
            return
        if self._indexed < last and not self._caught_up.is_set():
            return  # some of them are still to come
        with suppress(Unavailable):  # the next one tries again
            await self._indexer.run(lambda db: index.drop(db, shard))
            self._dropped = shard

    async def caught_up(self) -> None:
        """Wait until all that was appended so far is indexed (for tests and measurements)."""
        await self._caught_up.wait()

    async def work(self) -> None:
        """Feed the index for ever; cancel it to end."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._feed()
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def close(self) -> None:
        if self._indexer is not None:
            with suppress(Unavailable):
                await self._indexer.run(index.close_index)
            await self._indexer.close()

    async def _feed(self) -> None:
        if self._indexer is None or self._unfit:
            await self._open()
        await asyncio.sleep(LINGER_SECONDS)
        while not self._unfit:
            started = monotonic()
            rows, last = await self._readers.run(self._next)
            if not rows:
                self.behind = 0
                break
            await self._add(rows)
            self.behind = max(0, last - self._indexed)
            self._tell(rows[-1].number)
            # At most half of the time: messages come first.
            await asyncio.sleep(monotonic() - started)
        if not self._wake.is_set():
            self._caught_up.set()

    async def _add(self, rows: list[index.Row]) -> None:
        if self._indexer is None:
            return
        try:
            await self._indexer.run(lambda db: self._added(db, rows))
        except Unavailable as error:
            if _damaged(error.__cause__):
                self._unfit = str(error.__cause__)
            raise
        self._indexed = rows[-1].number

    def _added(self, db: sqlite3.Connection, rows: list[index.Row]) -> None:
        index.add(db, rows)
        with suppress(sqlite3.Error):  # they are in it all the same; the next ones try again
            self._restart(db)

    async def _open(self) -> None:
        """Open the index; one that is unfit is removed first."""
        if self._unfit:
            await self._remove(self._unfit)
        try:
            indexer = await connect(self._file, index.INDEX_PRAGMAS, _ignore)
        except sqlite3.DatabaseError as error:
            if _damaged(error):
                self._unfit = str(error)
            raise self._stopped("opened", error) from error
        try:
            indexed, last_id = await indexer.run(lambda db: index.open_index(db, self._identity))
            await self._compare(indexed, last_id)
            await self._searcher.run(lambda db: _attach(db, self._file))
        except BaseException as error:
            await indexer.close()
            if isinstance(error, index.UnfitError):
                self._unfit = str(error)
                raise Unavailable("the search index is being built anew") from error
            if isinstance(error, Unavailable) and _damaged(error.__cause__):
                self._unfit = str(error.__cause__)
            raise
        self._indexer, self._indexed, self._stuck = indexer, indexed, False

    async def _compare(self, indexed: int, last_id: str) -> None:
        """Is the last entry that the index knows in the log? (A backup may have come back.)"""
        sql = "SELECT id FROM messages WHERE number = ?"
        row = await self._readers.run(lambda db: db.execute(sql, (indexed,)).fetchone())
        if indexed and (row is None or row[0] != last_id):
            raise index.UnfitError("ahead of the log")

    async def _remove(self, reason: str) -> None:
        indexer, self._indexer = self._indexer, None
        try:
            await self._searcher.run(_detach)  # after the searches that are under way
        finally:
            if indexer is not None:
                await indexer.close()
        try:
            await asyncio.to_thread(index.remove, self._file)
        except OSError as error:
            raise self._stopped("removed", error) from error
        log.warning("search index is built anew reason=%s", reason)
        self._indexed, self._unfit = 0, ""

    def _stopped(self, how: str, error: Exception) -> Unavailable:
        """It is tried again and again, and told once."""
        if not self._stuck:
            log.error("search index cannot be %s file=%s error=%s", how, self._file, error)
        self._stuck = True
        return Unavailable(f"the search index cannot be {how}")

    def _next(self, db: sqlite3.Connection) -> tuple[list[index.Row], int]:
        """What comes next, and the number of the log's last entry."""
        rows = index.unindexed(db, self._indexed, BATCH_ENTRIES)
        return rows, db.execute("SELECT coalesce(max(number), 0) FROM messages").fetchone()[0]

    def _tell(self, number: int) -> None:
        if monotonic() - self._told > PROGRESS_SECONDS:
            self._told = monotonic()
            log.info("search index grows entries=%d", number)


@asynccontextmanager
async def open_search(folder: Path, identity: str, readers: Readers) -> AsyncIterator[Search]:
    """The search over a log that is open already; its task ends with the context."""
    searcher = await connect(folder / MESSAGES, READER_PRAGMAS, _ignore)
    try:
        search = Search(folder, identity, readers, searcher)
        task = asyncio.create_task(search.work(), name="search index")
        try:
            yield search
        finally:
            task.cancel()
            try:
                await asyncio.wait([task])
                with suppress(Unavailable):
                    await searcher.run(_detach)
            finally:
                await search.close()
            if not task.cancelled() and (error := task.exception()):
                log.error("search index task failed", exc_info=error)
    finally:
        await searcher.close()


def _attach(db: sqlite3.Connection, file: Path) -> None:
    _detach(db)
    db.execute("ATTACH ? AS search", (str(file),))


def _detach(db: sqlite3.Connection) -> None:
    if any(name == "search" for _, name, _ in db.execute("PRAGMA database_list")):
        db.execute("DETACH search")


def _damaged(error: BaseException | None) -> bool:
    """Is it the file itself (and not a full disk, say)?"""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def _ignore(error: BaseException) -> None:
    """Nothing of the index is worth ending for."""
