"""`direct`: pairs that write to each other; every message durable, acknowledged, received,
and its receipt back."""

from __future__ import annotations

from msgspec.structs import replace

from whatsapp.bench import frames
from whatsapp.bench.figures import Figure
from whatsapp.bench.meter import Meter
from whatsapp.bench.peer import Sender
from whatsapp.bench.process import INDEXER
from whatsapp.bench.scene import Outcome, Scene, all_arrived, pair_up
from whatsapp.bench.server import until_quiet

CONNECTIONS = 200
TEXT_BYTES = 1000
HALF = 0.5
QUIET_SECONDS_MAX = 60.0
MICRO = 1e6


def run(scene: Scene) -> Outcome:
    """Capacity in a closed loop; with `rate` or `half`, times in an open one."""
    plan = scene.plan
    said = frames.text(plan.text_bytes or TEXT_BYTES)
    senders = pair_up(scene, plan.count(CONNECTIONS), said)
    figures: list[Figure] = []
    warnings: list[str] = []
    rate = plan.rate
    if not rate:
        meter = scene.closed_loop(senders, plan.seconds)
        figures += message_figures(meter)
        warnings += meter.warnings()
        rate = meter.acknowledged / meter.seconds * HALF if plan.half else 0.0
    arrived = all_arrived(scene, [sender.line for sender in senders], 1)
    scene.settle(arrived)
    if rate:
        meter = scene.open_loop(senders, plan.seconds, rate)
        figures += [named(figure, f"at {_load(plan.rate)}: ") for figure in message_figures(meter)]
        warnings += meter.warnings()
        scene.settle(arrived)
    figures += _indexing(scene)
    check_receipts(scene, senders)
    return Outcome(
        about=f"{len(senders)} connections in pairs, {len(said):,}-byte texts",
        figures=figures,
        verdict=scene.verdict(),
        warnings=warnings,
        errors=scene.traffic.errors,
    )


def _load(rate: float) -> str:
    return f"{rate:g}/s" if rate else "half load"


def check_receipts(scene: Scene, senders: list[Sender]) -> None:
    """Each author was told that the last one was received, or the run has failed."""
    lacking = sum(s.line.receipted < s.line.record.last_acknowledged for s in senders)
    if lacking:
        scene.traffic.failed(f"{lacking} of {len(senders)} senders lack their last receipt")


def message_figures(meter: Meter) -> list[Figure]:
    rate = Figure(name="messages", value=meter.acknowledged / meter.seconds, unit="/s")
    return [
        rate,
        *meter.cpu("message", meter.acknowledged),
        *meter.latencies(),
        *meter.loads(),
    ]


def named(figure: Figure, before: str) -> Figure:
    return replace(figure, name=before + figure.name)


def _indexing(scene: Scene) -> list[Figure]:
    """The search index lags behind; what all of it costs shows when it has caught up."""
    process = scene.target.process
    if process is None or INDEXER not in process.cpu_by_thread():
        return []
    scene.tell("indexing", 0, 1)
    if not until_quiet(process, QUIET_SECONDS_MAX):
        return []
    seconds = process.cpu_by_thread()[INDEXER]
    name = "search index, caught up, CPU per message"
    return [Figure(name=name, value=seconds / scene.traffic.acknowledged * MICRO, unit="µs")]
