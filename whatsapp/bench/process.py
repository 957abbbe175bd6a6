"""CPU and memory of processes, read from /proc; and which core whom."""

from __future__ import annotations

import os
from pathlib import Path

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
