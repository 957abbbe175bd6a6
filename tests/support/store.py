"""A small store with something of everything in it, made by the real server; and its file."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from tests.support.backends import indexed, say
from tests.support.server import settings
from whatsapp.app import open_app
from whatsapp.model import Actor, CursorMove, Role
from whatsapp.resources import GroupChange

PASSWORD = "a long road home"
TEXTS = 30
PAIR = "ann:bob"


async def fill(data: Path, store: str = "sqlite") -> str:
    """Three people, a direct chat, a group with a past, devices, cursors; the group's id."""
    async with open_app(settings(store, data)) as app:
        for user in ("ann", "bob", "cid", "dan"):
            await app.auth.add_user(user, PASSWORD)
        login = await app.auth.login("bob", PASSWORD, None, "198.51.100.7")
        texts = [
            say(f"text number {n} about boats", "ann" if n % 2 else "bob") for n in range(TEXTS)
        ]
        await app.stores.messages.append(texts)
        ann = Actor("ann", "")
        group = await app.groups.create(ann, "Boats", ["bob", "cid"])
        await app.groups.add(ann, group, ["dan"])
        await app.groups.set_role(ann, group, "bob", Role.ADMIN)
        await app.groups.remove(ann, group, "cid")
        await app.groups.change(ann, group, GroupChange(about="all about boats"))
        await app.groups.invite(ann, group)
        move = CursorMove(
            chat=PAIR, user="bob", device=login.device, device_received=20, received=20
        )
        await app.stores.chats.advance([move])
        assert await indexed(app.stores)
    return group


def change(file: Path, *statements: str) -> None:
    """Do that to a database that nobody has open."""
    with contextlib.closing(sqlite3.connect(file)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
