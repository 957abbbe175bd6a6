"""`overload`: several times as many messages as the server can carry, and then normal load again.

What is asked of it: it refuses with `busy` what is too much, and goes on with the rest at most
of its speed; what waits stays bounded, and so does its memory; and soon after, everything is
as before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from whatsapp.bench import frames
from whatsapp.bench.direct import CONNECTIONS, TEXT_BYTES, named
from whatsapp.bench.figures import Figure, percentile
from whatsapp.bench.meter import Meter
from whatsapp.bench.peer import Sender
from whatsapp.bench.process import Measured
from whatsapp.bench.scene import Outcome, Scene, Schedule, all_arrived, pair_up

UNDER_WAY_EACH = 10
NORMAL_SHARE = 0.5
BUSY = "busy"
# What must be kept of the capacity, and how soon all must be as before.
KEPT_SHARE = 0.6
RECOVERY_SECONDS = 10.0
# Looked at for longer than that, to tell how late it was.
WATCHED_SECONDS = 20.0
WINDOW_SECONDS = 0.25
# Normal: no slower than this, where it was quicker before; in so many windows, one by one.
NORMAL_FACTOR, NORMAL_SECONDS_MIN = 2.0, 0.05
WINDOWS_NORMAL = 4
# A client with so much unsent has nothing to say for the time being.
UNSENT_BYTES_MAX = 16_384
# What the server's limits allow: drafts that wait (with what belongs to each), and an outbox
# for each connection.
DRAFTS, DRAFT_BYTES = 20_000, 3_000
OUTBOX_BYTES = 1_048_576
MIB = 1 << 20

Missed = Iterator[str]


class Flood(Schedule):
    """Arrivals that a client with a full socket does not send."""

    def __init__(self, senders: list[Sender], rate: float, begin: float) -> None:
        super().__init__(senders, rate, begin)
        self.offered = self.held = 0

    def wants(self, sender: Sender) -> bool:
        self.offered += 1
        full = sender.peer.unsent_bytes > UNSENT_BYTES_MAX
        self.held += full
        return not full


class Memory:
    """The most that it was; looked at now and then."""

    def __init__(self, process: Measured | None) -> None:
        self._process = process
        self.first = self.most = self.look()

    def look(self) -> int:
        now = self._process.resident_bytes() if self._process else 0
        self.most = max(now, getattr(self, "most", 0))
        return now

    @property
    def grown(self) -> int:
        return self.most - self.first


def run(scene: Scene) -> Outcome:
    """Normal load, `factor` times the capacity (or `rate`), normal load.

    Normal is half load as `direct` has it. The capacity that counts for the rest is the greater
    one, with more under way; half of that is more than one core carries for long with the index.
    """
    plan = scene.plan
    scene.traffic.refusable = BUSY
    scene.traffic.send_buffer_bytes = UNSENT_BYTES_MAX
    said = frames.text(plan.text_bytes or TEXT_BYTES)
    senders = pair_up(scene, plan.count(CONNECTIONS), said)
    arrived = all_arrived(scene, [], 1)
    figures: list[Figure] = []
    peak = plan.rate
    usual = NORMAL_SHARE * peak
    if not peak:
        meter = scene.closed_loop(senders, plan.seconds)
        usual = NORMAL_SHARE * meter.acknowledged / meter.seconds
        scene.settle(arrived)
        _begin(senders, scene.driver.now)
        meter = scene.closed_loop(senders, plan.seconds)
        peak = meter.acknowledged / meter.seconds
        figures += [_rate("capacity", peak), *meter.cpu("message", meter.acknowledged)]
    scene.settle(arrived)
    before = scene.open_loop(senders, plan.seconds, usual)
    normal = percentile(sorted(before.to_peer), 99)
    scene.settle(arrived)
    memory = Memory(scene.target.process)
    flood, meter = _flood(scene, senders, plan.factor * peak, memory)
    back = _recovery(scene, senders, usual, _limit(normal))
    memory.look()
    scene.settle(arrived)
    goodput = min(meter.acknowledged, meter.delivered) / meter.seconds
    figures += [
        _rate("before and after", usual),
        Figure(name="before, until the other's socket, p99", value=normal * 1000, unit="ms"),
        *(named(figure, "meanwhile: ") for figure in _meanwhile(flood, meter, goodput, peak)),
        Figure(name="memory, grown by at most", value=memory.grown / MIB, unit="MB"),
        Figure(name="until p99 is as before", value=back, unit="s"),
    ]
    return Outcome(
        about=f"{len(senders)} connections in pairs, {len(said):,}-byte texts;"
        f" {plan.factor:g} times the capacity for {plan.seconds:g} s, then normal load",
        figures=figures,
        verdict=scene.verdict(),
        warnings=meter.warnings(),
        errors=scene.traffic.errors,
        missed=list(
            missed(
                kept=goodput / peak,
                back=back,
                grown=memory.grown,
                connections=len(senders),
            )
        ),
    )


def _begin(senders: list[Sender], now: float) -> None:
    """So many of each are always under way: with one, a slow disk hides how much it can."""
    for sender in senders:
        for _ in range(UNDER_WAY_EACH):
            sender.send(now)
        sender.peer.flush()


def missed(*, kept: float, back: float, grown: int, connections: int) -> Missed:
    """What was asked and not done."""
    if kept < KEPT_SHARE:
        yield f"{kept:.0%} of the capacity was kept, {KEPT_SHARE:.0%} is asked"
    if not back <= RECOVERY_SECONDS:
        yield f"as before only after {back:.1f} s, {RECOVERY_SECONDS:.0f} s are allowed"
    allowed = DRAFTS * DRAFT_BYTES + connections * OUTBOX_BYTES
    if grown > allowed:
        yield f"memory grew by {grown / MIB:.0f} MB, the limits allow {allowed / MIB:.0f}"


def _flood(scene: Scene, senders: list[Sender], rate: float, memory: Memory) -> tuple[Flood, Meter]:
    """Offer so many a second, all through."""
    flood = Flood(senders, rate, scene.driver.now)
    refused = scene.traffic.refused
    meter = scene.meter()
    for _ in _windows(scene, scene.plan.seconds, flood.arrive):
        scene.tell("too much", scene.traffic.refused - refused, flood.offered)
        memory.look()
    return flood, meter.stop()


def _meanwhile(flood: Flood, meter: Meter, goodput: float, peak: float) -> list[Figure]:
    seconds = meter.seconds
    return [
        _rate("offered", flood.offered / seconds),
        _rate("of these not sent, with a full socket", flood.held / seconds),
        _rate("refused as `busy`", meter.refused / seconds),
        _rate("acknowledged and delivered", goodput),
        Figure(name="of the capacity", value=100 * goodput / peak, unit="%"),
        *meter.loads(),
    ]


def _recovery(scene: Scene, senders: list[Sender], rate: float, limit: float) -> float:
    """Seconds until times are normal again, and stay so; not a number where they do not."""
    schedule = Schedule(senders, rate, scene.driver.now)
    to_peer, began = scene.traffic.to_peer, time.perf_counter()
    place, since, normal = len(to_peer), 0.0, 0
    for _ in _windows(scene, WATCHED_SECONDS, schedule.arrive):
        scene.tell("normal load again", 0, 1)
        good = is_normal(to_peer[place:], limit)
        if not good:
            since = time.perf_counter() - began
        place, normal = len(to_peer), (normal + 1) * good
        if normal >= WINDOWS_NORMAL:
            return since
    return float("inf")


def is_normal(seconds: Sequence[float], limit: float) -> bool:
    """Did anything arrive, and (but for one in a hundred) within the limit?"""
    return percentile(sorted(seconds), 99) <= limit


def _limit(normal: float) -> float:
    return max(NORMAL_FACTOR * normal, NORMAL_SECONDS_MIN)


def _windows(scene: Scene, seconds: float, arrive: Callable[[float], float]) -> Iterator[None]:
    for _ in range(max(1, round(seconds / WINDOW_SECONDS))):
        scene.driver.run(WINDOW_SECONDS, arrivals=arrive)
        yield


def _rate(name: str, value: float) -> Figure:
    return Figure(name=name, value=value, unit="/s")
