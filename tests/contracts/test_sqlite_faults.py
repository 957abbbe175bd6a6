"""SQLite when the disk fails: nothing is acknowledged that is not kept, and it comes back."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backends import sqlite, sqlite_thread
from tests.support.backends import PAIR, append, founded, log_of, member, opened, say
from whatsapp import config
from whatsapp.errors import Unavailable
from whatsapp.model import CursorMove


def failure(code, name):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return error


WRITE = failure(sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE")
FSYNC = failure(sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")


class Commits:
    """Stands in for `sqlite_thread.commit`; fails while `error` is set."""

    def __init__(self, *, after=False):
        self.error = None
        self.after = after

    def __call__(self, db):
        if self.after or not self.error:
            db.execute("COMMIT")
        if self.error:
            raise self.error


@pytest.fixture
def commits(monkeypatch):
    commits = Commits()
    monkeypatch.setattr(sqlite_thread, "commit", commits)
    return commits


@pytest.fixture
async def stores(tmp_path):
    async with opened("sqlite", tmp_path / "data") as stores:
        yield stores


async def test_a_failed_commit_leaves_nothing(stores, commits):
    await append(stores, say("one"))
    commits.error = WRITE
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            await stores.messages.append([say("lost"), say("new chat", chat="ann:eve")])
        assert caught.value.__cause__ is WRITE
    commits.error = None
    assert [entry.text for entry in await log_of(stores)] == ["one"]
    assert await log_of(stores, "ann:eve") == []
    assert (await append(stores, say("two")))[0].seq == 2
    assert (await append(stores, say("new chat", chat="ann:eve")))[0].seq == 1


async def test_a_commit_of_unknown_outcome_may_be_repeated(tmp_path, monkeypatch):
    commits = Commits(after=True)
    monkeypatch.setattr(sqlite_thread, "commit", commits)
    async with opened("sqlite", tmp_path / "data") as stores:
        drafts = [founded("ann", "bob"), say("in doubt")]
        commits.error = WRITE
        with pytest.raises(Unavailable):
            await stores.messages.append(drafts)
        commits.error = None
        outcomes = await stores.messages.append([*drafts, say("next")])
        kinds = [type(outcome).__name__ for outcome in outcomes]
        assert kinds == ["Duplicate", "Duplicate", "Stored"]
        assert [entry.text for entry in await log_of(stores)] == ["in doubt", "next"]


async def test_every_writing_call_fails_whole(stores, commits):
    await append(stores, say())
    commits.error = WRITE
    calls = [
        stores.chats.advance([CursorMove(chat=PAIR, user="ann", read=1)]),
        stores.chats.set_invite(PAIR, "code"),
        stores.accounts.block("ann", "bob", on=True),
        stores.accounts.erase("ann"),
        stores.accounts.saw({"ann": 1}),
        stores.devices.end("ann", ["d"]),
        stores.devices.saw({"d": 1}),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            await call
    commits.error = None
    assert (await member(stores, "ann")).read == 0
    assert await stores.chats.by_invite("code") is None
    assert await stores.accounts.blocks("ann") == set()


async def test_reads_go_on_while_writes_fail(stores, commits):
    await append(stores, say("one"))
    commits.error = WRITE
    with pytest.raises(Unavailable):
        await stores.messages.append([say()])
    assert len(await log_of(stores)) == 1


async def test_trouble_is_logged_once_and_its_end_too(stores, commits, caplog):
    commits.error = WRITE
    for _ in range(5):
        with pytest.raises(Unavailable):
            await stores.accounts.block("ann", "bob", on=True)
    commits.error = None
    await stores.accounts.block("ann", "bob", on=True)
    # (The search index has a file, and lines, of its own.)
    lines = [line for line in caplog.messages if "database" in line and "messages.db" in line]
    assert lines == [
        "database fails file=messages.db code=SQLITE_IOERR_WRITE error=disk I/O error",
        "database works again file=messages.db",
    ]


async def test_a_failed_fsync_is_fatal(tmp_path, commits):
    told: list[BaseException] = []
    settings = config.Storage(data=str(tmp_path))
    async with sqlite.open_stores(settings, fatal=told.append) as stores:
        await append(stores, say("one"))
        commits.error = FSYNC
        with pytest.raises(Unavailable):
            await stores.messages.append([say("two")])
        commits.error = None
        assert told == [FSYNC]
        with pytest.raises(Unavailable, match="new start"):
            await stores.messages.append([say("three")])


def test_by_default_a_failed_fsync_ends_the_process(tmp_path):
    code = """
