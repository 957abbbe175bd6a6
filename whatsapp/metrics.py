"""What the server counts, and how it is read: the Prometheus text format 0.0.4.

`Metrics.__init__` is the table of everything that is counted. On the hot path a counter is
an attribute: `metrics.frames_received.value += 1`. A gauge is set the same way, or has a
`read` that is called when somebody looks; nothing is computed between two looks.
"""

from __future__ import annotations

import gc
import math
import os
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LABEL_VALUES_MAX = 64

SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
MESSAGES_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

Sample = tuple[str, str, float]


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)
    kind = "counter"

    def __init__(self) -> None:
        self.value = 0

    def samples(self) -> Iterator[Sample]:
        yield "", "", self.value


class Gauge:
    """A number that goes up and down. With `read` it is asked for when somebody looks.

    A `read` that raises `OSError` or answers None has nothing to say: the line is left out.
    """

    __slots__ = ("read", "value")
    kind = "gauge"

    def __init__(self, read: Callable[[], float | None] | None = None) -> None:
        self.value: float = 0
        self.read = read

    def samples(self) -> Iterator[Sample]:
        if self.read is None:
            yield "", "", self.value
            return
        try:
            found = self.read()
        except OSError:
            found = None
        if found is not None:
            yield "", "", found


class ReadCounter(Gauge):
    """A number that only grows and that somebody else counts."""

    __slots__ = ()
    kind = "counter"


class Labelled(dict[str, Counter]):
    """A counter for each value of one label: `metrics.errors["busy"].value += 1`.

    At most `LABEL_VALUES_MAX` values are kept apart; the ones after them count as "other".
    """

    kind = "counter"

    def __init__(self, label: str, known: Iterable[str] = ()) -> None:
        super().__init__()
        self.label = label
        for value in known:
            self[value] = Counter()

    def __missing__(self, value: str) -> Counter:
        if len(self) >= LABEL_VALUES_MAX and value != "other":
            return self["other"]
        self[value] = counter = Counter()
        return counter

    def samples(self) -> Iterator[Sample]:
        for value, counter in self.items():
            yield "", f'{{{self.label}="{_escaped(value)}"}}', counter.value


class Histogram:
    """How often what was observed was at most so much; the bounds are fixed."""

    __slots__ = ("bounds", "counts", "sum")
    kind = "histogram"

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def samples(self) -> Iterator[Sample]:
        below = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            below += count
            yield "_bucket", f'{{le="{_number(bound)}"}}', below
        total = below + self.counts[-1]
        yield "_bucket", '{le="+Inf"}', total
        yield "_sum", "", self.sum
        yield "_count", "", total


class Info:
    """A constant 1 whose labels are what it says."""

    __slots__ = ("labels",)
    kind = "gauge"

    def __init__(self, **labels: str) -> None:
        self.labels = labels

    def samples(self) -> Iterator[Sample]:
        inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in self.labels.items())
        yield "", f"{{{inside}}}", 1


Metric = Counter | Gauge | Labelled | Histogram | Info
M = TypeVar("M", Counter, Gauge, ReadCounter, Labelled, Histogram, Info)


