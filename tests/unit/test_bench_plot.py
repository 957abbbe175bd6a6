"""The plots of the benchmark: what is taken of its documents, and where it is drawn."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from tests.support.command import ROOT
from whatsapp.bench.plot import Chart, latency, main, memory, powers, svg, ticks
from whatsapp.errors import StartupError

SVG = "{http://www.w3.org/2000/svg}"


def document(folder, name: str, figures: dict[str, float]):
    file = folder / name
    found = [{"name": name, "median": value, "unit": "x"} for name, value in figures.items()]
    file.write_text(json.dumps({"scenarios": [{"scenario": "direct", "figures": found}]}))
    return file


@pytest.fixture
def files(tmp_path):
    """Two loads, the larger one first."""
    return [
        document(
            tmp_path,
            f"load-{rate}.json",
            {
                f"at {rate:g}/s: until the other's socket, p50": rate / 1000,
                f"at {rate:g}/s: until the other's socket, p99": rate / 100,
                f"at {rate:g}/s: until `sent`, p99": 7,
            },
        )
        for rate in (2000, 500)
    ]


def test_times_by_load(files):
    assert latency(files).lines == {
        "p50": [(500, 0.5), (2000, 2)],
        "p99": [(500, 5), (2000, 20)],
    }


def test_memory_by_connections(tmp_path):
    figures = {"memory with 1,000": 55.0, "memory with 20,000": 150.0, "memory per connection": 5}
    chart = memory([document(tmp_path, "idle.json", figures)])
    assert chart.lines == {"memory": [(1000, 55), (20_000, 150)]}


def test_the_drawing_is_where_the_values_are(files):
    tree = ET.fromstring(svg(latency(files)))
    heights = {
        group.attrib["class"]: [float(dot.attrib["cy"]) for dot in group.iter(f"{SVG}circle")]
        for group in tree.iter(f"{SVG}g")
    }
    # More load, later; and p99 above p50. Upwards is less.
    assert all(first > last for first, last in heights.values())
    assert max(heights["c1"]) < max(heights["c0"])
    for dot in tree.iter(f"{SVG}circle"):
        assert 0 < float(dot.attrib["cx"]) < 720
        assert 0 < float(dot.attrib["cy"]) < 400
    texts = [text.text for text in tree.iter(f"{SVG}text")]
    assert {"p50", "p99", "ms", "2,000", "100"} <= set(texts)


def test_what_is_said_is_escaped():
    lines = {"a": [(1.0, 1.0)]}
    drawn = svg(Chart(title="<b> & co", across="x", upright="y", lines=lines))
    assert "&lt;b&gt; &amp; co" in drawn
    ET.fromstring(drawn)


@pytest.mark.parametrize("high", [0.3, 7, 100, 8000, 20_000])
def test_ticks_are_round_and_reach_beyond(high):
    found = ticks(0, high)
    assert found[0] == 0
    assert found[-1] >= high
    assert 4 <= len(found) <= 12
    assert powers(high, high)[0] <= high <= powers(high, high)[-1]


def test_the_program(files, tmp_path):
    to = tmp_path / "latency.svg"
    done = CliRunner().invoke(main, ["latency", str(to), *map(str, files)])
    assert done.exit_code == 0, done.output
    assert to.read_text().startswith("<svg")
    with pytest.raises(StartupError, match="nothing to draw"):
        svg(memory(files))


@pytest.mark.parametrize("name", ["latency", "memory"])
def test_the_published_plots_are_drawings_that_know_the_dark(name):
    text = (ROOT / "docs" / f"{name}.svg").read_text("utf-8")
    assert ET.fromstring(text).tag == f"{SVG}svg"
    assert "prefers-color-scheme: dark" in text
    assert f"docs/{name}.svg" in (ROOT / "BENCHMARKS.md").read_text("utf-8")
    assert len(re.findall("<circle", text)) >= 5
