"""What the two drivers of MongoDB cost: CPU of this process for each message that it appends.

    python -m tests.cluster.driver_cost [--batches 60] [--size 100] [--chats 100] [--runs 3]

Both append the same batches, in turn, through the whole of `backends/mongo_log.py`, to FerretDB or
what WHATSAPP_TEST_MONGO_URL names. What the server uses is not counted. Ends by itself, within
some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from backends.mongo import open_stores
from tests.support import mongo
from tests.support.backends import say

DRIVERS = ("motor", "pymongo")
TEXT = "x" * 1000


async def cost_us(driver: str, *, batches: int, size: int, chats: int) -> float:
    """µs of CPU a message; the first batch, which makes the chats, is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        settings = mongo.settings(Path(folder), driver)
        try:
            async with open_stores(settings) as stores:

                async def append() -> None:
                    drafts = [say(TEXT, chat=f"ann:u{n % chats:04}") for n in range(size)]
                    await stores.messages.append(drafts)

                await append()
                began = time.process_time()
                for _ in range(batches):
                    await append()
                return (time.process_time() - began) / (batches * size) * 1e6
        finally:
            mongo.drop(Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("batches", 60), ("size", 100), ("chats", 100), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = vars(parser.parse_args())
    runs = wanted.pop("runs")
    found: dict[str, list[float]] = {driver: [] for driver in DRIVERS}
    for _ in range(runs):
        for driver in DRIVERS:
            found[driver].append(asyncio.run(cost_us(driver, **wanted)))
    for driver, costs in found.items():
        low, high = min(costs), max(costs)
        print(f"{driver:8} {statistics.median(costs):7.1f} µs a message ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
