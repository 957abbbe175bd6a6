"""The table of regular work: how often each runs, and that none stops another."""

from __future__ import annotations

import asyncio
import logging

import pytest

from whatsapp.ticking import tick


async def test_each_runs_when_it_is_due_and_none_stops_another(caplog: pytest.LogCaptureFixture):
    ran: list[str] = []
    done = asyncio.Event()

    def often() -> None:
        ran.append("often")
        if len(ran) >= 8:
            done.set()

    def broken() -> None:
        ran.append("broken")
        raise ValueError

    late: list[float] = []
    with caplog.at_level(logging.CRITICAL, logger="whatsapp.ticking"):
        task = asyncio.create_task(tick(0.001, [(3, broken), (1, often)], late.append))
        await asyncio.wait_for(done.wait(), 10)
        task.cancel()
        await asyncio.wait([task])
    assert ran[:8] == ["often", "often", "broken", "often", "often", "often", "broken", "often"]
    assert len(late) >= 6
    assert min(late) > -0.001
