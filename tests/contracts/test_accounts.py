"""`AccountStore`: users, profiles, blocks; names that were taken stay taken."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from tests.support.backends import append, say
from whatsapp.model import Account, CursorMove, Device, Visibility

ANN = Account(
    user="ann",
    name="Ann Ärger",
    password_hash="$argon2id$…",
    about="climbs\nrocks",
    last_seen_visible=Visibility.CONTACTS,
    receipts=False,
    created_ms=5,
    last_seen_ms=7,
)


async def test_an_account_comes_back_whole(stores):
    assert await stores.accounts.create(ANN)
    assert await stores.accounts.find(["ann", "bob", "ann"]) == {"ann": ANN}
    assert await stores.accounts.find([]) == {}


async def test_a_taken_id_is_refused_and_unchanged(stores):
    await stores.accounts.create(ANN)
    assert not await stores.accounts.create(replace(ANN, name="Other"))
    assert await stores.accounts.find(["ann"]) == {"ann": ANN}


async def test_of_concurrent_calls_one_creates(stores):
    answers = await asyncio.gather(
        *(stores.accounts.create(replace(ANN, name=f"Ann {n}")) for n in range(20))
    )
    assert sum(answers) == 1
    assert (await stores.accounts.find(["ann"]))["ann"].name == f"Ann {answers.index(True)}"


async def test_update_replaces(stores):
    await stores.accounts.create(ANN)
    changed = replace(ANN, name="Anna", receipts=True, last_seen_visible=Visibility.NOBODY)
    assert await stores.accounts.update(ANN, changed)
    assert await stores.accounts.find(["ann"]) == {"ann": changed}
    assert await stores.accounts.search("ann ä", 9) == []
    assert await stores.accounts.search("anna", 9) == [changed]


async def test_update_of_an_absent_account_has_no_effect(stores):
    assert not await stores.accounts.update(ANN, ANN)
    assert await stores.accounts.find(["ann"]) == {}


async def test_of_two_changes_of_one_account_the_slower_is_refused(stores):
    await stores.accounts.create(ANN)
    await stores.accounts.saw({"ann": 7_000})
    first = replace(ANN, password_hash="new")
    assert await stores.accounts.update(ANN, first)
    for slower in (replace(ANN, name="Anna"), replace(ANN, about="late")):
        assert not await stores.accounts.update(ANN, slower)
    # When it was last seen is no change that counts, and none that is undone.
    expected = replace(first, last_seen_ms=7_000)
    assert await stores.accounts.find(["ann"]) == {"ann": expected}
    assert await stores.accounts.update(first, replace(first, name="Anna"))
    assert await stores.accounts.find(["ann"]) == {"ann": replace(expected, name="Anna")}


async def test_last_seen_moves_forward_only(stores):
    await stores.accounts.create(ANN)
    await stores.accounts.saw({"ann": 9, "nobody": 3})
    await stores.accounts.saw({"ann": 8})
    await stores.accounts.saw({})
    assert await stores.accounts.find(["ann", "nobody"]) == {"ann": replace(ANN, last_seen_ms=9)}


@pytest.fixture
async def people(stores):
    names = {
        "ann": "Zoë Ärger",
        "anton": "ANTON",
        "bob": "ann bee",
        "eve": "100%_*sure",
        "zed": "É",
    }
    for user, name in names.items():
        await stores.accounts.create(Account(user=user, name=name))


@pytest.mark.parametrize(
    "prefix,expected",
    [
        ("an", ["ann", "anton", "bob"]),
        ("AN", ["ann", "anton", "bob"]),
        ("zo", ["ann"]),
        ("ZOË ä", ["ann"]),
        ("é", ["zed"]),
        ("100%", ["eve"]),
        ("%", []),
        ("_", []),
        ("*", []),
        ("a.", []),
        ("'", []),
        ('"', []),
        ("bee", []),
        ("", ["ann", "anton", "bob", "eve", "zed"]),
    ],
)
async def test_search_by_id_or_name(stores, people, prefix, expected):
    assert [account.user for account in await stores.accounts.search(prefix, 99)] == expected


async def test_search_gives_the_first_by_id(stores, people):
    assert [account.user for account in await stores.accounts.search("an", 2)] == ["ann", "anton"]
    assert [account.user for account in await stores.accounts.search("", 2)] == ["ann", "anton"]


async def test_an_erased_account_is_a_tombstone(stores):
    await stores.accounts.create(ANN)
    await stores.accounts.erase("ann")
    tombstone = (await stores.accounts.find(["ann"]))["ann"]
    assert tombstone == Account(user="ann", name="", erased=True)
    assert not await stores.accounts.create(ANN)
    assert await stores.accounts.search("", 9) == []


async def test_an_erased_account_does_not_come_back(stores):
    await stores.accounts.create(ANN)
    await stores.accounts.erase("ann")
    assert not await stores.accounts.update(ANN, replace(ANN, name="Anna"))
    await stores.accounts.saw({"ann": 99})
    assert (await stores.accounts.find(["ann"]))["ann"] == Account(user="ann", name="", erased=True)


async def test_erasing_forgets_devices_cursors_and_blocks_both_ways(stores):
    for user in ("ann", "bob"):
        await stores.accounts.create(Account(user=user, name=user))
        device = Device(
            device=f"d-{user}",
            user=user,
            name="",
            token_hash=user.encode(),
            created_ms=1,
            last_seen_ms=1,
        )
        await stores.devices.add(device)
    await append(stores, say())
    await stores.chats.advance(
        [CursorMove(chat="ann:bob", user="ann", device="d-ann", device_received=1)]
    )
    for user, other in (("ann", "bob"), ("bob", "ann"), ("bob", "eve")):
        await stores.accounts.block(user, other, on=True)
    await stores.accounts.erase("ann")
    assert await stores.devices.by_token(b"ann") is None
    assert await stores.devices.of_user("ann") == []
    assert await stores.devices.by_token(b"bob") is not None
    assert await stores.accounts.blocks("ann") == set()
    assert await stores.accounts.blocks("bob") == {"eve"}
    (position,) = await stores.chats.of_user("ann", "d-ann")
    assert position.device_received == 0


async def test_erasing_an_absent_account_has_no_effect(stores):
    await stores.accounts.erase("ann")
    assert await stores.accounts.create(ANN)


async def test_erasing_keeps_what_was_said(stores):
    await stores.accounts.create(ANN)
    (entry,) = await append(stores, draft := say())
    await stores.accounts.erase("ann")
    assert await stores.messages.find("ann:bob", "ann", draft.id) == entry


async def test_blocks_are_one_way_and_repeatable(stores):
    accounts = stores.accounts
    for _ in range(2):
        await accounts.block("ann", "bob", on=True)
    await accounts.block("ann", "eve", on=True)
    assert (await accounts.blocks("ann"), await accounts.blocks("bob")) == ({"bob", "eve"}, set())
    for _ in range(2):
        await accounts.block("ann", "bob", on=False)
    assert await accounts.blocks("ann") == {"eve"}
