"""SQLite's data folder: what is wrong with it is said at the start, with a cure."""

from __future__ import annotations

import asyncio
import functools
import os
import sqlite3
import stat
import subprocess
import sys

import pytest

from backends import sqlite_folder
from backends.sqlite import open_stores
from tests.support.backends import append, opened, say
from whatsapp import config
from whatsapp.errors import StartupError


async def refused(folder):
    with pytest.raises(StartupError) as caught:
        async with opened("sqlite", folder):
            pass
    assert caught.value.cure.endswith(".")
    assert "--data" in caught.value.cure or "Make room" in caught.value.cure
    return caught.value.cause


@pytest.fixture
async def folder(tmp_path):
    """A folder with a message in it."""
    async with opened("sqlite", tmp_path / "data") as stores:
        await append(stores, say("kept"))
    return tmp_path / "data"


async def test_folder_and_files_are_the_users_alone(folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_files_while_open_are_the_users_alone(folder):
    async with opened("sqlite", folder) as stores:
        await append(stores, say())
        assert len(list(folder.iterdir())) > 3
        for file in folder.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_the_default_folder_is_named_by_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    async with open_stores(config.Storage()) as stores:
        assert stores.durable
    assert (tmp_path / "whatsapp" / "messages.db").exists()


async def test_a_clean_close_leaves_no_write_ahead_log(folder):
    assert {file.name for file in folder.iterdir()} == {"messages.db", "search.db", "lock"}


async def test_a_second_opening_is_refused_with_the_owner(folder):
    async with opened("sqlite", folder):
        cause = await refused(folder)
        assert f"in use by process {os.getpid()}" in cause
    async with opened("sqlite", folder) as stores:
        assert (await append(stores, say()))[0].seq == 2


async def test_a_second_process_is_refused(folder):
    code = (
        "import asyncio, pathlib, sys; from tests.support.backends import opened\n"
        "async def main():\n"
        "    async with opened('sqlite', pathlib.Path(sys.argv[1])): pass\n"
        "asyncio.run(main())"
    )
    async with opened("sqlite", folder):
        command = [sys.executable, "-c", code, str(folder)]
        run = functools.partial(subprocess.run, capture_output=True, text=True, check=False)
        done = await asyncio.to_thread(run, command)
    assert done.returncode == 1
    assert f"is in use by process {os.getpid()}" in done.stderr


async def test_a_newer_version_is_refused_and_left_alone(folder):
    db = sqlite3.connect(folder / "messages.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    assert "newer version (schema 99" in await refused(folder)
    db = sqlite3.connect(folder / "messages.db")
    assert db.execute("PRAGMA user_version").fetchone() == (99,)
    db.close()


async def test_an_older_version_is_brought_up(folder, monkeypatch):
    step = "CREATE TABLE more (x);\nINSERT INTO more VALUES (7);\n"
    monkeypatch.setattr(sqlite_folder, "MIGRATIONS", (*sqlite_folder.MIGRATIONS, step))
    async with opened("sqlite", folder) as stores:
        await append(stores, say())
    db = sqlite3.connect(folder / "messages.db")
    assert db.execute("SELECT x FROM more").fetchall() == [(7,)]
    assert db.execute("PRAGMA user_version").fetchone() == (len(sqlite_folder.MIGRATIONS),)
    db.close()


async def test_a_failing_migration_leaves_the_data_as_it_was(folder, monkeypatch):
    step = "CREATE TABLE more (x);\nINSERT INTO nowhere VALUES (7);\n"
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_folder, "MIGRATIONS", (*sqlite_folder.MIGRATIONS, step))
        assert "nowhere" in await refused(folder)
    async with opened("sqlite", folder) as stores:
        assert (await append(stores, say()))[0].seq == 2


async def test_not_a_database(folder):
    (folder / "messages.db").write_bytes(b"something else entirely\n" * 400)
    assert "is not a database" in await refused(folder)


async def test_a_database_of_some_other_program(folder):
    (folder / "messages.db").unlink()
    db = sqlite3.connect(folder / "messages.db")
    db.execute("CREATE TABLE cookies (name)")
    db.close()
    assert "some other program" in await refused(folder)


async def test_a_damaged_database(folder):
    file = folder / "messages.db"
    data = bytearray(file.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    file.write_bytes(bytes(data))
    assert "damaged" in await refused(folder)


async def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "data").write_text("a file")
    assert "is not a folder" in await refused(tmp_path / "data")
    assert "is not a folder" in await refused(tmp_path / "data" / "deeper")


async def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    assert "cannot be written: Permission denied" in await refused(tmp_path)


async def test_a_database_that_is_a_folder(tmp_path):
    (tmp_path / "messages.db").mkdir()
    assert "cannot be written: Is a directory" in await refused(tmp_path)


async def test_a_full_disk_at_the_start(tmp_path, monkeypatch):
    pragmas = sqlite_folder.WRITER_PRAGMAS + "PRAGMA max_page_count = 3;"
    monkeypatch.setattr("backends.sqlite_writer.WRITER_PRAGMAS", pragmas)
    assert f"the disk with {tmp_path} is full" in await refused(tmp_path)


async def test_another_program_holds_the_database(folder, monkeypatch):
    pragmas = "PRAGMA busy_timeout = 10;" + sqlite_folder.WRITER_PRAGMAS
    monkeypatch.setattr("backends.sqlite_writer.WRITER_PRAGMAS", pragmas)
    db = sqlite3.connect(folder / "messages.db", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        assert "in use by another program" in await refused(folder)
    finally:
        db.execute("ROLLBACK")
        db.close()


async def test_the_room_of_expired_texts_is_used_again(tmp_path):
    folder = tmp_path / "another"
    async with opened("sqlite", folder) as stores:
        for start in range(0, 2_000, 500):
            await append(stores, *(say("x" * 1000, time_ms=start + n) for n in range(500)))
        assert [await stores.messages.expire(1_500, 500) for _ in range(4)] == [500, 500, 500, 0]
    db = sqlite3.connect(folder / "messages.db")
    (emptied,) = db.execute("SELECT count(*) FROM messages WHERE text = ''").fetchone()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    db.close()
    assert emptied == 1_500
    assert free > pages / 2
