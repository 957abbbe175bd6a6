"""Accounts in memory: never older than the store, changed one after the other."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from backends.memory import open_stores
from tests.support.registry import Interrupted
from whatsapp import accounts as module
from whatsapp import config
from whatsapp.accounts import Accounts, Cache
from whatsapp.clock import LoopScheduler
from whatsapp.errors import Busy, NotFound, Unavailable
from whatsapp.model import Account


class World:
    def __init__(self, stores):
        self.store = Interrupted(stores.accounts)
        self.scheduler = LoopScheduler()
        self.accounts = Accounts(self.store, self.scheduler, cached_max=3)

    def calls(self, name):
        return self.store.calls.count(name)


@pytest.fixture
async def world():
    async with open_stores(config.Storage(backend="memory")) as stores:
        built = World(stores)
        for user in ("ann", "bob", "cid", "dan"):
            assert await built.accounts.create(Account(user=user, name=user.title()))
        yield built
        await built.scheduler.settled()
        assert built.accounts._waiting == {}


def named(name):
    return lambda account: replace(account, name=name)


async def in_order(*calls):
    return tuple(await asyncio.gather(*calls))


async def fail():
    raise Unavailable("the store is away")


async def test_what_was_read_is_not_read_again(world):
    first = await world.accounts.find(["ann", "bob", "nobody"])
    assert set(first) == {"ann", "bob"}
    assert await world.accounts.find(["ann", "bob"]) == first
    assert world.calls("find") == 1
    assert world.accounts.cached("ann") == first["ann"]
    assert world.accounts.cached("cid") is None


async def test_the_longest_unused_is_forgotten(world):
    await world.accounts.find(["ann", "bob", "cid"])
    await world.accounts.find(["ann"])
    await world.accounts.find(["dan"])
    assert world.accounts.cached("bob") is None
    assert world.accounts.cached("ann") is not None


async def test_a_change_is_stored_and_what_was_in_memory_is_not_true_any_more(world):
    await world.accounts.find(["ann"])
    changed = await world.accounts.edit("ann", named("Annabel"))
    assert changed.name == "Annabel"
    assert world.accounts.cached("ann") is None
    assert (await world.accounts.find(["ann"]))["ann"] == changed
    assert await world.accounts.fresh("ann") == changed


async def test_a_change_of_nothing_writes_nothing(world):
    await world.accounts.edit("ann", lambda account: account)
    assert world.calls("update") == 0


async def test_changes_side_by_side_all_hold(world):
    def about(text):
        return lambda account: replace(account, about=account.about + text)

    await asyncio.gather(
        world.accounts.edit("ann", named("Annabel")),
        *(world.accounts.edit("ann", about(letter)) for letter in "abcdef"),
        world.accounts.edit("bob", named("Bobby")),
    )
    ann = await world.accounts.fresh("ann")
    assert (ann.name, ann.about) == ("Annabel", "abcdef")


async def test_a_change_after_the_end_does_not_bring_an_account_back(world):
    erasing = asyncio.create_task(world.accounts.erase("ann"))
    await asyncio.sleep(0)
    with pytest.raises(NotFound):
        await world.accounts.edit("ann", named("Annabel"))
    assert erasing.done()
    await erasing
    assert await world.accounts.fresh("ann") is None
    assert (await world.accounts.find(["ann"]))["ann"].erased


async def test_there_is_nothing_to_change_of_nobody(world):
    with pytest.raises(NotFound):
        await world.accounts.edit("nobody", named("Somebody"))


async def test_what_a_change_raises_comes_back_and_the_next_goes_on(world):
    def refuse(account):
        raise Busy("not now")

    results = await asyncio.gather(
        world.accounts.edit("ann", refuse),
        world.accounts.edit("ann", named("Annabel")),
        return_exceptions=True,
    )
    assert isinstance(results[0], Busy)
    assert (await world.accounts.fresh("ann")).name == "Annabel"


async def test_after_a_change_in_doubt_the_store_is_asked(world):
    await world.accounts.find(["ann"])
    world.store.at["update"] = fail
    with pytest.raises(Unavailable):
        await world.accounts.edit("ann", named("Annabel"))
    assert (await world.accounts.find(["ann"]))["ann"].name == "Annabel"


async def test_a_reading_that_a_change_overtook_is_not_kept(world):
    async def change():
        await world.accounts.edit("ann", named("Annabel"))

    world.store.at["find"] = change
    overtaken = await world.accounts.find(["ann"])
    assert overtaken["ann"].name == "Ann"
    assert (await world.accounts.find(["ann"]))["ann"].name == "Annabel"


async def test_who_asked_for_a_change_may_go_and_it_is_made_whole(world):
    begun, gate = asyncio.Event(), asyncio.Event()

    async def wait():
        begun.set()
        await gate.wait()

    world.store.at["update"] = wait
    asked = asyncio.create_task(world.accounts.edit("ann", named("Annabel")))
    await begun.wait()
    asked.cancel()
    await asyncio.wait([asked])
    gate.set()
    await world.scheduler.settled()
    assert (await world.accounts.find(["ann"]))["ann"].name == "Annabel"


async def test_a_failure_that_nobody_waits_for_is_logged(world, caplog):
    begun, gate = asyncio.Event(), asyncio.Event()

    async def wait():
        begun.set()
        await gate.wait()
        await fail()

    world.store.at["update"] = wait
    asked = asyncio.create_task(world.accounts.edit("ann", named("Annabel")))
    await begun.wait()
    asked.cancel()
    await asyncio.wait([asked])
    gate.set()
    await world.scheduler.settled()
    assert "nobody waits for it" in caplog.text


async def test_too_many_changes_of_one_account_are_refused(world, monkeypatch):
    monkeypatch.setattr(module, "CHANGES_WAITING_MAX", 2)
    results = await asyncio.gather(
        *(world.accounts.edit("ann", named(f"Ann {n}")) for n in range(4)),
        world.accounts.edit("bob", named("Bobby")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Account, Account, Busy, Busy, Account]


async def test_last_seen_is_in_memory_at_once_and_never_goes_back(world):
    await world.accounts.find(["ann"])
    await world.accounts.saw({"ann": 500, "bob": 500})
    await world.accounts.saw({"ann": 400})
    assert world.accounts.cached("ann").last_seen_ms == 500
    assert (await world.accounts.fresh("bob")).last_seen_ms == 500


async def test_blocks_are_read_once_and_changed_in_order(world):
    assert world.accounts.cached_blocks("ann") is None
    assert await world.accounts.blocks("ann") == frozenset()
    assert world.accounts.cached_blocks("ann") == frozenset()
    results = await in_order(
        world.accounts.block("ann", "bob", on=True),
        world.accounts.block("ann", "bob", on=True),
        world.accounts.block("ann", "cid", on=True),
        world.accounts.block("ann", "bob", on=False),
        world.accounts.block("ann", "bob", on=False),
    )
    assert results == (True, False, True, True, False)
    assert world.accounts.cached_blocks("ann") is None
    assert await world.accounts.blocks("ann") == {"cid"}


async def test_a_reading_of_blocks_that_a_block_overtook_is_not_kept(world):
    async def block():
        await world.accounts.block("ann", "bob", on=True)

    world.store.at["blocks"] = block
    await world.accounts.blocks("ann")
    assert await world.accounts.blocks("ann") == {"bob"}


async def test_after_a_block_in_doubt_the_store_is_asked(world):
    await world.accounts.blocks("ann")
    world.store.at["block"] = fail
    with pytest.raises(Unavailable):
        await world.accounts.block("ann", "bob", on=True)
    assert await world.accounts.blocks("ann") == {"bob"}


def test_amending_what_is_not_there_keeps_nothing():
    cache: Cache[int] = Cache(2)
    cache.amend("a", 1)
    assert cache.get("a") is None


async def test_changes_on_two_instances_at_once_are_both_done(world):
    """Each edits from its own reading; the store takes one of them, the other reads again."""
    elsewhere = Accounts(world.store, world.scheduler)

    async def meanwhile():
        await elsewhere.edit("ann", lambda account: replace(account, password_hash="new"))

    world.store.at["find"] = meanwhile
    await world.accounts.edit("ann", named("Anna"))
    found = (await world.store.find(["ann"]))["ann"]
    assert (found.name, found.password_hash) == ("Anna", "new")


async def test_an_account_that_is_changed_elsewhere_all_the_time(world):
    elsewhere = Accounts(world.store, world.scheduler)
    count = 0

    async def meanwhile():
        nonlocal count
        count += 1
        await elsewhere.edit("ann", named(str(count)))
        world.store.at["find"] = meanwhile

    world.store.at["find"] = meanwhile
    with pytest.raises(Busy):
        await world.accounts.edit("ann", lambda account: replace(account, about="never"))
    del world.store.at["find"]
    assert (await world.store.find(["ann"]))["ann"].about == ""
