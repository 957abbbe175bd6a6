"""Profiles, looking people up, blocking."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.registry import open_registry
from whatsapp import config, people
from whatsapp.errors import BadRequest, NotFound, RateLimited, Unauthorized, Unavailable
from whatsapp.model import Account, Actor, Visibility
from whatsapp.resources import (
    Privacy,
    PrivacyChange,
    Profile,
    ProfileChange,
    UserInfo,
    UserName,
)

ANN = Actor("ann", "phone")
RATES = config.Rates(lookups_per_minute=5, lookups_per_day=8)


@pytest.fixture
async def world():
    async with open_registry(rates=RATES) as registry:
        for user in ("ann", "bob", "bobby", "carla"):
            account = Account(user=user, name=user.title(), about=f"{user}'s about")
            assert await registry.accounts.create(account)
        yield registry


async def use_up(world):
    for _ in range(5):
        await world.people.search(ANN, "bob", 10)


async def fail():
    raise Unavailable("the store is away")


# ---------------------------------------------------------------------- profiles


async def test_a_user_sees_its_own_profile(world):
    assert await world.people.me(ANN) == Profile(
        user="ann",
        name="Ann",
        about="ann's about",
        privacy=Privacy(last_seen=Visibility.EVERYONE, receipts=True),
    )


async def test_an_erased_user_has_no_profile(world):
    await world.accounts.erase("ann")
    for actor in (ANN, Actor("nobody", "phone")):
        with pytest.raises(Unauthorized):
            await world.people.me(actor)
    with pytest.raises(NotFound):
        await world.people.change(ANN, ProfileChange(name="Ann"))


async def test_what_is_given_changes_and_the_rest_stays(world):
    changed = await world.people.change(ANN, ProfileChange(name=" Annabel "))
    assert (changed.name, changed.about) == ("Annabel", "ann's about")
    changed = await world.people.change(ANN, ProfileChange(about=""))
    assert (changed.name, changed.about) == ("Annabel", "")
    assert await world.people.change(ANN, ProfileChange()) == changed
    assert await world.people.me(ANN) == changed
    assert world.told == []


@pytest.mark.parametrize(
    "change",
    [
        ProfileChange(name=""),
        ProfileChange(name="x" * 65),
        ProfileChange(name="bell\a"),
        ProfileChange(about="x" * 513),
        ProfileChange(name="Good", about="\x00"),
    ],
)
async def test_a_change_that_cannot_be_changes_nothing(world, change):
    before = await world.people.me(ANN)
    with pytest.raises(BadRequest):
        await world.people.change(ANN, change)
    assert await world.people.me(ANN) == before


async def test_a_change_of_privacy_is_told_once_it_is_stored(world):
    hidden = PrivacyChange(last_seen=Visibility.NOBODY)
    changed = await world.people.change(ANN, ProfileChange(privacy=hidden))
    assert changed.privacy == Privacy(last_seen=Visibility.NOBODY, receipts=True)
    assert world.told == [("privacy", "ann")]
    await world.people.change(ANN, ProfileChange(privacy=hidden))
    assert world.told == [("privacy", "ann")]
    no_receipts = ProfileChange(privacy=PrivacyChange(receipts=False))
    changed = await world.people.change(ANN, no_receipts)
    assert changed.privacy == Privacy(last_seen=Visibility.NOBODY, receipts=False)
    assert len(world.told) == 2


async def test_a_change_that_may_have_been_stored_is_told(world):
    world.account_store.at["update"] = fail
    with pytest.raises(Unavailable):
        await world.people.change(ANN, ProfileChange(privacy=PrivacyChange(receipts=False)))
    assert world.told == [("privacy", "ann")]


async def test_a_block_that_may_have_been_stored_is_told(world):
    world.account_store.at["block"] = fail
    with pytest.raises(Unavailable):
        await world.people.block(ANN, "bob")
    assert world.told == [("blocks", "ann", "bob")]


async def test_a_change_of_the_profile_does_not_bring_an_old_password_back(world):
    await world.auth.set_password("ann", "roses in june")
    await world.people.me(ANN)
    await asyncio.gather(
        world.people.change(ANN, ProfileChange(about="new")),
        world.auth.set_password("ann", "asters in october"),
        world.people.change(ANN, ProfileChange(name="New")),
    )
    await world.auth.login("ann", "asters in october", None, "192.0.2.1")
    profile = await world.people.me(ANN)
    assert (profile.name, profile.about) == ("New", "new")


# ---------------------------------------------------------------------- looking up


async def test_search_finds_by_the_beginning_of_id_or_name(world):
    bobs = [UserName(user="bob", name="Bob"), UserName(user="bobby", name="Bobby")]
    assert await world.people.search(ANN, " BOB ", 10) == bobs
    assert await world.people.search(ANN, "bob", 1) == bobs[:1]
    assert await world.people.search(ANN, "obb", 10) == []


@pytest.mark.parametrize("q", ["", "bo", "  bo  ", "b" * 65])
async def test_a_search_is_neither_too_short_nor_too_long(world, q):
    with pytest.raises(BadRequest):
        await world.people.search(ANN, q, 10)


@pytest.mark.parametrize("limit", [0, -1, 51])
async def test_a_search_has_a_limit(world, limit):
    with pytest.raises(BadRequest, match="1 to 50"):
        await world.people.search(ANN, "bob", limit)


async def test_a_bad_search_costs_nothing(world):
    for _ in range(10):
        with pytest.raises(BadRequest):
            await world.people.search(ANN, "bo", 10)
    await world.people.search(ANN, "bob", 10)


async def test_a_user_is_shown(world):
    shown = await world.people.show(ANN, "bob")
    assert shown == UserInfo(user="bob", name="Bob", about="bob's about")


async def test_erased_users_are_not_found(world):
    await world.accounts.find(["bob"])
    await world.accounts.erase("bob")
    messages = set()
    for user in ("bob", "nobody"):
        with pytest.raises(NotFound) as refused:
            await world.people.show(ANN, user)
        messages.add(refused.value.message)
    assert len(messages) == 1
    assert [found.user for found in await world.people.search(ANN, "bob", 10)] == ["bobby"]


@pytest.mark.parametrize("user", ["bob", "nobody"])
async def test_searching_showing_and_blocking_share_one_allowance(world, user):
    await use_up(world)
    with pytest.raises(RateLimited, match="look up too many people"):
        await world.people.search(ANN, "bob", 10)
    with pytest.raises(RateLimited):
        await world.people.show(ANN, user)
    with pytest.raises(RateLimited):
        await world.people.block(ANN, user)
    await world.people.show(Actor("carla", "phone"), "bob")
    world.clock.pass_seconds(60)
    await world.people.show(ANN, "bob")


async def test_the_day_has_an_allowance_too(world):
    await use_up(world)
    world.clock.pass_seconds(60)
    for _ in range(3):
        await world.people.show(ANN, "bob")
    with pytest.raises(RateLimited) as refused:
        await world.people.show(ANN, "bob")
    assert (refused.value.retry_after_ms or 0) > 600_000


async def test_oneself_and_contacts_are_free(world):
    world.contacts.add(("ann", "bob"))
    await use_up(world)
    assert (await world.people.show(ANN, "ann")).user == "ann"
    assert (await world.people.show(ANN, "bob")).user == "bob"
    await world.people.block(ANN, "bob")
    with pytest.raises(RateLimited):
        await world.people.show(ANN, "carla")


# ---------------------------------------------------------------------- blocking


async def test_blocking_is_repeatable_and_told_once(world):
    assert world.accounts.cached_blocks("ann") is None
    await world.people.block(ANN, "carla")
    await world.people.block(ANN, "bob")
    await world.people.block(ANN, "bob")
    assert await world.people.blocks(ANN) == ["bob", "carla"]
    assert await world.accounts.blocks("ann") == {"bob", "carla"}
    assert world.accounts.cached_blocks("ann") == {"bob", "carla"}
    assert await world.accounts.blocks("bob") == frozenset()
    assert world.told == [("blocks", "ann", "carla"), ("blocks", "ann", "bob")]


async def test_unblocking_is_repeatable_and_told_once(world):
    await world.people.block(ANN, "bob")
    world.told.clear()
    for _ in range(2):
        await world.people.unblock(ANN, "bob")
    await world.people.unblock(ANN, "nobody")
    assert await world.people.blocks(ANN) == []
    assert world.accounts.cached_blocks("ann") == frozenset()
    assert world.told == [("blocks", "ann", "bob")]


async def test_nobody_blocks_itself_or_nobody(world):
    with pytest.raises(BadRequest, match="yourself"):
        await world.people.block(ANN, "ann")
    await world.accounts.erase("bob")
    for user in ("nobody", "bob"):
        with pytest.raises(NotFound):
            await world.people.block(ANN, user)
    assert await world.people.blocks(ANN) == []


async def test_the_number_of_blocks_is_limited(world, monkeypatch):
    monkeypatch.setattr(people, "BLOCKS_MAX", 1)
    await world.people.block(ANN, "bob")
    with pytest.raises(BadRequest, match="unblock some"):
        await world.people.block(ANN, "carla")
    assert await world.people.blocks(ANN) == ["bob"]


async def test_accounts_come_from_memory_until_they_are_forgotten(world):
    first = await world.accounts.find(["ann", "bob", "nobody"])
    assert set(first) == {"ann", "bob"}
    elsewhere = Account(user="ann", name="Elsewhere")
    assert await world.stores.accounts.update(first["ann"], elsewhere)
    assert await world.accounts.find(["ann"]) == {"ann": first["ann"]}
    world.accounts.forget("ann")
    assert (await world.accounts.find(["ann"]))["ann"].name == "Elsewhere"
