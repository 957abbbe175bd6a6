"""The benchmark of a cluster, without one: where it finds its services, and whom it measures.

With one it is run by tests/cluster/test_benchmark.py.
"""

from __future__ import annotations

import os
import socket

import pytest

from tests.support.command import refused
from tests.support.daemon import free_port
from whatsapp.bench import cluster
from whatsapp.bench.process import Process, Together, listening
from whatsapp.bench.scene import Plan
from whatsapp.config import Storage
from whatsapp.errors import StartupError

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the command is run; no services have been started there."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("WHATSAPP_"):
            monkeypatch.delenv(name)
    return tmp_path


def made(folder, url: str, hosts: str) -> None:
    """What `make services` leaves behind."""
    lines = {
        "WHATSAPP_STORAGE_BACKEND": "mongo",
        "WHATSAPP_STORAGE_URL": url,
        "WHATSAPP_DIRECTORY_BACKEND": "zookeeper",
        "WHATSAPP_DIRECTORY_HOSTS": hosts,
        "WHATSAPP_DIRECTORY_PASSWORD": "of the tests",
    }
    file = folder / cluster.MADE
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"export {name}='{value}'\n" for name, value in lines.items()))


def test_without_services_it_says_how_to_have_them(folder):
    cause, cure = refused("bench", "cluster", code=1)
    assert "needs a MongoDB and a ZooKeeper" in cause
    assert "make services" in cure
    assert "--config FILE" in cure


def test_services_that_have_ended(folder):
    made(folder, f"mongodb://127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    cause, cure = refused("bench", "cluster", code=1)
    assert "does not answer" in cause
    assert "make services" in cure


def test_services_that_run(folder):
    with socket.create_server(("127.0.0.1", 0)) as one:
        place = f"127.0.0.1:{one.getsockname()[1]}"
        made(folder, f"mongodb://{place}", place)
        found = cluster.services(None)
    assert found.storage.url == f"mongodb://{place}"
    assert found.environment["WHATSAPP_DIRECTORY_HOSTS"] == place
    assert len(found.environment["WHATSAPP_CLUSTER_SECRET"]) == 64
    assert found.arguments == ()


def test_a_file_that_names_no_cluster(folder):
    file = folder / "whatsapp.toml"
    file.write_text('[storage]\nbackend = "sqlite"\n')
    assert "needs a MongoDB" in refused("bench", "cluster", "--config", str(file), code=1)[0]


def test_a_file_that_names_one(folder):
    file = folder / "whatsapp.toml"
    file.write_text(
        '[storage]\nbackend = "mongo"\ndriver = "pymongo"\n[directory]\nbackend = "zookeeper"\n'
    )
    found = cluster.services(file)
    assert found.storage.driver == "pymongo"
    assert found.arguments == ("--config", str(file))
    # The variables beat the file: neither its secret nor its addresses are used.
    assert "WHATSAPP_STORAGE_BACKEND" not in found.environment


@pytest.mark.parametrize("more", [["direct"], ["--url", "http://127.0.0.1:9"]])
def test_it_is_measured_alone_and_on_instances_of_its_own(folder, more):
    cause, _ = refused("bench", "cluster", *more, code=1)
    assert "alone" in cause or "needs a MongoDB" in cause or "of its own" in cause


def test_several_processes_are_measured_as_one():
    ours = Process(os.getpid())
    both = Together({"a": ours, "b": ours})
    assert both.resident_bytes() > 1.5 * ours.resident_bytes()
    assert set(both.cpu_by_thread()) == {"a", "b"}
    assert both.cpu_seconds() >= 2 * ours.cpu_seconds() * 0.9


def test_who_listens_on_a_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
        found = listening(port)
        assert found is not None
        assert found.pid == os.getpid()
        url = f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"
        store = cluster._store(Storage(backend="mongo", url=url))
        assert store is not None
        assert store.pid == os.getpid()
    assert listening(port) is None


@pytest.mark.parametrize(
    "url",
    ["mongodb://db.example:27017", "mongodb+srv://127.0.0.1", "mongodb://127.0.0.1,127.0.0.2/"],
)
def test_a_store_elsewhere_is_not_measured(url):
    assert cluster._store(Storage(backend="mongo", url=url)) is None


def test_instances_that_are_not_linked_are_told(monkeypatch):
    shared = cluster.Services(storage=Storage(), environment={}, arguments=("--store", "memory"))
    monkeypatch.setattr(cluster, "LINKED_SECONDS", 0.2)
    with (
        pytest.raises(StartupError, match="not linked"),
        cluster._instances(Plan(loop="asyncio"), shared, "motor", 2),
    ):
        pass
