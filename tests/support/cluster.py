"""Several instances in this process, over a real MongoDB-wire server and a real ZooKeeper."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support import mongo
from tests.support.server import Options, Running, running, settings
from tests.support.zookeeper import ZooKeeperServer
from whatsapp import config
from whatsapp.clock import Clock

SECRET = "only for tests, thirty-two characters and more"
LINKED_SECONDS = 20.0


@functools.cache
def zookeeper() -> ZooKeeperServer:
    """The one of this run, started once."""
    folder = Path(tempfile.mkdtemp(prefix="whatsapp-zookeeper-"))
    server = ZooKeeperServer.start(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.kill)
    return server


def shared(
    data: Path, *, hosts: str = "", url: str = "", timeout_seconds: float = 30.0
) -> dict[str, dict[str, Any]]:
    """What the instances of one cluster have in common: database and root belong to `data`."""
    storage = mongo.settings(data, "motor", url)
    return {
        "storage": {
            "backend": "mongo",
            "url": storage.url,
            "database": storage.database,
            "timeout_seconds": timeout_seconds,
        },
        "directory": {
            "backend": "zookeeper",
            "hosts": hosts or zookeeper().hosts,
            "root": f"/{storage.database}",
            "password": "of the tests",
            "session_timeout_seconds": 4.0,
        },
        "cluster": {"secret": SECRET},
    }


def instance(name: str, common: Options, options: Options | None = None) -> config.Config:
    """The configuration of one of them."""
    table: dict[str, dict[str, Any]] = {name: dict(part) for name, part in common.items()}
    table["directory"]["instance"] = name
    for section, changed in (options or {}).items():
        table.setdefault(section, {}).update(changed)
    return settings("mongo", Path(), table)


@contextlib.asynccontextmanager
async def instances(
    data: Path, names: str = "abc", options: Options | None = None, clock: Clock | None = None
) -> AsyncIterator[list[Running]]:
    """All of them, linked to each other."""
    common = await asyncio.to_thread(shared, data)
    async with contextlib.AsyncExitStack() as stack:
        all_of_them = [
            await stack.enter_async_context(running(instance(name, common, options), clock=clock))
            for name in names
        ]
        await linked(all_of_them)
        yield all_of_them


async def linked(all_of_them: list[Running]) -> None:
    """Wait until each is linked with each."""
    end = time.monotonic() + LINKED_SECONDS
    while True:
        counts = [len(one.app.links.names()) for one in all_of_them if one.app.links]
        if counts == [len(all_of_them) - 1] * len(all_of_them):
            return
        assert time.monotonic() < end, f"not linked: {counts}"
        await asyncio.sleep(0.05)


async def quiet(all_of_them: list[Running]) -> None:
    """Wait until what was told has been heard, and nothing of it is being looked for."""
    end = time.monotonic() + LINKED_SECONDS
    while True:
        sent = sum(one.app.metrics.hints_sent.value for one in all_of_them)
        heard = sum(one.app.metrics.hints_heard.value for one in all_of_them)
        busy = any(one.app.scheduler.busy for one in all_of_them)
        if sent == heard and not busy:
            return
        assert time.monotonic() < end, f"not quiet: {sent} hints sent, {heard} heard, busy={busy}"
        await asyncio.sleep(0.005)
