"""What a stretch of time cost: CPU of the server by thread, of the generator, and the wall."""

from __future__ import annotations

import time
from collections.abc import Callable

from whatsapp.bench.driver import Traffic
from whatsapp.bench.figures import Figure, times
from whatsapp.bench.process import INDEXER, Measured
from whatsapp.bench.server import Pauses

MICRO = 1e6
# The generator was the limit where it had so little rest, and the server more.
LIMIT_SHARE = 0.85
# What the search index used at least to be worth a line of its own.
SHOWN_SHARE = 0.03


class Meter:
    """Begins to measure when it is made; `stop` ends that. `pauses` asks the server for them."""

    def __init__(
        self,
        traffic: Traffic,
        process: Measured | None,
        pauses: Callable[[], Pauses] = Pauses,
    ) -> None:
        self._pauses = pauses
        self._paused = pauses()
        self.collecting = self.longest_pause = 0.0
        self._traffic = traffic
        self._process = process
        self._threads = process.cpu_by_thread() if process else {}
        self._server = process.cpu_seconds() if process else 0.0
        self._counts = traffic.acknowledged, traffic.delivered, traffic.refused
        self._places = len(traffic.to_sent), len(traffic.to_peer)
        self._generator = time.process_time()
        self._began = time.perf_counter()
        self.seconds = 0.0
        self.server_seconds = 0.0
        self.generator_seconds = 0.0
        self.acknowledged = self.delivered = self.refused = 0
        self.threads: dict[str, float] = {}

    def stop(self) -> Meter:
        self.seconds = time.perf_counter() - self._began
        self.generator_seconds = time.process_time() - self._generator
        traffic, process = self._traffic, self._process
        self.acknowledged = traffic.acknowledged - self._counts[0]
        self.delivered = traffic.delivered - self._counts[1]
        self.refused = traffic.refused - self._counts[2]
        self.to_sent = traffic.to_sent[self._places[0] :]
        self.to_peer = traffic.to_peer[self._places[1] :]
        if process:
            self.server_seconds = process.cpu_seconds() - self._server
            now = process.cpu_by_thread()
            self.threads = {name: now[name] - self._threads.get(name, 0.0) for name in now}
        self.collecting, self.longest_pause = self._pauses().since(self._paused)
        return self

    def cpu(self, what: str, count: int) -> list[Figure]:
        """CPU of the server for each of `count` things, and its parts; nothing without a pid."""
        if not self._process or not count:
            return []
        found = [
            Figure(name=f"CPU per {what}", value=self.server_seconds / count * MICRO, unit="µs")
        ]
        found += [
            Figure(
                name=f"CPU per {what}, {name}", value=seconds / count * MICRO, unit="µs", part=True
            )
            for name, seconds in self.threads.items()
            if len(self.threads) > 1
        ]
        if self.threads.get(INDEXER, 0.0) > SHOWN_SHARE * self.server_seconds:
            # The budget counts the index apart: it is derived, and made when there is time.
            seconds = self.server_seconds - self.threads[INDEXER]
            name = f"CPU per {what} without the search index"
            found.append(Figure(name=name, value=seconds / count * MICRO, unit="µs"))
        return found

    def latencies(self) -> list[Figure]:
        return [
            *times("until `sent`", self.to_sent),
            *times("until the other's socket", self.to_peer),
        ]

    def loads(self) -> list[Figure]:
        """How busy both sides were, in percent of a core."""
        found = [
            Figure(name="generator", value=100 * self.generator_seconds / self.seconds, unit="%")
        ]
        if self._process:
            value = 100 * self.server_seconds / self.seconds
            found.insert(0, Figure(name="server", value=value, unit="%"))
        if self.longest_pause:
            value = 100 * self.collecting / self.seconds
            longest = self.longest_pause * 1000
            found += [
                Figure(name="server's garbage collector", value=value, unit="%"),
                Figure(name="its longest run, at most", value=longest, unit="ms"),
            ]
        return found

    def warnings(self) -> list[str]:
        """Is it the generator that was measured?"""
        share = self.generator_seconds / self.seconds
        if share < LIMIT_SHARE:
            return []
        said = (
            f"the generator itself was busy for {share:.0%} of the time: rates and times are its"
            " own rather than the server's (the CPU per message is not affected)"
        )
        return [said]
