"""What the server counts, and how it is read: the Prometheus text format 0.0.4.

`Metrics.__init__` is the table of what is counted where it happens. On the hot path a counter
is an attribute: `metrics.frames_received.value += 1`. What somebody else knows is asked for
when somebody looks, and nothing is computed between two looks:

    metrics.gauge("whatsapp_cursors_pending", "Cursors that are not written yet.", lambda: …)

`docs/metrics.md` says what each one means to an operator; a test holds it against a server.
"""

from __future__ import annotations

import math
import platform
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from whatsapp import process

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LABEL_VALUES_MAX = 64
LABEL_PAIRS_MAX = 512

SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
FEW_SECONDS_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
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


class ReadLabelled:
    """As a `Gauge` with `read` (or, so called, a counter), for each value of one label."""

    __slots__ = ("kind", "label", "read")

    def __init__(
        self, label: str, read: Callable[[], Mapping[str, float]], *, kind: str = "gauge"
    ) -> None:
        self.label = label
        self.read = read
        self.kind = kind

    def samples(self) -> Iterator[Sample]:
        for value, found in self.read().items():
            yield "", _labels(**{self.label: value}), found


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
            yield "", _labels(**{self.label: value}), counter.value


class LabelledTwice(dict[tuple[str, str], Counter]):
    """A counter for each pair of two labels' values; beyond `LABEL_PAIRS_MAX` "other"."""

    kind = "counter"

    def __init__(self, one: str, other: str) -> None:
        super().__init__()
        self.labels = one, other

    def __missing__(self, pair: tuple[str, str]) -> Counter:
        rest = ("other", "other")
        if len(self) >= LABEL_PAIRS_MAX and pair != rest:
            return self[rest]
        self[pair] = counter = Counter()
        return counter

    def samples(self) -> Iterator[Sample]:
        for pair, counter in self.items():
            yield "", _labels(**dict(zip(self.labels, pair, strict=True))), counter.value


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

    def samples(self, **labels: str) -> Iterator[Sample]:
        below = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            below += count
            yield "_bucket", _labels(**labels, le=_number(bound)), below
        total = below + self.counts[-1]
        yield "_bucket", _labels(**labels, le="+Inf"), total
        yield "_sum", _labels(**labels), self.sum
        yield "_count", _labels(**labels), total


class Histograms(dict[str, Histogram]):
    """A histogram for each value of one label, as `Labelled` has counters."""

    kind = "histogram"

    def __init__(self, label: str, bounds: tuple[float, ...]) -> None:
        super().__init__()
        self.label = label
        self.bounds = bounds

    def __missing__(self, value: str) -> Histogram:
        if len(self) >= LABEL_VALUES_MAX and value != "other":
            return self["other"]
        self[value] = histogram = Histogram(self.bounds)
        return histogram

    def samples(self) -> Iterator[Sample]:
        for value, histogram in self.items():
            yield from histogram.samples(**{self.label: value})


class Info:
    """A constant 1 whose labels are what it says."""

    __slots__ = ("labels",)
    kind = "gauge"

    def __init__(self, **labels: str) -> None:
        self.labels = labels

    def samples(self) -> Iterator[Sample]:
        yield "", _labels(**self.labels), 1


Metric = Counter | Gauge | ReadLabelled | Labelled | LabelledTwice | Histogram | Histograms | Info
M = TypeVar("M", bound=Metric)


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
        self.journal_batch_messages = add(
            Histogram(MESSAGES_BUCKETS),
            "whatsapp_journal_batch_messages",
            "Drafts in one append to the store.",
        )
        self.store_seconds = add(
            Histograms("call", SECONDS_BUCKETS),
            "whatsapp_store_seconds",
            "Time of one call of the store or the directory; of an append until durable.",
        )
        self.store_failures = add(
            Labelled("call"), "whatsapp_store_failures_total", "Calls of these that failed."
        )
        self.requests = add(
            LabelledTwice("operation", "status"),
            "whatsapp_http_requests_total",
            "REST requests, by operation and HTTP status.",
        )
        self.request_seconds = add(
            Histograms("operation", FEW_SECONDS_BUCKETS),
            "whatsapp_http_request_seconds",
            "Time of a REST request, from its headers to its answer.",
        )
        self.errors = add(
            Labelled("code"), "whatsapp_errors_total", "Errors answered to clients, by code."
        )
        self.logins = add(
            Labelled("result", ("ok", "bad_credentials", "rate_limited", "busy")),
            "whatsapp_logins_total",
            "Logins, by result: ok, or the code of the error.",
        )
        self.closes = add(
            Labelled("code"), "whatsapp_closes_total", "Closed WebSocket connections, by code."
        )
        self._add_pauses()
        self.build_info = add(
            Info(version=version, store=store, python=platform.python_version()),
            "whatsapp_build_info",
            "Version, store, Python.",
        )
        self._add_process()
        self._add_cluster()
        self.entries_expired = self._add(
            Counter(),
            "whatsapp_entries_expired_total",
            "Entries that got older than [storage] keep_days; their texts were emptied.",
        )

    def _add_pauses(self) -> None:
        add = self._add
        self.loop_lag_seconds = add(
            Histogram(SECONDS_BUCKETS),
            "whatsapp_loop_lag_seconds",
            "How late the event loop ran a timer, ten times a second.",
        )
        self.slow = add(
            Labelled("what"),
            "whatsapp_slow_total",
            "What took longer than [log] slow_seconds, logged or not.",
        )
        self.gc_pause_seconds = add(
            Histogram(SECONDS_BUCKETS), "whatsapp_gc_pause_seconds", "Pauses to collect garbage."
        )
        self.gc_pause_seconds_max = add(
            Gauge(), "whatsapp_gc_pause_seconds_max", "The longest of them since the start."
        )

    def _add_process(self) -> None:
        add = self._add
        add(Gauge(process.resident_bytes), "process_resident_memory_bytes", "Resident memory.")
        add(ReadCounter(time.process_time), "process_cpu_seconds_total", "CPU time, all threads.")
        add(Gauge(process.open_files), "process_open_fds", "Open file descriptors.")
        add(Gauge(process.open_files_max), "process_max_fds", "Open files that the system allows.")
        started = Gauge()
        started.value = process.start_time()
        add(started, "process_start_time_seconds", "Start, since the Unix epoch.")

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

    def gauge(self, name: str, about: str, read: Callable[[], float | None]) -> None:
        """One more number that goes up and down, read when somebody looks."""
        self._add(Gauge(read), name, about)

    def counter(self, name: str, about: str, read: Callable[[], float | None]) -> None:
        """One more number that only grows (`…_total`), read when somebody looks."""
        self._add(ReadCounter(read), name, about)

    def gauges(
        self, name: str, about: str, label: str, read: Callable[[], Mapping[str, float]]
    ) -> None:
        """As `gauge`, for each value of a label. The values are few and ours, not a peer's."""
        self._add(ReadLabelled(label, read), name, about)

    def counters(
        self, name: str, about: str, label: str, read: Callable[[], Mapping[str, float]]
    ) -> None:
        """As `counter`, for each value of a label."""
        self._add(ReadLabelled(label, read, kind="counter"), name, about)

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


def _labels(**labels: str) -> str:
    inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == value // 1 else repr(float(value)).replace("nan", "NaN")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
