"""SQLite's search index: agrees with `Terms.match`, comes back from anything, harms nothing."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import sqlite_index, sqlite_search, sqlite_thread
from backends.sqlite_thread import Readers
from tests.support.backends import (
    PAIR,
    append,
    change,
    founded,
    indexed,
    log_of,
    opened,
    say,
    scope,
)
from whatsapp.errors import BadRequest, Unavailable
from whatsapp.model import Member, Scope
from whatsapp.words import parse, words

TEXTS = st.text(
    st.one_of(
        st.sampled_from("aAbBzZ01 _-.,'\"*:()^ äÄßéÉİıσς漢字かな\u3099ガ한글 ́"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
)
MEMBER = Member(user="ann")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(sqlite_search, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(sqlite_search, "RETRY_SECONDS", 0.01)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


async def found(stores, query="hello", user="ann"):
    entries = await stores.messages.search(
        parse(query), [await scope(stores, user)], sender=None, before_ms=None, limit=99
    )
    return [entry.text for entry in entries]


def search_of(stores) -> Any:
    return stores.messages._search


def indexer(stores) -> Any:
    """The connection that writes the index."""
    return stores.messages._search._indexer


async def indexed_entries(stores):
    """How many entries are in the index, all shards together."""
    await indexed(stores)

    def work(db):
        shards = db.execute("SELECT number FROM shards").fetchall()
        sql = "SELECT count(*) FROM words_{} WHERE words MATCH '\"\ue000u616e6e\"'"
        return sum(db.execute(sql.format(shard)).fetchone()[0] for (shard,) in shards)

    return await indexer(stores).run(work)


def index_of(texts):
    """A real index of these texts, in memory."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE state (indexed, last_id)")
    db.execute("CREATE TABLE shards (number INTEGER PRIMARY KEY, earliest_ms)")
    rows = [
        sqlite_index.Row(number=number, chat=1, sender="ann", time_ms=1, id="x", text=text)
        for number, text in enumerate(texts, 1)
    ]
    sqlite_index.add(db, rows)
    return db


def hits(text, query):
    """What a real index answers about one text."""
    db = index_of([text])
    try:
        expression = sqlite_index.match_expression(parse(query), [1], "ann")
        sql = "SELECT count(*) FROM words_0 WHERE words_0 MATCH ?"
        return db.execute(sql, (expression,)).fetchone()[0]
    finally:
        db.close()


@settings(max_examples=200)
@given(TEXTS, TEXTS, st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_the_index_and_terms_match_agree(text, other, start, end, quote):
    for query in (text[min(start, end) : max(start, end)], other, text + other):
        written = f'"{query}"' if quote else query
        try:
            terms = parse(written)
        except BadRequest:
            continue
        assert bool(hits(text, written)) == terms.match(text), (text, written)


@settings(max_examples=200)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.data())
def test_what_is_there_is_found(parts, data):
    """Queries cut from the text itself: a phrase, two words apart, the beginning of one."""
    text = " ".join(parts)
    all_words = words(text)
    if not all_words:
        return
    places = st.integers(0, len(all_words) - 1)
    first, last = sorted((data.draw(places), data.draw(places)))
    last = min(last, first + 7)
    phrase = '"' + " ".join(all_words[first : last + 1]) + '"'
    prefix = all_words[last][: data.draw(st.integers(1, 5))]
    for query in (phrase, f'"{all_words[last]}" "{all_words[first]}"', f"{phrase} {prefix}"):
        assert parse(query).match(text), (text, query)
        assert hits(text, query), (text, query)


@pytest.mark.slow
def test_every_character_that_can_be_in_a_word():
    """The index's own list of words, against ours, for all of Unicode."""
    characters = [chr(n) for n in range(0x110000) if not 0xD800 <= n < 0xE000]
    texts = [
        " ".join(f"a{c} {c}b a{c}b" for c in characters[at : at + 2000] if words(c))
        for at in range(0, len(characters), 2000)
    ]
    db = index_of(texts)
    try:
        db.execute("CREATE VIRTUAL TABLE listed USING fts5vocab (words_0, instance)")
        found: list[list[str]] = [[] for _ in texts]
        for term, doc in db.execute('SELECT term, doc FROM listed ORDER BY doc, "offset"'):
            found[doc - 1].append(term)
    finally:
        db.close()
    for text, terms in zip(texts, found, strict=True):
        assert terms[2:] == words(text)


