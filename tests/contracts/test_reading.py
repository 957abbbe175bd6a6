"""Stores that are only looked at, beside the processes that have them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

import backends
from backends import mongo_schema, sqlite
from tests.support import mongo
from tests.support.backends import GROUP, founded, log_of
from whatsapp.config import Storage
from whatsapp.errors import StartupError, Unavailable
from whatsapp.model import Account, CursorMove, Draft, Page

DRAFT = Draft(chat="ann:ben", sender="ann", id="12345678", time_ms=1, text="hello")
PAGE = Page(chat="ann:ben", limit=9, after=0)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(data=str(tmp_path / "a folder?with #odd%20 name"))


async def test_what_is_committed_is_seen_at_once_while_it_is_written(storage):
    async with (
        sqlite.open_stores(storage) as stores,
        sqlite.open_reading(storage) as reading,
    ):
        for number in range(3):
            await stores.messages.append([Draft(**{**_members(DRAFT), "id": f"message{number}"})])
            [entries] = await reading.messages.pages([PAGE])
            assert [entry.seq for entry in entries] == list(range(1, number + 2))
        await stores.chats.advance([CursorMove(chat="ann:ben", user="ben", received=2)])
        assert (await reading.chats.load(["ann:ben"]))["ann:ben"].members["ben"].received == 2
        assert reading.missing() == []


async def test_nothing_can_be_written(storage):
    async with (
        sqlite.open_stores(storage) as stores,
        sqlite.open_reading(storage) as reading,
    ):
        for write in (
            reading.messages.append([DRAFT]),
            reading.chats.set_invite("ann:ben", "code"),
            reading.accounts.create(Account(user="ann", name="Ann")),
        ):
            with pytest.raises(Unavailable):
                await write
        await stores.messages.append([DRAFT])  # its own work goes on
        [entries] = await reading.messages.pages([PAGE])
        assert len(entries) == 1


async def test_a_folder_that_nobody_has_is_read_and_can_be_opened_again(storage):
    async with sqlite.open_stores(storage) as stores:
        await stores.messages.append([DRAFT])
    for _ in range(2):
        async with sqlite.open_reading(storage) as reading:
            [entries] = await reading.messages.pages([PAGE])
            assert [entry.text for entry in entries] == ["hello"]
        async with sqlite.open_stores(storage) as stores:
            [entries] = await stores.messages.pages([PAGE])
            assert len(entries) == 1


async def test_what_cannot_be_read_is_told(storage):
    folder = Path(storage.data)
    with pytest.raises(StartupError, match="has no data"):
        async with sqlite.open_reading(storage):
            pass
    assert not folder.exists()
    folder.mkdir()
    for content, told in ((b"", "older version"), (b"x" * 4096, "is not a database")):
        (folder / "messages.db").write_bytes(content)
        with pytest.raises(StartupError, match=told):
            async with sqlite.open_reading(storage):
                pass
    (folder / "messages.db").unlink()
    other = sqlite3.connect(folder / "messages.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(StartupError, match="some other program"):
        async with sqlite.open_reading(storage):
            pass


@pytest.mark.external
async def test_mongodb_is_read_and_nothing_is_written_there(tmp_path):
    module = backends.stores("mongo")
    storage = mongo.settings(tmp_path, "pymongo")
    with pytest.raises(StartupError, match="has no data"):
        async with module.open_reading(storage):
            pass
    with MongoClient[dict[str, Any]](storage.url) as client:
        database = client[storage.database]
        assert database.list_collection_names() == []
        async with module.open_stores(storage) as stores:
            await stores.messages.append([DRAFT, founded("ann", "ben", chat=GROUP)])
            await stores.chats.advance([CursorMove(chat="ann:ben", user="ben", received=1)])
        # As if the server had ended before the members of the group were written.
        database["members"].delete_many({"chat": GROUP})
        database["chats"].update_one({"_id": GROUP}, {"$set": {"applied": 0}})
        before = _everything(database)
        async with module.open_reading(storage) as reading:
            assert [entry.text for entry in await log_of(reading, "ann:ben")] == ["hello"]
            chats = await reading.chats.load(["ann:ben", GROUP])
            assert chats["ann:ben"].members["ben"].received == 1
            assert sorted(chats[GROUP].members) == ["ann", "ben"]
        assert _everything(database) == before
        database["meta"].update_one({"_id": "schema"}, {"$inc": {"version": 1}})
        with pytest.raises(StartupError, match=f"newer version .schema {mongo_schema.VERSION + 1}"):
            async with module.open_reading(storage):
                pass
    mongo.drop(tmp_path)


def _everything(database):
    return {
        name: sorted(database[name].find(), key=lambda each: str(each["_id"]))
        for name in sorted(database.list_collection_names())
    }


def _members(draft):
    return {name: getattr(draft, name) for name in draft.__struct_fields__}
