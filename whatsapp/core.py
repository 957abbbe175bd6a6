"""The core of one instance, built in one place: who needs what.

No socket, no event loop, no clock and no chance of its own: `server.py` puts the edge around it,
and the seeded world of `tests/faults/` runs the very same objects over stores that fail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from msgspec import Struct

from whatsapp.accounts import Accounts
from whatsapp.acks import Acks
from whatsapp.auth import Auth, Hasher, Outside
from whatsapp.catchup import Catchup
from whatsapp.chat import Conversations
from whatsapp.clock import Clock, Scheduler
from whatsapp.cluster import Cluster
from whatsapp.config import Config
from whatsapp.cursors import Cursors
from whatsapp.effects import OfHints
from whatsapp.group import Groups
from whatsapp.history import Histories
from whatsapp.hub import Hub
from whatsapp.interfaces import Directory, Instance, Stores
from whatsapp.journal import Journal
from whatsapp.looks import Looks
from whatsapp.metrics import Metrics
from whatsapp.model import Actor
from whatsapp.people import Hooks, People
from whatsapp.positions import Positions
from whatsapp.presence import Presences
from whatsapp.rates import Rates
from whatsapp.receipts import Receipts
from whatsapp.retention import Retention
from whatsapp.room import Rooms
from whatsapp.router import Router
from whatsapp.routes import Links, Post, Routes
from whatsapp.session import Flusher, Session, Sink
from whatsapp.wire import Limits


class World(Struct, frozen=True, kw_only=True):
    """What comes from outside: time, chance, other programs.

    `random_bytes(n)` and `new_id()` are for ids, `new_token()` gives 256 random bits. `hold` is
    how long a connection that was refused as `busy` waits before its next frame is looked at.
    """

    instance: Instance
    directory: Directory
    clock: Clock
    scheduler: Scheduler
    metrics: Metrics
    passwords: Hasher
    common_passwords: Collection[str]
    random_bytes: Callable[[int], bytes]
    new_id: Callable[[], str]
    new_token: Callable[[], str]
    links: Links | None = None  # None: there are no other instances
    hold: Callable[[], Awaitable[None]] | None = None  # None: not at all


class Core:
    """Everything between the sockets and the stores, by name."""

    def __init__(self, config: Config, stores: Stores, world: World) -> None:
        self.config = config
        self.stores = stores
        self.world = world
        self.clock = world.clock
        self.directory = world.directory
        self.instance = world.instance
        self.links = world.links
        self.metrics = world.metrics
        self.cluster: Cluster | None = None
        self._build_core()
        if world.links is not None:
            self.cluster = self._build_cluster(world.links)
        self._build_modules()
        self._build_people()
        if self.cluster is not None:
            parts = ("accounts", "auth", "hub", "positions", "presences", "rooms")
            mine = {name: getattr(self, name) for name in parts}
            self.cluster.hear(OfHints(devices=stores.devices, **mine))
        self.router = self._router()

    def _build_core(self) -> None:
        limits, stores = self.config.limits, self.stores
        clock, scheduler = self.clock, self.world.scheduler
        self.rates = Rates(self.config.rates, clock)
        self.accounts = Accounts(stores.accounts, scheduler)
        self.rooms = Rooms(
            stores.chats,
            self.accounts,
            clock,
            grown=lambda room: self.hub.grown(room),  # noqa: PLW0108 — built later
            unwritten=lambda: self.cursors.chats(),  # noqa: PLW0108 — built later
            rooms_max=limits.loaded_chats_max,
            shared=self.links is not None,
        )
        self.flusher = Flusher(scheduler.soon)
        self.catchup = Catchup(stores.messages, self.rooms, scheduler)
        self.hub = Hub(
            clock,
            came=lambda user: self.presences.came(user),  # noqa: PLW0108 — built later
            went=lambda user: self.presences.went(user),  # noqa: PLW0108 — built later
            wake=self.catchup.wake,
        )
        self.journal = Journal(
            stores.messages,
            scheduler,
            clock,
            self.metrics,
            look_again=self.rooms.refresh,
            cleared=self._cleared,
            drafts_max=limits.journal_drafts_max,
            batch_max=limits.journal_batch_max,
        )
        self.cursors = Cursors(stores.chats, scheduler)
        self.receipts = Receipts(
            self.rooms,
            scheduler,
            self.hub.tell,
        )

    def _build_cluster(self, links: Links) -> Cluster:
        clock, scheduler, metrics = self.clock, self.world.scheduler, self.metrics
        metrics.instances_linked.read = lambda: len(links.names())
        routes = Routes(self.directory, self.instance.name, clock)
        looks = Looks(
            rooms=self.rooms,
            hub=self.hub,
            clock=clock,
            scheduler=scheduler,
            metrics=metrics,
        )
        cluster = Cluster(
            post=Post(links, routes, scheduler, metrics),
            looks=looks,
            directory=self.directory,
            me=self.instance.name,
            rooms=self.rooms,
            hub=self.hub,
            clock=clock,
            scheduler=scheduler,
            metrics=metrics,
        )
        self.accounts.changed = cluster.forget
        self.receipts.elsewhere = cluster.receipted
        return cluster

    def _build_modules(self) -> None:
        limits, stores = self.config.limits, self.stores
        clock, scheduler, cluster = self.clock, self.world.scheduler, self.cluster
        self.acks = Acks(
            messages=stores.messages,
            hub=self.hub,
            catchup=self.catchup,
            cursors=self.cursors,
            receipts=self.receipts,
            clock=clock,
            scheduler=scheduler,
            moved=cluster.moved if cluster else None,
        )
        self.conversations = Conversations(
            messages=stores.messages,
            rooms=self.rooms,
            journal=self.journal,
            hub=self.hub,
            acks=self.acks,
            rates=self.rates,
            clock=clock,
            scheduler=scheduler,
            text_bytes_max=limits.text_bytes_max,
            said=cluster.said if cluster else None,
        )
        self.positions = Positions(
            chats=stores.chats,
            rooms=self.rooms,
            catchup=self.catchup,
            cursors=self.cursors,
            scheduler=scheduler,
            acks=self.acks,
        )
        self.retention = Retention(
            stores.messages, clock, scheduler, self.metrics, days=self.config.storage.keep_days
        )
        self.histories = Histories(
            messages=stores.messages,
            chats=stores.chats,
            rooms=self.rooms,
            accounts=self.accounts,
        )
        self.groups = Groups(
            chats=stores.chats,
            rooms=self.rooms,
            journal=self.journal,
            hub=self.hub,
            accounts=self.accounts,
            clock=clock,
            scheduler=scheduler,
            random_bytes=self.world.random_bytes,
            new_code=self.world.new_id,
            members_max=limits.group_members_max,
            said=cluster.said if cluster else None,
        )
        self.presences = Presences(
            accounts=self.accounts,
            contacts=stores.chats.contacts,
            directory=self.directory,
            instance=self.instance.name,
            hub=self.hub,
            rooms=self.rooms,
            clock=clock,
            scheduler=scheduler,
            typed=cluster.typed if cluster else None,
        )

    def _build_people(self) -> None:
        stores, cluster = self.stores, self.cluster
        self.people = People(
            self.accounts,
            self.rates,
            stores.chats.contacts,
            Hooks(privacy_changed=self._related_anew, blocks_changed=self._blocks_changed),
        )
        self.auth = Auth(
            self.config.auth,
            Outside(
                clock=self.clock,
                scheduler=self.world.scheduler,
                accounts=self.accounts,
                devices=stores.devices,
                passwords=self.world.passwords,
                common_passwords=self.world.common_passwords,
                rates=self.rates,
                new_token=self.world.new_token,
                new_id=self.world.new_id,
                revoke=self.hub.revoke,
                erased=self.groups.leave_all,
                gone=self._related_anew,
                ended=cluster.ended if cluster else lambda *_: None,
            ),
        )

    def _router(self) -> Router:
        limits = self.config.limits
        return Router(
            auth=self.auth,
            conversations=self.conversations,
            positions=self.positions,
            presences=self.presences,
            directory=self.directory,
            hub=self.hub,
            clock=self.clock,
            metrics=self.metrics,
            instance=self.instance.name,
            durable=self.stores.durable,
            arrived=self.cluster.arrived if self.cluster else None,
            hold=self.world.hold,
            limits=Limits(
                frame_bytes=limits.frame_bytes_max,
                text_bytes=limits.text_bytes_max,
                window=limits.window_messages,
                heartbeat_s=max(1, round(self.config.server.heartbeat_seconds)),
            ),
        )

    # --- sessions --------------------------------------------------------------------

    def session(
        self, sink: Sink, number: int, *, opened_at: float, token: str | None = None
    ) -> Session:
        """Of a connection that has not said hello yet."""
        return Session(
            sink,
            self.flusher,
            number=number,
            opened_at=opened_at,
            window=self.config.limits.window_messages,
            outbox_bytes_max=self.config.limits.outbox_bytes_max,
            header_token=token,
        )

    def session_ended(self, session: Session) -> None:
        self.presences.forget(session)
        self.catchup.forget(session)
        if session.user:
            self.hub.remove(session)
            self.auth.logins.left(Actor(session.user, session.device))

    def saw_all(self) -> None:
        """A connection is use of its token, however long it lasts."""
        for session in self.hub.all():
            self.auth.logins.left(Actor(session.user, session.device))

    def _cleared(self, chat: str) -> None:
        if self.cluster is not None:
            self.cluster.grown(chat)

    def _related_anew(self, user: str) -> None:
        self.rooms.unrelate(user)
        self.presences.refresh(user)

    def _blocks_changed(self, user: str, other: str) -> None:
        self._related_anew(user)
        self.presences.refresh(other)

    # --- regular work ----------------------------------------------------------------

    def tick(self) -> None:
        """Several times a second; `cursors`, `rooms` and `auth` have ticks of their own."""
        self.catchup.tick()
        self.journal.tick()
        self.acks.tick()
        self.receipts.tick()
        self.presences.tick()
        if self.cluster is not None:
            self.cluster.tick()
