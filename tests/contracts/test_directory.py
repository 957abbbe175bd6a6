"""`Directory`: who is on which instance."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack

import pytest

import backends
from backends.memory_directory import Board
from tests.support.backends import DIRECTORIES
from tests.support.waiting import soon
from whatsapp import config
from whatsapp.interfaces import Instance

ONE = Instance(name="one", address="127.0.0.1:1", epoch=1)
TWO = Instance(name="two", address="127.0.0.1:2", epoch=7)

_roots = itertools.count(1)


@pytest.fixture(params=DIRECTORIES)
def opened(request):
    """Opens the directory of an instance: a context manager. All see each other."""
    module = backends.directory(request.param)
    settings = config.DirectorySection(backend=request.param)
    if request.param == "memory":
        board = Board()
        return lambda instance: module.open_directory(settings, instance, board)
    server = request.getfixturevalue("zookeeper")
    settings = config.DirectorySection(
        backend=request.param, hosts=server.hosts, root=f"/directory-{next(_roots)}"
    )
    return lambda instance: module.open_directory(settings, instance)


@pytest.fixture
async def instances(opened):
    """Opens the directory of an instance, until the test is over."""
    async with AsyncExitStack() as stack:
        yield lambda instance: stack.enter_async_context(opened(instance))


async def test_nobody_is_anywhere_at_first(instances):
    one = await instances(ONE)
    assert await one.locate(["ann"]) == {}
    assert await one.locate([]) == {}
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


async def test_users_come_and_go_many_at_once_and_the_last_wish_counts(instances):
    one = await instances(ONE)
    users = [f"user{number}" for number in range(1000)]
    await asyncio.gather(one.announce(users), one.withdraw(users[:500]), one.announce(users[:250]))
    here = users[:250] + users[500:]
    assert await one.locate(users) == {user: ["one"] for user in here}


async def test_any_user_may_be_announced(instances):
    one = await instances(ONE)
    users = ["+4915112345678", "a..", "a.b-c_d", "x" * 32, "000"]
    await one.announce(users)
    assert await one.locate(users) == {user: ["one"] for user in users}


async def test_a_user_may_be_on_several(instances):
    one, two = await instances(ONE), await instances(TWO)
    await two.announce(["ann"])
    await one.announce(["ann"])
    assert await one.locate(["ann"]) == {"ann": ["one", "two"]}
    await one.withdraw(["ann"])
    assert await one.locate(["ann"]) == {"ann": ["two"]}
    assert await one.instances() == [ONE, TWO]


async def test_instances_that_write_the_same_users_at_once_lose_nothing(instances):
    several = [
        await instances(Instance(name=name, address="", epoch=1)) for name in ("a", "b", "c")
    ]
    users = [f"user{number}" for number in range(100)]
    await asyncio.gather(*(one.announce(users) for one in several))
    assert await several[0].locate(users) == {user: ["a", "b", "c"] for user in users}
    await asyncio.gather(
        several[0].withdraw(users[:50]), several[1].withdraw(users[50:]), several[2].withdraw(users)
    )
    located = await several[2].locate(users)
    assert located == {user: ["b" if user in users[:50] else "a"] for user in users}


async def test_closing_withdraws_all_that_the_instance_announced(instances, opened):
    one = await instances(ONE)
    async with opened(TWO) as two:
        await two.announce(["ann"])
        await one.announce(["bob"])
        assert await one.locate(["ann", "bob"]) == {"ann": ["two"], "bob": ["one"]}
    assert await one.locate(["ann", "bob"]) == {"bob": ["one"]}
    assert await one.instances() == [ONE]


async def test_an_instance_may_start_again_under_its_name(instances, opened):
    one = await instances(ONE)
    async with opened(TWO) as two:
        await two.announce(["ann"])
    again = await instances(Instance(name="two", address="127.0.0.1:3", epoch=8))
    assert await one.locate(["ann"]) == {}
    await again.announce(["bob"])
    assert await one.locate(["ann", "bob"]) == {"bob": ["two"]}


async def test_watched_users_are_told_of(instances):
    one, two = await instances(ONE), await instances(TWO)
    told: list[str] = []
    stop = one.watch(["ann", "bob"], told.append)
    assert await one.locate(["ann", "bob"]) == {}
    await two.announce(["ann", "eve"])
    await soon(lambda: "ann" in told)
    await one.announce(["bob"])
    await soon(lambda: "bob" in told)
    told.clear()
    await two.withdraw(["ann"])
    await soon(lambda: "ann" in told)
    assert set(told) <= {"ann", "bob"}
    stop()
    stop()
    told.clear()
    await one.withdraw(["bob"])
    await one.announce(["ann"])
    assert told == []


async def test_who_is_told_sees_what_it_is_told_of(instances):
    one, two = await instances(ONE), await instances(TWO)
    seen: asyncio.Queue[dict[str, list[str]]] = asyncio.Queue()

    async def look(user: str) -> None:
        seen.put_nowait(await one.locate([user]))

    async def sees(wanted: dict[str, list[str]]) -> None:
        """In the end: one may be told for nothing, too."""
        async with asyncio.timeout(30):
            while await seen.get() != wanted:
                pass

    looks: list[asyncio.Task[None]] = []
    one.watch(["ann"], lambda user: looks.append(asyncio.create_task(look(user))))
    assert await one.locate(["ann"]) == {}
    await two.announce(["ann"])
    await sees({"ann": ["two"]})
    await two.withdraw(["ann"])
    await sees({})


async def test_watches_are_apart(instances):
    one = await instances(ONE)
    first: list[str] = []
    second: list[str] = []
    stop = one.watch(["ann"], first.append)
    one.watch(["ann"], second.append)
    stop()
    await one.announce(["ann"])
    await one.announce(["ann"])
    await soon(lambda: second == ["ann"])
    assert first == []


async def test_a_thousand_users_may_be_watched(instances):
    one, two = await instances(ONE), await instances(TWO)
    users = [f"user{number}" for number in range(1000)]
    told: set[str] = set()
    one.watch(users, told.add)
    assert await one.locate(users) == {}
    await two.announce(users)
    await soon(lambda: told == set(users))


async def test_instances_that_come_or_go_are_told_of(instances, opened):
    one = await instances(ONE)
    told: list[int] = []
    one.on_change(lambda: told.append(1))
    async with opened(TWO):
        await soon(lambda: told)
        assert await one.instances() == [ONE, TWO]
        told.clear()
    await soon(lambda: told)
    assert await one.instances() == [ONE]
