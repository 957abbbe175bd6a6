"""A store as a file and back: whole, verified, never over something else, while it is served."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.flood import History, Sender, log_by_rest
from tests.scripts.test_shutdown import small_disk
from tests.support.backends import opener, say
from tests.support.command import ROOT, refused, run
from tests.support.peer import Peer, client_session
from tests.support.server import Server, settings
from tests.support.store import change, fill
from whatsapp import backup, check
from whatsapp.errors import StartupError

pytestmark = pytest.mark.usefixtures("home")

COUNTS = "4 accounts, 2 chats, 36 entries"


def quiet(what: str, done: int, whole: int) -> None:
    """Nobody looks at the progress."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("made") / "data"
    asyncio.run(fill(data))
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


@pytest.fixture
def saved(data: Path, tmp_path: Path) -> Path:
    """A backup of it."""
    assert run("backup", str(tmp_path / "saved.db"), "--data", str(data)).exit_code == 0
    return tmp_path / "saved.db"


def rows(file: Path) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
        return db.execute("SELECT * FROM messages ORDER BY number").fetchall()


# --- backup --------------------------------------------------------------------------


def test_a_backup_is_one_file_for_ones_own_eyes(data: Path, tmp_path: Path):
    target = tmp_path / "out" / "b.db"
    target.parent.mkdir()
    result = run("backup", str(target), "--data", str(data))
    assert result.stdout.startswith(f"{target}: 0.1 MiB in ")
    assert result.stdout.endswith(f"{COUNTS}, verified\n")
    assert [path.name for path in target.parent.iterdir()] == ["b.db"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert rows(target) == rows(data / "messages.db")
    assert run("check", str(target)).stdout == f"{COUNTS}: all is well\n"
    # Reading it leaves nothing beside it.
    assert [path.name for path in target.parent.iterdir()] == ["b.db"]


def test_a_folder_gets_a_file_named_by_the_time(data: Path, tmp_path: Path):
    folder = tmp_path / "backups"
    folder.mkdir()
    assert run("backup", str(folder), "--data", str(data)).exit_code == 0
    (file,) = folder.iterdir()
    assert file.match("whatsapp-????????-??????.db")


def test_nothing_is_overwritten_unless_it_is_said(data: Path, saved: Path):
    before = saved.read_bytes()
    change(data / "messages.db", "UPDATE accounts SET about = 'new'")
    cause, cure = refused("backup", str(saved), "--data", str(data), code=1)
    assert (cause, "--force" in cure) == (f"Error: {saved} is there already", True)
    assert saved.read_bytes() == before
    assert run("backup", str(saved), "--data", str(data), "--force").exit_code == 0
    assert saved.read_bytes() != before


def test_a_damaged_store_gives_no_backup_unless_it_is_said(data: Path, tmp_path: Path):
    change(data / "messages.db", "DELETE FROM messages WHERE seq = 7")
    target = tmp_path / "b.db"
    cause, cure = refused("backup", str(target), "--data", str(data), code=1)
    assert "seq 7 is missing" in cause
    assert "whatsapp check" in cure
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    said = run("backup", str(target), "--data", str(data), "--no-verify").stdout
    assert said.endswith("not verified\n")
    assert rows(target) == rows(data / "messages.db")


def test_where_no_backup_can_be_made(data: Path, tmp_path: Path, monkeypatch):
    assert "no store in" in refused("backup", "b.db", "--data", str(tmp_path), code=1)[0]
    inside = str(data / "b.db")
    assert "lost with it" in refused("backup", inside, "--data", str(data), code=1)[0]
    absent = str(tmp_path / "no" / "b.db")
    assert "cannot be written" in refused("backup", absent, "--data", str(data), code=1)[0]
    monkeypatch.setenv("WHATSAPP_STORAGE_BACKEND", "mongo")
    cause, cure = refused("backup", "b.db", "--data", str(data), code=1)
    assert ("mongo store" in cause, "mongodump" in cure) == (True, True)


def test_an_unfinished_copy_of_a_dead_process_is_in_nobodys_way(data: Path, tmp_path: Path):
    (tmp_path / "b.db.part").write_text("x" * 100_000)
    assert run("backup", str(tmp_path / "b.db"), "--data", str(data)).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.db", "data"]


def test_two_backups_to_one_file_do_not_mix(data: Path, tmp_path: Path):
    from backends.sqlite_backup import copy

    with copy(data / "messages.db", tmp_path / "b.db", quiet):
        cause, _ = refused("backup", str(tmp_path / "b.db"), "--data", str(data), code=1)
        assert "another backup is writing" in cause
    assert run("check", str(tmp_path / "b.db")).exit_code == 0


def test_a_backup_that_is_done_leaves_the_next_one_s_unfinished_file(
    data: Path, tmp_path, monkeypatch
):
    """The next one to the same name begins as soon as the name is free, before we have ended."""
    from backends import sqlite_backup

    sync, part = sqlite_backup._sync, tmp_path / "b.db.part"

    def begin_the_next(path: Path) -> None:
        if path == tmp_path:
            part.write_bytes(b"of the next one")
        sync(path)

    monkeypatch.setattr(sqlite_backup, "_sync", begin_the_next)
    with sqlite_backup.copy(data / "messages.db", tmp_path / "b.db", quiet):
        pass
    assert part.read_bytes() == b"of the next one"


def test_a_backup_that_ends_while_the_next_one_begins_stays_whole(
    data: Path, tmp_path: Path, monkeypatch
):
    """The next one has opened the unfinished file, which then becomes the backup."""
    target, lock = tmp_path / "b.db", fcntl.flock

    def end_just_now(descriptor: int, how: int) -> None:
        if (part := tmp_path / "b.db.part").exists():
            shutil.copyfile(data / "messages.db", part)
            part.replace(target)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", end_just_now)
    cause, _ = refused("backup", str(target), "--data", str(data), code=1)
    assert "another backup is writing" in cause
    assert target.read_bytes() == (data / "messages.db").read_bytes()


def test_a_disk_that_takes_no_more_is_told_and_left_as_it_was(data: Path, tmp_path: Path):
    """Files of that process may not grow: as on a full disk."""
    target = tmp_path / "b.db"
    done = subprocess.run(
        [sys.executable, "-m", "whatsapp", "backup", str(target), "--data", str(data)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(f"Error: {target}.part cannot be written: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_full_disk(data: Path, saved: Path, tmp_path: Path):
    disk = tmp_path / "disk"
    with small_disk(disk):
        free = os.statvfs(disk)
        (disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - 50_000))
        for arguments in (
            ("backup", str(disk / "b.db"), "--data", str(data)),
            ("restore", str(saved), "--data", str(disk / "data")),
        ):
            cause, cure = refused(*arguments, code=1)
            assert cause.startswith(f"Error: the disk with {disk}")
            assert "Make room" in cure
        assert not list(disk.rglob("*.part")) + list(disk.rglob("*restoring*"))


async def test_a_copy_is_of_one_moment_and_ends_while_the_server_writes(tmp_path: Path):
    """SQLite's backup begins anew at every commit of another, unless it is held to one moment."""
    data = tmp_path / "data"
    async with opener("sqlite", data)() as stores:
        for _ in range(30):
            await stores.messages.append([say("x" * 1000) for _ in range(500)])
        ended, count = asyncio.Event(), 0

        async def write() -> None:
            nonlocal count
            while not ended.is_set():
                await stores.messages.append([say("while it is copied") for _ in range(20)])
                count += 20

        writing = asyncio.create_task(write())
        began = time.monotonic()
        done = await asyncio.to_thread(
            backup.back_up,
            settings("sqlite", data),
            tmp_path / "b.db",
            backup.Wish(verify=False),
            quiet,
        )
        assert time.monotonic() - began < 60
        ended.set()
        await writing
    assert done.size_bytes > 15_000_000
    report = await asyncio.to_thread(
        check.of_file, settings("sqlite", data), tmp_path / "b.db", quiet
    )
    assert [line for line in report.problems if "no account" not in line] == []
    assert 15_000 <= report.entries <= 15_000 + count


# --- restore -------------------------------------------------------------------------


def test_a_restored_store_is_the_same(data: Path, saved: Path, tmp_path: Path):
    new = tmp_path / "new"
    result = run("restore", str(saved), "--data", str(new))
    assert result.stdout.startswith(f"restored to {new}: ")
    assert rows(new / "messages.db") == rows(data / "messages.db")
    assert (new / "messages.db").stat().st_mode & 0o777 == 0o600
    assert new.stat().st_mode & 0o777 == 0o700
    assert run("check", "--data", str(new)).exit_code == 0


def logins(data: Path) -> int:
    with contextlib.closing(sqlite3.connect(data / "messages.db")) as db:
        (devices,) = db.execute("SELECT count(*) FROM devices").fetchone()
        (cursors,) = db.execute("SELECT count(*) FROM cursors").fetchone()
    assert devices == cursors
    return int(devices)


def test_logins_end_unless_it_is_said(data: Path, saved: Path, tmp_path: Path):
    """A device that has seen what came after the backup would drop the next messages."""
    assert logins(data) == 1
    said = run("restore", str(saved), "--data", str(tmp_path / "new")).stdout
    assert (logins(tmp_path / "new"), "logs in again" in said) == (0, True)
    options = ("--data", str(tmp_path / "kept"), "--keep-logins")
    said = run("restore", str(saved), *options).stdout
    assert (logins(tmp_path / "kept"), "logs in again" in said) == (1, False)


def test_what_is_there_is_put_aside_only_when_it_is_said(data: Path, saved: Path):
    change(data / "messages.db", "UPDATE accounts SET about = 'later'")
    later = (data / "messages.db").read_bytes()
    cause, cure = refused("restore", str(saved), "--data", str(data), code=1)
    assert ("is not empty" in cause, "--force" in cure) == (True, True)
    assert (data / "messages.db").read_bytes() == later
    result = run("restore", str(saved), "--data", str(data), "--force")
    (aside,) = data.glob("replaced-*")
    assert result.stdout.splitlines()[-1] == f"what was there before is in {aside}"
    assert (aside / "messages.db").read_bytes() == later
    # It is a data folder by itself; and no index of the later log is left.
    assert run("check", "--data", str(aside)).exit_code == 0
    assert "search index is not there yet" in run("check", "--data", str(data)).stdout


def test_a_write_ahead_log_goes_aside_with_its_store(data: Path, saved: Path):
    """A killed server leaves one; it must not be replayed over the restored file."""
    with contextlib.closing(sqlite3.connect(data / "messages.db")) as db:
        db.execute("UPDATE accounts SET about = 'in the write-ahead log'")
        db.commit()
        shutil.copytree(data, data.parent / "killed")
    killed = data.parent / "killed"
    assert (killed / "messages.db-wal").stat().st_size
    assert run("restore", str(saved), "--data", str(killed), "--force").exit_code == 0
    (aside,) = killed.glob("replaced-*")
    for folder, said in ((killed, ""), (aside, "in the write-ahead log")):
        with contextlib.closing(sqlite3.connect(folder / "messages.db")) as db:
            assert db.execute("SELECT DISTINCT about FROM accounts").fetchall() == [(said,)]


def test_a_damaged_backup_is_not_put_in_place(data: Path, saved: Path, tmp_path: Path):
    before = (data / "messages.db").read_bytes()
    change(saved, "DELETE FROM messages WHERE seq = 7")
    cause, _ = refused("restore", str(saved), "--data", str(data), "--force", code=1)
    assert "seq 7 is missing" in cause
    assert (data / "messages.db").read_bytes() == before
    assert list(data.glob("*restoring*")) == list(data.glob("replaced*")) == []
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    assert "Error: " in refused("restore", str(saved), "--data", str(tmp_path / "n"), code=1)[0]
    assert not (tmp_path / "n" / "messages.db").stat().st_size


def test_what_is_no_backup(tmp_path: Path):
    new = ("--data", str(tmp_path / "new"))
    assert "is no file" in refused("restore", str(tmp_path / "no.db"), *new, code=1)[0]
    assert "is no file" in refused("restore", str(tmp_path), *new, code=1)[0]
    (tmp_path / "notes").write_text("my notes\n" * 1000)
    assert "is not a database" in refused("restore", str(tmp_path / "notes"), *new, code=1)[0]
    change(tmp_path / "theirs.db", "CREATE TABLE t (x)")
    assert "some other program" in refused("restore", str(tmp_path / "theirs.db"), *new, code=1)[0]


# --- with a server -------------------------------------------------------------------


async def whatsapp(*arguments: str) -> tuple[int, str]:
    """Another process, as an operator has it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "whatsapp", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={name: text for name, text in os.environ.items() if not name.startswith("WHATSAPP_")},
    )
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, told.decode()


async def test_from_a_server_under_load_to_another_one(tmp_path: Path):
    """What was acknowledged before the backup began is in it, and the server minds nothing."""
    history, data, saved = History(), tmp_path / "data", tmp_path / "saved.db"
    async with Server(data, "--no-rate-limits") as server, client_session() as http:
        peers = [await Peer(http, server.url, user).register() for user in ("alice", "bob")]
        senders = [Sender(http, peer, ["alice:bob"], history) for peer in peers]
        flood = [asyncio.create_task(one.run(server.url, forever=True)) for one in senders]
        await asyncio.sleep(0.5)
        before = list(history.acknowledged)
        code, told = await whatsapp("backup", str(saved), "--data", str(data))
        assert (code, "verified" in told) == (0, True), told
        code, told = await whatsapp("check", "--data", str(data))
        assert (code, "all is well" in told) == (0, True), told
        code, told = await whatsapp("restore", str(saved), "--data", str(data), "--force")
        assert (code, f"in use by process {server.pid}" in told) == (1, True), told
        code, told = await whatsapp("check", "--repair-index", "--data", str(data))
        assert (code, f"in use by process {server.pid}" in told) == (1, True), told
        assert len(history.acknowledged) > len(before) > 0
        assert await server.terminate() == 0
        await asyncio.gather(*flood)
        # Refused is what came while it ended; nothing before.
        assert {frame["code"] for frame in history.refused} <= {"unavailable", "busy"}
        assert "database fails" not in server.log
    code, told = await whatsapp("restore", str(saved), "--data", str(tmp_path / "new"))
    assert code == 0, told
    async with Server(tmp_path / "new") as server, client_session() as http:
        peers[0].http, peers[0].url = http, server.url
        await peers[0].login("after the restore")
        log = await log_by_rest(peers[0], "alice:bob")
        assert all(log[one.seq - 1] == one for one in before)


def test_memory_has_nothing_to_restore_to(saved: Path, monkeypatch):
    monkeypatch.setenv("WHATSAPP_STORAGE_BACKEND", "memory")
    assert "memory store" in refused("restore", str(saved), code=1)[0]


def test_the_aside_is_told(data: Path, saved: Path):
    with pytest.raises(StartupError):
        backup.restore(settings("sqlite", data), saved, backup.Wish(), quiet)
    done = backup.restore(settings("sqlite", data), saved, backup.Wish(force=True), quiet)
    assert done.aside is not None
    assert done.aside.parent == data
