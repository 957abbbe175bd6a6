"""`MessageStore.pages`: runs of entries in both directions."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.backends import PAIR, append, say
from whatsapp.model import Page


@pytest.fixture
async def twenty(stores):
    return await append(stores, *(say(str(n)) for n in range(1, 21)))


async def seqs(stores, **wish):
    (entries,) = await stores.messages.pages([Page(chat=PAIR, **wish)])
    return [entry.seq for entry in entries]


async def test_no_wishes(stores):
    assert await stores.messages.pages([]) == []


@pytest.mark.parametrize(
    "after,limit,expected",
    [
        (0, 5, [1, 2, 3, 4, 5]),
        (7, 3, [8, 9, 10]),
        (18, 5, [19, 20]),
        (20, 5, []),
        (99, 5, []),
        (0, 1, [1]),
        (0, 0, []),
    ],
)
async def test_after_goes_up(stores, twenty, after, limit, expected):
    assert await seqs(stores, after=after, limit=limit) == expected


@pytest.mark.parametrize(
    "before,limit,expected",
    [
        (21, 5, [16, 17, 18, 19, 20]),
        (1 << 53, 2, [19, 20]),
        (8, 3, [5, 6, 7]),
        (3, 9, [1, 2]),
        (1, 5, []),
        (0, 5, []),
        (5, 0, []),
    ],
)
async def test_before_gives_the_newest_below_in_ascending_order(
    stores, twenty, before, limit, expected
):
    assert await seqs(stores, before=before, limit=limit) == expected


async def test_each_wish_has_its_answer_in_order(stores, twenty):
    await append(stores, say("other", chat="ann:eve"))
    wishes = [
        Page(chat="ann:eve", after=0, limit=9),
        Page(chat="ann:zoe", after=0, limit=9),
        Page(chat=PAIR, before=3, limit=1),
        Page(chat=PAIR, after=0, limit=1),
    ]
    pages = await stores.messages.pages(wishes)
    assert [[entry.text for entry in page] for page in pages] == [["other"], [], ["2"], ["1"]]


async def test_entries_come_whole(stores, twenty):
    (page,) = await stores.messages.pages([Page(chat=PAIR, after=0, limit=99)])
    assert page == twenty


async def test_pages_read_beside_appends_have_no_holes(stores):
    async def write():
        for _ in range(40):
            await append(stores, say(), say())

    writing = asyncio.ensure_future(write())
    seen = 0
    while not writing.done():
        await asyncio.sleep(0)
        found = await seqs(stores, after=0, limit=1000)
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= seen
        seen = len(found)
    await writing
    assert len(await seqs(stores, after=0, limit=1000)) == 80
