"""The benchmark of overload: what it counts, what it asks; and a short one that asks little."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import pytest

from tests.support.command import run
from tests.support.doctored import RUN, Stage, result, to_client
from whatsapp import wire
from whatsapp.bench import overload, report
from whatsapp.bench.ledger import Verdict
from whatsapp.bench.overload import Flood, Memory, is_normal, missed
from whatsapp.bench.scene import all_arrived

pytestmark = pytest.mark.usefixtures("home")

GOOD = {"kept": 0.7, "back": 3.0, "grown": 50_000_000, "connections": 200}
BUSY = wire.Error("busy", "later", retryable=True, re=f"{RUN}-0000000000000")


@pytest.mark.parametrize(
    "more, said",
    [
        ({}, []),
        ({"kept": 0.599}, ["60% of the capacity was kept, 60% is asked"]),
        ({"kept": 0.1}, ["10% of the capacity"]),
        ({"back": 10.5}, ["as before only after 10.5 s"]),
        ({"back": math.inf}, ["as before only after inf s"]),
        ({"grown": 10**9}, ["memory grew by 954 MB, the limits allow 257"]),
        ({"kept": 0.1, "back": 11.0}, ["10% of", "as before"]),
    ],
)
def test_what_is_asked(more, said):
    found = list(missed(**{**GOOD, **more}))
    assert len(found) == len(said)
    assert all(line.startswith(head) for line, head in zip(found, said, strict=True))


@pytest.mark.parametrize(
    "seconds, normal",
    [([0.01] * 99 + [5.0], True), ([0.01] * 98 + [5.0] * 2, False), ([], False)],
)
def test_times_are_normal_when_something_arrives_in_time(seconds, normal):
    assert is_normal(seconds, 0.05) is normal


def test_a_refusal_is_counted_and_no_failure():
    stage = Stage()
    stage.traffic.refusable = overload.BUSY
    arrived = all_arrived(cast("Any", stage), [], 1)
    stage.ann._handle(to_client(*[stage.sent(n, n) for n in range(1, 12)]))
    stage.bob._handle(to_client(*[stage.message(n, n) for n in range(1, 12)]))
    assert not arrived()
    stage.ann._handle(to_client(BUSY))
    assert arrived()
    assert stage.traffic.refused == 1
    assert stage.traffic.ledger.judge().good
    stage.ann._handle(to_client(wire.Error("internal", "oh", retryable=True)))
    assert not stage.traffic.ledger.judge().good


def test_who_has_much_unsent_has_nothing_to_say():
    stage = Stage()
    stage.ann.ended = False
    flood = Flood([stage.sender], 1000.0, 0.0)
    stage.ann._rest = b"x" * (overload.UNSENT_BYTES_MAX + 1)
    sent = stage.traffic.sent
    flood.arrive(0.0095)
    assert (flood.offered, flood.held, stage.traffic.sent) == (10, 10, sent)
    assert not flood.wants(stage.sender)
    stage.ann._rest = b""
    assert flood.wants(stage.sender)


def test_memory_is_the_most_that_it_was():
    class Growing:
        sizes = iter([100, 300, 200])

        def resident_bytes(self) -> int:
            return next(self.sizes)

        def cpu_seconds(self) -> float:
            return 0.0

        def cpu_by_thread(self) -> dict[str, float]:
            return {}

    memory = Memory(Growing())
    memory.look()
    memory.look()
    assert memory.grown == 200
    assert Memory(None).grown == 0


def test_what_was_missed_is_told_and_is_no_success():
    one = result(Verdict(received=1), runs=1)
    failed = report.Result(**{name: getattr(one, name) for name in one.__struct_fields__})
    failed.missed.append("10% of the capacity was kept, 60% is asked")
    lines = list(report.table(failed))
    assert lines[-1] == "  MISSED: 10% of the capacity was kept, 60% is asked"
    assert json.loads(report.as_json(report.Setting(), [failed]))["passed"] is False


def test_a_short_real_one(tmp_path):
    file = tmp_path / "results.json"
    found = run(
        *("bench", "overload", "--store", "memory", "--connections", "4", "--rate", "100"),
        *("--seconds", "0.5", "--runs", "1", "--json", str(file)),
    )
    assert found.exit_code == 0, found.output
    [scenario] = json.loads(file.read_bytes())["scenarios"]
    figures = {figure["name"]: figure["median"] for figure in scenario["figures"]}
    assert figures["meanwhile: offered"] == pytest.approx(500, rel=0.2)
    assert figures["meanwhile: of the capacity"] > 100
    assert figures["until p99 is as before"] < 10
    assert scenario["missed"] == []
