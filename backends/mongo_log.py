"""How drafts become entries in MongoDB.

The insert is the allocation and the record of ids: `_id` is (chat, seq), and (chat, sender,
id) is unique. To insert seq n one must have read n - 1, with the epoch that it carries; so of
several servers that write one chat each is told by its insert whether it knew all.

Drafts of chats that are known here cost one insert (`mongo_insert`). A chat whose insert was
refused or is in doubt is read again, newest entry and stored ids, and what is left of it goes
into the next round, while the others are done. What is read is held by a majority; so an entry
that another server is just writing shows a moment later.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from backends.mongo_claims import Claims
from backends.mongo_documents import (
    ENTRY_FIELDS,
    Document,
    change_of,
    chat_document,
    entry_document,
    entry_of,
    member_document,
    seq_of,
)
from backends.mongo_driver import Lost, Mongo
from backends.mongo_heads import Step, chat_documents, heads, heal
from backends.mongo_insert import insert_runs
from whatsapp.model import Draft, Duplicate, Entry, Member, Outcome, Stale, Stored, pair

CACHED_CHATS_MAX = 50_000
IDS_A_QUESTION_MAX = 100
# The chat's document learns of each entry whose seq is a multiple of this.
HEAD_EVERY = 16
CONFLICT_PAUSE_SECONDS = 0.004
CONFLICT_PAUSE_SECONDS_MAX = 0.01

Key = tuple[str, str, str]


@dataclass(slots=True)
class _State:
    """The newest entry that is known of a chat. An entry never changes, so neither does this
    become wrong; only old."""

    seq: int = 0
    epoch: int = 0
    stored_us: int = 0
    spoke: set[str] = field(default_factory=set)
    new: bool = False


@dataclass(slots=True)
class _Item:
    """What will be answered to a draft, and the entry to be inserted for it."""

    index: int
    outcome: Outcome
    document: Document | None = None


@dataclass(slots=True)
class _Call:
    """One call of `append`, on its way."""

    drafts: Sequence[Draft]
    outcomes: list[Outcome | None]
    waiting: dict[str, list[int]]
    stored: dict[Key, Entry] = field(default_factory=dict)
    # Chats that must be read again, and the entries of inserts whose outcome is unknown.
    unsure: set[str] = field(default_factory=set)
    tried: set[tuple[Key, int]] = field(default_factory=set)
    # Chats with what of them is stored and not yet followed by what it brings about.
    changes: dict[str, list[Step]] = field(default_factory=dict)
    said: dict[str, set[str]] = field(default_factory=dict)
    # The epochs that drafts must know: those that this call did not set itself.
    epochs: dict[str, int] = field(default_factory=dict)
    own: set[tuple[str, int]] = field(default_factory=set)


class Appender:
    """One call at a time; each of its methods may end in `Lost`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._messages = mongo.db["messages"]
        self._states: dict[str, _State] = {}
        self._turn = asyncio.Lock()
        self._claims = Claims(mongo)
        self._stamp = 0
        self._heads: dict[str, int] = {}
        self._flush: asyncio.Task[None] | None = None

    async def append(self, drafts: Sequence[Draft]) -> list[Outcome]:
        waiting: dict[str, list[int]] = {}
        for index, draft in enumerate(drafts):
            waiting.setdefault(draft.chat, []).append(index)
        call = _Call(drafts, [None] * len(drafts), waiting)
        deadline = self._mongo.now() + self._mongo.timeout_seconds
        pause = CONFLICT_PAUSE_SECONDS
        async with self._turn:
            try:
                while call.waiting:
                    await self._try(call, deadline)
                    if call.waiting:
                        await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311
                        pause = min(2 * pause, CONFLICT_PAUSE_SECONDS_MAX)
            except BaseException:
                # Who looks at these chats next reads them anew, and does what is left to do.
                for chat in waiting:
                    self._states.pop(chat, None)
                raise
            finally:
                await self._claims.done()
        self._bound()
        return [outcome for outcome in call.outcomes if outcome is not None]

    async def close(self) -> None:
        if self._flush is not None:
            await asyncio.wait([self._flush])

    async def _try(self, call: _Call, deadline: float) -> None:
        try:
            await self._round(call, deadline)
        except Lost:
            call.unsure.update(call.waiting)
        if call.waiting and self._mongo.now() >= deadline:
            raise self._mongo.away()

    async def _round(self, call: _Call, deadline: float) -> None:
        await self._look(call)
        stamp = max(self._stamp, time.time_ns() // 1000)
        held = self._claims.held(call.waiting)
        plans = {c: self._plan(call, c, stamp) for c in call.waiting if c not in held}
        await self._prepare({c: plan for c, plan in plans.items() if self._states[c].new})
        runs = {
            chat: [item.document for item in plan if item.document is not None]
            for chat, plan in plans.items()
        }
        # An answer that never comes must leave time to look what became of it.
        seconds = (deadline - self._mongo.now()) / 2
        (done, doubtful), _ = await asyncio.gather(
            insert_runs(self._mongo, runs, seconds), self._claims.look()
        )
        for chat in doubtful:
            call.tried.update((_key(doc), seq_of(doc)) for doc in runs[chat][done[chat] :])
        for chat, plan in plans.items():
            self._settle(call, chat, plan, done.get(chat, 0))
            if chat in call.unsure and chat not in doubtful:
                await self._claims.lost(chat)
        await self._follow(call)
        for chat in list(call.waiting):
            if not call.waiting[chat]:
                del call.waiting[chat]

    async def _look(self, call: _Call) -> None:
        """Read what must be known of the chats: all of unknown ones, news of unsure ones."""
        unknown = [chat for chat in call.waiting if chat not in self._states]
        await self._load(unknown)
        known = {chat: self._states[chat].seq for chat in call.unsure if chat not in unknown}
        wanted = [i for chat in call.unsure for i in call.waiting.get(chat, ())]
        wanted += [
            index
            for chat, indexes in call.waiting.items()
            if chat not in call.unsure
            for index in indexes
            if call.drafts[index].epoch < self._epoch(call, chat)
        ]
        newest, stored = await asyncio.gather(
            heads(self._mongo, known), self._stored({_key_of(call.drafts[i]) for i in wanted})
        )
        for document in stored:
            entry = entry_of(document)
            key = _key(document)
            call.stored[key] = entry
            if "change" in document and (key, entry.seq) in call.tried:
                call.own.add((entry.chat, entry.seq))
        for chat, documents in newest.items():
            state = self._states[chat]
            epoch = state.epoch
            self._advance(state, documents[-1])
            if state.epoch > epoch:  # perhaps by an insert of ours whose answer was lost
                call.changes.setdefault(chat, [])
        call.unsure.clear()

    async def _load(self, chats: list[str]) -> None:
        if not chats:
            return
        documents = await chat_documents(self._mongo, chats)
        floors = {chat: document["head"] for chat, document in documents.items()}
        newest = await heads(self._mongo, floors) if floors else {}
        states = {}
        for chat in chats:
            state = states[chat] = _State(new=chat not in documents)
            if chat in newest:
                self._advance(state, newest[chat][-1])
                state.spoke.update(documents[chat].get("spoke", ()))
        behind = [c for c, document in documents.items() if document["applied"] < states[c].epoch]
        await asyncio.gather(*(heal(self._mongo, chat, states[chat].epoch) for chat in behind))
        self._states.update(states)

    async def _stored(self, keys: set[Key]) -> list[Document]:
        which = [{"chat": chat, "sender": sender, "id": mid} for chat, sender, mid in keys]
        found: list[Document] = []
        for at in range(0, len(which), IDS_A_QUESTION_MAX):
            part = {"$or": which[at : at + IDS_A_QUESTION_MAX]}
            found += await self._mongo.find("messages", part, ENTRY_FIELDS)
        return found

    def _epoch(self, call: _Call, chat: str) -> int:
        """What a draft must know: the chat's epoch, but for those that this call has set."""
        epoch = self._states[chat].epoch
        if (chat, epoch) not in call.own:
            call.epochs[chat] = epoch
        return call.epochs.get(chat, 0)

    def _plan(self, call: _Call, chat: str, stamp: int) -> list[_Item]:
        """Answers for all drafts of the chat, if every one of them can be inserted."""
        state, required = self._states[chat], self._epoch(call, chat)
        seq, epoch, stamp = state.seq, state.epoch, max(stamp, state.stored_us)
        plan: list[_Item] = []
        planned: dict[Key, Entry] = {}
        for index in call.waiting[chat]:
            draft = call.drafts[index]
            key = _key_of(draft)
            if (old := call.stored.get(key)) is not None:
                ours = (key, old.seq) in call.tried and old == draft.entry(old.seq)
                plan.append(_Item(index, Stored(old) if ours else Duplicate(old)))
                call.tried.discard((key, old.seq))
            elif (own := planned.get(key)) is not None:
                plan.append(_Item(index, Duplicate(own)))
            elif draft.epoch < required:
                plan.append(_Item(index, Stale()))
            else:
                seq += 1
                document = entry_document(draft, seq, epoch, stamp + 1 + index)
                epoch = document["epoch"]
                planned[key] = draft.entry(seq)
                plan.append(_Item(index, Stored(planned[key]), document))
        return plan

    async def _prepare(self, plans: dict[str, list[_Item]]) -> None:
        """What a new chat needs, before its first entry: members (without an entry nobody sees
        them; without them nobody would see it), then its document, which says so.

        Who speaks in these first entries is noted with them, and not in another round trip.
        """
        if not plans:
            return
        members = [
            member_document(chat, Member(user=user), 0)
            for chat in plans
            for user in dict.fromkeys(pair(chat) or ())
        ]
        documents = []
        for chat, plan in plans.items():
            outcomes = [item.outcome for item in plan if not isinstance(item.outcome, Stale)]
            said = {outcome.entry.sender for outcome in outcomes if _spoken(outcome.entry)}
            documents.append(chat_document(chat) | {"spoke": sorted(said)})
        await self._mongo.insert_new("members", members)
        all_new = await self._mongo.insert_new("chats", documents)
        for document in documents:
            state = self._states[document["_id"]]
            state.new = False
            state.spoke.update(document["spoke"] if all_new else ())

    def _settle(self, call: _Call, chat: str, plan: list[_Item], count: int) -> None:
        """Take what is certain: all up to the first entry that was not stored."""
        state = self._states[chat]
        for item in plan:
            document = item.document
            if document is not None:
                if count == 0:
                    call.unsure.add(chat)
                    break
                count -= 1
                self._advance(state, document)
                if state.seq % HEAD_EVERY == 0:
                    self._learn(chat, state.seq)
                if "change" in document:
                    call.own.add((chat, state.seq))
                    step = Step(state.seq, change_of(document), document["prior"])
                    call.changes.setdefault(chat, []).append(step)
            if not isinstance(item.outcome, Stale):
                entry = item.outcome.entry
                if _spoken(entry) and entry.sender not in state.spoke:
                    call.said.setdefault(chat, set()).add(entry.sender)
            call.outcomes[item.index] = item.outcome
            call.waiting[chat].remove(item.index)

    def _advance(self, state: _State, document: Document) -> None:
        if (seq := seq_of(document)) > state.seq:
            state.seq, state.epoch = seq, document["epoch"]
            state.stored_us = document["stored_us"]
            self._stamp = max(self._stamp, state.stored_us)

    async def _follow(self, call: _Call) -> None:
        """Write down what entries that are stored bring about; for most that is nothing."""
        work = [
            heal(self._mongo, chat, self._states[chat].epoch, steps)
            for chat, steps in call.changes.items()
        ]
        if call.said:
            work.append(self._spoke(call.said))
        if work:
            await asyncio.gather(*work)
            call.changes.clear()
            call.said.clear()

    async def _spoke(self, said: dict[str, set[str]]) -> None:
        updates = [
            self._mongo.update({"_id": chat}, {"$addToSet": {"spoke": {"$each": sorted(users)}}})
            for chat, users in said.items()
        ]
        await self._mongo.bulk("chats", updates)
        for chat, users in said.items():
            self._states[chat].spoke |= users

    def _learn(self, chat: str, head: int) -> None:
        self._heads[chat] = head
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._write_heads())

    async def _write_heads(self) -> None:
        """Where it fails, the next reader looks through some more entries."""
        while self._heads:
            learnt, self._heads = self._heads, {}
            updates = [
                self._mongo.update({"_id": c}, {"$max": {"head": n}}) for c, n in learnt.items()
            ]
            try:
                await self._mongo.bulk("chats", updates)
            except Lost:
                return

    def _bound(self) -> None:
        while len(self._states) > CACHED_CHATS_MAX:
            del self._states[next(iter(self._states))]


def _key_of(draft: Draft) -> Key:
    return draft.chat, draft.sender, draft.id


def _key(document: Document) -> Key:
    return document["chat"], document["sender"], document["id"]


def _spoken(entry: Entry) -> bool:
    """Is it one of those that make contacts of two users?"""
    return entry.kind == "text" and not entry.hidden and pair(entry.chat) is not None
