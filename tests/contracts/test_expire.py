"""`MessageStore.expire`: old texts go, their places in the log stay."""

from __future__ import annotations

import asyncio
import time

from tests.support.backends import GROUP, PAIR, append, founded, log_of, say, scope
from whatsapp.model import Duplicate
from whatsapp.words import parse


async def moment() -> int:
    """A time in ms between what was stored and what will be."""
    await asyncio.sleep(0.01)
    now_ms = time.time_ns() // 1_000_000
    await asyncio.sleep(0.01)
    return now_ms


def said(text: str, **more):
    return say(text, time_ms=time.time_ns() // 1_000_000, **more)


async def emptied(stores, before_ms: int, entries_max: int = 100) -> int:
    """All that there is to do; how many entries it came past."""
    total = 0
    while count := await stores.messages.expire(before_ms, entries_max):
        assert count <= entries_max
        total += count
    return total


async def test_old_texts_go_and_their_places_stay(stores):
    old = [said(f"old {n}", chat=chat) for n in range(3) for chat in (PAIR, "ann:zoe")]
    await append(stores, *old)
    before = await log_of(stores)
    then = await moment()
    (young,) = await append(stores, said("young"))
    await emptied(stores, then)
    log = await log_of(stores)
    assert [entry.seq for entry in log] == [1, 2, 3, 4]
    assert [entry.expired for entry in log] == [True, True, True, False]
    assert log[3] == young
    for was, entry in zip(before, log, strict=False):
        assert (entry.id, entry.sender, entry.time_ms) == (was.id, was.sender, was.time_ms)
    assert all(entry.expired for entry in await log_of(stores, "ann:zoe"))


async def test_no_search_finds_them(stores):
    await append(stores, said("a word of old"))
    then = await moment()
    await append(stores, said("a word of now"))
    await emptied(stores, then)

    async def found(words: str) -> list[str]:
        entries = await stores.messages.search(
            parse(words), [await scope(stores, "ann")], sender=None, before_ms=None, limit=9
        )
        return [entry.text for entry in entries]

    assert await found("word") == ["a word of now"]
    assert await found("old") == []


async def test_an_id_stays_taken(stores):
    draft = said("once")
    await append(stores, draft)
    await emptied(stores, await moment())
    (outcome,) = await stores.messages.append([draft])
    assert isinstance(outcome, Duplicate)
    assert (outcome.entry.seq, outcome.entry.expired) == (1, True)
    found = await stores.messages.find(PAIR, draft.sender, draft.id)
    assert found == outcome.entry


async def test_what_made_a_group_stays(stores):
    await append(stores, founded("ann", "bob"), said("hello", chat=GROUP))
    before = await stores.chats.load([GROUP])
    await emptied(stores, await moment())
    event, text = await log_of(stores, GROUP)
    assert event.kind == "changed"
    assert not event.expired
    assert text.expired
    assert await stores.chats.load([GROUP]) == before


async def test_some_at_a_time_and_each_once(stores):
    await append(stores, *(said(str(n), chat=f"ann:u{n % 3}") for n in range(25)))
    then = await moment()
    assert await emptied(stores, then, 4) == 25
    assert await stores.messages.expire(then, 4) == 0
    assert await stores.messages.expire(0, 4) == 0
    await append(stores, *(said(f"more {n}") for n in range(3)))
    assert await emptied(stores, await moment(), 2) == 3


async def test_two_at_once(stores):
    await append(stores, *(said(str(n)) for n in range(20)))
    then = await moment()
    await asyncio.gather(emptied(stores, then, 3), emptied(stores, then, 3))
    assert all(entry.expired for entry in await log_of(stores))
