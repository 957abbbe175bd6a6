"""Scenarios times runs: starts a server for each run, measures, and gathers the results."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import reduce
from operator import add
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

from whatsapp.bench import (
    cluster,
    connecting,
    direct,
    filling,
    group,
    idle,
    mixed,
    overload,
    searching,
    starting,
    sync,
)
from whatsapp.bench.figures import spreads
from whatsapp.bench.process import cores, pin
from whatsapp.bench.report import Progress, Result, Setting, environment, processor
from whatsapp.bench.scene import Outcome, Plan, Scenario, Scene
from whatsapp.bench.server import Target, at, described, served
from whatsapp.errors import StartupError

SCENARIOS: dict[str, Scenario] = {
    "direct": direct.run,
    "group": group.run,
    "idle": idle.run,
    "connect": connecting.run,
    "sync": sync.run,
    "mixed": mixed.run,
    "search": searching.run,
    "overload": overload.run,
}
READY = "ready"
CLUSTER = "cluster"
NAMES = (READY, *SCENARIOS, CLUSTER)
# Filling a store takes longer than the searches: one filled store for all runs.
FILLED = frozenset({"search"})

Say = Callable[[str], None]


def measure(plan: Plan, name: str, progress: Progress) -> Result:
    """All runs of one scenario."""
    # A cluster has more processes than there are cores: the system divides them.
    own, generator = (None, None) if plan.url or name == CLUSTER else cores()
    before = os.sched_getaffinity(0) if generator is not None else set()
    if generator is not None:
        pin(0, generator)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_ended_in_order())
            data = _filled(plan, name, progress, stack)
            outcomes = []
            for turn in range(plan.runs):
                progress.begin(f"{name}, run {turn + 1} of {plan.runs}")
                outcomes.append(_once(plan, name, own, data, progress))
    finally:
        progress.clear()
        if before:
            os.sched_setaffinity(0, before)
    return Result(
        scenario=name,
        about=outcomes[0].about,
        runs=plan.runs,
        figures=spreads([outcome.figures for outcome in outcomes]),
        verdict=reduce(add, (outcome.verdict for outcome in outcomes)),
        warnings=_once_each(warning for outcome in outcomes for warning in outcome.warnings),
        errors=_once_each(error for outcome in outcomes for error in outcome.errors),
        missed=_once_each(missed for outcome in outcomes for missed in outcome.missed),
    )


def setting(plan: Plan, names: tuple[str, ...]) -> Setting:
    """Under what it is measured; asks the server that was named."""
    alone = CLUSTER not in names
    if plan.url:
        version, store = described(at(plan.url, None))
    else:
        version, store = Setting().version, plan.store if alone else "mongo"
    return Setting(
        server_version=version,
        store=store,
        processor=processor(),
        pinned=not plan.url and alone and cores()[0] is not None,
        load_average=os.getloadavg()[0],
        seconds=plan.seconds,
        runs=plan.runs,
        text_bytes=plan.text_bytes,
        environment=environment(),
    )


def check(plan: Plan, names: tuple[str, ...]) -> None:
    """`StartupError` for what cannot be measured so."""
    if CLUSTER in names:
        if len(names) > 1:
            raise StartupError(
                "a cluster is measured alone", "It has another store: run `whatsapp bench cluster`."
            )
        cluster.services(plan.config)
    if plan.data is not None and not FILLED.issuperset(names):
        _check_filled(plan, plan.data)
    for name in names:
        if plan.url and (name in {READY, CLUSTER} or name in FILLED):
            raise StartupError(
                f"{name} needs a server of its own", "Leave out --url, or choose other scenarios."
            )
        if plan.store == "memory" and name in FILLED:
            raise StartupError(f"{name} needs a store that lasts", "Use --store sqlite.")


def _check_filled(plan: Plan, folder: Path) -> None:
    """What only writes takes a store that `search` has made, and no other: it adds to it."""
    if plan.url or plan.store == "memory":
        raise StartupError("--data is for a server of its own on SQLite", "Leave out --data.")
    if not (folder / filling.NOTE).exists():
        raise StartupError(
            f"{folder} was not filled by this benchmark, which would add to it",
            f"Fill one: whatsapp bench search --messages 1000000 --data {folder}",
        )


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does, and so our server too."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _once(
    plan: Plan, name: str, core: int | None, data: Path | None, progress: Progress
) -> Outcome:
    if name == READY:
        return starting.run(plan, core)
    if name == CLUSTER:
        return cluster.run(plan, progress)
    with (
        _target(plan, core, data) as target,
        contextlib.closing(Scene(plan, target, progress, data=data)) as scene,
    ):
        return SCENARIOS[name](scene)


@contextlib.contextmanager
def _target(plan: Plan, core: int | None, data: Path | None) -> Iterator[Target]:
    if plan.url:
        yield at(plan.url, plan.pid)
        return
    with served(plan.store, core=core, data=data, loop=plan.loop) as target:
        yield target


def _filled(plan: Plan, name: str, progress: Progress, stack: contextlib.ExitStack) -> Path | None:
    if name not in FILLED:
        return plan.data
    folder = plan.data or Path(
        stack.enter_context(TemporaryDirectory(prefix="whatsapp-bench-filled-"))
    )
    progress.begin(name)
    filling.fill(folder, filling.Wish.of(plan), progress)
    return folder


def _once_each(lines: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(lines))
