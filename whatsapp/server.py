"""One running instance: builds every object by name, over backends that `app.py` opens.

Nothing here has a rule of the product in it. Who needs what is said once, in `_build_…`; the
regular work (heartbeats, cursors, receipts, presence) hangs on one ticking task.
"""

from __future__ import annotations

import asyncio
import logging
import secrets

from aiohttp import web

from whatsapp import __version__, rest
from whatsapp.accounts import Accounts
from whatsapp.acks import Acks
from whatsapp.auth import Auth, Outside
from whatsapp.catchup import Catchup
from whatsapp.chat import Conversations
from whatsapp.clock import Clock, LoopScheduler, unique_id
from whatsapp.cluster import Cluster
from whatsapp.config import Config
from whatsapp.connection import Connection
from whatsapp.cursors import Cursors
from whatsapp.effects import OfHints
from whatsapp.errors import Answer
from whatsapp.group import Groups
from whatsapp.history import Histories
from whatsapp.hub import Hub
from whatsapp.interfaces import Directory, Instance, Stores
from whatsapp.journal import Journal
from whatsapp.looks import Looks
from whatsapp.metrics import Metrics
from whatsapp.model import Actor
from whatsapp.operations import Modules
from whatsapp.passwords import Passwords, common_passwords
from whatsapp.people import Hooks, People
from whatsapp.positions import Positions
from whatsapp.presence import Presences
from whatsapp.rates import Rates
from whatsapp.receipts import Receipts
from whatsapp.room import Rooms
from whatsapp.router import Router
from whatsapp.routes import Links, Post, Routes
from whatsapp.session import Flusher, Session
from whatsapp.ticking import tick, until
from whatsapp.web import BEAT_PARTS, Door, application
from whatsapp.wire import Limits

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0 / BEAT_PARTS
CURSORS_EVERY_TICKS = 3
SLOW_WORK_EVERY_TICKS = 10
SAW_ALL_EVERY_TICKS = 6_000
# How long clients have to hear `draining` before nothing more is accepted.
DRAIN_GRACE_SECONDS = 0.2


