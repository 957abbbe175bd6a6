"""One running instance: the core, with sockets, HTTP and the regular work around it.

Nothing here has a rule of the product in it. `app.py` opens the backends under it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from functools import partial

from aiohttp import web

from whatsapp import __version__, gauges, rest
from whatsapp.clock import Clock, LoopScheduler, unique_id
from whatsapp.config import Config
from whatsapp.connection import Connection
from whatsapp.core import Core, World
from whatsapp.errors import Answer
from whatsapp.interfaces import Directory, Instance, Stores
from whatsapp.metrics import Metrics
from whatsapp.operations import Modules
from whatsapp.passwords import Passwords, common_passwords
from whatsapp.routes import Links
from whatsapp.session import Session
from whatsapp.ticking import Work, tick, until
from whatsapp.watch import Watch
from whatsapp.web import BEAT_PARTS, Door, application

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0 / BEAT_PARTS
CURSORS_EVERY_TICKS = 3
SLOW_WORK_EVERY_TICKS = 10
SAW_ALL_EVERY_TICKS = 6_000
# How long clients have to hear `draining` before nothing more is accepted.
DRAIN_GRACE_SECONDS = 0.2
# See `Router._failed`.
BUSY_HOLD_SECONDS = 0.05


class App(Core):
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
        self.scheduler = LoopScheduler()
        self.passwords = passwords
        metrics = Metrics(version=__version__, store=config.storage.backend)
        self.watch = Watch(metrics, clock, slow_seconds=config.log.slow_seconds)
        world = World(
            instance=instance,
            directory=self.watch.over("directory", directory),
            clock=clock,
            scheduler=self.scheduler,
            metrics=metrics,
            passwords=passwords,
            common_passwords=common_passwords(),
            random_bytes=secrets.token_bytes,
            new_id=unique_id,
            new_token=lambda: secrets.token_urlsafe(32),
            links=links,
            hold=partial(asyncio.sleep, BUSY_HOLD_SECONDS),
        )
        super().__init__(config, self.watch.stores(stores), world)
        self._build_edge()
        self._draining = False

    def _build_edge(self) -> None:
        config = self.config
        self.door = Door(
            router=self.router,
            new_session=self._new_session,
            new_bucket=self.rates.connection,
            ended=self.session_ended,
            settings=config.server,
            limits=config.limits,
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
            rest_routes=rest.routes(
                modules, rest.proxies(config.server.trusted_proxies), self.watch.request
            ),
            readiness=self.missing,
            metrics=self.metrics,
        )
        gauges.install(self)

    def _new_session(self, connection: Connection, number: int, token: str | None) -> Session:
        now = asyncio.get_running_loop().time()
        return self.session(connection, number, opened_at=now, token=token)

    # --- running ---------------------------------------------------------------------

    def missing(self) -> list[str]:
        """What keeps this instance from being ready; empty when it is."""
        missing = ["draining"] if self._draining else []
        if not self.directory.healthy():
            missing.append("directory")
        return missing + self.watch.missing()

    async def keep_ticking(self) -> None:
        """The regular work, for ever."""
        slow = SLOW_WORK_EVERY_TICKS
        table: list[tuple[int, Work]] = [
            (1, self.door.beat),
            (1, self.tick),
            (CURSORS_EVERY_TICKS, self.cursors.tick),
            (slow, self.auth.tick),
            (slow, self.rooms.tick),
            (1, self.retention.tick),
            (slow, lambda: self.scheduler.spawn(self.presences.flush())),
            (slow, lambda: self.scheduler.spawn(self.watch.probe())),
            (SAW_ALL_EVERY_TICKS, self.saw_all),
        ]
        await tick(TICK_SECONDS, table, self.watch.lagged)

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
