"""What is counted, and the text that Prometheus reads."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from whatsapp import metrics
from whatsapp.metrics import Gauge, Histogram, Histograms, Labelled, LabelledTwice, Metrics

NAMES = [
    "whatsapp_connections",
    "whatsapp_frames_received_total",
    "whatsapp_frames_sent_total",
    "whatsapp_bytes_sent_total",
    "whatsapp_messages_stored_total",
    "whatsapp_messages_duplicate_total",
    "whatsapp_journal_batch_messages",
    "whatsapp_store_seconds",
    "whatsapp_store_failures_total",
    "whatsapp_http_requests_total",
    "whatsapp_http_request_seconds",
    "whatsapp_errors_total",
    "whatsapp_logins_total",
    "whatsapp_closes_total",
    "whatsapp_loop_lag_seconds",
    "whatsapp_slow_total",
    "whatsapp_gc_pause_seconds",
    "whatsapp_gc_pause_seconds_max",
    "whatsapp_build_info",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
    "whatsapp_hints_sent_total",
    "whatsapp_hints_missed_total",
    "whatsapp_hints_heard_total",
    "whatsapp_second_looks_total",
    "whatsapp_instances_linked",
    "whatsapp_entries_expired_total",
]

LINE = re.compile(
    r"^(?:# HELP [a-z_]+ .+\.|# TYPE [a-z_]+ (?:counter|gauge|histogram)"
    r'|[a-z_]+(?:\{[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\})?'
    r" (?:[0-9.e+-]+|[+-]Inf|NaN))$"
)


def rendered(of: Metrics) -> dict[str, str]:
    lines = of.render().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_every_metric_has_help_and_type_and_every_line_is_well_formed():
    counted = Metrics(version="1.2.3", store='sq"l\\ite\n')
    counted.errors["busy"].value += 1
    text = counted.render().decode()
    assert text.endswith("\n")
    assert [line for line in text.splitlines() if not LINE.match(line)] == []
    for name in NAMES:
        assert text.count(f"# HELP {name} ") == text.count(f"# TYPE {name} ") == 1
    assert re.findall(r"# TYPE (\S+)", text) == NAMES


def test_counters_and_gauges_say_their_value():
    counted = Metrics()
    counted.frames_received.value += 3
    counted.connections.value = 17
    counted.gc_pause_seconds_max.value = 0.25
    counted.gauge("whatsapp_loaded_chats", "Chats.", lambda: 5)
    counted.counter("whatsapp_lost_total", "Lost.", lambda: 6)
    counted.gauges("whatsapp_queue", "Waiting.", "queue", lambda: {"one": 7, "two": 8})
    counted.counters("whatsapp_told_total", "Told.", "of", lambda: {"one": 9})
    lines = rendered(counted)
    assert lines["whatsapp_frames_received_total"] == "3"
    assert lines["whatsapp_connections"] == "17"
    assert lines["whatsapp_gc_pause_seconds_max"] == "0.25"
    assert lines["whatsapp_loaded_chats"] == "5"
    assert lines["whatsapp_lost_total"] == "6"
    assert [lines[f'whatsapp_queue{{queue="{name}"}}'] for name in ("one", "two")] == ["7", "8"]
    assert lines['whatsapp_told_total{of="one"}'] == "9"
    text = counted.render().decode()
    for name, kind in (("lost_total", "counter"), ("queue", "gauge"), ("told_total", "counter")):
        assert f"# TYPE whatsapp_{name} {kind}\n" in text


@pytest.mark.parametrize("silent", [lambda: None, lambda: Path("/no/such").stat().st_size])
def test_a_gauge_with_nothing_to_say_is_left_out(silent):
    counted = Metrics()
    counted.gauge("whatsapp_loaded_chats", "Chats.", silent)
    assert "whatsapp_loaded_chats" not in rendered(counted)


def test_labels_are_kept_apart_and_bounded():
    counted = Metrics()
    counted.errors["busy"].value += 2
    counted.errors["not_found"].value += 1
    lines = rendered(counted)
    assert lines['whatsapp_errors_total{code="busy"}'] == "2"
    assert lines['whatsapp_errors_total{code="not_found"}'] == "1"
    assert lines['whatsapp_logins_total{result="ok"}'] == "0"
    many = Labelled("code")
    for number in range(1000):
        many[str(number)].value += 1
    assert len(many) == metrics.LABEL_VALUES_MAX + 1
    assert sum(counter.value for counter in many.values()) == 1000


def test_pairs_of_labels_and_histograms_by_label():
    counted = Metrics()
    counted.requests["login", "200"].value += 2
    counted.request_seconds["login"].observe(0.02)
    lines = rendered(counted)
    assert lines['whatsapp_http_requests_total{operation="login",status="200"}'] == "2"
    assert lines['whatsapp_http_request_seconds_bucket{operation="login",le="0.005"}'] == "0"
    assert lines['whatsapp_http_request_seconds_bucket{operation="login",le="+Inf"}'] == "1"
    assert lines['whatsapp_http_request_seconds_count{operation="login"}'] == "1"
    many, times = LabelledTwice("one", "other"), Histograms("one", (1,))
    for number in range(1000):
        many[str(number), "x"].value += 1
        times[str(number)].observe(0)
    assert len(many) == metrics.LABEL_PAIRS_MAX + 1
    assert sum(counter.value for counter in many.values()) == 1000
    assert len(times) == metrics.LABEL_VALUES_MAX + 1
    assert times["other"].counts[0] == 1000 - metrics.LABEL_VALUES_MAX


def test_a_histogram_counts_what_is_at_most_its_bound():
    histogram = Histogram((1, 2.5))
    for value in (0, 1, 1.1, 2.5, 3):
        histogram.observe(value)
    assert list(histogram.samples()) == [
        ("_bucket", '{le="1"}', 2),
        ("_bucket", '{le="2.5"}', 4),
        ("_bucket", '{le="+Inf"}', 5),
        ("_sum", "", 7.6),
        ("_count", "", 5),
    ]


def test_numbers_that_are_none_are_prometheus_own():
    counted = Metrics()
    for value, text in ((float("inf"), "+Inf"), (float("-inf"), "-Inf"), (float("nan"), "NaN")):
        counted.connections.value = value
        assert rendered(counted)["whatsapp_connections"] == text


def test_the_process_is_told_about():
    lines = rendered(Metrics())
    assert 1 << 20 < int(lines["process_resident_memory_bytes"]) < 1 << 40
    assert float(lines["process_cpu_seconds_total"]) > 0
    assert int(lines["process_open_fds"]) >= 3
    began = float(lines["process_start_time_seconds"])
    assert time.time() - 86_400 < began <= time.time()


def test_counting_needs_no_call():
    gauge = Gauge()
    gauge.value += 1
    assert list(gauge.samples()) == [("", "", 1)]
