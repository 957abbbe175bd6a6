"""How long texts are kept: older ones are emptied, some at a time, beside everything else.

What is left of such an entry is its place in the log, so that catch-up, receipts and a repeated
`send` stay right; all see it as `void`. Events of groups are kept: members come from them.

What is emptied does not come back, so a wrong clock must not decide: nothing is done in the first
minutes, in which a clock is set, and nothing while it is far ahead of the time that has passed.
"""

from __future__ import annotations

import logging

from whatsapp.clock import Clock, Scheduler
from whatsapp.errors import Unavailable
from whatsapp.interfaces import MessageStore
from whatsapp.metrics import Metrics

log = logging.getLogger(__name__)

DAY_MS = 24 * 60 * 60 * 1000
ENTRIES_AT_ONCE = 500
LOOK_SECONDS = 60.0
START_SECONDS = 300.0
AHEAD_SECONDS_MAX = 24 * 60 * 60.0


class Retention:
    """Of one instance; `days` 0: texts are kept for ever."""

    def __init__(
        self,
        messages: MessageStore,
        clock: Clock,
        scheduler: Scheduler,
        metrics: Metrics,
        *,
        days: int,
    ) -> None:
        self._messages = messages
        self._clock = clock
        self._scheduler = scheduler
        self._metrics = metrics
        self._days = days
        self._busy = False
        self._began = clock.monotonic()
        self._began_ms = clock.now_ms()
        self._next = self._began + START_SECONDS

    def tick(self) -> None:
        """One step, if there is something to do; else a look from time to time."""
        if self._days and not self._busy and self._clock.monotonic() >= self._next:
            self._busy = True
            self._scheduler.spawn(self._step())

    async def _step(self) -> None:
        now_ms = self._clock.now_ms()
        before_ms = now_ms - self._days * DAY_MS
        count = 0
        passed = self._clock.monotonic() - self._began
        if (now_ms - self._began_ms) / 1000 - passed > AHEAD_SECONDS_MAX:
            log.warning("clock jumped ahead, nothing expires until the next start")
            before_ms = 0
        try:
            count = await self._messages.expire(before_ms, ENTRIES_AT_ONCE)
        except Unavailable:
            pass  # it is said elsewhere; these are old enough to wait
        finally:
            self._busy = False
            if not count:
                self._next = self._clock.monotonic() + LOOK_SECONDS
        self._metrics.entries_expired.value += count
