"""The logs in MongoDB, as the server sees them: append, find, pages, search."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from backends import mongo_search
from backends.mongo_documents import ENTRY_FIELDS, Document, chat_end, entry_id, entry_of
from backends.mongo_driver import Mongo
from backends.mongo_expiry import Expiry
from backends.mongo_log import Appender
from whatsapp.model import Draft, Entry, Outcome, Page, Scope
from whatsapp.words import Terms


class MongoMessages:
    """`MessageStore`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._messages = mongo.db["messages"]
        self._appender = Appender(mongo)
        self._expiry = Expiry(mongo)

    async def append(self, drafts: Sequence[Draft]) -> list[Outcome]:
        if not drafts:
            return []
        return await self._mongo.apart(self._appender.append(tuple(drafts)))

    async def find(self, chat: str, sender: str, message_id: str) -> Entry | None:
        key = {"chat": chat, "sender": sender, "id": message_id}
        found = await self._mongo.run(lambda: self._messages.find_one(key, ENTRY_FIELDS))
        return entry_of(found) if found else None

    async def pages(self, wishes: Sequence[Page]) -> list[list[Entry]]:
        if len(wishes) == 1:
            return [await self._page(wishes[0])]
        return await asyncio.gather(*(self._page(wish) for wish in wishes))

    async def search(
        self,
        terms: Terms,
        scopes: Sequence[Scope],
        *,
        sender: str | None,
        before_ms: int | None,
        limit: int,
    ) -> list[Entry]:
        if not scopes or limit <= 0:
            return []
        filters: Document = {} if sender is None else {"sender": sender}
        if before_ms is not None:
            filters["time_ms"] = {"$lt": before_ms}
        return await mongo_search.find(self._mongo, terms, scopes, filters, limit)

    async def expire(self, before_ms: int, entries_max: int) -> int:
        return await self._mongo.apart(self._expiry.expire(before_ms, entries_max))

    async def close(self) -> None:
        await self._expiry.close()
        await self._appender.close()

    async def _page(self, wish: Page) -> list[Entry]:
        up = wish.after is not None
        edge = entry_id(wish.chat, (wish.after if up else wish.before) or 0)
        bounds = {"$gt": edge, "$lt": chat_end(wish.chat)} if up else {"$lt": edge}
        if not up:
            bounds["$gt"] = entry_id(wish.chat, 0)
        which = {"chat": wish.chat, "_id": bounds}
        if wish.limit <= 0:
            return []

        def ask() -> Any:
            cursor = self._messages.find(which, ENTRY_FIELDS, hint="_id_")
            return cursor.sort("_id", 1 if up else -1).limit(wish.limit).to_list(None)

        found = [entry_of(document) for document in await self._mongo.run(ask)]
        return found if up else found[::-1]
