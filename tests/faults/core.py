"""One run of the server's core, over stores that fail, without a socket."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, cast

from msgspec import Struct

from backends.memory import MemoryAccounts, MemoryChats, MemoryDevices, MemoryMessages, _Data
from backends.memory_directory import Board, MemoryDirectory
from tests.faults.faulty import Calls, Faulty
from tests.faults.loop import Loop
from tests.support.clocks import ManualClock
from whatsapp import config, core
from whatsapp.interfaces import Instance, Stores
from whatsapp.metrics import Metrics
from whatsapp.model import Account, Device
from whatsapp.routes import Links
from whatsapp.session import Session, Sink

INSTANCE = Instance(name="here", address="", epoch=1)
# Nothing of what is counted matters here, and there are thousands of worlds.
METRICS = Metrics(version="0", store="memory")


class Settings(Struct, frozen=True, kw_only=True):
    """What of the configuration makes a difference to the core."""

    window: int = 512
    outbox_bytes_max: int = 1_000_000
    batch_max: int = 500
    drafts_max: int = 20_000
    rooms_max: int = 50_000
    members_max: int = 1024
    rates: config.Rates = config.Rates(lookups_per_minute=1e6, lookups_per_day=1_000_000)

    def config(self) -> config.Config:
        """Also with limits that a file may not have: small ones are where the bugs are."""
        limits = config.Limits(
            window_messages=self.window,
            outbox_bytes_max=self.outbox_bytes_max,
            journal_batch_max=self.batch_max,
            journal_drafts_max=self.drafts_max,
            loaded_chats_max=self.rooms_max,
            group_members_max=self.members_max,
        )
        return config.Config(limits=limits, rates=self.rates)


def register(data: _Data, user: str) -> None:
    """An account, without the work of a password."""
    data.accounts[user] = Account(user=user, name=user.title())


def log_in(data: _Data, user: str, device: str, token: str, now_ms: int) -> None:
    token_hash = hashlib.sha256(token.encode()).digest()
    data.devices[token_hash] = Device(
        device=device,
        user=user,
        name=device,
        token_hash=token_hash,
        created_ms=now_ms,
        last_seen_ms=now_ms,
    )


class Core(core.Core):
    """Gone when the process is."""

    def __init__(
        self,
        data: _Data,
        loop: Loop,
        calls: Calls,
        clock: ManualClock,
        settings: Settings,
        *,
        random_bytes: Callable[[int], bytes],
        new_code: Callable[[], str],
        instance: Instance = INSTANCE,
        board: Board | None = None,
        directory: Any = None,
        links: Links | None = None,
    ) -> None:
        self.loop = loop
        stores = Stores(
            accounts=cast("Any", Faulty(MemoryAccounts(data), calls)),
            devices=cast("Any", Faulty(MemoryDevices(data), calls)),
            messages=cast("Any", Faulty(MemoryMessages(data), calls)),
            chats=cast("Any", Faulty(MemoryChats(data), calls)),
            durable=False,
        )
        world = core.World(
            instance=instance,
            directory=directory
            or cast("Any", Faulty(MemoryDirectory(instance, board or Board()), calls)),
            clock=clock,
            scheduler=loop,
            metrics=METRICS,
            passwords=cast("Any", None),  # nobody logs in: see `register`
            common_passwords=(),
            random_bytes=random_bytes,
            new_id=new_code,
            new_token=new_code,
            links=links,
        )
        super().__init__(settings.config(), stores, world)
        self.asleep = False
        self._numbers = 0

    def connected(self, sink: Sink) -> Session:
        self._numbers += 1
        return self.session(sink, self._numbers, opened_at=self.clock.monotonic())

    def tick(self) -> None:
        super().tick()
        self.cursors.tick()
        self.rooms.tick()
        self.auth.tick()
