"""Seeded worlds of several instances in which nothing may go wrong, and planted bugs to be found.

More of them: `make fuzz SEEDS=10000 INSTANCES=3`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.many import Many
from tests.faults.planted_many import PLANTS_OF_MANY
from tests.faults.world import Violation, first_found

SEEDS = 1_000
PARTS = 10
# With as many instances so many seeds more.
OTHERS = {2: 100, 5: 50}
# A planted bug must show within so many seeds.
PLANTED_SEEDS = 200

# Seeds that once found something; they stay, whatever they do today.
REGRESSIONS = (1348, 1787, 2343, 2363, 2838, 4720, 6030, 6497, 7613)


def trace_of(seed: int) -> list[str]:
    lines: list[str] = []
    world = Many(seed, instances=3, trace=lines.append)
    try:
        world.run()
    except Violation as violation:
        lines.append(str(violation))
    return lines


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_goes_wrong(part):
    count = SEEDS // PARTS
    for seed in range(1 + part * count, 1 + (part + 1) * count):
        Many(seed, instances=3).run()


@pytest.mark.parametrize("instances", OTHERS)
def test_nothing_goes_wrong_with_fewer_and_more_instances(instances):
    for seed in range(1, 1 + OTHERS[instances]):
        Many(seed, instances=instances).run()


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_was_found_once_stays_mended(seed):
    Many(seed, instances=3).run()


@pytest.mark.parametrize("plant", PLANTS_OF_MANY, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant):
    features = frozenset(PLANTS_OF_MANY[plant]) or None
    with plant():
        found = first_found(
            lambda seed: Many(seed, instances=3, features=features).run(), PLANTED_SEEDS
        )
    assert found, f"not found in {PLANTED_SEEDS} seeds"
    print(f"{plant.__name__}: {found}")


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_seed_is_the_same_run_each_time(seed):
    assert trace_of(seed) == trace_of(seed)


def test_a_seed_is_the_same_run_where_sets_are_in_another_order():
    root = Path(__file__).resolve().parents[2]
    options = ("--instances", "3", "--seed", "211", "--trace", "--no-times")
    traces = {
        subprocess.run(
            [sys.executable, "-m", "tests.faults.fuzz", *options],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": hashes},
            capture_output=True,
            check=False,
            timeout=60,
        ).stdout
        for hashes in ("1", "2", "3")
    }
    assert len(traces) == 1
