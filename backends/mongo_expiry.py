"""Texts that are not kept any longer: emptied in the order in which entries were stored.

How far that went is in `meta`, for all instances. An index of its own leads there; it is made
by the first call, since it costs each append something.
"""

from __future__ import annotations

from typing import Any

from backends.mongo_driver import Mongo

INDEX_SECONDS_MAX = 3600.0


async def expire(mongo: Mongo, before_ms: int, entries_max: int) -> int:
    """As `MessageStore.expire`."""
    messages, meta = mongo.db["messages"], mongo.db["meta"]
    row = await mongo.run(lambda: meta.find_one({"_id": "expired"}))
    if row is None:
        await mongo.once(lambda: messages.create_index([("stored_us", 1)]), INDEX_SECONDS_MAX)
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
