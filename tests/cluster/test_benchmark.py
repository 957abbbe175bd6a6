"""`whatsapp bench cluster`, shortly: on three instances, with both drivers, and in one group."""

from __future__ import annotations

import json

import pytest

from tests.support import mongo
from tests.support.cluster import zookeeper
from tests.support.command import run

pytestmark = [pytest.mark.external, pytest.mark.slow, pytest.mark.timeout(100)]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "whatsapp.toml"
    path.write_text(
        f'[storage]\nbackend = "mongo"\nurl = "{mongo.server_url()}"\n'
        f'[directory]\nbackend = "zookeeper"\nhosts = "{zookeeper().hosts}"\n'
    )
    return path


@pytest.mark.parametrize(
    "more, heads",
    [
        (["--connections", "6", "--driver", "motor", "--driver", "pymongo"], ["motor", "pymongo"]),
        (["--writers", "2"], [""]),
    ],
)
def test_it_measures_and_checks(file, tmp_path, more, heads):
    results = tmp_path / "results.json"
    found = run(
        *("bench", "cluster", "--config", str(file), "--seconds", "3", "--runs", "1", *more),
        *("--json", str(results)),
    )
    assert found.exit_code == 0, found.output
    document = json.loads(results.read_bytes())
    assert document["passed"] is True
    [scenario] = document["scenarios"]
    figures = {figure["name"]: figure["median"] for figure in scenario["figures"]}
    for head in heads:
        before = f"{head}: " if head else ""
        parts = [figures[f"{before}CPU per message, {name}"] for name in "ab"]
        assert min(parts) > 0
        assert figures[f"{before}CPU per message"] >= sum(parts) * 0.9
        assert figures[f"{before}the store's CPU per message"] > 0
        assert f"{before}until the other's socket, p99" in figures
    assert scenario["verdict"]["acknowledged"] > 0
    assert scenario["verdict"]["received"] >= scenario["verdict"]["acknowledged"]
