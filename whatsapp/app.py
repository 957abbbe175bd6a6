"""The composition root: opens the backends and the links, builds the server, ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from types import ModuleType

import backends
from whatsapp.clock import Clock, SystemClock
from whatsapp.cluster import Cluster
from whatsapp.config import Config
from whatsapp.interfaces import Instance, Stores
from whatsapp.passwords import Passwords
from whatsapp.peers import Peers, open_peers
from whatsapp.server import App

ALONE = "memory"  # the directory of a server that is the only one


def upkeep(config: Config) -> ModuleType:
    """What backs up, restores and checks the files of this store; `StartupError`: it has none."""
    return backends.upkeep(config.storage.backend)


def opened_stores(config: Config) -> contextlib.AbstractAsyncContextManager[Stores]:
    """The stores alone, without a server around them."""
    opening: contextlib.AbstractAsyncContextManager[Stores]
    opening = backends.stores(config.storage.backend).open_stores(config.storage)
    return opening


@contextlib.asynccontextmanager
async def open_reading(config: Config) -> AsyncIterator[Stores]:
    """The stores to be looked at, beside a server that may have them open. Nothing is written."""
    async with backends.stores(config.storage.backend).open_reading(config.storage) as stores:
        yield stores


@contextlib.asynccontextmanager
async def open_app(config: Config, *, clock: Clock | None = None) -> AsyncIterator[App]:
    """A server, ready to be served; closed in order. `StartupError` where it cannot be opened.

    The others hear that we come once we can answer, and that we go before we cannot.
    """
    clock = clock or SystemClock()
    name = config.directory.instance or f"{socket.gethostname()}-{secrets.token_hex(4)}"
    async with contextlib.AsyncExitStack() as stack:
        stores = await stack.enter_async_context(opened_stores(config))
        clustered = Clustered()
        peers: Peers | None = None
        if config.directory.backend != ALONE:
            peers = await stack.enter_async_context(clustered.listen(config))
        address = "" if peers is None else peers.address
        instance = Instance(name=name, address=address, epoch=clock.now_ms())
        directory = await stack.enter_async_context(
            backends.directory(config.directory.backend).open_directory(config.directory, instance)
        )
        passwords = await stack.enter_async_context(Passwords(config.auth))
        app = App(config, stores, directory, passwords, instance, clock, links=peers)
        clustered.cluster = app.cluster
        if peers is not None:
            peers.be(instance)
        ticking = asyncio.create_task(app.keep_ticking(), name="tick")
        try:
            yield app
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
            await app.close()
            clustered.cluster = None


class Clustered:
    """The links are opened before there is somebody to hear what comes over them."""

    def __init__(self) -> None:
        self.cluster: Cluster | None = None

    def listen(self, config: Config) -> contextlib.AbstractAsyncContextManager[Peers]:
        return open_peers(config.cluster, heard=self._heard, linked=self._linked, lost=self._lost)

    def _heard(self, name: str, messages: list[bytes]) -> None:
        if self.cluster is not None:
            self.cluster.heard(name, messages)

    def _linked(self, name: str) -> None:
        if self.cluster is not None:
            self.cluster.linked(name)

    def _lost(self, name: str) -> None:
        if self.cluster is not None:
            self.cluster.lost(name)


async def diagnose(config: Config) -> list[tuple[str, bool, str, str]]:
    """What the services of the picked backends look like from here: name, well, said, cure."""
    return await backends.diagnose(config.storage, config.directory)
