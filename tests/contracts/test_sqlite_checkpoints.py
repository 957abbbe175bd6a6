"""SQLite: small checkpoints between the batches, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time

import pytest

from backends import sqlite, sqlite_writer
from backends.sqlite_writer import WORKS_A_CHECKPOINT
from tests.support.backends import append, indexed, log_of, opened, say
from whatsapp import config
from whatsapp.errors import Unavailable


@pytest.fixture
async def stores(tmp_path):
    async with opened("sqlite", tmp_path) as stores:
        yield stores


def failing(monkeypatch, code, name):
    """Every checkpoint from now on."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = code, name

    def fail(db):
        raise error

    monkeypatch.setattr(sqlite_writer, "_passively", fail)


async def test_the_log_of_writes_stays_short(stores, tmp_path):
    for _ in range(10 * WORKS_A_CHECKPOINT):
        await append(stores, say("x" * 1000))
    # All of them would have some 3 MB, which is too little for SQLite's own.
    assert (tmp_path / "messages.db-wal").stat().st_size < 1 << 20
    assert len(await log_of(stores)) == 10 * WORKS_A_CHECKPOINT


async def test_a_failed_one_fails_no_message(stores, monkeypatch, caplog):
    failing(monkeypatch, sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE")
    for _ in range(3 * WORKS_A_CHECKPOINT):
        await append(stores, say())
    assert len(await log_of(stores)) == 3 * WORKS_A_CHECKPOINT
    assert caplog.messages == ["checkpoint fails file=messages.db error=disk I/O error"]


async def test_a_failed_fsync_of_one_is_fatal(tmp_path, monkeypatch):
    ended: list[BaseException] = []
    settings = config.Storage(backend="sqlite", data=str(tmp_path))
    async with sqlite.open_stores(settings, fatal=ended.append) as stores:
        failing(monkeypatch, sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")
        with pytest.raises(Unavailable, match="needs a new start"):
            for _ in range(2 * WORKS_A_CHECKPOINT):
                await append(stores, say())
        assert len(ended) == 1


async def test_closing_waits_for_it(tmp_path, monkeypatch):
    ended = []

    def slow(db):
        time.sleep(0.2)
        ended.append(db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())

    monkeypatch.setattr(sqlite_writer, "_passively", slow)
    async with opened("sqlite", tmp_path) as stores:
        for _ in range(WORKS_A_CHECKPOINT):
            await append(stores, say())
        await asyncio.sleep(0)
    assert ended


class Reading:
    """Two connections that read one after the other, so that one of them always does."""

    def __init__(self, file):
        self._file = file
        self._ended = threading.Event()
        self._turns = [threading.Event(), threading.Event()]
        self._turns[0].set()
        self._threads = [threading.Thread(target=self._read, args=(n,)) for n in range(2)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        self._ended.set()
        for turn in self._turns:
            turn.set()
        for thread in self._threads:
            thread.join()

    def _read(self, number):
        mine, other = self._turns[number], self._turns[1 - number]
        db = sqlite3.connect(self._file, isolation_level=None)
        while not self._ended.is_set():
            mine.wait()
            mine.clear()
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            other.set()  # it begins before this one ends
            time.sleep(0.01)
            db.execute("ROLLBACK")
        db.close()


async def test_the_log_of_writes_stays_short_where_somebody_always_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_writer, "LONG_BYTES", 1 << 20)
    async with opened("sqlite", tmp_path) as stores:
        with Reading(tmp_path / "messages.db"):
            for _ in range(100 * WORKS_A_CHECKPOINT):
                await append(stores, say("x" * 1000))
            assert (tmp_path / "messages.db-wal").stat().st_size < 8 << 20


async def test_the_index_too(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_writer, "LONG_BYTES", 1 << 20)
    async with opened("sqlite", tmp_path) as stores:
        await append(stores, say("first"))
        assert await indexed(stores)
        with Reading(tmp_path / "search.db"):
            for start in range(0, 20_000, 500):
                texts = (
                    f"{n * 7919:x} {n * 104729:x} {n * 1299709:x}"
                    for n in range(start, start + 500)
                )
                await append(stores, *(say(text) for text in texts))
            assert await indexed(stores)
            assert (tmp_path / "search.db-wal").stat().st_size < 8 << 20


async def test_one_who_reads_for_long_is_waited_for_once(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_writer, "READERS_SECONDS", 0.05)
    restart = sqlite_writer.Restart(tmp_path / "messages.db")
    monkeypatch.setattr(sqlite_writer, "LONG_BYTES", 1)
    restart._long_bytes = 1
    db = sqlite3.connect(tmp_path / "messages.db", isolation_level=None, timeout=5.0)
    reader = sqlite3.connect(tmp_path / "messages.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM messages").fetchone()
    await append(stores, say())
    before = time.monotonic()
    restart(db)
    restart(db)
    assert time.monotonic() - before < 2
    assert restart._long_bytes > 1
    assert db.execute("PRAGMA busy_timeout").fetchone() == (5000,)
    reader.execute("ROLLBACK")
    monkeypatch.setattr(sqlite_writer, "READERS_SECONDS", 5.0)
    restart._long_bytes = 1
    restart(db)
    assert (tmp_path / "messages.db-wal").stat().st_size == 0
    reader.close()
    db.close()
