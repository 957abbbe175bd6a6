"""`whatsapp doctor`: is this machine fit for this configuration? One finding a line.

It looks and changes nothing. A finding that is not "ok" comes with its cure.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import shutil
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from msgspec import Struct

from whatsapp.app import diagnose
from whatsapp.config import Cluster, Config, data_folder
from whatsapp.listen import BACKLOG, port_problem

PYTHON_MIN = (3, 11)
# Bounded above where `pyproject.toml` bounds it.
PACKAGES = {
    "aiohttp": "3.14.5",
    "aiosqlite": "0.22",
    "argon2-cffi": "25.1",
    "click": "8.4",
    "msgspec": "0.20",
}
# What a backend needs beside these.
DRIVERS = {
    "mongo": {"motor": "3.7", "pymongo": "4.17"},
    "zookeeper": {"kazoo": "2.11"},
}
FAST = "uvloop"

# For all services together to answer.
SERVICES_SECONDS_MAX = 30.0

# SQLite: two connections that checkpoint could lose a commit; mended in this version.
WAL_RESET_MENDED = (3, 51, 3)
SQLITE_MIN = (3, 35, 0)

# Files of the store, the log and the libraries, beside one for each connection.
OPEN_FILES_SPARE = 64
OPEN_FILES_FEW = 4096
FREE_BYTES_FEW = 1 << 30
FREE_BYTES_MIN = 64 << 20
CLOCK_RESOLUTION_SECONDS = 0.01
PLAUSIBLE_YEAR_MIN = 2024
CLOCK_BEHIND_SECONDS = 120

MESSAGES = "messages.db"
LOCK = "lock"
# Where SQLite's file format has `user_version` and `application_id` (fileformat2.html, 1.3).
SQLITE_MAGIC = b"SQLite format 3\x00"
SQLITE_HEAD_BYTES = 100
USER_VERSION_AT = 60
APPLICATION_ID_AT = 68
APPLICATION_ID = 0x77686174

State = Literal["ok", "warn", "fail"]


class Finding(Struct, frozen=True):
    """What was looked at, what was found, and what to do where that is not well."""

    state: State
    what: str
    said: str
    cure: str = ""


def examine(config: Config, *, port_given: bool) -> list[Finding]:
    """Every finding. Never raises: what cannot be looked at is a finding too."""
    storage = config.storage
    folder = data_folder(storage) if storage.backend == "sqlite" else None
    running = folder is not None and _owner(folder) is not None
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        lambda: _packages(config),
        _sqlite,
        _open_files,
        _backlog,
        lambda: _clock(folder),
    ]
    if folder is not None:
        checks += [
            lambda: _folder(folder),
            lambda: _space(folder),
            lambda: _lock(folder),
            lambda: _schema(folder),
        ]
    tries = 0 if port_given else config.server.port_tries
    host, port = config.server.host, config.server.port
    checks.append(lambda: _port(host, port, tries=tries, running=running))
    if config.directory.backend != "memory":
        checks.append(lambda: _links(config.cluster))
    checks.append(lambda: _services(config))
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except OSError as error:
            findings.append(Finding("warn", "system", f"cannot be looked at: {error}"))
    return findings


def lines(findings: list[Finding]) -> Iterator[str]:
    """For the terminal: state, what, said; the cure below it."""
    for finding in findings:
        yield f"{finding.state:<4}  {finding.what:<11} {finding.said}"
        if finding.state != "ok" and finding.cure:
            yield f"{'':<18}-> {finding.cure}"


def _python() -> Iterator[Finding]:
    said = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(
        "ok" if sys.version_info >= PYTHON_MIN else "fail",
        "python",
        said,
        f"Install Python {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or later.",
    )


def _packages(config: Config) -> Iterator[Finding]:
    groups = {"whatsapp": PACKAGES}
    drivers: dict[str, str] = {}
    for backend in (config.storage.backend, config.directory.backend):
        drivers |= DRIVERS.get(backend, {})
    groups["'whatsapp[cluster]'"] = drivers
    for project, packages in groups.items():
        for name, oldest in packages.items():
            found = _installed(name)
            well = found is not None and _numbers(found) >= _numbers(oldest)
            yield Finding(
                "ok" if well else "fail",
                name,
                found or "not installed",
                f"Install version {oldest} or later: pip install --upgrade {project}.",
            )
    fast = _installed(FAST)
    yield Finding("ok", FAST, fast or "not installed (quicker with it: whatsapp[fast])")


def _sqlite() -> Iterator[Finding]:
    found = sqlite3.sqlite_version_info
    said = sqlite3.sqlite_version
    if found < WAL_RESET_MENDED:
        said += " (has the WAL-reset bug; harmless here, one connection alone checkpoints)"
    with sqlite3.connect(":memory:") as database:
        options = {row[0] for row in database.execute("PRAGMA compile_options")}
    database.close()
    if found < SQLITE_MIN:
        yield Finding("fail", "sqlite", said, "Use a Python with SQLite 3.35 or later.")
    elif "ENABLE_FTS5" not in options:
        yield Finding("fail", "sqlite", f"{said}, without FTS5", "Use a Python whose has FTS5.")
    else:
        yield Finding("ok", "sqlite", said)


def _open_files() -> Iterator[Finding]:
    # The server takes what the hard limit allows.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        yield Finding("ok", "open files", "no limit")
        return
    yield Finding(
        "warn" if hard < OPEN_FILES_FEW else "ok",
        "open files",
        f"{hard}: about {max(0, hard - OPEN_FILES_SPARE)} connections at a time",
        "Raise it: `ulimit -Hn 65536`, or LimitNOFILE=65536 in the service's unit.",
    )


def _backlog() -> Iterator[Finding]:
    try:
        found = int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))
    except FileNotFoundError:
        return
    yield Finding(
        "warn" if found < BACKLOG else "ok",
        "somaxconn",
        f"{found}: connections that may wait to be accepted",
        f"For storms of reconnecting clients: sysctl -w net.core.somaxconn={BACKLOG}.",
    )


def _clock(folder: Path | None) -> Iterator[Finding]:
    finest = time.get_clock_info("monotonic").resolution
    now = time.time()
    newest = max(_changed(folder), default=0.0) if folder else 0.0
    cure = "Set the clock, best with NTP: times shown to users come from it (order does not)."
    if finest > CLOCK_RESOLUTION_SECONDS:
        yield Finding("warn", "clock", f"counts in steps of {finest} s", "Use another machine.")
    elif datetime.fromtimestamp(now, UTC).year < PLAUSIBLE_YEAR_MIN:
        yield Finding("fail", "clock", f"says {_moment(now)}", cure)
    elif newest > now + CLOCK_BEHIND_SECONDS:
        said = f"says {_moment(now)}, before the data's last change at {_moment(newest)}"
        yield Finding("warn", "clock", said, cure)
    else:
        yield Finding("ok", "clock", _moment(now))


def _folder(folder: Path) -> Iterator[Finding]:
    cure = "Name a folder that this user may write in: --data FOLDER."
    if folder.is_dir():
        well = os.access(folder, os.R_OK | os.W_OK | os.X_OK)
        said = f"{folder}" + ("" if well else ": this user may not write there")
        yield Finding("ok" if well else "fail", "data", said, cure)
        if folder.stat().st_mode & 0o007:
            yield Finding(
                "warn", "data", "every user of this machine may look in", f"chmod 700 {folder}"
            )
        return
    parent = _existing(folder)
    well = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
    if folder.exists():
        yield Finding("fail", "data", f"{folder} is not a folder", cure)
    elif well:
        yield Finding("ok", "data", f"{folder} (does not exist yet; made at the first start)")
    else:
        yield Finding("fail", "data", f"{folder} cannot be made in {parent}", cure)


def _space(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(_existing(folder)).free
    state: State = "ok"
    if free < FREE_BYTES_FEW:
        state = "fail" if free < FREE_BYTES_MIN else "warn"
    yield Finding(
        state,
        "free space",
        f"{free / (1 << 30):.1f} GiB",
        "Make room, or name a folder on another disk: --data FOLDER.",
    )


def _lock(folder: Path) -> Iterator[Finding]:
    owner = _owner(folder)
    if owner is None:
        yield Finding("ok", "lock", "the data folder is free")
        return
    yield Finding(
        "warn",
        "lock",
        f"the data folder is in use by process {owner or '(unknown)'}",
        "Fine if that is your server; a second one needs another folder.",
    )


def _schema(folder: Path) -> Iterator[Finding]:
    file = folder / MESSAGES
    try:
        with file.open("rb") as opened:
            head = opened.read(SQLITE_HEAD_BYTES)
    except FileNotFoundError:
        yield Finding("ok", "schema", "no data yet")
        return
    if not head:
        yield Finding("ok", "schema", "no data yet, or not checkpointed yet")
        return
    foreign = Finding(
        "fail", "schema", f"{file} is not a file of ours", "Name another folder: --data FOLDER."
    )
    if len(head) < SQLITE_HEAD_BYTES or not head.startswith(SQLITE_MAGIC):
        yield foreign
        return
    (schema,) = struct.unpack_from(">I", head, USER_VERSION_AT)
    (owner,) = struct.unpack_from(">I", head, APPLICATION_ID_AT)
    if owner not in {APPLICATION_ID, 0}:
        yield foreign
        return
    size = file.stat().st_size / (1 << 20)
    yield Finding("ok", "schema", f"version {schema}, {size:.1f} MiB of messages")


def _port(host: str, port: int, *, tries: int, running: bool) -> Iterator[Finding]:
    problem = port_problem(host, port)
    if problem is None:
        said = "any free one" if port == 0 else str(port)
        yield Finding("ok", "port", f"{said} on {host}: free")
    elif running or (tries and "in use" in problem.cause):
        cure = "The next free one would be taken; name one with --port to be sure."
        yield Finding("warn", "port", problem.cause, "" if running else cure)
    else:
        yield Finding("fail", "port", problem.cause, problem.cure)


def _links(cluster: Cluster) -> Iterator[Finding]:
    """Where the other instances are to reach this one."""
    address = cluster.address or cluster.host
    if cluster.port and (problem := port_problem(cluster.host, cluster.port)) is not None:
        yield Finding("warn", "links", problem.cause, "Fine if your server runs: it is its own.")
    elif address.startswith(("127.", "localhost", "[::1]", "::1")):
        yield Finding(
            "warn",
            "links",
            f"the other instances are told {address}: right only if all are on this machine",
            "Set [cluster] host, or address, to what the other machines reach.",
        )
    else:
        yield Finding("ok", "links", f"the other instances are told {address}")


def _services(config: Config) -> Iterator[Finding]:
    """The store and the directory, where they are services of their own."""
    try:
        found = asyncio.run(asyncio.wait_for(diagnose(config), SERVICES_SECONDS_MAX))
    except TimeoutError:
        said = f"no answer in {SERVICES_SECONDS_MAX:.0f} s"
        found = [("services", False, said, "Are they running, and reached from here?")]
    for name, well, said, cure in found:
        yield Finding("ok" if well else "fail", name, said, cure)


def _owner(folder: Path) -> str | None:
    """Who holds the folder's lock: a process id, "" where that is not known, None if nobody."""
    try:
        with (folder / LOCK).open("rb") as lock:
            try:
                # Shared, and given back at once: two doctors do not disturb each other.
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read(20).decode("ascii", "replace").strip()
            return None
    except OSError:
        return None


def _existing(folder: Path) -> Path:
    """The folder itself or the nearest one above it that exists."""
    return next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))


def _changed(folder: Path) -> Iterator[float]:
    if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
        for file in folder.iterdir():
            yield file.lstat().st_mtime


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    """A version's leading numbers."""
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