async def test_all_text_is_indexed_in_small_batches(folder, monkeypatch):
    sizes = []
    add = sqlite_index.add

    def adding(db, rows):
        sizes.append(len(rows))
        add(db, rows)

    monkeypatch.setattr(sqlite_index, "add", adding)
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say(f"hello {n}") for n in range(330)), say(kind="note"))
        assert await indexed_entries(stores) == 330
    assert max(sizes) <= sqlite_search.BATCH_ENTRIES


async def test_indexing_goes_on_where_it_was(folder, monkeypatch):
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say() for _ in range(5)))
        await indexed(stores)
    rows = []
    add = sqlite_index.add

    def adding(db, new):
        rows.extend(new)
        add(db, new)

    monkeypatch.setattr(sqlite_index, "add", adding)
    async with opened("sqlite", folder) as stores:
        await append(stores, say())
        assert await indexed_entries(stores) == 6
    assert len(rows) == 1


async def test_entries_lie_in_shards(folder, monkeypatch):
    monkeypatch.setattr(sqlite_index, "SHARD_BITS", 3)
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say(f"hello {n}", time_ms=n) for n in range(50)))
        await indexed(stores)
        assert await found(stores) == [f"hello {n}" for n in reversed(range(50))]
        entries = await stores.messages.search(
            parse("hello"), [await scope(stores, "bob")], sender=None, before_ms=20, limit=3
        )
        assert [entry.text for entry in entries] == ["hello 19", "hello 18", "hello 17"]


async def test_shards_are_dropped_once_all_of_them_is_expired(folder, monkeypatch):
    monkeypatch.setattr(sqlite_index, "SHARD_BITS", 3)
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say(f"hello {n}", time_ms=n) for n in range(20)))
        await indexed(stores)
        assert await stores.messages.expire(17, 100) == 17
        # Numbers 1 to 7 and 8 to 15 are gone; 16 and 17 are in a part with younger ones.
        assert await found(stores) == ["hello 19", "hello 18", "hello 17"]
    db = sqlite3.connect(folder / "search.db")
    assert db.execute("SELECT number FROM shards").fetchall() == [(2,)]
    db.close()
    # An index that is built anew knows nothing of them either.
    sqlite_index.remove(folder / "search.db")
    async with opened("sqlite", folder) as stores:
        assert await indexed_entries(stores) == 3
        assert await found(stores) == ["hello 19", "hello 18", "hello 17"]


async def test_a_shard_that_ends_in_changes_of_groups_is_dropped_too(folder, monkeypatch):
    monkeypatch.setattr(sqlite_index, "SHARD_BITS", 3)
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say(f"hello {n}", time_ms=n) for n in range(6)))
        titles = [change(title=str(n), epoch=99) for n in range(6)]
        await append(stores, founded("ann", "bob"), *titles)
        await indexed(stores)
        assert await stores.messages.expire(2**60, 100) == 13
    db = sqlite3.connect(folder / "search.db")
    assert db.execute("SELECT count(*) FROM shards").fetchone() == (0,)
    db.close()


async def test_clocks_that_jump_hide_nothing(folder, monkeypatch):
    monkeypatch.setattr(sqlite_index, "SHARD_BITS", 2)
    times = [50, 60, 10, 70, 80, 5, 90, 20, 100, 110, 120, 15]
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say(f"hello {n}", time_ms=n) for n in times))
        await indexed(stores)
        entries = await stores.messages.search(
            parse("hello"), [await scope(stores, "bob")], sender=None, before_ms=30, limit=9
        )
        assert [entry.time_ms for entry in entries] == [15, 20, 5, 10]


