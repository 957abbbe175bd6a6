"""`make fuzz SEEDS=10000`, or one seed with all that happens in it:

python -m tests.faults.fuzz --seeds 10000 --start 1
python -m tests.faults.fuzz --seed 4711 --trace
python -m tests.faults.fuzz --instances 3 --seeds 10000 --keep-going
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.faults.many import Many
from tests.faults.world import Violation, World

PROGRESS_SECONDS = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=1, help="the first one")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--instances", type=int, default=1, help="how many, over one store")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--no-times", action="store_true", help="print no durations")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first")
    given = parser.parse_args()
    if given.seed is not None:
        given.start, given.seeds = given.seed, 1
    return run(range(given.start, given.start + given.seeds), given)


def run(seeds: range, given: argparse.Namespace) -> int:
    started = told = time.monotonic()
    steps, failed = 0, list[int]()
    for done, seed in enumerate(seeds, 1):
        world = _world(seed, given)
        try:
            world.run()
        except Violation as violation:
            failed.append(seed)
            _say(f"seed {seed}: {violation}")
            if not given.keep_going:
                break
        steps += world.step_number
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            _say(f"{done} of {len(seeds)} seeds, {done / (told - started):.0f} a second")
    seconds = time.monotonic() - started
    verdict = f"FAILED: {failed}" if failed else "no violation"
    took = "" if given.no_times else f", {seconds:.1f} s"
    _say(f"seeds {seeds.start} to {seed}: {verdict} ({steps} steps{took})")
    return 1 if failed else 0


def _world(seed: int, given: argparse.Namespace) -> World:
    trace = _say if given.trace else None
    if given.instances > 1:
        return Many(seed, instances=given.instances, trace=trace)
    return World(seed, trace=trace)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
