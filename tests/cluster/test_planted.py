"""Bugs planted in server processes are found: what cannot fail proves nothing."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.trio import planted, trio

pytestmark = [pytest.mark.external, pytest.mark.slow, pytest.mark.timeout(60)]


async def test_hints_that_are_lost_without_looks_are_found(tmp_path):
    async with trio(tmp_path, variables=planted("deaf")) as together:
        await together.people()
        await asyncio.sleep(1)
        with pytest.raises(AssertionError, match="not delivered"):
            await together.complete(8)


async def test_acknowledging_before_the_commit_is_found(tmp_path):
    async with trio(tmp_path, variables=planted("early")) as together:
        await together.people()
        await asyncio.sleep(3)
        for device in together.devices:
            device.writing = False
        await asyncio.sleep(1)
        assert any(line.startswith("lost:") for line in await together.verdict("a"))
