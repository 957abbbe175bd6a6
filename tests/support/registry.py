"""Accounts, logins and people over the memory store, with a clock that a test moves.

Everything is real; what is told to the outside is written down, and calls of a store can be
interrupted at their end, which is where races and failures begin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from backends.memory import open_stores
from tests.support.clocks import ManualClock
from whatsapp import config
from whatsapp.accounts import Accounts
from whatsapp.auth import Auth, Outside
from whatsapp.clock import LoopScheduler, unique_id
from whatsapp.interfaces import Stores
from whatsapp.model import Actor
from whatsapp.passwords import Passwords, common_passwords
from whatsapp.people import Hooks, People
from whatsapp.rates import Rates

PASSWORD = "tulips in may"
CHEAP = config.Auth(password_memory_kib=8)

Hook = Callable[[], Awaitable[None]]


class Interrupted:
    """A store, or anything with async methods; `at["name"]` runs before `name` returns."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.at: dict[str, Hook] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            result = await method(*arguments, **named)
            if (hook := self.at.pop(name, None)) is not None:
                await hook()
            return result

        return call


class CountingPasswords(Passwords):
    """Real hashes, cheap ones; `verified` has the hash of each check, `during` runs in the next."""

    def __init__(self, settings: config.Auth) -> None:
        super().__init__(settings)
        self.verified: list[str] = []
        self.during: Hook | None = None

    async def verify(self, hashed: str, password: str) -> bool:
        self.verified.append(hashed)
        right = await super().verify(hashed, password)
        if (hook := self.during) is not None:
            self.during = None
            await hook()
        return right


class Registry:
    """All of it, built like the server builds it."""

    def __init__(self, stores: Stores, settings: config.Auth, rates: config.Rates) -> None:
        self.clock = ManualClock()
        self.scheduler = LoopScheduler()
        self.stores = stores
        self.account_store = Interrupted(stores.accounts)
        self.device_store = Interrupted(stores.devices)
        self.passwords = CountingPasswords(settings)
        self.revoked: list[tuple[str, list[str]]] = []
        self.told: list[tuple[str, ...]] = []
        self.contacts: set[tuple[str, str]] = set()
        self.accounts = Accounts(self.account_store, self.scheduler)
        self.rates = Rates(rates, self.clock)
        self.auth = Auth(settings, self._outside())
        self.people = People(self.accounts, self.rates, self._contacts, self._hooks())

    async def ann(self, device: str | None = None) -> tuple[Actor, str]:
        """Ann on a new device, and its token; registered if need be."""
        return await self.enter("ann", device)

    async def enter(self, user: str, device: str | None = None) -> tuple[Actor, str]:
        if await self.accounts.fresh(user) is None:
            await self.auth.add_user(user, PASSWORD)
        answer = await self.auth.login(user, PASSWORD, device, "192.0.2.1")
        return Actor(user, answer.device), answer.token

    def with_settings(self, **changed: Any) -> Auth:
        """Another `Auth` over the same stores: a restart with other settings."""
        return Auth(replace(CHEAP, **changed), self._outside())

    def _outside(self) -> Outside:
        return Outside(
            clock=self.clock,
            scheduler=self.scheduler,
            accounts=self.accounts,
            devices=self.device_store,
            passwords=self.passwords,
            common_passwords=common_passwords(),
            rates=self.rates,
            new_token=unique_id,
            new_id=unique_id,
            revoke=lambda user, devices: self.revoked.append((user, list(devices))),
            erased=self._erased,
            gone=lambda user: self.told.append(("gone", user)),
        )

    def _hooks(self) -> Hooks:
        return Hooks(
            privacy_changed=lambda user: self.told.append(("privacy", user)),
            blocks_changed=lambda user, other: self.told.append(("blocks", user, other)),
        )

    async def _erased(self, user: str) -> None:
        still_there = await self.accounts.fresh(user) is not None
        self.told.append(("erased", user, "still there" if still_there else "too late"))

    async def _contacts(self, user: str, others: Any) -> set[str]:
        return {other for other in others if (user, other) in self.contacts}


@asynccontextmanager
async def open_registry(
    settings: config.Auth = CHEAP, rates: config.Rates | None = None
) -> AsyncIterator[Registry]:
    async with open_stores(config.Storage(backend="memory")) as stores:
        registry = Registry(stores, settings, rates or config.Rates())
        async with registry.passwords:
            yield registry
            await registry.scheduler.settled()
