"""Turns in a chat that several servers write at once: who lost again and again asks for one.

Why: the winner of a race knows the newest entry already, and so is quicker in the next one, too.
A server with much to write could keep another from writing into the chat for as long as it
likes, and with it all that the other has to write in the same call. So a loser puts down a
claim; the others see it when they look, every so often, and leave the chat alone for a moment.
A claim binds nobody: without it, and against it, the log is as right.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from backends.mongo_driver import Lost, Mongo

# Rounds that a server has lost in a chat before it claims a turn.
LOSSES_MAX = 3
# How often others look for claims, how long they heed one, and when one is taken for left over.
LOOK_SECONDS = 0.1
HEED_SECONDS = 1.0
FORGOTTEN_SECONDS = 3.0


class Claims:
    """Of one server. Nothing here raises: where the store is away there is nothing to win."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._claims = mongo.db["claims"]
        self._losses: dict[str, int] = {}
        self._mine: set[str] = set()
        # By chat: the claim of another that was seen, and since when.
        self._seen: dict[str, tuple[str, float]] = {}
        self._looked_at = 0.0

    def held(self, chats: Collection[str]) -> set[str]:
        """Those of these chats in which it is somebody else's turn."""
        if not self._seen:
            return set()
        since = self._mongo.now() - HEED_SECONDS
        return {
            chat
            for chat in chats
            if chat not in self._mine and chat in self._seen and self._seen[chat][1] > since
        }

    async def look(self) -> None:
        """See who claims what; mostly it is not time yet. While one is heeded each round looks."""
        now = self._mongo.now()
        if not self._seen and now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        claims = await self._quietly(lambda: self._claims.find({}).to_list(None))
        if claims is None:
            return
        seen = {}
        for claim in claims:
            chat, by = claim["_id"], claim["by"]
            known, since = self._seen.get(chat, ("", now))
            # The same claim is heeded once: who made it may be gone.
            seen[chat] = (by, since if known == by else now)
            if seen[chat][1] < now - FORGOTTEN_SECONDS:
                await self._drop({"_id": chat, "by": by})
        self._seen = seen

    async def lost(self, chat: str) -> None:
        """Another server was quicker."""
        self._losses[chat] = self._losses.get(chat, 0) + 1
        if self._losses[chat] < LOSSES_MAX or chat in self._mine:
            return
        claim = {"_id": chat, "by": secrets.token_hex(8)}
        refused, doubt = await self._mongo.insert(
            "claims", [claim], ordered=True, seconds=HEED_SECONDS
        )
        # Refused: it is the turn of another, whose claim comes first.
        if doubt or not refused:
            self._mine.add(chat)

    async def done(self) -> None:
        """The call is over, and so are its turns."""
        self._losses.clear()
        mine, self._mine = self._mine, set()
        await asyncio.gather(*(self._drop({"_id": chat}) for chat in mine))

    async def _drop(self, which: dict[str, str]) -> None:
        await self._quietly(lambda: self._claims.delete_one(which))

    async def _quietly(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self._mongo.once(work, HEED_SECONDS)
        except Lost:
            return None
