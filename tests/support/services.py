"""`make services`: a real ZooKeeper and a server with MongoDB's protocol, on this machine.

Their data and the secrets that protect it stay in `.cache/services` from one run to the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from tests.support.foreground import run, say
from tests.support.mongo import MongoServer
from tests.support.need import ROOT
from tests.support.zookeeper import ZooKeeperServer
from whatsapp.errors import StartupError

FOLDER = ROOT / ".cache" / "services"
ZOOKEEPER_PORT = 2181
MONGO_PORT = 27017


class Services(Struct, frozen=True):
    """What is running, and the settings of an instance that uses it."""

    hosts: str
    url: str
    environment: Mapping[str, str]


@contextlib.contextmanager
def services(folder: Path) -> Iterator[Services]:
    """Both, in this folder; stopped when the block is left."""
    with alone(folder), contextlib.ExitStack() as stack:
        zookeeper = ZooKeeperServer(folder / "zookeeper", usual_port(ZOOKEEPER_PORT))
        stack.callback(zookeeper.stop)
        with progress(f"ZooKeeper at {zookeeper.hosts}"):
            zookeeper.run()
        port = usual_port(MONGO_PORT)
        with progress(f"MongoDB's protocol at 127.0.0.1:{port}"):
            mongo = MongoServer.start(folder / "mongo", port)
        stack.callback(mongo.stop)
        password, secret = (
            _kept(folder / "directory_password"),
            _kept(folder / "cluster_secret"),
        )
        yield Services(
            zookeeper.hosts,
            mongo.url,
            {
                "WHATSAPP_STORAGE_BACKEND": "mongo",
                "WHATSAPP_STORAGE_URL": mongo.url,
                "WHATSAPP_DIRECTORY_BACKEND": "zookeeper",
                "WHATSAPP_DIRECTORY_HOSTS": zookeeper.hosts,
                "WHATSAPP_DIRECTORY_PASSWORD": password,
                "WHATSAPP_CLUSTER_SECRET": secret,
            },
        )


def usual_port(usual: int) -> int:
    """This one, or a free one where it is taken."""
    for port in (usual, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found: int = probe.getsockname()[1]
            return found
    raise AssertionError("no port is free")


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Say what is waited for, and how long that took."""
    say(f"starting {what} …")
    began = time.monotonic()
    yield
    say(f"  ready after {time.monotonic() - began:.1f} s")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two on the same data would ruin it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartupError(
                f"{folder} is in use: it runs already", "Stop that one with Ctrl-C, or use it."
            ) from None
        yield


def _kept(file: Path) -> str:
    """A secret, made at the first start: what is stored needs it at the next one."""
    with contextlib.suppress(FileExistsError):
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "w") as new:
            new.write(secrets.token_hex(32))
    return file.read_text()


@contextlib.contextmanager
def scene() -> Iterator[Callable[[], None]]:
    with services(FOLDER) as opened:
        file = FOLDER / "environment"
        lines = [f"export {name}='{value}'" for name, value in opened.environment.items()]
        file.touch(mode=0o600)
        file.write_text("\n".join([*lines, ""]))
        say(
            "",
            f"  ZooKeeper  {opened.hosts}",
            f"  MongoDB    {opened.url}  (FerretDB: its protocol on SQLite, for development)",
            f"  data       {FOLDER}",
            "",
            "An instance on them, as many as you like, each with another name:",
            f"  . {file}",
            "  WHATSAPP_DIRECTORY_INSTANCE=a .venv/bin/whatsapp serve",
            "",
            "Ctrl-C stops both.",
        )
        yield lambda: None


if __name__ == "__main__":
    raise SystemExit(run(scene))
