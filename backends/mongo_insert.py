"""Runs of entries, one run a chat, into MongoDB: few commands, and never a hole.

Why not always one ordered command for all: on a sharded cluster it goes from shard to shard, one
after the other. Why not one unordered command: of seqs 5, 6, 7 of one chat it may store 5 and 7,
where 6 is refused, or where the connection breaks. So:

* what a command does unordered has each chat once (a *wave*: the first entries of all chats, then
  the second ones of those whose first is safely stored, and so on);
* a chat with many entries has an ordered command for itself, beside the waves.

Whatever part of that was done when a connection broke, each chat has a run from its beginning.
"""

from __future__ import annotations

import asyncio

from backends.mongo_documents import Document
from backends.mongo_driver import Mongo

# A chat with more entries than waves has its own commands, each of so many entries at most.
WAVES_MAX = 4
RUN_ENTRIES_MAX = 100


async def insert_runs(
    mongo: Mongo, runs: dict[str, list[Document]], seconds: float
) -> tuple[dict[str, int], set[str]]:
    """How many of each chat's entries are stored, and which chats are in doubt about the next."""
    insertion = _Insertion(mongo, {chat: run for chat, run in runs.items() if run}, seconds)
    await insertion.work()
    return insertion.done, insertion.doubtful


class _Insertion:
    def __init__(self, mongo: Mongo, runs: dict[str, list[Document]], seconds: float) -> None:
        self._mongo = mongo
        self._runs = runs
        self._seconds = seconds
        self.done = dict.fromkeys(runs, 0)
        self.doubtful: set[str] = set()

    async def work(self) -> None:
        runs = self._runs
        if len(runs) == 1:
            await self._alone(*runs)
            return
        short = [chat for chat, run in runs.items() if len(run) <= WAVES_MAX]
        long = [chat for chat, run in runs.items() if len(run) > WAVES_MAX]
        await asyncio.gather(self._in_waves(short), *(self._alone(chat) for chat in long))

    async def _in_waves(self, chats: list[str]) -> None:
        while chats:
            wave = [self._runs[chat][self.done[chat]] for chat in chats]
            refused, doubt = await self._mongo.insert(
                "messages", wave, ordered=False, seconds=self._seconds
            )
            if doubt:
                self.doubtful.update(chats)
                return
            stored = [chat for at, chat in enumerate(chats) if at not in refused]
            for chat in stored:
                self.done[chat] += 1
            chats = [chat for chat in stored if self.done[chat] < len(self._runs[chat])]

    async def _alone(self, chat: str) -> None:
        run = self._runs[chat]
        while self.done[chat] < len(run):
            part = run[self.done[chat] : self.done[chat] + RUN_ENTRIES_MAX]
            refused, doubt = await self._mongo.insert(
                "messages", part, ordered=True, seconds=self._seconds
            )
            if doubt:
                self.doubtful.add(chat)
                return
            self.done[chat] += len(part) - len(refused)
            if refused:
                return
