"""Numbers: percentiles of one run; medians and spreads of several."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from msgspec import Struct

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


class Figure(Struct, frozen=True, kw_only=True):
    """One number of a run. `part`: it is included in the figure before it."""

    name: str
    value: float
    unit: str
    part: bool = False


class Spread(Struct, frozen=True, kw_only=True):
    """The same figure of several runs."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    part: bool = False


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent are at most; of nothing: not a number."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def times(
    name: str, seconds: Iterable[float], which: Sequence[float] = PERCENTILES
) -> list[Figure]:
    """The percentiles of some durations, in milliseconds."""
    ordered = sorted(seconds)
    return [
        Figure(name=f"{name}, p{percent:g}", value=percentile(ordered, percent) * 1000, unit="ms")
        for percent in which
    ]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much y grows for one more x: the line with the least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else math.nan


def spreads(runs: Sequence[Sequence[Figure]]) -> list[Spread]:
    """Median, least and greatest of each figure, in the order of the first run that has it."""
    found: dict[str, list[Figure]] = {}
    for run in runs:
        for figure in run:
            found.setdefault(figure.name, []).append(figure)
    return [
        Spread(
            name=name,
            unit=figures[0].unit,
            part=figures[0].part,
            median=median(figure.value for figure in figures),
            low=min(figure.value for figure in figures),
            high=max(figure.value for figure in figures),
        )
        for name, figures in found.items()
    ]
