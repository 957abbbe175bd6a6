"""One run of the server's core: what `app.py` builds, over stores that fail, without a socket."""

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
from whatsapp import config
from whatsapp.accounts import Accounts
from whatsapp.acks import Acks
from whatsapp.auth import Auth, Outside
from whatsapp.catchup import Catchup
from whatsapp.chat import Conversations
from whatsapp.cluster import Cluster
from whatsapp.cursors import Cursors
from whatsapp.effects import OfHints
from whatsapp.group import Groups
from whatsapp.history import Histories
from whatsapp.hub import Hub
from whatsapp.interfaces import Instance
from whatsapp.journal import Journal
from whatsapp.looks import Looks
from whatsapp.metrics import Metrics
from whatsapp.model import Account, Actor, Device
from whatsapp.people import Hooks, People
from whatsapp.positions import Positions
from whatsapp.presence import Presences
from whatsapp.rates import Rates
from whatsapp.receipts import Receipts
from whatsapp.room import Rooms
from whatsapp.router import Router
from whatsapp.routes import Links, Post, Routes
from whatsapp.session import Flusher, Session, Sink
from whatsapp.wire import Limits

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


class Core:
    """Objects as in `App._build_core` and `App._build_modules`; gone when the process is."""

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
        links: Links | None = None,
    ) -> None:
        self.cluster: Cluster | None = None
        self.instance = instance
        self.loop = loop
        self.clock = clock
        self.settings = settings
        self.messages = cast("Any", Faulty(MemoryMessages(data), calls))
        self.chats = cast("Any", Faulty(MemoryChats(data), calls))
        self.directory = cast("Any", Faulty(MemoryDirectory(instance, board or Board()), calls))
        self.rates = Rates(settings.rates, clock)
        self.devices = cast("Any", Faulty(MemoryDevices(data), calls))
        self.accounts = Accounts(cast("Any", Faulty(MemoryAccounts(data), calls)), loop)
        self._build_core(shared=links is not None)
        if links is not None:
            self.cluster = self._build_cluster(links)
        self._build_modules(random_bytes, new_code)
        if self.cluster is not None:
            self.cluster.effects = OfHints(
                accounts=self.accounts,
                auth=self.auth,
                devices=self.devices,
                hub=self.hub,
                positions=self.positions,
                presences=self.presences,
                rooms=self.rooms,
            )
        self.router = Router(
            auth=self.auth,
            conversations=self.conversations,
            positions=self.positions,
            presences=self.presences,
            directory=self.directory,
            hub=self.hub,
            clock=clock,
            metrics=METRICS,
            instance=instance.name,
            durable=False,
            arrived=self.cluster.arrived if self.cluster else None,
            limits=Limits(65_536, 16_384, settings.window, 30),
        )
        self._numbers = 0

    def _build_core(self, *, shared: bool) -> None:
        loop, clock, settings = self.loop, self.clock, self.settings
        self.rooms = Rooms(
            self.chats,
            self.accounts,
            clock,
            grown=lambda room: self.hub.grown(room),  # noqa: PLW0108 — built later
            rooms_max=settings.rooms_max,
            shared=shared,
        )
        self.flusher = Flusher(loop.soon)
        self.catchup = Catchup(self.messages, self.rooms, loop)
        self.hub = Hub(
            clock,
            came=lambda user: self.presences.came(user),  # noqa: PLW0108 — as above
            went=lambda user: self.presences.went(user),  # noqa: PLW0108 — as above
            wake=self.catchup.wake,
        )
        self.journal = Journal(
            self.messages,
            loop,
            clock,
            METRICS,
            look_again=self.rooms.refresh,
            drafts_max=settings.drafts_max,
            batch_max=settings.batch_max,
        )
        self.cursors = Cursors(self.chats, loop)
        self.receipts = Receipts(self.rooms, loop, self.hub.tell)

    def _build_cluster(self, links: Links) -> Cluster:
        loop, clock = self.loop, self.clock
        routes = Routes(self.directory, self.instance.name, clock)
        cluster = Cluster(
            post=Post(links, routes, loop, METRICS),
            looks=Looks(
                rooms=self.rooms, hub=self.hub, clock=clock, scheduler=loop, metrics=METRICS
            ),
            directory=self.directory,
            me=self.instance.name,
            rooms=self.rooms,
            hub=self.hub,
            clock=clock,
            scheduler=loop,
            metrics=METRICS,
        )
        self.accounts.changed = cluster.forget
        self.receipts.elsewhere = cluster.receipted
        return cluster

    def _build_modules(
        self, random_bytes: Callable[[int], bytes], new_code: Callable[[], str]
    ) -> None:
        loop, clock, cluster = self.loop, self.clock, self.cluster
        self.acks = Acks(
            messages=self.messages,
            hub=self.hub,
            catchup=self.catchup,
            cursors=self.cursors,
            receipts=self.receipts,
            clock=clock,
            scheduler=loop,
            moved=cluster.moved if cluster else None,
        )
        self.conversations = Conversations(
            messages=self.messages,
            rooms=self.rooms,
            journal=self.journal,
            hub=self.hub,
            acks=self.acks,
            rates=self.rates,
            clock=clock,
            scheduler=loop,
            said=cluster.said if cluster else None,
        )
        self.positions = Positions(
            chats=self.chats,
            rooms=self.rooms,
            catchup=self.catchup,
            cursors=self.cursors,
            scheduler=loop,
            acks=self.acks,
        )
        self.histories = Histories(
            messages=self.messages, chats=self.chats, rooms=self.rooms, accounts=self.accounts
        )
        self.groups = Groups(
            chats=self.chats,
            rooms=self.rooms,
            journal=self.journal,
            hub=self.hub,
            accounts=self.accounts,
            clock=clock,
            scheduler=loop,
            random_bytes=random_bytes,
            new_code=new_code,
            members_max=self.settings.members_max,
            said=cluster.said if cluster else None,
        )
        self.presences = Presences(
            accounts=self.accounts,
            contacts=self.chats.contacts,
            directory=self.directory,
            instance=self.instance.name,
            hub=self.hub,
            rooms=self.rooms,
            clock=clock,
            scheduler=loop,
            typed=cluster.typed if cluster else None,
        )
        self.people = People(
            self.accounts,
            self.rates,
            self.chats.contacts,
            Hooks(privacy_changed=self._related_anew, blocks_changed=self._blocks_changed),
        )
        self.auth = Auth(
            config.Auth(),
            Outside(
                clock=clock,
                scheduler=loop,
                accounts=self.accounts,
                devices=self.devices,
                passwords=cast("Any", None),  # nobody logs in: see `register`
                common_passwords=(),
                rates=self.rates,
                new_token=new_code,
                new_id=new_code,
                revoke=self.hub.revoke,
                erased=self.groups.leave_all,
                gone=self._related_anew,
                ended=cluster.ended if cluster else lambda *_: None,
            ),
        )

    # --- as App does -------------------------------------------------------------------

    def session(self, sink: Sink) -> Session:
        self._numbers += 1
        return Session(
            sink,
            self.flusher,
            number=self._numbers,
            opened_at=self.clock.monotonic(),
            window=self.settings.window,
            outbox_bytes_max=self.settings.outbox_bytes_max,
        )

    def session_ended(self, session: Session) -> None:
        self.presences.forget(session)
        self.catchup.forget(session)
        if session.user:
            self.hub.remove(session)
            self.auth.logins.left(Actor(session.user, session.device))

    def tick(self) -> None:
        self.catchup.tick()
        self.journal.tick()
        self.acks.tick()
        self.receipts.tick()
        self.presences.tick()
        if self.cluster is not None:
            self.cluster.tick()
        self.cursors.tick()
        self.rooms.tick()
        self.auth.tick()

    def _related_anew(self, user: str) -> None:
        self.rooms.unrelate(user)
        self.presences.refresh(user)

    def _blocks_changed(self, user: str, other: str) -> None:
        self._related_anew(user)
        self.presences.refresh(other)
