"""Texts that are not kept any longer: emptied in the order in which entries were stored.

How far that went is in `meta`, for all instances. An index of its own leads there; the first
call begins to make it, since it costs each append something, and in a large collection it takes
minutes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from backends.mongo_driver import Mongo

INDEX_SECONDS_MAX = 3600.0
MOMENT_SECONDS = 1.0


class Expiry:
    """`MessageStore.expire`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._index: asyncio.Task[Any] | None = None

    async def expire(self, before_ms: int, entries_max: int) -> int:
        mongo = self._mongo
        messages, meta = mongo.db["messages"], mongo.db["meta"]
        row = await mongo.run(lambda: meta.find_one({"_id": "expired"}))
        if row is None and not await self._indexed():
            return 0
        after = row["until_us"] if row else 0

        def oldest() -> Any:
            which = {"stored_us": {"$gt": after, "$lt": before_ms * 1000}}
            found = messages.find(which, {"stored_us": 1}).sort("stored_us", 1)
            return found.limit(entries_max).to_list(None)

        found = await mongo.run(oldest)
        if not found:
            return 0
        until = found[-1]["stored_us"]
        # By time, not by what was found: of entries of the same microsecond none is left out.
        texts = {"stored_us": {"$gt": after, "$lte": until}, "kind": {"$exists": False}}
        empty = {"$set": {"text": "", "words": []}}
        await mongo.run(lambda: messages.update_many(texts, empty))
        done = mongo.update({"_id": "expired"}, {"$max": {"until_us": until}}, upsert=True)
        await mongo.bulk("meta", [done])
        return len(found)

    async def close(self) -> None:
        """The server goes on to make the index, or begins anew with the next call."""
        if self._index is not None:
            self._index.cancel()
            await asyncio.wait([self._index])

    async def _indexed(self) -> bool:
        """Is it made? Waits for a moment: nobody who ends shall wait for all of it."""
        if self._index is None:
            self._index = asyncio.create_task(self._make_index())
        index = self._index
        await asyncio.wait([index], timeout=MOMENT_SECONDS)
        if not index.done():
            return False
        if index.exception() is not None:
            self._index = None
        index.result()
        return True

    async def _make_index(self) -> None:
        key = [("stored_us", 1)]
        messages = self._mongo.db["messages"]
        await self._mongo.once(lambda: messages.create_index(key), INDEX_SECONDS_MAX)
