"""What a directory costs, and what it is like when an instance with many users dies.

    python -m tests.cluster.directory_scale [--users 100000] [--session-seconds 5]

One instance enters users, another locates all of them; their entries are counted in
ZooKeeper's heap after a collection (needs `jcmd`, of a JDK). Then the first one is killed, and
ZooKeeper with it: how long until its users count as offline once ZooKeeper answers again, and
until no entry is left. All on loopback; ends by itself, after 5 minutes at the latest.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

import backends
from tests.support.zookeeper import ZooKeeperServer
from tests.support.zookeeper_instance import child
from whatsapp import config
from whatsapp.errors import Unavailable
from whatsapp.interfaces import Instance

SECONDS_MAX = 300.0
HEAP = "2g"
STEP = 300
HERE = Instance(name="here", address="127.0.0.1:1", epoch=1)
THERE = Instance(name="there", address="127.0.0.1:2", epoch=1)


class Scale(Struct):
    """What came out. Without a JDK `heap_bytes_per_user` is 0."""

    users: int
    entered_per_second: float
    located_per_second: float
    heap_bytes_per_user: float
    zookeeper_back_seconds: float
    offline_seconds: float
    swept_seconds: float


async def measure(folder: Path, users: int, session_seconds: float) -> Scale:
    server = ZooKeeperServer(folder / "zookeeper", heap=HEAP)
    await asyncio.to_thread(server.run)
    settings = config.DirectorySection(
        backend="zookeeper", hosts=server.hosts, session_timeout_seconds=session_seconds
    )
    names = [f"user{number}" for number in range(users)]
    try:
        async with backends.directory("zookeeper").open_directory(settings, HERE) as here:
            before = heap_bytes(server.pid)
            with child(settings, THERE, 0) as dying:
                began = time.monotonic()
                dying.tell(f"announce {users}")
                assert await asyncio.to_thread(dying.says) == "announced"
                entered = time.monotonic() - began
                began = time.monotonic()
                assert len(await here.locate(names)) == users
                located = time.monotonic() - began
                heap = heap_bytes(server.pid) - before if before else 0
                dying.process.kill()
                server.kill()
                began = time.monotonic()
                await asyncio.to_thread(server.run)
                back = time.monotonic()
                some = names[:: max(1, users // STEP)]
                await until_nobody(lambda: here.locate(some))
                offline = time.monotonic()
                await until_nobody(lambda: entries(here, names))
                return Scale(
                    users=users,
                    entered_per_second=users / entered,
                    located_per_second=users / located,
                    heap_bytes_per_user=heap / users,
                    zookeeper_back_seconds=back - began,
                    offline_seconds=offline - back,
                    swept_seconds=time.monotonic() - back,
                )
    finally:
        server.kill()


async def until_nobody(ask: Callable[[], Awaitable[Any]]) -> None:
    """Ask again and again until the answer is empty, or False."""
    while True:
        try:
            if not await ask():
                return
        except Unavailable:
            pass
        await asyncio.sleep(0.1)


async def entries(directory: Any, names: list[str]) -> bool:
    """Is one left, whoever is alive?"""
    for start in range(0, len(names), STEP):
        some = [directory._nodes.user(name) for name in names[start : start + STEP]]
        if any(await directory._link.read(some)):
            return True
    return False


def heap_bytes(pid: int) -> int:
    """In use after a full collection; 0 where no JDK is."""
    if shutil.which("jcmd") is None:
        return 0
    subprocess.run(["jcmd", str(pid), "GC.run"], capture_output=True, check=True)
    told = subprocess.run(
        ["jcmd", str(pid), "GC.heap_info"], capture_output=True, check=True, text=True
    )
    used = re.findall(r"(?:generation|Metaspace)\s+total \d+K, used (\d+)K", told.stdout)
    return 1024 * sum(map(int, used))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--session-seconds", type=float, default=5.0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = measure(Path(folder), wanted.users, wanted.session_seconds)
        scale = asyncio.run(asyncio.wait_for(work, SECONDS_MAX))
    for name in scale.__struct_fields__:
        print(f"{name:24} {getattr(scale, name):12,.1f}")
    if not scale.heap_bytes_per_user:
        print("(no jcmd here: the heap was not looked at)", file=sys.stderr)


if __name__ == "__main__":
    main()
