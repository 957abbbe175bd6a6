"""The generator: one epoll over all sockets, in the calling thread, and what it has seen.

Nothing here waits but `Driver.run`. Arrivals of an open loop come from a schedule and are
sent when they are due, whatever the server has or has not answered.
"""

from __future__ import annotations

import select
import time
from array import array
from collections.abc import Callable
from typing import Protocol

from whatsapp.bench.frames import Scanner
from whatsapp.bench.ledger import Ledger
from whatsapp.errors import StartupError

# epoll waits in whole milliseconds; below this `select` is asked, which knows microseconds.
FINE_SECONDS = 0.003
IDLE_SECONDS = 0.05
EVENTS_MAX = 256
ERRORS_KEPT_MAX = 5

Arrivals = Callable[[float], float]


class Handler(Protocol):
    """What has a socket."""

    def ready(self, events: int) -> None: ...


class Traffic:
    """What was sent when, how long the answers took, and the records for the judge.

    A sender is a number; its k-th message began at `began[sender][k]`: when it was sent, or,
    in an open loop, when it was due.
    """

    def __init__(self, run: str) -> None:
        self.run = run
        self.scanner = Scanner(run)
        self.ledger = Ledger()
        self.began: list[array[float]] = []
        self.to_sent = array("d")
        self.to_peer = array("d")
        self.sent = self.acknowledged = self.delivered = self.receipts = self.refused = 0
        # The code of an error that is no failure here.
        self.refusable = ""
        # What the system keeps unsent for each socket; 0: what it wants.
        self.send_buffer_bytes = 0
        self.synced = self.closed = 0
        self.errors: list[str] = []

    def sender(self) -> int:
        """The number of a new sender."""
        self.began.append(array("d"))
        return len(self.began) - 1

    def failed(self, what: str) -> None:
        self.ledger.errors += 1
        if len(self.errors) < ERRORS_KEPT_MAX:
            self.errors.append(what[:200])


class Driver:
    """The sockets. `now`: when the event that is being handled was noticed."""

    def __init__(self) -> None:
        if not hasattr(select, "epoll"):
            raise StartupError("this system has no epoll", "Run the benchmark on Linux.")
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self.now = time.perf_counter()

    def add(self, descriptor: int, handler: Handler, *, writing: bool = False) -> None:
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, _mask(writing=writing))

    def watch(self, descriptor: int, *, writing: bool) -> None:
        """Wait for room to write, too, or no longer."""
        self._epoll.modify(descriptor, _mask(writing=writing))

    def remove(self, descriptor: int) -> None:
        del self._handlers[descriptor]
        self._epoll.unregister(descriptor)

    def close(self) -> None:
        self._epoll.close()

    def run(
        self,
        seconds: float,
        *,
        done: Callable[[], bool] | None = None,
        arrivals: Arrivals | None = None,
    ) -> bool:
        """Handle what comes for so long, or until it is `done`; whether it is.

        `arrivals(now)` sends what is due and says in how many seconds the next one is.
        """
        clock = time.perf_counter
        end = clock() + seconds
        while (now := clock()) < end:
            if done is not None and done():
                return True
            wait = min(IDLE_SECONDS, end - now)
            if arrivals is not None:
                wait = min(wait, max(0.0, arrivals(now)))
            self._turn(wait)
        return done is not None and done()

    def _turn(self, wait_seconds: float) -> None:
        if wait_seconds < FINE_SECONDS:
            select.select([self._epoll], [], [], wait_seconds)
            wait_seconds = 0
        for descriptor, events in self._epoll.poll(wait_seconds, EVENTS_MAX):
            # An earlier one of these may have closed it.
            handler = self._handlers.get(descriptor)
            if handler is not None:
                self.now = time.perf_counter()
                handler.ready(events)


def _mask(*, writing: bool) -> int:
    return select.EPOLLIN | (select.EPOLLOUT if writing else 0)