def rewrite(folder, sql):
    db = sqlite3.connect(folder / "search.db", isolation_level=None)
    db.execute(sql)
    db.close()


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "search.db").unlink(),
        lambda folder: (folder / "search.db").write_bytes(b""),
        lambda folder: (folder / "search.db").write_bytes(b"no database at all" * 999),
        lambda folder: rewrite(folder, "PRAGMA user_version = 99"),
        lambda folder: rewrite(folder, "UPDATE state SET identity = 'other'"),
        lambda folder: rewrite(folder, "UPDATE state SET indexed = 999"),
        lambda folder: rewrite(folder, "UPDATE state SET last_id = 'other'"),
        lambda folder: rewrite(folder, "UPDATE state SET open = 1, boot = 'earlier'"),
        lambda folder: rewrite(folder, "DROP TABLE state"),
        lambda folder: rewrite(folder, "DELETE FROM state"),
    ],
)
async def test_an_unfit_index_is_built_anew(folder, harm, caplog):
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say(f"hello {n}") for n in range(5)))
        await indexed(stores)
    harm(folder)
    async with opened("sqlite", folder) as stores:
        await append(stores, say("hello 5"))
        assert await indexed_entries(stores) == 6
        assert await found(stores) == [f"hello {n}" for n in reversed(range(6))]
        assert len(await log_of(stores)) == 6


async def test_an_index_of_this_start_of_the_machine_is_trusted(folder, caplog):
    async with opened("sqlite", folder) as stores:
        await append(stores, say())
        await indexed(stores)
    rewrite(folder, f"UPDATE state SET open = 1, boot = '{sqlite_index.boot()}'")
    async with opened("sqlite", folder) as stores:
        assert await indexed_entries(stores) == 1
    assert "built anew" not in caplog.text


@pytest.mark.parametrize("sql", ["DROP TABLE words_0", "DROP TABLE shards", "DROP TABLE state"])
async def test_damage_while_running_costs_one_search(folder, sql, caplog):
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say(f"hello {n}") for n in range(3)))
        await indexed(stores)
        await indexer(stores).run(lambda db: db.execute(sql))
        with pytest.raises(Unavailable):
            await found(stores)
        assert (await append(stores, say("hello 3")))[0].seq == 4
        await indexed(stores)
        assert await indexed_entries(stores) == 4
        assert await found(stores) == [f"hello {n}" for n in (3, 2, 1, 0)]
    assert "search index is built anew" in caplog.text


async def test_an_index_that_cannot_be_removed_is_removed_later(folder, monkeypatch, caplog):
    remove, fails = sqlite_index.remove, [OSError(errno.EROFS, "read-only"), OSError("again")]

    def removing(file):
        if fails:
            raise fails.pop()
        remove(file)

    monkeypatch.setattr(sqlite_index, "remove", removing)
    async with opened("sqlite", folder) as stores:
        await append(stores, say("hello"))
        await indexed(stores)
        search_of(stores)._unfit = "damaged"
        await append(stores, say("hello again"))
        await indexed(stores)
        assert len(await found(stores)) == 2
    assert caplog.text.count("cannot be removed") == 1


async def test_an_index_that_cannot_be_opened_for_a_while_is_kept(folder, monkeypatch, caplog):
    async with opened("sqlite", folder) as stores:
        await append(stores, say("hello"))
        await indexed(stores)
    connect = sqlite_thread.connect
    no_descriptors = sqlite3.OperationalError("unable to open database file")
    no_descriptors.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    fails = [no_descriptors] * 2

    async def connecting(file, *more):
        if file.name == "search.db" and fails:
            raise fails.pop()
        return await connect(file, *more)

    monkeypatch.setattr(sqlite_search, "connect", connecting)
    async with opened("sqlite", folder) as stores:
        await indexed(stores)
        assert await found(stores) == ["hello"]
    assert "built anew" not in caplog.text
    assert caplog.text.count("cannot be opened") == 1


async def test_closed_while_it_is_built_anew(folder):
    """Its thread ends all the same: the process would wait for it for ever."""
    async with opened("sqlite", folder) as stores:
        await append(stores, say("hello"))
        await indexed(stores)
        search = search_of(stores)
        busy = asyncio.create_task(search._searcher.run(lambda db: time.sleep(0.3)))
        await asyncio.sleep(0.05)
        connection = search._indexer._connection
        search._unfit = "damaged"
        search._wake.set()
        while search._indexer is not None:
            await asyncio.sleep(0.01)
        assert not busy.done()
    await busy
    await asyncio.sleep(0.1)
    assert not connection._thread.is_alive()


