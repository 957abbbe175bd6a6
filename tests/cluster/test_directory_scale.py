"""The program that measures a directory ends, and what it measures is there to be measured."""

from __future__ import annotations

import pytest

from tests.cluster.directory_scale import measure

pytestmark = [pytest.mark.external, pytest.mark.slow]


async def test_a_small_run(tmp_path):
    scale = await measure(tmp_path, users=3_000, session_seconds=2.0)
    assert scale.users == 3_000
    assert min(scale.entered_per_second, scale.located_per_second) > 100
    assert 0 < scale.offline_seconds < scale.swept_seconds
