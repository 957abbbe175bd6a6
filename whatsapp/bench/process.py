"""CPU and memory of processes, read from /proc; and which core whom."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from whatsapp.errors import StartupError

INDEXER = "search indexer"
# The threads of a server with SQLite, in the order in which it starts them; a thread has no
# name of its own before Python 3.14. Those after them hash passwords.
SQLITE_THREADS = (
    "event loop",
    "SQLite writer",
    "SQLite reader",
    "SQLite reader",
    "searches",
    INDEXER,
)
MEMORY_THREADS = ("event loop",)
OTHERS = "other threads"

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
NANOSECONDS = 1e9
LISTENING = "0A"
# In /proc/net/tcp: the columns of the own address, the state, and the socket's inode.
ADDRESS_AT, STATE_AT, INODE_AT = 1, 3, 9


class Measured(Protocol):
    """What a meter reads. CPU is in seconds since the start, by thread or by another part."""

    def cpu_seconds(self) -> float: ...
    def cpu_by_thread(self) -> dict[str, float]: ...
    def resident_bytes(self) -> int: ...


class Process:
    """One process, by its pid. `threads`: what its threads do, oldest first."""

    def __init__(self, pid: int, threads: tuple[str, ...] = ()) -> None:
        self.pid = pid
        self._threads = threads
        self._folder = Path(f"/proc/{pid}")
        if not self._folder.is_dir():
            raise StartupError(
                f"no process {pid} in /proc", "Name the server's with --pid, on this machine."
            )

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, those that have ended too."""
        fields = (self._folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        ticks = (int(fields[11]) + int(fields[12])) / TICKS
        # The scheduler counts in nanoseconds, but only for threads that are there.
        return max(ticks, sum(self.cpu_by_thread().values()))

    def cpu_by_thread(self) -> dict[str, float]:
        """Seconds by what the thread does; nothing where that is not known."""
        found: dict[str, float] = {}
        for place, tid in enumerate(sorted(int(p.name) for p in self._tasks())):
            name = self._threads[place] if place < len(self._threads) else OTHERS
            found[name] = found.get(name, 0.0) + self._thread_seconds(tid)
        return found

    def resident_bytes(self) -> int:
        return int((self._folder / "statm").read_text("ascii").split()[1]) * PAGE_BYTES

    def _tasks(self) -> list[Path]:
        return list((self._folder / "task").iterdir())

    def _thread_seconds(self, tid: int) -> float:
        try:
            text = (self._folder / "task" / str(tid) / "schedstat").read_text("ascii")
        except OSError:
            return 0.0
        return int(text.split()[0]) / NANOSECONDS


class Together:
    """Several processes as one; their parts are the processes."""

    def __init__(self, processes: Mapping[str, Measured]) -> None:
        self._processes = processes

    def cpu_seconds(self) -> float:
        return sum(self.cpu_by_thread().values())

    def cpu_by_thread(self) -> dict[str, float]:
        return {name: each.cpu_seconds() for name, each in self._processes.items()}

    def resident_bytes(self) -> int:
        return sum(each.resident_bytes() for each in self._processes.values())


def listening(port: int) -> Process | None:
    """Who listens on this TCP port here; None where nobody does, or we may not see it."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    for folder in Path("/proc").iterdir() if wanted else ():
        try:
            if folder.name.isdigit() and any(
                str(file.readlink()) in wanted for file in (folder / "fd").iterdir()
            ):
                return Process(int(folder.name))
        except OSError:
            continue  # it is somebody else's, or has just ended
    return None


def _inodes(port: int) -> Iterator[str]:
    for file in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", file).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            own = int(fields[ADDRESS_AT].rpartition(":")[2], 16)
            if own == port and fields[STATE_AT] == LISTENING:
                yield fields[INODE_AT]


def cores() -> tuple[int | None, int | None]:
    """One for the server, one for the generator; None where there are not two."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    there = sorted(os.sched_getaffinity(0))
    return (there[0], there[1]) if len(there) > 1 else (None, None)


def pin(pid: int, core: int | None) -> None:
    """Keep a process (0: this one) on one core."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


def need_files(count: int) -> None:
    """Take as many open files as the system lets us have; `StartupError` where that is too few."""
    import resource  # noqa: PLC0415  (not on every system)

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise StartupError(
            f"{count} open files are needed, and {hard} is the limit",
            f"Raise it with `ulimit -n {count}`, or ask for fewer --connections.",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
