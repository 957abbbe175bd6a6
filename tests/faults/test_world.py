"""A thousand seeded worlds in which nothing may go wrong, and planted bugs that must be found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.planted import PLANTS
from tests.faults.world import Violation, World, first_found

SEEDS = 1_000
PARTS = 10
# A planted bug must show within so many seeds.
PLANTED_SEEDS = 400

# Seeds that once found something; they stay, whatever they do today.
REGRESSIONS = (
    *(1282, 1772, 2152, 3784, 3961, 4079, 12_053, 13_047, 13_135, 13_527, 14_210),
    *(20_250, 20_485, 20_721, 20_798, 20_994, 21_345),
)


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_goes_wrong(part):
    count = SEEDS // PARTS
    for seed in range(1 + part * count, 1 + (part + 1) * count):
        World(seed).run()


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_was_found_once_stays_mended(seed):
    World(seed).run()


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant):
    with plant():
        found = first_found(lambda seed: World(seed).run(), PLANTED_SEEDS)
    assert found, f"not found in {PLANTED_SEEDS} seeds"
    print(f"{plant.__name__}: {found}")


def test_a_violation_says_how_to_replay_it():
    with PLANTS[0](), pytest.raises(Violation, match=r"python -m tests\.faults\.fuzz --seed \d+"):
        for seed in range(1, PLANTED_SEEDS):
            World(seed).run()


def test_a_seed_is_the_same_run_everywhere():
    """Also where the hashes of texts are others, which order sets."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.faults.fuzz", "--seed", "7", "--trace", "--no-times"]
    traces = {
        subprocess.run(
            command,
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": hashes},
            capture_output=True,
            check=True,
        ).stdout
        for hashes in ("1", "2", "3")
    }
    assert len(traces) == 1