async def test_damaged_pages_while_running(folder):
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say(f"hello {n} " + "word " * 50) for n in range(200)))
        await indexed(stores)

        def harm(db):
            db.execute("UPDATE words_0_data SET block = zeroblob(30) WHERE id > 10")

        await indexer(stores).run(harm)
        with pytest.raises(Unavailable):
            await found(stores)
        await append(stores, say("hello again"))
        await indexed(stores)
        assert len(await found(stores)) == 99
        assert len(await log_of(stores)) == 201


async def test_an_index_that_cannot_be_written_is_tried_again(folder, monkeypatch):
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    add, failing = sqlite_index.add, [full] * 3

    def adding(db, rows):
        if failing:
            raise failing.pop()
        add(db, rows)

    monkeypatch.setattr(sqlite_index, "add", adding)
    async with opened("sqlite", folder) as stores:
        await append(stores, say())
        assert await found(stores) == ["hello"]
        assert await indexed_entries(stores) == 1
    assert not failing


async def test_without_an_index_the_log_is_searched(folder, monkeypatch):
    async def never(_):
        raise Unavailable("no index today")

    monkeypatch.setattr(sqlite_search.Search, "_open", never)
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say(f"hello {n}") for n in range(300)))
        assert len(await found(stores)) == 99
        assert await found(stores, '"hello 7"') == ["hello 7"]


async def test_a_search_that_takes_too_long_gives_what_it_has(folder, monkeypatch):
    async with opened("sqlite", folder) as stores:
        await append(stores, *(say(f"hello {n}") for n in range(500)), say("rare"))
        await indexed(stores)
        monkeypatch.setattr(sqlite_index, "DEADLINE_SECONDS", -1.0)
        assert await found(stores, "rare") == ["rare"]
        assert await found(stores) == ["hello 499"]
        with pytest.raises(Unavailable, match="took too long"):
            await found(stores, "absent")


async def test_hits_that_may_not_be_seen_are_bounded(folder, monkeypatch):
    monkeypatch.setattr(sqlite_index, "CANDIDATES_MAX", 50)
    async with opened("sqlite", folder) as stores:
        await append(stores, say("hello seen"), *(say(hidden=True) for _ in range(200)))
        await indexed(stores)
        with pytest.raises(Unavailable, match="took too long"):
            await found(stores, user="bob")
        assert len(await found(stores, user="ann")) == 50


async def test_searching_does_not_wait_for_indexing_and_neither_for_appending(folder):
    """A search while the index grows and entries come in misses nothing that was there."""
    async with opened("sqlite", folder) as stores:
        await append(stores, say("hello first"))
        appended = 1

        async def write():
            nonlocal appended
            for n in range(60):
                await append(stores, *(say(f"hello {n} {k}") for k in range(5)))
                appended += 5

        writing = asyncio.ensure_future(write())
        query, scopes = parse("hello"), [Scope(chat=PAIR, member=MEMBER)]
        while not writing.done():
            before = appended
            entries = await stores.messages.search(
                query, scopes, sender=None, before_ms=None, limit=9999
            )
            seqs = [entry.seq for entry in entries]
            assert seqs == sorted(seqs, reverse=True)
            assert seqs == list(range(len(seqs), 0, -1))
            assert len(seqs) >= before
        await writing


async def test_a_dear_search_is_quick_enough(folder):
    """The bound is 0.2 s of work; fifty times that is a slow machine, not a promise."""
    async with opened("sqlite", folder) as stores:
        text = " ".join(f"{a}{b}{a}" for a in "abcdefgh" for b in "abcdefgh")
        await append(stores, *(say(text) for _ in range(2000)))
        await indexed(stores)
        for query in ("a", "ab", " ".join("abcdefgh"), '"aaa aba aca"'):
            started = time.monotonic()
            await found(stores, query)
            assert time.monotonic() - started < 10.0


def test_readers_take_the_one_with_the_fewest_waiting():
    class Fake:
        def __init__(self, waiting):
            self.waiting = waiting

        async def run(self, work):
            return self.waiting

    threads: Any = [Fake(3), Fake(1), Fake(2)]
    assert asyncio.run(Readers(threads).run(lambda _: 0)) == 1
