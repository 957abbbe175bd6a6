"""A process that appends and says what was acknowledged, until it is killed.

    python -m tests.support.appender FOLDER RUN [early]

It prints `chat id seq` for each entry that it was told is stored; with `early`, a bug on
purpose, before it is. The variable APPENDER_BACKEND names the backend; SQLite without it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.support.backends import opened
from whatsapp.interfaces import Stores
from whatsapp.model import Draft, Stored

CHATS = ("ann:bob", "ann:eve", "bob:eve")


def drafts(run: str, call: int) -> list[Draft]:
    return [
        Draft(
            chat=CHATS[n % 3], sender="ann", id=f"id-{run}-{call:06}-{n}", time_ms=n, text="x" * 500
        )
        for n in range(7)
    ]


def tell(chat: str, message_id: str, seq: int) -> None:
    sys.stdout.write(f"{chat} {message_id} {seq}\n")
    sys.stdout.flush()


async def one(stores: Stores, run: str, lane: int) -> None:
    for call in range(lane, 1_000_000, 4):
        for outcome in await stores.messages.append(drafts(run, call)):
            if isinstance(outcome, Stored):
                entry = outcome.entry
                tell(entry.chat, entry.id, entry.seq)


async def early(stores: Stores, run: str) -> None:
    """Acknowledge, then store: what must never be."""
    heads: dict[str, int] = {}
    for call in range(1_000_000):
        for draft in drafts(run, call):
            heads[draft.chat] = heads.get(draft.chat, 0) + 1
            tell(draft.chat, draft.id, heads[draft.chat])
        await asyncio.sleep(0.001)
        await stores.messages.append(drafts(run, call))


async def main(folder: str, run: str, *rest: str) -> None:
    async with opened(os.environ.get("APPENDER_BACKEND", "sqlite"), Path(folder)) as stores:
        if rest:
            await early(stores, run)
        await asyncio.gather(*(one(stores, run, lane) for lane in range(4)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
