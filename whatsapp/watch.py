"""Watching what the server waits for: how long it took, what was slow, what is away.

Each store is wrapped once, at the start, so that every call of every backend is measured in
one place and nobody else needs a clock for it. The price is half a microsecond a call; an
append is one call for a whole batch.

The store is *away* while the last append or the last write of cursors failed, or one is under
way for seconds (there is never more than one of each). Where it failed, it is asked
once a second then, with a write that has no effect: without that, a server that nobody sends
to because it is not ready would never be ready again. Such a write may succeed where a real
one does not (there may be no room), so it is believed some seconds after the last failure.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sized
from typing import Any, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from whatsapp.clock import Clock
from whatsapp.errors import Internal
from whatsapp.interfaces import Stores
from whatsapp.metrics import Metrics
from whatsapp.model import CursorMove

log = logging.getLogger(__name__)

SLOW_LINE_EVERY_SECONDS = 10.0
# The writes whose failing means that the store is away. (Others fail for reasons of their own:
# a search that takes too long.)
VITAL = ("messages.append", "chats.advance")
# Of no chat: it has no effect, and passes through all that a write does.
NO_MOVE = CursorMove(chat="probe", user="probe")

PROBE_BELIEVED_AFTER_SECONDS = 10.0
STUCK_SECONDS = 3.0

T = TypeVar("T")
Call = Callable[..., Awaitable[Any]]


class Over(Struct, frozen=True, kw_only=True):
    """A call or a request that is over. `count`: how many things in it, or the HTTP status."""

    name: str
    seconds: float
    count: int
    failed: bool
    headers: Mapping[str, str] = {}


Span = Callable[[Over], None]


class Watch:
    """What happens in one server. `span`: who is told of each thing that is over, if anybody."""

    def __init__(self, metrics: Metrics, clock: Clock, *, slow_seconds: float) -> None:
        self._metrics = metrics
        self._clock = clock
        self._slow_seconds = slow_seconds
        self.span: Span | None = None
        self._slow_told: dict[tuple[str, str], tuple[float, int]] = {}
        # When a vital call began to fail, and when it last did.
        self._failing: dict[str, tuple[float, float]] = {}
        # When a vital call began that is not over.
        self._under_way: dict[str, float] = {}
        self._probing = False
        self._paused_seconds = 0.0
        self._stores: Stores | None = None  # as they are: what a probe does is not counted

    def stores(self, stores: Stores) -> Stores:
        """The same stores, watched."""
        self._stores = stores
        return replace(
            stores,
            accounts=self.over("accounts", stores.accounts),
            devices=self.over("devices", stores.devices),
            messages=self.over("messages", stores.messages),
            chats=self.over("chats", stores.chats),
        )

    def over(self, name: str, thing: T) -> T:
        """The same object; each call of an `async` method of it is measured as `name.method`."""
        watched = _Watched(thing)
        for method, _ in inspect.getmembers(type(thing), inspect.iscoroutinefunction):
            if not method.startswith("_") and method != "close":
                call = getattr(thing, method)
                setattr(watched, method, self._measured(f"{name}.{method}", call))
        return cast("T", watched)

    def missing(self) -> list[str]:
        """What of the store keeps the server from being ready; it does not wait."""
        stuck = self._clock.monotonic() - STUCK_SECONDS
        away = self._failing or any(began < stuck for began in self._under_way.values())
        return (["store"] if away else []) + (self._stores.missing() if self._stores else [])

    async def probe(self) -> None:
        """Ask a store that was away whether it is back. To be called every second."""
        now = self._clock.monotonic()
        for what, began in self._under_way.items():
            if now - began > self._slow_seconds:
                self._tell("not over yet", what, now - began)
        if not self._failing or self._probing or self._stores is None:
            return
        self._probing = True
        try:
            await self._stores.chats.advance([NO_MOVE])
        except Exception:  # noqa: BLE001 — why it failed is the backend's to say
            failed = self._clock.monotonic()
            for call, (began, _) in self._failing.items():
                self._failing[call] = (began, failed)
        else:
            believed = self._clock.monotonic() - PROBE_BELIEVED_AFTER_SECONDS
            for call in [call for call, (_, last) in self._failing.items() if last < believed]:
                self._works(call)
        finally:
            self._probing = False

    def request(
        self, operation: str, status: int, seconds: float, headers: Mapping[str, str]
    ) -> None:
        """A REST request was answered."""
        self._metrics.requests[operation, str(status)].value += 1
        self._metrics.request_seconds[operation].observe(seconds)
        if seconds > self._slow_seconds:
            self.slow(f"rest.{operation}", seconds)
        if self.span:
            failed = status >= Internal.status
            name = f"rest.{operation}"
            self.span(
                Over(name=name, seconds=seconds, count=status, failed=failed, headers=headers)
            )

    def lagged(self, seconds: float) -> None:
        """A timer of the event loop was so late: something held the loop up."""
        self._metrics.loop_lag_seconds.observe(max(0.0, seconds))
        before, self._paused_seconds = self._paused_seconds, self._metrics.gc_pause_seconds.sum
        if seconds > self._slow_seconds:
            self.slow("loop", seconds)
            if self._paused_seconds - before > seconds / 2:
                self.slow("collecting garbage", self._paused_seconds - before)

    def slow(self, what: str, seconds: float, count: int = 1) -> None:
        """It took longer than it may: counted, and told unless there was a line a moment ago."""
        self._metrics.slow[what].value += 1
        self._tell("over", what, seconds, count)

    def _tell(self, state: str, what: str, seconds: float, count: int = 1) -> None:
        now = self._clock.monotonic()
        key = (what, state)
        told, left_out = self._slow_told.get(key, (-SLOW_LINE_EVERY_SECONDS, 0))
        if now - told < SLOW_LINE_EVERY_SECONDS:
            self._slow_told[key] = (told, left_out + 1)
            return
        self._slow_told[key] = (now, 0)
        log.warning(
            "slow operation what=%s state=%s seconds=%.3f count=%d left_out=%d",
            what,
            state,
            seconds,
            count,
            left_out,
        )

    def _measured(self, what: str, call: Call) -> Call:
        now = self._clock.monotonic
        times = self._metrics.store_seconds
        failures = self._metrics.store_failures[what]
        failing, under_way, vital = self._failing, self._under_way, what in VITAL

        async def measured(*args: Any, **named: Any) -> Any:
            began = now()
            if vital:
                under_way[what] = began
            try:
                result = await call(*args, **named)
            except Exception as error:
                failures.value += 1
                self._failed(what, error)
                self._over(what, now() - began, args, failed=True)
                raise
            finally:
                if vital:
                    under_way.pop(what, None)
            seconds = now() - began
            times[what].observe(seconds)
            if seconds > self._slow_seconds or self.span:
                self._over(what, seconds, args, failed=False)
            if what in failing:
                self._works(what)
            return result

        return measured

    def _over(self, what: str, seconds: float, args: tuple[Any, ...], *, failed: bool) -> None:
        count = len(args[0]) if args and isinstance(args[0], Sized) else 1
        if seconds > self._slow_seconds:
            self.slow(what, seconds, count)
        if self.span:
            self.span(Over(name=what, seconds=seconds, count=count, failed=failed))

    def _failed(self, what: str, error: Exception) -> None:
        if what not in VITAL:
            return
        now = self._clock.monotonic()
        known = self._failing.get(what)
        self._failing[what] = (known[0] if known else now, now)
        if known:
            return
        log.warning("not ready: the store is away call=%s error=%s", what, type(error).__name__)

    def _works(self, what: str) -> None:
        seconds = self._clock.monotonic() - self._failing.pop(what)[0]
        log.warning("the store is back call=%s seconds=%.1f", what, seconds)


class _Watched:
    """Whatever was not wrapped is the thing's own."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._thing, name)
