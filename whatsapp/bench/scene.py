"""What every scenario is given, and what it hands back."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from whatsapp.bench.driver import Driver, Traffic
from whatsapp.bench.figures import Figure
from whatsapp.bench.frames import RUN_CHARACTERS
from whatsapp.bench.ledger import Verdict
from whatsapp.bench.meter import Meter
from whatsapp.bench.peer import Line, Peer, Place, Sender, connect_all, hang_up
from whatsapp.bench.people import People, Person, Rest, Tell
from whatsapp.bench.server import Target, pauses
from whatsapp.errors import StartupError

# What is under way when the sending ends must come in this time, or counts as lost.
SETTLE_SECONDS = 15.0
WARM_UP_SECONDS = 2.0
# One address has this many ports to connect from, at Linux's defaults.
PORTS_PER_ADDRESS = 28_000


class Plan(Struct, frozen=True, kw_only=True):
    """What was asked for. 0 is the scenario's own default, where it has one."""

    store: str = "sqlite"
    loop: str = "auto"
    url: str = ""
    pid: int | None = None
    data: Path | None = None
    connections: int = 0
    members: int = 100
    senders: int = 1
    messages: int = 200_000
    chats: int = 200
    pending: int = 5
    text_bytes: int = 0
    rate: float = 0.0
    half: bool = False
    factor: float = 5.0
    config: Path | None = None
    drivers: tuple[str, ...] = ()
    writers: int = 0
    seconds: float = 5.0
    runs: int = 3

    def count(self, default: int) -> int:
        return self.connections or default


class Outcome(Struct, frozen=True, kw_only=True):
    """One run of one scenario."""

    about: str
    figures: list[Figure]
    verdict: Verdict = Verdict()
    warnings: list[str] = []
    errors: list[str] = []
    # What was asked of the server and not done, though nothing went wrong.
    missed: list[str] = []


class Scene:
    """A server, a generator, and people to make connections for.

    With several `places` there are several instances, and `target` has the address of the first
    and the processes of all.
    """

    def __init__(
        self,
        plan: Plan,
        target: Target,
        tell: Tell,
        *,
        data: Path | None = None,
        places: Sequence[Place] = (),
    ) -> None:
        self.plan = plan
        self.data = data
        self.target = target
        self.tell = tell
        self.run_id = secrets.token_hex(RUN_CHARACTERS // 2)
        self.driver = Driver()
        self.traffic = Traffic(self.run_id)
        self.rest = Rest(target)
        self.people = People(self.rest, self.run_id, tell)
        self.peers: list[Peer] = []
        sources = _sources(target.host, plan.connections)
        self.places = places or [Place(target.host, target.port, sources)]

    def close(self) -> None:
        hang_up(self.peers)
        self.driver.close()
        self.rest.close()

    def peer(self, person: Person, place: int = 0) -> Peer:
        """A device that connects to one of the places, counted around."""
        where = self.places[place % len(self.places)]
        peer = Peer(self.driver, self.traffic, where, person.token)
        self.peers.append(peer)
        return peer

    def connect(self, peers: list[Peer], *, at_once: int = 100) -> None:
        """All of them, or `StartupError`."""
        if not connect_all(peers, at_once=at_once):
            said = "; ".join(self.traffic.errors) or "no `synced` came"
            raise StartupError(f"not every connection came up: {said}", "See the server's log.")

    def meter(self) -> Meter:
        if len(self.places) > 1:
            return Meter(self.traffic, self.target.process)
        return Meter(self.traffic, self.target.process, lambda: pauses(self.target))

    def watched(self, seconds: float, done: Callable[[], bool] | None = None) -> None:
        """Run the generator, telling how far it is."""
        whole = max(1, round(seconds))
        for second in range(whole):
            self.tell("measuring", second, whole)
            if self.driver.run(seconds / whole, done=done):
                return

    def closed_loop(self, senders: list[Sender], seconds: float) -> Meter:
        """Each sender sends when its last one was answered."""
        for sender in senders:
            sender.again = True
            if sender.answered == len(sender.began):
                sender.send(self.driver.now)
                sender.peer.flush()
        self.driver.run(WARM_UP_SECONDS)
        meter = self.meter()
        self.watched(seconds)
        meter.stop()
        for sender in senders:
            sender.again = False
        if not meter.acknowledged:
            self.traffic.failed(f"nothing was acknowledged in {seconds:g} s: see --seconds")
        return meter

    def open_loop(self, senders: list[Sender], seconds: float, rate: float) -> Meter:
        """`rate` messages a second, from one sender after the other, whatever is answered."""
        schedule = Schedule(senders, rate, self.driver.now)
        self.driver.run(WARM_UP_SECONDS, arrivals=schedule.arrive)
        meter = self.meter()
        self.tell("measuring", 0, 1)
        self.driver.run(seconds, arrivals=schedule.arrive)
        return meter.stop()

    def settle(self, expected: Callable[[], bool]) -> None:
        """Let what is under way arrive."""
        self.tell("settling", 0, 1)
        self.driver.run(SETTLE_SECONDS, done=expected)

    def verdict(self) -> Verdict:
        return self.traffic.ledger.judge()


class Schedule:
    """Arrivals at even distances, as seen from a clock and not from the answers."""

    def __init__(self, senders: list[Sender], rate: float, begin: float) -> None:
        self._senders = senders
        self._gap = 1 / rate
        self._begin = begin
        self._count = 0

    def arrive(self, now: float) -> float:
        """Send all that is due; seconds until the next one is."""
        peers: dict[Peer, None] = {}
        due = self._begin + self._count * self._gap
        while due <= now:
            sender = self._senders[self._count % len(self._senders)]
            if not sender.peer.ended and self.wants(sender):
                sender.send(due)
                peers[sender.peer] = None
            self._count += 1
            due = self._begin + self._count * self._gap
        for peer in peers:
            peer.flush()
        return due - now

    def wants(self, sender: Sender) -> bool:
        """Does it send what is due?"""
        return True


class Scenario(Protocol):
    def __call__(self, scene: Scene, /) -> Outcome: ...


def pair_up(scene: Scene, count: int, said: bytes) -> list[Sender]:
    """`count` devices that write to each other in pairs, connected; to different instances."""
    people = scene.people.make(count + count % 2)
    peers = [scene.peer(person, n // 2 + n % 2) for n, person in enumerate(people)]
    senders: list[Sender] = []
    for index, peer in enumerate(peers):
        one, other = sorted((people[index].user, people[index ^ 1].user))
        senders.append(Sender(peer, scene.traffic, peer.line(f"{one}:{other}"), said))
    scene.connect(peers)
    return senders


def all_arrived(scene: Scene, lines: list[Line], deliveries_each: int) -> Callable[[], bool]:
    """Is every message answered, delivered, and (in direct chats) told to be?"""
    traffic = scene.traffic

    def arrived() -> bool:
        if traffic.acknowledged + traffic.refused < traffic.sent:
            return False
        if traffic.delivered < traffic.acknowledged * deliveries_each:
            return False
        return all(line.receipted >= line.record.last_acknowledged for line in lines)

    return arrived


def _sources(host: str, connections: int) -> tuple[str, ...]:
    """Two addresses to come from where one has not ports enough."""
    if connections <= PORTS_PER_ADDRESS:
        return ()
    with_many = host == "localhost" or ipaddress.ip_address(host).is_loopback
    if not with_many or ":" in host:
        raise StartupError(
            f"{connections} connections need more ports than one address has",
            f"Ask for at most {PORTS_PER_ADDRESS}, or for a server on 127.0.0.1.",
        )
    return ("127.0.0.1", "127.0.0.2")
