"""The composition root: opens the backends and the links, builds the server, ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator

import backends
from whatsapp.clock import Clock, SystemClock
from whatsapp.config import Config
from whatsapp.interfaces import Instance
from whatsapp.passwords import Passwords
from whatsapp.server import App


@contextlib.asynccontextmanager
async def open_app(config: Config, *, clock: Clock | None = None) -> AsyncIterator[App]:
    """A server, ready to be served; closed in order. `StartupError` where it cannot be opened."""
    clock = clock or SystemClock()
    name = config.directory.instance or f"{socket.gethostname()}-{secrets.token_hex(4)}"
    instance = Instance(name=name, address="", epoch=clock.now_ms())
    async with contextlib.AsyncExitStack() as stack:
        stores = await stack.enter_async_context(
            backends.stores(config.storage.backend).open_stores(config.storage)
        )
        directory = await stack.enter_async_context(
            backends.directory(config.directory.backend).open_directory(config.directory, instance)
        )
        passwords = await stack.enter_async_context(Passwords(config.auth))
        app = App(config, stores, directory, passwords, instance, clock)
        ticking = asyncio.create_task(app.tick(), name="tick")
        try:
            yield app
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
            await app.close()
