"""The one task that does what is due regularly, as a table: how often, and what."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

Work = Callable[[], None]
# Told by how many seconds a turn came late.
Lagged = Callable[[float], None]

POLL_SECONDS = 0.01


async def tick(seconds: float, table: Sequence[tuple[int, Work]], lagged: Lagged) -> None:
    """For ever, every `seconds`: each work whose number of turns is over. None stops another."""
    loop = asyncio.get_running_loop()
    turn = 0
    while True:
        due = loop.time() + seconds
        await asyncio.sleep(seconds)
        lagged(loop.time() - due)
        turn += 1
        for every, work in table:
            if turn % every == 0:
                try:
                    work()
                except Exception:
                    log.exception("regular work failed")


async def until(done: Callable[[], bool], seconds: float = math.inf) -> None:
    """Wait until it is so, at most so long. Only for the end: it asks again and again."""
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:  # noqa: ASYNC110 — nobody tells us
        await asyncio.sleep(POLL_SECONDS)
