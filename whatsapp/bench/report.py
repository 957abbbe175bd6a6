"""What is printed: a table per scenario for people, one JSON document for programs."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from whatsapp import __version__
from whatsapp.bench.figures import Spread
from whatsapp.bench.ledger import Verdict

NAME_WIDTH = 48
SHOWN_MIN = 0.005
PERCENTILE = re.compile(r", (p[0-9.]+)$")
SMALL, LARGE = 10, 1000


class Result(Struct, frozen=True, kw_only=True):
    """All runs of one scenario."""

    scenario: str
    about: str
    runs: int
    figures: list[Spread]
    verdict: Verdict
    warnings: list[str] = []
    errors: list[str] = []
    missed: list[str] = []

    @property
    def good(self) -> bool:
        return self.verdict.good and not self.missed


class Setting(Struct, frozen=True, kw_only=True):
    """Under what the figures were had. A figure without this says nothing."""

    version: str = __version__
    server_version: str = ""
    store: str = ""
    python: str = platform.python_version()
    system: str = f"{platform.system()} {platform.machine()}"
    processor: str = ""
    cores: int = os.cpu_count() or 1
    pinned: bool = False
    load_average: float = 0.0
    seconds: float = 0.0
    runs: int = 1
    text_bytes: int = 0
    environment: dict[str, str] = {}


# Variables whose values are nobody's business.
HIDDEN = ("INVITE", "URL", "PASSWORD_STDIN", "TOKEN", "SECRET")


def environment() -> dict[str, str]:
    """Our variables that are set, for they change what is measured."""
    return {
        name: "********" if any(part in name for part in HIDDEN) else value
        for name, value in sorted(os.environ.items())
        if name.startswith("WHATSAPP_") and name not in {"WHATSAPP_USER", "WHATSAPP_PASSWORD"}
    }


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def head(setting: Setting) -> Iterator[str]:
    """The lines before the tables."""
    yield f"whatsapp {setting.server_version}, store {setting.store}, Python {setting.python}"
    yield f"{setting.processor}, {setting.cores} cores, {setting.system}"
    where = (
        "server on one core, generator on another"
        if setting.pinned
        else "server and generator wherever the system puts them"
    )
    yield f"{where}; load of the machine before: {setting.load_average:.1f}"
    for name, value in setting.environment.items():
        yield f"{name}={value}"


def table(result: Result) -> Iterator[str]:
    """One scenario."""
    runs = f"; median of {result.runs} runs (least to greatest)" if result.runs > 1 else ""
    yield ""
    yield f"{result.scenario}: {result.about}{runs}"
    heading = ""
    for title, spreads in _lines(result.figures):
        before, _, rest = title.rpartition(": ")
        if before != heading:
            heading = before
            if heading:
                yield f"  {heading}:"
        indent = "  " * (1 + bool(heading) + spreads[0].part)
        values = " / ".join(number(spread.median) for spread in spreads)
        if spreads[0].part:
            rest = rest.rpartition(", ")[2]
        line = f"{indent + rest:<{NAME_WIDTH}} {values:>9} {spreads[0].unit}"
        if result.runs > 1:
            line += f"  ({'; '.join(_range(spread) for spread in spreads)})"
        yield line
    yield from _checked(result)


def _lines(figures: Sequence[Spread]) -> Iterator[tuple[str, list[Spread]]]:
    """A title and its figures: the percentiles of the same thing share a line."""
    lines: dict[str, list[Spread]] = {}
    for spread in figures:
        if not spread.part or spread.high >= SHOWN_MIN:
            lines.setdefault(PERCENTILE.sub("", spread.name), []).append(spread)
    for name, spreads in lines.items():
        found = [PERCENTILE.search(spread.name) for spread in spreads]
        which = "/".join(match[1] for match in found if match)
        yield (f"{name}, {which}" if which else name), spreads


def _range(spread: Spread) -> str:
    return f"{number(spread.low)} to {number(spread.high)}"


def _checked(result: Result) -> Iterator[str]:
    verdict = result.verdict
    if verdict.acknowledged or verdict.received:
        yield (
            f"  checked: {verdict.acknowledged:,} acknowledged, {verdict.received:,} received;"
            f" lost {verdict.lost}, doubled {verdict.doubled}, misordered {verdict.misordered}"
        )
    for warning in result.warnings:
        yield f"  note: {warning}"
    for error in result.errors:
        yield f"  error: {error}"
    for missed in result.missed:
        yield f"  MISSED: {missed}"
    if not verdict.good:
        yield f"  FAILED: {result.scenario} was not served correctly; its figures mean nothing"


def number(value: float) -> str:
    """Three digits or so that mean something."""
    if value != value:  # noqa: PLR0124 — not a number
        return "-"
    if abs(value) >= LARGE:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < SMALL else f"{value:.1f}"


def as_json(setting: Setting, results: Sequence[Result]) -> bytes:
    """Everything, in one document."""
    whole: dict[str, Any] = {
        "setting": setting,
        "passed": all(result.good for result in results),
        "scenarios": results,
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


class Progress:
    """A bar on standard error, where that is a terminal; elsewhere nothing."""

    WIDTH = 24

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._before = ""
        self._last = ""

    def begin(self, what: str) -> None:
        self._before = what

    def __call__(self, phase: str, done: int, whole: int) -> None:
        if not self._on:
            return
        filled = self.WIDTH * done // max(1, whole)
        bar = "#" * filled + "-" * (self.WIDTH - filled)
        line = f"{self._before} [{bar}] {phase}"
        if whole > 1:
            line += f" {done:,} of {whole:,}"
        if line != self._last:
            self._last = line
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._on and self._last:
            self._last = ""
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
