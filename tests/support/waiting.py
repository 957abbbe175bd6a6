"""Waiting for what comes soon, and failing where it does not come at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

SECONDS_MAX = 30.0


async def soon(so: Callable[[], Any], seconds: float = SECONDS_MAX) -> float:
    """Wait until it is so; how long it took."""
    start = time.monotonic()
    while not so():
        assert time.monotonic() < start + seconds, "it did not come"
        await asyncio.sleep(0.01)
    return time.monotonic() - start


async def becomes(
    ask: Callable[[], Awaitable[Any]], wanted: Any, seconds: float = SECONDS_MAX
) -> float:
    """Wait until an answer is as wanted; how long it took."""
    start = time.monotonic()
    while (answer := await ask()) != wanted:
        assert time.monotonic() < start + seconds, repr(answer)[:1000]
        await asyncio.sleep(0.02)
    return time.monotonic() - start
