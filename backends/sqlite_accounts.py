"""Users and their devices in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from typing import Any

from msgspec.structs import astuple

from backends.sqlite_thread import Readers, Thread, transaction
from whatsapp.model import Account, Device, Visibility

_LAST = "\U0010ffff"
_ACCOUNT = (
    "user, name, password_hash, about, last_seen_visible, receipts, created_ms, last_seen_ms,"
    " erased"
)
_DEVICE = "device, user, name, token_hash, created_ms, last_seen_ms"


class SqliteAccounts:
    """`AccountStore`."""

    def __init__(self, writer: Thread, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def create(self, account: Account) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            with transaction(db):
                sql = "INSERT INTO accounts VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
                return db.execute(sql, _account_row(account)).rowcount > 0

        return await self._writer.run(work)

    async def find(self, users: Collection[str]) -> dict[str, Account]:
        def work(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
            sql = f"SELECT {_ACCOUNT} FROM accounts WHERE user = ?"  # noqa: S608
            rows = (db.execute(sql, (user,)).fetchone() for user in set(users))
            return [row for row in rows if row]

        return {found.user: found for found in _accounts(await self._readers.run(work))}

    async def update(self, before: Account, after: Account) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            with transaction(db):
                done = db.execute(
                    "UPDATE accounts SET name = ?, folded = ?, password_hash = ?, about = ?,"
                    " last_seen_visible = ?, receipts = ? WHERE user = ? AND NOT erased"
                    " AND name = ? AND folded = ? AND password_hash = ? AND about = ?"
                    " AND last_seen_visible = ? AND receipts = ?",
                    (*_changeable(after), before.user, *_changeable(before)),
                )
                return done.rowcount > 0

        return await self._writer.run(work)

    async def saw(self, times_ms: dict[str, int]) -> None:
        rows = [(time_ms, user, time_ms) for user, time_ms in times_ms.items()]

        def work(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.executemany(
                    "UPDATE accounts SET last_seen_ms = ?"
                    " WHERE user = ? AND NOT erased AND last_seen_ms < ?",
                    rows,
                )

        await self._writer.run(work)

    async def search(self, prefix: str, limit: int) -> list[Account]:
        wanted = prefix.casefold()

        def work(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return db.execute(
                f"SELECT {_ACCOUNT} FROM accounts WHERE NOT erased AND user IN ("  # noqa: S608
                " SELECT user FROM accounts"
                "  WHERE :wanted <> '' AND folded >= :wanted AND folded < :end UNION ALL"
                " SELECT * FROM (SELECT user FROM accounts WHERE NOT erased AND user >= :wanted"
                "  AND user < :end ORDER BY user LIMIT :limit)"
                ") ORDER BY user LIMIT :limit",
                {"wanted": wanted, "end": wanted + _LAST, "limit": limit},
            ).fetchall()

        return list(_accounts(await self._readers.run(work)))

    async def erase(self, user: str) -> None:
        tombstone = _account_row(Account(user=user, name="", erased=True))

        def work(db: sqlite3.Connection) -> None:
            with transaction(db):
                if not db.execute("SELECT 1 FROM accounts WHERE user = ?", (user,)).fetchone():
                    return
                db.execute("REPLACE INTO accounts VALUES (?,?,?,?,?,?,?,?,?,?)", tombstone)
                db.execute("DELETE FROM blocks WHERE user = ?", (user,))
                db.execute("DELETE FROM blocks WHERE other = ?", (user,))
                db.execute("DELETE FROM cursors WHERE user = ?", (user,))
                db.execute("DELETE FROM devices WHERE user = ?", (user,))

        await self._writer.run(work)

    async def block(self, user: str, other: str, *, on: bool) -> None:
        sql = (
            "INSERT INTO blocks VALUES (?, ?) ON CONFLICT DO NOTHING"
            if on
            else "DELETE FROM blocks WHERE user = ? AND other = ?"
        )

        def work(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute(sql, (user, other))

        await self._writer.run(work)

    async def blocks(self, user: str) -> set[str]:
        def work(db: sqlite3.Connection) -> set[str]:
            return {o for (o,) in db.execute("SELECT other FROM blocks WHERE user = ?", (user,))}

        return await self._readers.run(work)


class SqliteDevices:
    """`DeviceStore`."""

    def __init__(self, writer: Thread, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def add(self, device: Device) -> None:
        def work(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute(
                    f"REPLACE INTO devices ({_DEVICE}) VALUES (?,?,?,?,?,?)",  # noqa: S608
                    astuple(device),
                )

        await self._writer.run(work)

    async def by_token(self, token_hash: bytes) -> Device | None:
        found = await self._select("token_hash = ?", token_hash)
        return found[0] if found else None

    async def of_user(self, user: str) -> list[Device]:
        return await self._select("user = ? ORDER BY created_ms, device", user)

    async def end(self, user: str, devices: Collection[str]) -> list[str]:
        wanted = set(devices)

        def work(db: sqlite3.Connection) -> list[str]:
            with transaction(db):
                sql = "SELECT device FROM devices WHERE user = ? ORDER BY created_ms, device"
                known = [device for (device,) in db.execute(sql, (user,))]
                ended = [device for device in known if device in wanted]
                rows = [(user, device) for device in ended]
                db.executemany("DELETE FROM devices WHERE user = ? AND device = ?", rows)
                db.executemany("DELETE FROM cursors WHERE user = ? AND device = ?", rows)
            return ended

        return await self._writer.run(work)

    async def saw(self, times_ms: dict[str, int]) -> None:
        rows = [(time_ms, device, time_ms) for device, time_ms in times_ms.items()]

        def work(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.executemany(
                    "UPDATE devices SET last_seen_ms = ? WHERE device = ? AND last_seen_ms < ?",
                    rows,
                )

        await self._writer.run(work)

    async def _select(self, condition: str, value: str | bytes) -> list[Device]:
        def work(db: sqlite3.Connection) -> list[Device]:
            sql = f"SELECT {_DEVICE} FROM devices WHERE {condition}"  # noqa: S608
            return [
                Device(
                    device=device,
                    user=user,
                    name=name,
                    token_hash=token_hash,
                    created_ms=created_ms,
                    last_seen_ms=last_seen_ms,
                )
                for device, user, name, token_hash, created_ms, last_seen_ms in db.execute(
                    sql, (value,)
                )
            ]

        return await self._readers.run(work)


def _account_row(account: Account) -> tuple[Any, ...]:
    return (
        account.user,
        *_changeable(account),
        account.created_ms,
        account.last_seen_ms,
        account.erased,
    )


def _changeable(account: Account) -> tuple[Any, ...]:
    return (
        account.name,
        account.name.casefold(),
        account.password_hash,
        account.about,
        account.last_seen_visible.value,
        account.receipts,
    )


def _accounts(rows: Iterable[tuple[Any, ...]]) -> Iterable[Account]:
    for user, name, password_hash, about, visible, receipts, created, seen, erased in rows:
        yield Account(
            user=user,
            name=name,
            password_hash=password_hash,
            about=about,
            last_seen_visible=Visibility(visible),
            receipts=bool(receipts),
            created_ms=created,
            last_seen_ms=seen,
            erased=bool(erased),
        )
