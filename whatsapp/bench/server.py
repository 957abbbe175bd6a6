"""The server that is measured: one of our own, on a free port of the loopback, or one named.

Our own (or several of them: see `cluster.py`) has its data in a temporary folder, hashes
passwords cheaply, has no rate limits and is kept on one core. It is ended by its pid, whatever
happens here.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from whatsapp.bench.process import MEMORY_THREADS, SQLITE_THREADS, Measured, Process, pin
from whatsapp.errors import StartupError

START_SECONDS = 60.0
STOP_SECONDS = 15.0
PASSWORD_MEMORY_KIB = 1024
ENVIRONMENT = {
    "WHATSAPP_AUTH_PASSWORD_MEMORY_KIB": str(PASSWORD_MEMORY_KIB),
    # In a storm everybody comes at once, and all from one address.
    "WHATSAPP_SERVER_UNAUTHENTICATED_CONNECTIONS_MAX": "1000000",
    "WHATSAPP_SERVER_UNAUTHENTICATED_PER_ADDRESS_MAX": "1000000",
}
LOG_CHARACTERS_MAX = 2000
COMMAND = (
    *(sys.executable, "-m", "whatsapp", "serve"),
    *("--host", "127.0.0.1", "--port", "0", "--no-rate-limits"),
)
# Of a core: what a server uses at most that has nothing to do.
QUIET_SHARE = 0.03


class Target(Struct, frozen=True, kw_only=True):
    """A server to measure. `process` is None where it is somebody else's and has no --pid."""

    url: str
    host: str
    port: int
    process: Measured | None = None


def at(url: str, pid: int | None) -> Target:
    """A server that runs already."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise StartupError(
            f"{url!r} is not what the benchmark can connect to",
            "Give --url as http://HOST:PORT; it measures without TLS.",
        )
    return Target(
        url=url.rstrip("/"),
        host=parts.hostname,
        port=parts.port or 80,
        process=Process(pid) if pid else None,
    )


@contextlib.contextmanager
def served(
    store: str, *, core: int | None, data: Path | None = None, loop: str = "auto"
) -> Iterator[Target]:
    """Start a server, say where it is, end it."""
    threads = SQLITE_THREADS if store == "sqlite" else MEMORY_THREADS
    with tempfile.TemporaryDirectory(prefix="whatsapp-bench-") as folder:
        where = str(data or Path(folder, "data"))
        arguments = ["--store", store, "--data", where, "--loop", loop]
        with started(arguments, core=core, threads=threads) as target:
            yield target


@contextlib.contextmanager
def started(
    arguments: Sequence[str],
    *,
    core: int | None = None,
    threads: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Target]:
    """`whatsapp serve` with these arguments, on a free port; when it is ready. Ends it."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whatsapp-bench-")))
        log = stack.enter_context((folder / "log").open("w+", encoding="utf-8"))
        process = subprocess.Popen(  # noqa: S603 — ourselves
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **ENVIRONMENT, **(environment or {})},
        )
        stack.callback(_end, process)
        pin(process.pid, core)
        url = _ready(process, log.name)
        parts = urlsplit(url)
        target = Target(
            url=url,
            host=parts.hostname or "",
            port=parts.port or 80,
            process=Process(process.pid, threads),
        )
        try:
            yield target
        except StartupError as error:
            said = _tail(log.name)
            raise StartupError(error.cause, f"{error.cure} Its last lines:\n{said}") from None


class Pauses(Struct, frozen=True):
    """What the server's garbage collector did since it started: seconds, and runs by bound."""

    seconds: float = 0.0
    counts: tuple[tuple[float, int], ...] = ()

    def since(self, before: Pauses) -> tuple[float, float]:
        """Seconds meanwhile, and the bound of the longest run; 0 and 0 where it did not run."""
        earlier = dict(before.counts)
        last = self.counts[-1][1] - earlier.get(math.inf, 0) if self.counts else 0
        for bound, count in self.counts:
            if count - earlier.get(bound, 0) == last:
                return self.seconds - before.seconds, bound if last else 0.0
        return 0.0, 0.0


def described(target: Target) -> tuple[str, str]:
    """The server's version and store, as it says itself."""
    text = _metrics(target)
    found = re.search(r'whatsapp_build_info\{version="([^"]*)",store="([^"]*)"', text)
    return (found[1], found[2]) if found else ("unknown", "unknown")


def pauses(target: Target) -> Pauses:
    """The runs of its garbage collector until now."""
    text = _metrics(target)
    found = re.search(r"whatsapp_gc_pause_seconds_sum (\S+)", text)
    counts = re.findall(r'whatsapp_gc_pause_seconds_bucket\{le="([^"]*)"\} (\d+)', text)
    return Pauses(
        seconds=float(found[1]) if found else 0.0,
        counts=tuple((float(bound), int(count)) for bound, count in counts),
    )


def _metrics(target: Target) -> str:
    connection = http.client.HTTPConnection(target.host, target.port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except OSError as error:
        raise StartupError(f"{target.url}: {error}", "Is a server there?") from None
    finally:
        connection.close()


def linked(target: Target) -> int:
    """With how many other instances it is linked now."""
    found = re.search(r"^whatsapp_instances_linked (\d+)", _metrics(target), re.MULTILINE)
    return int(found[1]) if found else 0


def until_quiet(process: Measured, seconds_max: float, quiet_seconds: float = 2.0) -> bool:
    """Wait until the server had next to nothing to do for so long; whether it has not.

    The indexer rests as long as it has worked: where others use the machine, a rest is long.
    """
    end = time.monotonic() + seconds_max
    while time.monotonic() < end:
        before = process.cpu_seconds()
        time.sleep(quiet_seconds)
        if process.cpu_seconds() - before < QUIET_SHARE * quiet_seconds:
            return True
    return False


def _ready(process: subprocess.Popen[str], log: str) -> str:
    """Read its banner; its address."""
    assert process.stdout is not None
    # A server that hangs at its start must not hang us: its end ends the banner.
    alarm = threading.Timer(START_SECONDS, process.kill)
    alarm.daemon = True
    alarm.start()
    url = ""
    try:
        for line in process.stdout:
            words = line.split()
            if words[:1] == ["page"]:
                url = words[1].rstrip("/")
            if words[:1] == ["ready"] and url:
                return url
    finally:
        alarm.cancel()
    raise StartupError(f"the server did not start: {_tail(log)}", "Try it with `whatsapp serve`.")


def _tail(log: str) -> str:
    return Path(log).read_text("utf-8")[-LOG_CHARACTERS_MAX:].strip()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
    if process.stdout is not None:
        process.stdout.close()