import asyncio, pathlib, sqlite3, sys
from backends import sqlite_thread
from tests.support.backends import append, opened, say

def commit(db):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    raise error

async def main():
    async with opened("sqlite", pathlib.Path(sys.argv[1])) as stores:
        print(await append(stores, say("kept")), flush=True)
        sqlite_thread.commit = commit
        print(await append(stores, say("lost")), flush=True)

asyncio.run(main())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == sqlite_thread.EXIT_CODE
    assert "kept" in done.stdout
    assert "lost" not in done.stdout
    assert done.stderr == "disk failed to keep data, ending now error=disk I/O error\n"


async def test_a_full_database_refuses_and_recovers(stores):
    writer = stores.messages._writer
    await append(stores, say("x" * 1000))
    await writer.run(lambda db: db.execute("PRAGMA max_page_count = 60").fetchone())
    acknowledged = 1
    with pytest.raises(Unavailable) as caught:
        for _ in range(500):
            acknowledged += len(await append(stores, say("x" * 1000), say("y" * 1000)))
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert caught.value.__cause__.sqlite_errorcode == sqlite3.SQLITE_FULL
    assert len(await log_of(stores)) == acknowledged
    await writer.run(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    assert (await append(stores, say()))[0].seq == acknowledged + 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_refuses_and_recovers(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 500_000)
    acknowledged = []
    async with opened("sqlite", small_disk / "data") as stores:
        with pytest.raises(Unavailable):
            for _ in range(5000):
                acknowledged += await append(stores, say("x" * 1000), say("y" * 1000))
        for _ in range(3):
            with pytest.raises(Unavailable):
                await stores.messages.append([say("x" * 16_000) for _ in range(60)])
        ballast.unlink()
        acknowledged += await append(stores, say("after"))
        assert set(acknowledged) <= set(await log_of(stores))
    async with opened("sqlite", small_disk / "data") as stores:
        assert set(acknowledged) <= set(await log_of(stores))


async def test_a_quick_end_leaves_no_file_open(tmp_path):
    """The search index is still being opened when the stores close again."""
    for _ in range(20):
        async with opened("sqlite", tmp_path / "data"):
            await asyncio.sleep(random.random() * 0.01)
    paths = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    assert [path for path in paths if path.is_relative_to(tmp_path)] == []


async def test_a_cancelled_commit_is_whole(stores, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def slow(db):
        begun.set()
        go.wait(10)
        db.execute("COMMIT")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_thread, "commit", slow)
        call = asyncio.ensure_future(stores.messages.append([say("a"), say("b")]))
        await asyncio.to_thread(begun.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go.set()
        assert (await append(stores, say("c")))[0].seq == 3
    assert [entry.text for entry in await log_of(stores)] == ["a", "b", "c"]


async def test_after_closing_every_call_is_unavailable(tmp_path):
    async with opened("sqlite", tmp_path) as stores:
        await append(stores, say())
    for call in (
        stores.messages.append([say()]),
        stores.chats.load([PAIR]),
        stores.accounts.find(["ann"]),
    ):
        with pytest.raises(Unavailable):
            await call


def test_an_error_in_the_body_closes_everything(tmp_path):
    """Else the process would hang at its end: each connection is a thread."""

    async def main():
        async with opened("sqlite", tmp_path) as stores:
            await append(stores, say())
            raise RuntimeError

    before = threading.active_count()
    with pytest.raises(RuntimeError):
        asyncio.run(main())
    assert threading.active_count() <= before + 1  # the loop's own worker may stay


def test_a_cancelled_body_closes_everything(tmp_path):
    async def main():
        async with opened("sqlite", tmp_path) as stores:
            await append(stores, say())
            task = asyncio.current_task()
            assert task
            task.cancel()
            await asyncio.sleep(1)

    before = threading.active_count()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert threading.active_count() <= before + 1


async def test_the_private_names_of_aiosqlite(stores):
    """`sqlite_thread._hop` uses two; it runs functions there in order, on one thread."""
    run = stores.messages._writer.run
    found = await asyncio.gather(
        *(run(lambda _, n=n: (n, threading.get_ident())) for n in range(9))
    )
    assert [n for n, _ in found] == list(range(9))
    threads = {thread for _, thread in found}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
