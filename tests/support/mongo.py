"""A server for the tests of the MongoDB backend: FerretDB over SQLite, or a real MongoDB.

WHATSAPP_TEST_MONGO_URL names a real one; without it FerretDB is started where it is installed.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from pymongo import MongoClient

from tests.support.daemon import Daemon, free_port
from tests.support.need import ROOT, missing
from whatsapp import config

PROGRAM = "ferretdb"
VARIABLE = "WHATSAPP_TEST_MONGO_URL"
START_SECONDS = 30.0

_numbers = itertools.count(1)


def need_ferretdb() -> str:
    """The path of FerretDB's program, one that starts."""
    places = [ROOT / ".cache" / "bin" / PROGRAM, Path(shutil.which(PROGRAM) or ""), _go_bin()]
    for place in places:
        if place.is_file() and _starts(str(place)):
            return str(place)
    return missing(f"the program {PROGRAM} is missing (or set {VARIABLE} to use a MongoDB)")


def _go_bin() -> Path:
    return Path("~/go/bin").expanduser() / PROGRAM


def _starts(program: str) -> bool:
    done = subprocess.run([program, "--version"], capture_output=True, check=False, timeout=30)
    return done.returncode == 0


class MongoServer(Daemon):
    """One process; its data stay in the folder and are there after a new start."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()

    @classmethod
    def start(cls, folder: Path, port: int | None = None) -> MongoServer:
        server = cls(folder, port)
        server.again()
        return server

    def again(self) -> None:
        """Start it (anew), and wait until it answers."""
        data = self.folder / "mongo"
        data.mkdir(parents=True, exist_ok=True)
        command = [
            need_ferretdb(),
            "--handler=sqlite",
            f"--sqlite-url=file:{data}/",
            f"--listen-addr=127.0.0.1:{self.port}",
            "--debug-addr=-",
            "--telemetry=disable",
            f"--state-dir={data}",
            "--log-level=error",
        ]
        with (self.folder / "mongo.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait()

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1),
            ):
                return
            time.sleep(0.05)
        self.kill()
        log = (self.folder / "mongo.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{PROGRAM} does not start: {log}")


def server_url() -> str:
    """The server of this run: the one that is named, or one that is started now, once."""
    if VARIABLE not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="whatsapp-mongo-"))
        server = MongoServer.start(folder)
        # Processes that a test starts use it too.
        os.environ[VARIABLE] = server.url
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(server.kill)
        atexit.register(os.environ.pop, VARIABLE, None)
    return os.environ[VARIABLE]


def settings(folder: Path, driver: str, url: str = "", **more: Any) -> config.Storage:
    """For stores whose database belongs to this folder, in whatever process."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "mongo-database"
    if not note.exists():
        note.write_text(f"test-{os.getpid()}-{next(_numbers)}-{time.time_ns() % 10**9}")
    return msgspec.convert(
        {
            "backend": "mongo",
            "url": url or server_url(),
            "database": note.read_text(),
            "driver": driver,
            "timeout_seconds": 30.0,  # FerretDB is slow with many chats
        }
        | more,
        config.Storage,
    )


def drop(folder: Path) -> None:
    """Forget the folder's data."""
    note = folder / "mongo-database"
    if note.exists():
        with MongoClient[dict[str, object]](server_url(), serverSelectionTimeoutMS=10_000) as each:
            each.drop_database(note.read_text())