class App:
    """A running server without its listening socket: `web` is what serves it.

    Its modules are attributes, so that tools in the same process (the demo, tests) can use
    them as REST does.
    """

    def __init__(  # noqa: PLR0913, PLR0917 — built in one place
        self,
        config: Config,
        stores: Stores,
        directory: Directory,
        passwords: Passwords,
        instance: Instance,
        clock: Clock,
        links: Links | None = None,
    ) -> None:
        self.links = links
        self.cluster: Cluster | None = None
        self.config = config
        self.stores = stores
        self.directory = directory
        self.instance = instance
        self.clock = clock
        self.scheduler = LoopScheduler()
        self.metrics = Metrics(version=__version__, store=config.storage.backend)
        self._build_core(config, stores, shared=links is not None)
        if links is not None:
            self.cluster = self._build_cluster(links)
        self._build_modules(config, stores)
        self._build_people(config, stores, passwords)
        if self.cluster is not None:
            parts = ("accounts", "auth", "hub", "positions", "presences", "rooms")
            mine = {name: getattr(self, name) for name in parts}
            self.cluster.effects = OfHints(devices=stores.devices, **mine)
        self._build_edge(config, stores)
        self._draining = False

    def _build_core(self, config: Config, stores: Stores, *, shared: bool) -> None:
        limits, clock, scheduler = config.limits, self.clock, self.scheduler
        self.rates = Rates(config.rates, clock)
        self.accounts = Accounts(
            stores.accounts,
            scheduler,
        )
        self.rooms = Rooms(
            stores.chats,
            self.accounts,
            clock,
            grown=lambda room: self.hub.grown(room),  # noqa: PLW0108 — built later
            rooms_max=limits.loaded_chats_max,
            shared=shared,
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
        clock, scheduler, metrics = self.clock, self.scheduler, self.metrics
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

    def _build_modules(self, config: Config, stores: Stores) -> None:
        clock, scheduler, cluster = self.clock, self.scheduler, self.cluster
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
            text_bytes_max=config.limits.text_bytes_max,
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
            random_bytes=secrets.token_bytes,
            new_code=unique_id,
            members_max=config.limits.group_members_max,
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

    def _build_people(self, config: Config, stores: Stores, passwords: Passwords) -> None:
        cluster = self.cluster
        self.people = People(
            self.accounts,
            self.rates,
            stores.chats.contacts,
            Hooks(privacy_changed=self._related_anew, blocks_changed=self._blocks_changed),
        )
        self.auth = Auth(
            config.auth,
            Outside(
                clock=self.clock,
                scheduler=self.scheduler,
                accounts=self.accounts,
                devices=stores.devices,
                passwords=passwords,
                common_passwords=common_passwords(),
                rates=self.rates,
                new_token=lambda: secrets.token_urlsafe(32),
                new_id=unique_id,
                revoke=self.hub.revoke,
                erased=self.groups.leave_all,
                gone=self._related_anew,
                ended=cluster.ended if cluster else lambda *_: None,
            ),
        )

    def _build_edge(self, config: Config, stores: Stores) -> None:
        limits = config.limits
        self.router = Router(
            auth=self.auth,
            conversations=self.conversations,
            positions=self.positions,
            presences=self.presences,
            directory=self.directory,
            hub=self.hub,
            clock=self.clock,
            metrics=self.metrics,
            instance=self.instance.name,
            durable=stores.durable,
            arrived=self.cluster.arrived if self.cluster else None,
            limits=Limits(
                frame_bytes=limits.frame_bytes_max,
                text_bytes=limits.text_bytes_max,
                window=limits.window_messages,
                heartbeat_s=max(1, round(config.server.heartbeat_seconds)),
            ),
        )
        self.door = Door(
            router=self.router,
            new_session=self._new_session,
            new_bucket=self.rates.connection,
            ended=self._session_ended,
            settings=config.server,
            limits=limits,
            metrics=self.metrics,
        )
        modules = Modules(
            auth=self.auth,
            people=self.people,
            conversations=self.conversations,
            histories=self.histories,
            groups=self.groups,
            presences=self.presences,
            metrics=self.metrics,
        )
        self.web: web.Application = application(
            door=self.door,
            rest_routes=rest.routes(modules, rest.proxies(config.server.trusted_proxies)),
            readiness=self.missing,
            metrics=self.metrics,
        )
        self.metrics.journal_pending.read = lambda: len(self.journal)
        self.metrics.catchup_sessions.read = lambda: len(self.catchup)
        self.metrics.loaded_chats.read = lambda: len(self.rooms)

    # --- sessions --------------------------------------------------------------------

    def _new_session(self, connection: Connection, number: int, token: str | None) -> Session:
        return Session(
            connection,
            self.flusher,
            number=number,
            opened_at=asyncio.get_running_loop().time(),
            window=self.config.limits.window_messages,
            outbox_bytes_max=self.config.limits.outbox_bytes_max,
            header_token=token,
        )

    def _session_ended(self, session: Session) -> None:
        self.presences.forget(session)
        self.catchup.forget(session)
        if session.user:
            self.hub.remove(session)
            self.auth.logins.left(Actor(session.user, session.device))

    def _saw_all(self) -> None:
        """A connection is use of its token, however long it lasts."""
        for session in self.hub.all():
            self.auth.logins.left(Actor(session.user, session.device))

    def _related_anew(self, user: str) -> None:
        self.rooms.unrelate(user)
        self.presences.refresh(user)

    def _blocks_changed(self, user: str, other: str) -> None:
        self._related_anew(user)
        self.presences.refresh(other)

    # --- running ---------------------------------------------------------------------

    def missing(self) -> list[str]:
        """What keeps this instance from being ready; empty when it is."""
        missing = ["draining"] if self._draining else []
        if not self.directory.healthy():
            missing.append("directory")
        return missing

    async def tick(self) -> None:
        """The regular work, for ever."""
        slow = SLOW_WORK_EVERY_TICKS
        table = [
            (1, self.door.beat),
            (1, self.catchup.tick),
            (1, self.journal.tick),
            (1, self.acks.tick),
            (1, self.receipts.tick),
            (1, self.presences.tick),
            (CURSORS_EVERY_TICKS, self.cursors.tick),
            (slow, self.auth.tick),
            (slow, self.rooms.tick),
            (slow, lambda: self.scheduler.spawn(self.presences.flush())),
            (SAW_ALL_EVERY_TICKS, self._saw_all),
        ]
        if self.cluster is not None:
            table.append((1, self.cluster.tick))
        await tick(TICK_SECONDS, table, self.metrics)

    async def drain(self) -> None:
        """End all connections: what was accepted is committed and answered, the rest refused.

        Takes `DRAIN_GRACE_SECONDS`, the time of the last commits, and at most
        `close_timeout_seconds` for the peers to close; bounded from outside by the caller.
        """
        if self._draining:
            return
        self._draining = True
        self.door.announce_drain()
        await asyncio.sleep(DRAIN_GRACE_SECONDS)
        self.journal.close()
        await until(lambda: self.journal.quiet)
        self.flusher.flush()
        self.door.close_all()
        await until(lambda: not len(self.door), self.config.server.close_timeout_seconds)
        self.door.abort_all()

    async def close(self) -> None:
        """Write what was still gathered. The stores are closed after this."""
        self._draining = True
        self.door.draining = True
        self.journal.close()
        self.door.abort_all()
        await until(lambda: self.journal.quiet)
        self.acks.tick()
        for flush in (self.cursors.flush, self.presences.flush, self.auth.flush):
            try:
                await flush()
            except Answer as error:
                log.warning("not written at the end code=%s", error.code)
        await self.scheduler.settled()
        if self.cluster is not None:
            self.cluster.bye()
