"""The envelope: the planning size comes out of the defaults."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.support.command import refused, run
from whatsapp.errors import StartupError
from whatsapp.plan import SOURCES, Costs, Wish, lines, read_costs, reckon, with_options

SCREEN_LINES, SCREEN_COLUMNS = 40, 80


def near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= 0.02 * wanted


def test_the_defaults_are_the_planning_size():
    envelope = reckon(Wish(), Costs())
    assert near(envelope.load.messages, 23_000)
    assert near(envelope.load.messages_peak, 69_000)
    assert near(envelope.load.logins_peak, 31_000)
    assert near(envelope.load.connections, 20e6)
    assert near(envelope.storage.text_a_day, 2e12)
    assert near(envelope.storage.text, 7.3e15)
    assert near(envelope.services.directory_heap, 10.9e9)
    assert envelope.storage.with_copies == 3 * envelope.storage.log_and_search
    assert envelope.machines.cores_busy <= 0.5 * envelope.machines.instances


def test_more_of_anything_needs_no_less():
    few, costs = reckon(Wish(), Costs()), Costs()
    for more in (
        Wish(daily_users=100_000_000),
        Wish(messages_per_user=80),
        Wish(group_size=100),
        Wish(logins_per_user=100),
        Wish(peak_factor=6),
    ):
        assert reckon(more, costs).machines.cores_busy > few.machines.cores_busy
    for field in ("message_us", "delivery_us", "login_us", "idle_us", "route_us", "hop_us"):
        dearer = replace(costs, **{field: 10 * getattr(costs, field)})
        assert reckon(Wish(), dearer).machines.cores_busy > few.machines.cores_busy


def test_connections_may_decide_how_many_instances():
    envelope = reckon(Wish(connections_max=1000), Costs())
    assert envelope.machines.instances == 20_000
    assert envelope.machines.connections_each == 1000


def test_a_village_needs_one_instance_and_no_services():
    envelope = reckon(Wish(daily_users=500, copies=1), Costs())
    assert (envelope.machines.instances, envelope.machines.between_bits) == (1, 0)
    said = "\n".join(lines(envelope, SOURCES, costs=False))
    assert "one instance with SQLite" in said
    assert "ZooKeeper" not in said


@pytest.mark.parametrize("users", [1, 500, 50_000_000, 10**10])
def test_it_is_one_screen(users: int):
    told = list(lines(reckon(Wish(daily_users=users), Costs()), SOURCES, costs=False))
    assert len(told) <= SCREEN_LINES
    with_costs = list(lines(reckon(Wish(daily_users=users), Costs()), SOURCES, costs=True))
    assert max(map(len, [*told, *with_costs])) <= SCREEN_COLUMNS


def test_every_cost_has_a_source():
    assert set(SOURCES) == set(msgspec.to_builtins(Costs()))


def test_costs_of_a_file(tmp_path: Path):
    file = tmp_path / "costs.json"
    file.write_text('{"message_us": 50}')
    costs, sources = read_costs(file)
    assert costs == replace(Costs(), message_us=50)
    assert (sources["message_us"], sources["delivery_us"]) == (str(file), SOURCES["delivery_us"])


def test_costs_that_the_benchmark_measured(tmp_path: Path):
    file = tmp_path / "bench.json"
    figures = {
        "direct": [("CPU per message", 90.0), ("CPU per message without the search index", 70.0)],
        "group": [("CPU per delivery", 20.0), ("messages", 7.0)],
        "idle": [("memory per connection", 0.0)],  # too few to see anything
    }
    scenarios = [
        {"scenario": name, "figures": [{"name": n, "median": v} for n, v in found]}
        for name, found in figures.items()
    ]
    file.write_text(json.dumps({"scenarios": scenarios}))
    assert read_costs(file)[0] == replace(Costs(), message_us=70, delivery_us=20)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"massage_us": 1}', '{"message_us": -1}', '{"scenarios": [{}]}']
)
def test_a_file_without_costs(tmp_path: Path, text: str):
    file = tmp_path / "costs.json"
    file.write_text(text)
    with pytest.raises(StartupError, match="no costs in it") as told:
        read_costs(file)
    assert "whatsapp bench" in told.value.cure
    with pytest.raises(StartupError, match="cannot be read"):
        read_costs(tmp_path / "absent")


def test_what_was_not_said_is_the_default():
    assert with_options(years=None, copies=1) == Wish(copies=1)


def test_the_command(tmp_path: Path):
    assert "69,444 /s" in run("plan").stdout
    assert "BENCHMARKS.md" in run("plan", "--show-costs").stdout
    found = json.loads(run("plan", "--daily-users", "1000", "--json").stdout)
    assert (found["wish"]["daily_users"], found["machines"]["instances"]) == (1000, 1)
    assert refused("plan", "--group-share", "2", code=2)
    file = tmp_path / "costs.json"
    file.write_text('{"delivery_us": 1}')
    assert (
        json.loads(run("plan", "--costs", str(file), "--json").stdout)["costs"]["delivery_us"] == 1
    )
