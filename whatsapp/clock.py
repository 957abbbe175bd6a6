"""Where time, chance and tasks come from. The core asks these; it never asks the system.

Why: a run of the core repeats from its seed only if nothing in it reads a clock, draws a
random number or starts a task by itself. The server passes the real ones in (`app.py`);
the seeded world of `tests/faults/` passes its own.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

log = logging.getLogger(__name__)


class Clock(Protocol):
    """Two clocks: one for display, one for waiting."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC. For display only: it may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump. For limits and time-outs."""
        ...


class Promise(Protocol):
    """A result that somebody awaits and somebody else settles, once."""

    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, error: BaseException, /) -> None: ...
    def done(self) -> bool: ...
    def __await__(self) -> Any: ...


class Scheduler(Protocol):
    """What the core needs of an event loop."""

    def soon(self, call: Callable[[], None]) -> None:
        """Call it once the present turn of the loop is over."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else, and keep it alive until it ends."""
        ...

    def promise(self) -> Promise:
        """A new promise, not settled."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    # As it is: to wrap it would be one more call, several times for each message.
    monotonic = staticmethod(time.monotonic)


class LoopScheduler:
    """The running asyncio loop. Tasks are held strongly: the loop itself keeps weak references."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Tasks that were spawned and have not ended."""
        return len(self._tasks)

    def soon(self, call: Callable[[], None]) -> None:
        self._loop.call_soon(call)

    @property
    def busy(self) -> bool:
        """Does anything that was spawned still run?"""
        return bool(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def promise(self) -> Promise:
        return self._loop.create_future()

    async def settled(self) -> None:
        """Wait until every spawned task has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed task=%s", task.get_name(), exc_info=error)


def unique_id() -> str:
    """128 random bits as text; for ids that must not be guessed."""
    return secrets.token_urlsafe(16)


def uuid7(now_ms: int, random_bytes: bytes) -> str:
    """A UUIDv7 (RFC 9562, 5.7) from a time and ten random bytes."""
    number = (now_ms << 80) | int.from_bytes(random_bytes, "big")
    number = (number & ~(0xF << 76)) | (0x7 << 76)
    number = (number & ~(0x3 << 62)) | (0x2 << 62)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


Sleep = Callable[[float], Awaitable[None]]
