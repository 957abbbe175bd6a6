"""The tests of the connection once more, on uvloop: its transports are other code."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import pytest

from tests.support.server import loop_factory
from tests.unit import test_connection
from whatsapp.web import READERS

Test = Callable[[], Awaitable[None]]

SECONDS_MAX = 30.0

TESTS = [
    function
    for name, function in inspect.getmembers(test_connection, inspect.iscoroutinefunction)
    if name.startswith("test_") and not inspect.signature(function).parameters
]


@pytest.fixture(autouse=True, params=list(READERS))
def every_reader(request: pytest.FixtureRequest) -> None:
    test_connection.READER[0] = READERS[request.param]


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__.removeprefix("test_"))
def test_on_uvloop(test: Test) -> None:
    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
        runner.run(run(test))


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_of_every_length(size: int) -> None:
    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
        runner.run(run(lambda: test_connection.test_frames_of_every_length(size)))


async def run(test: Test) -> None:
    # pytest's own limit does not reach into this loop.
    async with asyncio.timeout(SECONDS_MAX):
        await test()
