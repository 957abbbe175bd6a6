"""What is read only when somebody looks at `/metrics`: queues, memory, limits, garbage.

One line for one number: its name, what it is, where it is read. Reading must not wait and is
cheap, whatever the number of users; what every session must be asked for, `Door.look` gathers
before, over several turns of the loop.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from whatsapp.acks import Acks
from whatsapp.auth import Auth
from whatsapp.catchup import Catchup
from whatsapp.clock import LoopScheduler
from whatsapp.cluster import Cluster
from whatsapp.config import Config
from whatsapp.cursors import Cursors
from whatsapp.hub import Hub
from whatsapp.interfaces import Stores
from whatsapp.journal import Journal
from whatsapp.metrics import Metrics
from whatsapp.passwords import Passwords
from whatsapp.rates import Rates
from whatsapp.receipts import Receipts
from whatsapp.room import Rooms
from whatsapp.routes import Links
from whatsapp.web import Door


class Parts(Protocol):
    """What of an `App` is looked at."""

    config: Config
    metrics: Metrics
    stores: Stores
    scheduler: LoopScheduler
    door: Door
    hub: Hub
    journal: Journal
    catchup: Catchup
    acks: Acks
    cursors: Cursors
    receipts: Receipts
    rooms: Rooms
    rates: Rates
    auth: Auth
    passwords: Passwords
    cluster: Cluster | None
    links: Links | None

    def missing(self) -> list[str]: ...


def install(app: Parts) -> None:
    """Let `/metrics` show them."""
    gauge, counter = app.metrics.gauge, app.metrics.counter
    gauge("whatsapp_ready", "1 while /readyz says so.", lambda: not app.missing())
    app.metrics.gauges("whatsapp_sessions", "Sessions, by state.", "state", lambda: app.door.states)
    gauge("whatsapp_users_online", "Users with a session here.", lambda: len(app.hub.users()))
    gauge(
        "whatsapp_outbox_bytes",
        "Written to all connections and not yet taken by them.",
        lambda: app.door.outbox_bytes,
    )
    counter(
        "whatsapp_messages_pushed_total",
        "Log entries pushed to devices.",
        lambda: app.door.pushed_count,
    )
    gauge(
        "whatsapp_journal_pending",
        "Drafts that wait for their commit.",
        lambda: len(app.journal),
    )
    gauge(
        "whatsapp_catchup_sessions",
        "Sessions that are behind: they are read for from the store, or have no room.",
        lambda: len(app.catchup),
    )
    gauge(
        "whatsapp_acks_pending",
        "Devices' acknowledgements in groups, gathered for the next tick.",
        lambda: len(app.acks),
    )
    gauge(
        "whatsapp_cursors_pending",
        "Cursors that moved and are not written yet.",
        lambda: len(app.cursors),
    )
    gauge(
        "whatsapp_receipts_pending",
        "Receipts that wait to be told.",
        lambda: len(app.receipts),
    )
    counter(
        "whatsapp_receipts_total",
        "Receipts told to authors.",
        lambda: app.receipts.told_count,
    )
    gauge(
        "whatsapp_loaded_chats",
        "Chats that this instance holds in memory.",
        lambda: len(app.rooms),
    )
    gauge(
        "whatsapp_passwords_pending",
        "Passwords being hashed or waiting for it.",
        lambda: len(app.passwords),
    )
    gauge("whatsapp_tasks", "Background tasks of the server.", lambda: len(app.scheduler))
    app.metrics.counters(
        "whatsapp_rate_refusals_total",
        "What was refused because it came too often, by rule.",
        "rule",
        lambda: _refusals(app),
    )
    limits: dict[str, Any] = msgspec.structs.asdict(app.config.limits)
    app.metrics.gauges("whatsapp_limit", "The limits in effect.", "limit", lambda: limits)
    _install_cluster(app)
    for figure in app.stores.figures:
        gauge(figure.name, figure.about, figure.read)


def _install_cluster(app: Parts) -> None:
    """What there is only with other instances; without them there are no lines of it."""
    app.metrics.gauges(
        "whatsapp_link_queue_bytes",
        "Written to a linked instance and not yet taken by the network.",
        "to",
        lambda: app.links.depth_bytes() if app.links else {},
    )
    app.metrics.gauges(
        "whatsapp_cluster_pending",
        "Hints that wait until their users are located, and looks to be taken.",
        "queue",
        lambda: app.cluster.waiting() if app.cluster else {},
    )


@contextlib.contextmanager
def collector_pauses(metrics: Metrics) -> Iterator[None]:
    """Measure the pauses of Python's garbage collector meanwhile."""
    began = 0.0

    def heard(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
            return
        seconds = time.perf_counter() - began
        metrics.gc_pause_seconds.observe(seconds)
        longest = metrics.gc_pause_seconds_max
        longest.value = max(longest.value, seconds)

    gc.callbacks.append(heard)
    try:
        yield
    finally:
        gc.callbacks.remove(heard)


def _refusals(app: Parts) -> dict[str, float]:
    found: dict[str, float] = dict(app.rates.refused)
    found["frames"] += app.door.refused["frames"]
    found["hellos"] = app.door.refused["hellos"]
    found["passwords"] = app.auth.delays.refused
    return found
