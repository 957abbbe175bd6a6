"""What the doctor finds, well and unwell."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from whatsapp import doctor
from whatsapp.config import Config, Server, Storage
from whatsapp.doctor import Finding


def examine(folder: Path, *, port: int = 0, port_given: bool = True) -> dict[str, Finding]:
    config = Config(server=Server(port=port), storage=Storage(data=str(folder)))
    return {found.what: found for found in doctor.examine(config, port_given=port_given)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


def make_database(folder: Path, *, owner: int = doctor.APPLICATION_ID) -> None:
    database = sqlite3.connect(folder / doctor.MESSAGES)
    database.execute(f"PRAGMA application_id = {owner}")
    database.execute("PRAGMA user_version = 7")
    database.execute("CREATE TABLE t (x)")
    database.close()


def test_a_machine_that_is_well(folder: Path):
    found = examine(folder)
    assert {"python", "aiohttp", "sqlite", "open files", "clock", "data", "port"} <= set(found)
    assert [f for f in found.values() if f.state == "fail"] == []
    assert found["data"].said == str(folder)
    assert found["port"].said == "any free one on 127.0.0.1: free"
    assert found["schema"].said == "no data yet"


def test_what_is_unwell_has_a_cure_on_the_line_below():
    lines = doctor.lines([Finding("ok", "a", "b", "c"), Finding("fail", "d", "e", "f")])
    assert [line.split() for line in lines] == [["ok", "a", "b"], ["fail", "d", "e"], ["->", "f"]]


def test_a_folder_that_is_not_there_yet_is_no_trouble(tmp_path: Path):
    found = examine(tmp_path / "a" / "b")
    assert found["data"].state == "ok"
    assert "does not exist yet" in found["data"].said
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_folders_place(tmp_path: Path):
    (tmp_path / "data").write_text("x")
    assert examine(tmp_path / "data")["data"].state == "fail"
    assert examine(tmp_path / "data" / "deeper")["data"].state == "fail"


def test_a_folder_that_may_not_be_written(folder: Path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert examine(folder)["data"].state == "fail"
    assert "cannot be made" in examine(folder / "new")["data"].said


def test_a_folder_that_everybody_can_read(folder: Path):
    folder.chmod(0o755)
    assert examine(folder)["data"] == Finding(
        "warn", "data", "every user of this machine may look in", f"chmod 700 {folder}"
    )


def test_who_has_the_lock(folder: Path):
    (folder / doctor.LOCK).write_text("4242\n")
    assert examine(folder)["lock"].state == "ok"
    with (folder / doctor.LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = examine(folder)["lock"]
        assert (found.state, "4242" in found.said) == ("warn", True)


def test_the_version_of_the_data(folder: Path):
    make_database(folder)
    assert examine(folder)["schema"].said.startswith("version 7, ")


def test_data_of_another_program(folder: Path):
    make_database(folder, owner=1234)
    assert examine(folder)["schema"].state == "fail"
    (folder / doctor.MESSAGES).write_bytes(b"hello")
    assert examine(folder)["schema"].state == "fail"
    (folder / doctor.MESSAGES).write_bytes(b"")
    assert examine(folder)["schema"].state == "ok"


class Usage(NamedTuple):
    free: int


@pytest.mark.parametrize("free,state", [(1 << 20, "fail"), (1 << 29, "warn"), (1 << 40, "ok")])
def test_free_space(folder: Path, monkeypatch, free: int, state: str):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(free))
    assert examine(folder)["free space"].state == state


@pytest.mark.parametrize(
    "hard,state", [(1024, "warn"), (65_536, "ok"), (resource.RLIM_INFINITY, "ok")]
)
def test_open_files(folder: Path, monkeypatch, hard: int, state: str):
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, hard))
    assert examine(folder)["open files"].state == state


def test_a_clock_behind_the_data(folder: Path):
    (folder / "x").write_text("")
    os.utime(folder / "x", (time.time() + 86_400,) * 2)
    assert "before the data's last change" in examine(folder)["clock"].said


def test_a_clock_of_long_ago(folder: Path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 86_400.0)
    assert examine(folder)["clock"].state == "fail"


def test_a_taken_port(folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert examine(folder, port=port)["port"].state == "fail"
        assert examine(folder, port=port, port_given=False)["port"].state == "warn"
        with (folder / doctor.LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # It is most likely ours.
            assert examine(folder, port=port)["port"].state == "warn"


def test_a_missing_or_old_package(folder: Path, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", {"no-such-package": "1", "click": "99"})
    found = examine(folder)
    assert found["no-such-package"].said == "not installed"
    assert found["click"].state == "fail"


def test_an_old_sqlite(folder: Path, monkeypatch):
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 20, 0))
    found = examine(folder)["sqlite"]
    assert found.state == "fail"
    assert "WAL-reset bug" in found.said
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 99, 0))
    assert "bug" not in examine(folder)["sqlite"].said


def test_the_memory_store_needs_no_folder():
    config = Config(server=Server(port=0), storage=Storage(backend="memory"))
    assert "data" not in {found.what for found in doctor.examine(config, port_given=True)}


def test_what_cannot_be_looked_at_is_a_finding_too(folder: Path, monkeypatch):
    def broken(_):
        raise PermissionError("no")

    monkeypatch.setattr("shutil.disk_usage", broken)
    assert examine(folder)["system"].state == "warn"
