"""Draws what `whatsapp bench --json` measured, as SVG: times against load, memory against devices.

    for r in 1000 2000 4000 6000 8000; do whatsapp bench direct --rate $r --json load-$r.json; done
    whatsapp bench idle --connections 20000 --json idle.json
    python -m whatsapp.bench.plot latency docs/latency.svg load-*.json
    python -m whatsapp.bench.plot memory docs/memory.svg idle.json

Why by hand: two line charts are a hundred lines, a library for them is a hundred megabytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from whatsapp.errors import StartupError

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 36, 56, 52
STEPS_MIN = 4
PERCENTILES = ("p50", "p99")
AT_LOAD = re.compile(r"at ([0-9.e+]+)/s: until the other's socket, (p[0-9.]+)")
WITH_DEVICES = re.compile(r"memory with ([0-9,]+)")
# The file says for itself how it looks in the dark: an <img> knows no style of the page.
STYLE = """
  .paper { fill: #ffffff } .grid { stroke: #d8dee4 } text { fill: #24292f; font: 13px sans-serif }
  .title { font-size: 16px; font-weight: bold } .c0 { --c: #0969da } .c1 { --c: #bc4c00 }
  path { fill: none; stroke: var(--c); stroke-width: 2.5 } circle, .name { fill: var(--c) }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .grid { stroke: #30363d } text { fill: #e6edf3 }
    .c0 { --c: #58a6ff } .c1 { --c: #f0883e }
  }
"""

Point = tuple[float, float]


class _Figure(Struct):
    name: str
    median: float


class _Result(Struct):
    figures: list[_Figure]


class _Document(Struct):
    scenarios: list[_Result]


class Chart(Struct, kw_only=True):
    """Some lines, by name. `log`: the upright axis is logarithmic."""

    title: str
    across: str
    upright: str
    lines: dict[str, list[Point]]
    log: bool = False


def latency(files: Iterable[Path]) -> Chart:
    """From runs at a rate each."""
    lines: dict[str, list[Point]] = {name: [] for name in PERCENTILES}
    for figure in _figures(files):
        found = AT_LOAD.fullmatch(figure.name)
        if found and found[2] in lines:
            lines[found[2]].append((float(found[1]), figure.median))
    return Chart(
        title="From one device to the other, by load (one core)",
        across="messages a second, offered by the clock",
        upright="ms",
        lines={name: sorted(points) for name, points in lines.items()},
        log=True,
    )


def memory(files: Iterable[Path]) -> Chart:
    """From one run of `idle`, or several."""
    points = {}
    for figure in _figures(files):
        if found := WITH_DEVICES.fullmatch(figure.name):
            points[float(found[1].replace(",", ""))] = figure.median
    return Chart(
        title="Resident memory, by connections that say nothing",
        across="connections",
        upright="MB",
        lines={"memory": sorted(points.items())},
    )


def svg(chart: Chart) -> str:
    """The file's text."""
    points = [point for line in chart.lines.values() for point in line]
    if not points:
        raise StartupError("nothing to draw in these files", "The head of this program says how.")
    across = ticks(0, max(x for x, _ in points))
    highest = max(y for _, y in points)
    upright = powers(min(y for _, y in points), highest) if chart.log else ticks(0, highest)
    low, high = (math.log10(y) if chart.log else y for y in (upright[0], upright[-1]))

    def place(point: Point) -> Point:
        x, y = point[0] / across[-1], math.log10(point[1]) if chart.log else point[1]
        wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return round(LEFT + wide * x, 1), round(
            HEIGHT - BOTTOM - tall * (y - low) / (high - low), 1
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(chart.title)}</title><style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        _text(LEFT, 26, chart.title, "title"),
        _text(LEFT, TOP - 12, chart.upright, "unit"),
        _text(WIDTH / 2, HEIGHT - 12, chart.across, "unit", "middle"),
    ]
    for value in upright:
        _, y = place((0, value))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{value:,g}", "tick", "end"))
    for value in across:
        x, y = place((value, upright[0]))
        parts.append(_text(x, y + 20, f"{value:,.0f}", "tick", "middle"))
    for number, (name, line) in enumerate(chart.lines.items()):
        places = [place(point) for point in line]
        way = " L ".join(f"{x} {y}" for x, y in places)
        dots = "".join(f'<circle cx="{x}" cy="{y}" r="3.5"/>' for x, y in places)
        x, y = places[-1]
        said = _text(x, y - 10, name, "name", "end") if len(chart.lines) > 1 else ""
        parts.append(f'<g class="c{number}"><path d="M {way}"/>{dots}{said}</g>')
    return "\n".join([*parts, "</svg>", ""])


def ticks(low: float, high: float) -> list[float]:
    """Round values from the one to beyond the other."""
    rough = (high - low or 1) / STEPS_MIN
    power = 10 ** math.floor(math.log10(rough))
    step = max(power * factor for factor in (1, 2, 5) if power * factor <= rough)
    return [low + step * n for n in range(math.ceil((high - low) / step) + 1)]


def powers(low: float, high: float) -> list[float]:
    """Powers of ten from below the one to above the other."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**n for n in range(first, max(last, first + 1) + 1)]


def _figures(files: Iterable[Path]) -> Iterator[_Figure]:
    for file in files:
        for result in msgspec.json.decode(file.read_bytes(), type=_Document).scenarios:
            yield from result.figures


def _text(x: float, y: float, said: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(said)}</text>'


@click.command()
@click.argument("kind", type=click.Choice(["latency", "memory"]))
@click.argument("to", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def main(kind: str, to: Path, files: Sequence[Path]) -> None:
    """Draw what `whatsapp bench --json` has written to FILES."""
    chart = latency(files) if kind == "latency" else memory(files)
    to.write_text(svg(chart), encoding="utf-8")


if __name__ == "__main__":
    main()
