"""SQLite: small checkpoints between the batches, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import pytest

from backends import sqlite, sqlite_writer
from backends.sqlite_writer import WORKS_A_CHECKPOINT
from tests.support.backends import append, log_of, opened, say
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
    assert "database fails file=messages.db code=SQLITE_IOERR_WRITE" in caplog.text


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
