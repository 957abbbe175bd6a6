"""What the doctor finds, well and unwell."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import socket
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from whatsapp import doctor
from whatsapp.config import Cluster, Config, DirectorySection, Server, Storage
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


CLUSTER = Config(
    server=Server(port=0),
    storage=Storage(backend="mongo"),
    directory=DirectorySection(backend="zookeeper"),
    cluster=Cluster(secret="s" * 32),
)


def told(monkeypatch, config: Config, *lines: tuple[str, bool, str, str]) -> list[Finding]:
    """The findings, if the services of the backends say this."""

    async def said(_):
        return list(lines)

    monkeypatch.setattr(doctor, "diagnose", said)
    return doctor.examine(config, port_given=True)


def test_what_services_say_is_told_with_its_cure(monkeypatch):
    found = told(
        monkeypatch,
        CLUSTER,
        ("mongo", True, "7.0.1, a replica set", ""),
        ("zookeeper", False, "nobody answers", "Start it."),
    )
    assert Finding("ok", "mongo", "7.0.1, a replica set") in found
    assert Finding("fail", "zookeeper", "nobody answers", "Start it.") in found


def test_services_that_hang_are_a_finding_too(monkeypatch):
    async def hanging(_):
        await asyncio.sleep(60)

    monkeypatch.setattr(doctor, "SERVICES_SECONDS_MAX", 0.01)
    monkeypatch.setattr(doctor, "diagnose", hanging)
    found = {f.what: f for f in doctor.examine(CLUSTER, port_given=True)}
    assert (found["services"].state, found["services"].said[:9]) == ("fail", "no answer")


def test_what_is_on_this_machine_alone_needs_no_service(folder: Path):
    assert {"mongo", "zookeeper", "sqlite3", "links", "kazoo"} & set(examine(folder)) == set()


def test_several_instances_need_their_drivers(monkeypatch):
    found = {f.what: f for f in told(monkeypatch, CLUSTER)}
    assert {"motor", "pymongo", "kazoo"} <= set(found)
    monkeypatch.setattr(doctor, "DRIVERS", {"zookeeper": {"no-such-package": "1"}})
    found = {f.what: f for f in told(monkeypatch, CLUSTER)}
    assert "whatsapp[cluster]" in found["no-such-package"].cure


def test_where_the_other_instances_find_this_one(monkeypatch):
    def links(**changed: Any) -> Finding:
        config = msgspec.structs.replace(CLUSTER, cluster=Cluster(**changed))
        return {f.what: f for f in told(monkeypatch, config)}["links"]

    assert links().state == "warn"
    assert "all are on this machine" in links(host="127.0.0.1").said
    assert links(host="0.0.0.0", address="chat-1:8090").state == "ok"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "in use" in links(port=taken.getsockname()[1]).said


def test_a_driver_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "backends.mongo", None)
    found = [f for f in doctor.examine(CLUSTER, port_given=True) if f.what == "mongo"]
    assert [f.state for f in found] == ["fail"]
    assert "whatsapp[cluster]" in found[0].cure


def test_what_cannot_be_looked_at_is_a_finding_too(folder: Path, monkeypatch):
    def broken(_):
        raise PermissionError("no")

    monkeypatch.setattr("shutil.disk_usage", broken)
    assert examine(folder)["system"].state == "warn"
