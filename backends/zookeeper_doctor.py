"""`whatsapp doctor` asks: can this ZooKeeper be the directory? It looks and changes nothing."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from backends.zookeeper_link import (
    Link,
    NoAuthError,
    NoNodeError,
    UnimplementedError,
    check,
    hosts_and_root,
)
from backends.zookeeper_nodes import Nodes
from whatsapp import config
from whatsapp.errors import StartupError, Unavailable

CONNECT_SECONDS = 3.0
LOOKS = 5
SLOW_SECONDS = 0.1

Finding = tuple[bool, str, str]  # well?, what was found, what to do where it is not


async def diagnose(settings: config.DirectorySection) -> list[Finding]:
    """What is well and what is not. Never raises; takes some ten seconds at most."""
    found: list[Finding] = []
    try:
        check(settings)
        link = Link(settings)
    except StartupError as error:
        return [(False, error.cause, error.cure)]
    try:
        async for finding in _look(settings, link):
            found.append(finding)  # noqa: PERF401 — those before an error count
    except NoAuthError:
        cure = "Set user and password that the nodes were made with."
        found.append((False, "ZooKeeper refuses [directory] user and password", cure))
    except UnimplementedError:
        cure = "Use version 3.6 or later on all servers."
        found.append((False, "ZooKeeper is too old", cure))
    except (Unavailable, NoNodeError, TimeoutError):
        found.append((False, "ZooKeeper stopped to answer", "Look at its log."))
    finally:
        await link.stop()
    return found


async def _look(settings: config.DirectorySection, link: Link) -> AsyncIterator[Finding]:
    hosts, root = hosts_and_root(settings)
    nodes = Nodes(root)
    for name, port in link.client.hosts:
        if not await _reachable(name, port):
            yield False, f"No answer at {name}:{port}", "Start ZooKeeper there, or name another."
    if not await _connected(link):
        yield False, f"No ZooKeeper session at {hosts}", "A majority of its servers must run."
        return
    yield True, f"ZooKeeper gives us a session at {hosts}", ""
    joins, instances = await link.read([nodes.joins, nodes.instances])
    yield True, "ZooKeeper is new enough (3.6 or later)", ""
    if joins is None or instances is None:
        yield True, f"Nothing is at {root} yet; the first start makes it", ""
    else:
        names = await link.children(nodes.instances)
        yield True, f"{len(names)} instances are running", ""
        acls, _ = await link.call(lambda: link.client.get_acls_async(nodes.users))
        if settings.password and any(acl.id.scheme == "world" for acl in acls):
            cure = "They were made without a password: stop all instances, delete them, start."
            yield False, f"The nodes at {root} are open to everybody", cure
    seconds = await _latency(link)
    what = f"An answer takes {seconds * 1000:.1f} ms"
    yield seconds < SLOW_SECONDS, what, "Put ZooKeeper nearer, and its log on a disk of its own."


async def _connected(link: Link) -> bool:
    connected = asyncio.Event()
    link.changed = connected.set
    link.start()
    with suppress(TimeoutError):
        async with asyncio.timeout(CONNECT_SECONDS):
            await connected.wait()
    return link.connected


async def _reachable(name: str, port: int) -> bool:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(name, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


async def _latency(link: Link) -> float:
    """Seconds, the median of a few."""
    taken = []
    for _ in range(LOOKS):
        start = time.monotonic()
        await link.call(lambda: link.client.exists_async("/"))
        taken.append(time.monotonic() - start)
    return statistics.median(taken)
