"""A share of the nonsense for each run of the tests; `make fuzz INPUTS=1000000` is the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import nonsense

INPUTS = 20_000


@pytest.mark.slow
async def test_nonsense_neither_stops_nor_slows_it(tmp_path: Path) -> None:
    result = await nonsense.run(7, INPUTS, tmp_path)
    print(f"{result.inputs} inputs, slowest {result.slowest_seconds * 1000:.0f} ms")
    assert result.wrong == []
    # Most of it came through to be refused, and some of it was good.
    assert result.answers["bad_request"] > INPUTS / 4
    assert result.answers["HTTP 400"] > 0
    assert result.answers["HTTP 200"] > 0
    # Generous: this process and others use the same machine.
    assert result.slowest_seconds < 5
