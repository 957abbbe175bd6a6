"""The program that compares the drivers measures both."""

from __future__ import annotations

import pytest

from tests.cluster.driver_cost import DRIVERS, cost_us

pytestmark = [pytest.mark.external]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_small_run(driver):
    assert await cost_us(driver, batches=2, size=10, chats=5) > 0
