"""`Directory`: who is on which instance."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

import backends
from backends.memory_directory import Board
from tests.support.backends import DIRECTORIES
from whatsapp import config
from whatsapp.interfaces import Instance

ONE = Instance(name="one", address="127.0.0.1:1", epoch=1)
TWO = Instance(name="two", address="127.0.0.1:2", epoch=7)


@pytest.fixture(params=DIRECTORIES)
async def instances(request):
    """Opens the directory of an instance; all see each other."""
    module = backends.directory(request.param)
    shared = {"board": Board()} if request.param == "memory" else {}
    settings = config.DirectorySection(backend=request.param)
    async with AsyncExitStack() as stack:
        yield lambda instance: stack.enter_async_context(
            module.open_directory(settings, instance, **shared)
        )


async def test_nobody_is_anywhere_at_first(instances):
    one = await instances(ONE)
    assert await one.locate(["ann"]) == {}
    assert await one.instances() == [ONE]
    assert one.healthy()


async def test_announced_users_are_here(instances):
    one = await instances(ONE)
    await one.announce(["ann", "bob"])
    await one.announce(["ann"])
    assert await one.locate(["ann", "eve", "bob"]) == {"ann": ["one"], "bob": ["one"]}


async def test_withdrawn_users_are_not(instances):
    one = await instances(ONE)
    await one.announce(["ann", "bob"])
    await one.withdraw(["ann", "eve", "ann"])
    await one.withdraw([])
    assert await one.locate(["ann", "bob"]) == {"bob": ["one"]}


async def test_a_user_may_be_on_several(instances):
    one, two = await instances(ONE), await instances(TWO)
    await two.announce(["ann"])
    await one.announce(["ann"])
    assert await one.locate(["ann"]) == {"ann": ["one", "two"]}
    await one.withdraw(["ann"])
    assert await one.locate(["ann"]) == {"ann": ["two"]}
    assert await one.instances() == [ONE, TWO]


async def test_closing_withdraws_all_that_the_instance_announced(instances):
    one = await instances(ONE)
    module = backends.directory("memory")
    settings = config.DirectorySection()
    board = one._board
    async with module.open_directory(settings, TWO, board=board) as two:
        await two.announce(["ann"])
        await one.announce(["bob"])
        assert await one.locate(["ann", "bob"]) == {"ann": ["two"], "bob": ["one"]}
    assert await one.locate(["ann", "bob"]) == {"bob": ["one"]}
    assert await one.instances() == [ONE]


async def test_watched_users_are_told_of(instances):
    one, two = await instances(ONE), await instances(TWO)
    told: list[str] = []
    stop = one.watch(["ann", "bob"], told.append)
    await two.announce(["ann", "eve"])
    await one.announce(["bob"])
    await two.withdraw(["ann"])
    assert told == ["ann", "bob", "ann"]
    stop()
    stop()
    await one.withdraw(["bob"])
    assert len(told) == 3


async def test_watches_are_apart(instances):
    one = await instances(ONE)
    first: list[str] = []
    second: list[str] = []
    stop = one.watch(["ann"], first.append)
    one.watch(["ann"], second.append)
    stop()
    await one.announce(["ann"])
    await one.announce(["ann"])
    assert (first, second) == ([], ["ann"])
