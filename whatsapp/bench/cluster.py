"""`cluster`: messages between users of different instances, over a MongoDB and a ZooKeeper.

Three instances of our own, as processes, each time in a new database and below a new ZooKeeper
node. What they share is named as for `whatsapp serve`: by a file, or by WHATSAPP_…
variables; or it is what `make services` has started here.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import string
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from whatsapp import config
from whatsapp.bench import frames
from whatsapp.bench.direct import TEXT_BYTES, check_receipts, message_figures, named
from whatsapp.bench.figures import Figure
from whatsapp.bench.ledger import Verdict
from whatsapp.bench.peer import Place, Sender
from whatsapp.bench.people import Tell
from whatsapp.bench.process import Process, Together, listening
from whatsapp.bench.scene import Outcome, Plan, Scene, all_arrived, pair_up
from whatsapp.bench.server import Target, linked, started
from whatsapp.errors import StartupError

INSTANCES = 3
NAMES = string.ascii_lowercase
CONNECTIONS = 60
# Whoever writes to the group has so many messages under way; the members are the same, however
# many instances there are.
MEMBERS = 10
UNDER_WAY_EACH = 10
DATABASE = "whatsapp-bench"
LINKED_SECONDS = 30.0
# The first message of a chat makes it, which FerretDB takes long for.
CHATS_SECONDS = 60.0
# Where `make services` says how to reach what it has started.
MADE = Path(".cache", "services", "environment")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MONGO_PORT = 27017
MICRO = 1e6


class Services(Struct, frozen=True, kw_only=True):
    """What the instances share, and how they are told of it."""

    storage: config.Storage
    environment: Mapping[str, str]
    arguments: tuple[str, ...]


def services(file: Path | None) -> Services:
    """Those of the file, of the environment, or of `make services`; `StartupError` without."""
    environment = {
        "WHATSAPP_CLUSTER_SECRET": secrets.token_hex(32),
        "WHATSAPP_CLUSTER_HOST": "127.0.0.1",
        "WHATSAPP_CLUSTER_PORT": "0",
        "WHATSAPP_CLUSTER_ADDRESS": "",
        "WHATSAPP_AUTH_REGISTRATION": "open",
        # What is slow is measured, not refused.
        "WHATSAPP_STORAGE_TIMEOUT_SECONDS": "60",
    }
    named_here = "WHATSAPP_STORAGE_BACKEND" in os.environ
    made = {} if file or named_here else _of_make()
    found = config.load(file, {**made, **os.environ, **environment})
    if (found.storage.backend, found.directory.backend) != ("mongo", "zookeeper"):
        raise StartupError(
            "a cluster needs a MongoDB and a ZooKeeper, and none are named",
            "Run `make services` in another terminal; or name them with --config FILE, which"
            ' says backend = "mongo" in [storage] and backend = "zookeeper" in [directory].',
        )
    if made:
        _reach(found)
    arguments = ("--config", str(file)) if file else ()
    return Services(storage=found.storage, environment={**made, **environment}, arguments=arguments)


def _of_make() -> dict[str, str]:
    try:
        text = MADE.read_text("utf-8")
    except OSError:
        return {}
    return dict(re.findall(r"^export (\w+)='(.*)'$", text, re.MULTILINE))


def _reach(found: config.Config) -> None:
    """What `make services` has left behind may have ended since."""
    for place in (urlsplit(found.storage.url).netloc, found.directory.hosts):
        host, _, port = place.partition(":")
        try:
            socket.create_connection((host, int(port)), 5).close()
        except OSError as error:
            raise StartupError(
                f"{place}, of {MADE}, does not answer: {error}",
                "Run `make services` in another terminal; or name others with --config FILE.",
            ) from None


def run(plan: Plan, tell: Tell) -> Outcome:
    """Each driver after the other."""
    shared = services(plan.config)
    drivers = plan.drivers or (shared.storage.driver,)
    done = [_with_driver(plan, shared, driver, tell) for driver in drivers]
    several = len(drivers) > 1
    return Outcome(
        about=done[0].about + (f", {drivers[0]}" if not several else ""),
        figures=[
            named(figure, f"{driver}: ") if several else figure
            for driver, outcome in zip(drivers, done, strict=True)
            for figure in outcome.figures
        ],
        verdict=sum((outcome.verdict for outcome in done), Verdict()),
        warnings=[
            *(warning for outcome in done for warning in outcome.warnings),
            f"the databases {DATABASE}-… stay in the store; drop them when you like",
        ],
        errors=[error for outcome in done for error in outcome.errors],
    )


def _with_driver(plan: Plan, shared: Services, driver: str, tell: Tell) -> Outcome:
    count = plan.writers or INSTANCES
    with _instances(plan, shared, driver, count) as targets:
        processes = {name: t.process for name, t in targets.items() if t.process is not None}
        first = next(iter(targets.values()))
        target = replace(first, process=Together(processes))
        places = [Place(each.host, each.port) for each in targets.values()]
        with contextlib.closing(Scene(plan, target, tell, places=places)) as scene:
            measure = _group if plan.writers else _pairs
            return measure(scene, _store(shared.storage))


@contextlib.contextmanager
def _instances(
    plan: Plan, shared: Services, driver: str, count: int
) -> Iterator[dict[str, Target]]:
    """So many, linked with each other."""
    # Of this run alone: another one may have ended in the middle, and with what it has stored
    # FerretDB would be slower for the next one.
    own = f"{DATABASE}-{secrets.token_hex(4)}"
    environment = {
        **shared.environment,
        "WHATSAPP_STORAGE_DATABASE": own,
        "WHATSAPP_STORAGE_DRIVER": driver,
        "WHATSAPP_DIRECTORY_ROOT": f"/{own}",
    }
    with contextlib.ExitStack() as stack:
        targets = {
            name: stack.enter_context(
                started(
                    [*shared.arguments, "--loop", plan.loop],
                    environment={**environment, "WHATSAPP_DIRECTORY_INSTANCE": name},
                )
            )
            for name in NAMES[:count]
        }
        end = time.monotonic() + LINKED_SECONDS
        while any(linked(target) < count - 1 for target in targets.values()):
            if time.monotonic() > end:
                raise StartupError(
                    f"the {count} instances are not linked after {LINKED_SECONDS:.0f} s",
                    "Look at [cluster] of the configuration.",
                )
            time.sleep(0.1)
        yield targets


def _store(storage: config.Storage) -> Process | None:
    """The process of the store, where it is on this machine and we may see it."""
    parts = urlsplit(storage.url)
    if parts.scheme != "mongodb" or "," in parts.netloc or parts.hostname not in LOOPBACK:
        return None
    return listening(parts.port or MONGO_PORT)


def _pairs(scene: Scene, store: Process | None) -> Outcome:
    """Closed loop, as `direct`; the two of a pair are on different instances."""
    said = frames.text(scene.plan.text_bytes or TEXT_BYTES)
    senders = pair_up(scene, scene.plan.count(CONNECTIONS), said)
    arrived = all_arrived(scene, [sender.line for sender in senders], 1)
    about = f"{len(senders)} connections in pairs across {len(scene.places)} instances"
    outcome = _measured(scene, senders, store, arrived, f"{about}, {len(said):,}-byte texts")
    check_receipts(scene, senders)
    return replace(outcome, verdict=scene.verdict(), errors=scene.traffic.errors)


def _group(scene: Scene, store: Process | None) -> Outcome:
    """Closed loop in one group; its members, who all write, are spread over the instances."""
    said = frames.text(scene.plan.text_bytes or TEXT_BYTES)
    people = scene.people.make(max(MEMBERS, len(scene.places)))
    chat = scene.people.group(people[0], people[1:])
    peers = [scene.peer(person, place) for place, person in enumerate(people)]
    lines = [peer.line(chat) for peer in peers]
    senders = [
        Sender(peer, scene.traffic, line, said)
        for peer, line in zip(peers, lines, strict=True)
        for _ in range(UNDER_WAY_EACH)
    ]
    scene.connect(peers)
    about = f"a group of {len(people)} who all write, {UNDER_WAY_EACH} under way each"
    about += f", on {len(scene.places)} instances, {len(said):,}-byte texts"
    arrived = all_arrived(scene, [], len(people) - 1)
    outcome = _measured(scene, senders, store, arrived, about)
    return replace(outcome, verdict=scene.verdict(), errors=scene.traffic.errors)


def _measured(
    scene: Scene,
    senders: list[Sender],
    store: Process | None,
    arrived: Callable[[], bool],
    about: str,
) -> Outcome:
    scene.tell("making the chats", 0, 1)
    for sender in senders:
        sender.send(scene.driver.now)
        sender.peer.flush()
    scene.driver.run(CHATS_SECONDS, done=arrived)
    made = scene.traffic.acknowledged
    before = store.cpu_seconds() if store else 0.0
    meter = scene.closed_loop(senders, scene.plan.seconds)
    # The warm-up is in both.
    spent = store.cpu_seconds() - before if store else 0.0
    count = scene.traffic.acknowledged - made
    figures = message_figures(meter)
    if store and count:
        figures.append(
            Figure(name="the store's CPU per message", value=spent / count * MICRO, unit="µs")
        )
    scene.settle(arrived)
    return Outcome(about=about, figures=figures, warnings=meter.warnings())
