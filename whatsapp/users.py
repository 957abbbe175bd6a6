"""What `whatsapp user …` does: an operator's work on accounts, on the stores themselves.

Only while no server has them: two would not know of each other's changes. The store's own
lock sees to that.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from whatsapp.app import open_app
from whatsapp.config import Config
from whatsapp.errors import StartupError
from whatsapp.model import user_id
from whatsapp.server import App
from whatsapp.shown import one_line

Work = Callable[[App], Awaitable[list[str]]]


def run(config: Config, work: Work) -> list[str]:
    """Do it with the stores open; what it has to say. `StartupError` where a server has them."""
    if config.storage.backend == "memory":
        raise StartupError(
            "the memory store keeps no accounts between two commands",
            "Use the REST API of the running server, or a store that keeps them: sqlite.",
        )
    return asyncio.run(_run(config, work))


async def _run(config: Config, work: Work) -> list[str]:
    try:
        async with open_app(config) as app:
            return await work(app)
    except StartupError as error:
        if "in use" not in error.cause:
            raise
        raise StartupError(
            error.cause, "Stop that server first, or use its REST API: see its /docs."
        ) from None


def add(user: str, password: str, name: str | None) -> Work:
    async def work(app: App) -> list[str]:
        await app.auth.add_user(user, password, name)
        return []

    return work


def remove(user: str) -> Work:
    async def work(app: App) -> list[str]:
        await app.auth.remove_user(user_id(user))
        return []

    return work


def set_password(user: str, password: str) -> Work:
    async def work(app: App) -> list[str]:
        await app.auth.set_password(user_id(user), password)
        return []

    return work


def listing() -> Work:
    """Id, name, last seen, with tabs between them."""

    async def work(app: App) -> list[str]:
        accounts = await app.stores.accounts.search("", sys.maxsize)
        return [
            f"{account.user}\t{one_line(account.name)}\t{_moment(account.last_seen_ms)}"
            for account in accounts
        ]

    return work


def _moment(time_ms: int) -> str:
    if not time_ms:
        return "never"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