class Metrics:
    """Everything that is counted in one server."""

    def __init__(self, *, version: str = "", store: str = "") -> None:
        self._table: list[tuple[str, str, Metric]] = []
        add = self._add

        self.connections = add(Gauge(), "whatsapp_connections", "Open WebSocket connections.")
        self.frames_received = add(
            Counter(), "whatsapp_frames_received_total", "WebSocket frames from clients."
        )
        self.frames_sent = add(
            Counter(), "whatsapp_frames_sent_total", "WebSocket frames to clients."
        )
        self.bytes_sent = add(
            Counter(), "whatsapp_bytes_sent_total", "Bytes of WebSocket frames to clients."
        )
        self.messages_stored = add(
            Counter(), "whatsapp_messages_stored_total", "Log entries committed to the store."
        )
        self.messages_duplicate = add(
            Counter(), "whatsapp_messages_duplicate_total", "Repeated sends, answered, not stored."
        )
        self.messages_pushed = add(
            Counter(), "whatsapp_messages_pushed_total", "Log entries pushed to devices."
        )
        self.journal_pending = add(
            Gauge(), "whatsapp_journal_pending", "Drafts that wait for their commit."
        )
        self.journal_batch_messages = add(
            Histogram(MESSAGES_BUCKETS),
            "whatsapp_journal_batch_messages",
            "Drafts in one append to the store.",
        )
        self.append_seconds = add(
            Histogram(SECONDS_BUCKETS),
            "whatsapp_append_seconds",
            "Time of one append to the store, until durable.",
        )
        self.errors = add(
            Labelled("code"), "whatsapp_errors_total", "Errors answered to clients, by code."
        )
        self.logins = add(
            Labelled("result", ("ok", "refused")), "whatsapp_logins_total", "Logins, by result."
        )
        self.closes = add(
            Labelled("code"), "whatsapp_closes_total", "Closed WebSocket connections, by code."
        )
        self.catchup_sessions = add(
            Gauge(), "whatsapp_catchup_sessions", "Connections that are read for from the store."
        )
        self.loaded_chats = add(
            Gauge(), "whatsapp_loaded_chats", "Chats that this instance holds in memory."
        )
        self.loop_lag_seconds = add(
            Gauge(), "whatsapp_loop_lag_seconds", "How late the event loop ran its last timer."
        )
        self.gc_pause_seconds = add(
            Histogram(SECONDS_BUCKETS),
            "whatsapp_gc_pause_seconds",
            "Runs of the garbage collector, in which nothing else runs.",
        )
        self.build_info = add(
            Info(version=version, store=store), "whatsapp_build_info", "Version and store."
        )
        add(Gauge(_resident_bytes), "process_resident_memory_bytes", "Resident memory.")
        add(ReadCounter(time.process_time), "process_cpu_seconds_total", "CPU time, all threads.")
        add(Gauge(_open_descriptors), "process_open_fds", "Open file descriptors.")
        started = Gauge()
        started.value = _start_time()
        add(started, "process_start_time_seconds", "Start, since the Unix epoch.")
        self._add_cluster()

        self.entries_expired = self._add(
            Counter(),
            "whatsapp_entries_expired_total",
            "Entries that got older than [storage] keep_days; their texts were emptied.",
        )

    def _add_cluster(self) -> None:
        add = self._add
        self.hints_sent = add(Counter(), "whatsapp_hints_sent_total", "Hints to other instances.")
        self.hints_missed = add(
            Counter(),
            "whatsapp_hints_missed_total",
            "Hints that found no link or a full queue; the chat is looked at later.",
        )
        self.hints_heard = add(
            Counter(), "whatsapp_hints_heard_total", "Hints from other instances."
        )
        self.second_looks = add(
            Counter(),
            "whatsapp_second_looks_total",
            "Sessions whose chats were looked at again in the store.",
        )
        self.instances_linked = add(
            Gauge(), "whatsapp_instances_linked", "Other instances that are linked now."
        )

    def render(self) -> bytes:
        """All of it as text; answer it with `CONTENT_TYPE`."""
        lines: list[str] = []
        for name, about, metric in self._table:
            lines += (f"# HELP {name} {about}", f"# TYPE {name} {metric.kind}")
            lines += [
                f"{name}{suffix}{labels} {_number(value)}"
                for suffix, labels, value in metric.samples()
            ]
        lines.append("")
        return "\n".join(lines).encode()

    def _add(self, metric: M, name: str, about: str) -> M:
        self._table.append((name, about, metric))
        return metric


def watch_collector(pauses: Histogram) -> None:
    """Observe each run of the garbage collector from now on, for the rest of the process."""
    began = 0.0

    def seen(phase: str, about: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            pauses.observe(time.perf_counter() - began)

    gc.callbacks.append(seen)


def process_age_seconds() -> float | None:
    """How long ago this process began, to a hundredth; None where the system does not tell."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    # Field 22; the second one, a name in brackets, may have spaces in it.
    ticks = float(stat.rpartition(")")[2].split()[19])
    return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))


def _start_time() -> float:
    return round(time.time() - (process_age_seconds() or 0.0), 2)


def _resident_bytes() -> float:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        import resource  # noqa: PLC0415  (not on every system)

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _open_descriptors() -> float:
    # The one that lists them is not counted.
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == value // 1 else repr(float(value)).replace("nan", "NaN")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
