"""A user's list of chats in MongoDB.

The newest entry that a user may see is nearly always the chat's newest, or the one with which
it left. The exceptions (entries hidden from it stand behind it) are looked for one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from backends.mongo_documents import Document, entry_id, entry_of, seq_of
from backends.mongo_driver import Mongo
from backends.mongo_heads import between, by_ids, chat_documents, heads
from whatsapp.model import ChatLine, Entry, Member

UNREAD_MAX = 999
# So many of a chat's newest entries are looked at to count unread ones; more own and hidden
# ones than that among them, and the count stays below what it could be.
COUNTED_ENTRIES_MAX = 5_000
# So few entries are counted together with those of other chats.
COUNTED_TOGETHER_MAX = 200
CHATS_A_QUESTION_MAX = 100

_FIELDS = {"chat": 1, "epoch": 1, "stored_us": 1, "time_ms": 1, "sender": 1, "hidden": 1}
_COUNTED = {"chat": 1, "sender": 1, "hidden": 1}

Range = tuple[str, int, int]


async def lines(
    mongo: Mongo, members: Mapping[str, Member], *, limit: int, before_ms: int | None
) -> list[ChatLine]:
    documents = await chat_documents(mongo, members)
    found = await heads(mongo, {chat: each["head"] for chat, each in documents.items()}, _FIELDS)
    newest = await _newest_seen(mongo, members, found)
    active = [
        (-each["time_ms"], chat)
        for chat, each in newest.items()
        if before_ms is None or each["time_ms"] < before_ms
    ]
    chosen = [chat for _, chat in sorted(active)[:limit]]
    ids = {newest[chat]["_id"]: chat for chat in chosen}
    last = {each["chat"]: entry_of(each) for each in await by_ids(mongo, "messages", ids)}
    unread = await _unread(mongo, {chat: (members[chat], last[chat]) for chat in chosen})
    return [
        ChatLine(
            chat=chat,
            title=documents[chat]["title"],
            head=seq_of(found[chat][-1]),
            member=members[chat],
            last=last[chat],
            unread=unread.get(chat, 0),
        )
        for chat in chosen
    ]


async def _newest_seen(
    mongo: Mongo, members: Mapping[str, Member], found: Mapping[str, list[Document]]
) -> dict[str, Document]:
    newest: dict[str, Document] = {}
    missing: list[str] = []
    for chat, documents in found.items():
        seen = (each for each in reversed(documents) if _visible(each, members[chat]))
        if (document := next(seen, None)) is not None:
            newest[chat] = document
        else:
            missing.append(chat)
    # Left: the entry with which it left is the last one, and never hidden.
    left = {entry_id(chat, members[chat].left) for chat in missing if not members[chat].active}
    for each in await by_ids(mongo, "messages", left):
        if _visible(each, members[each["chat"]]):
            newest[each["chat"]] = each
    rest = [chat for chat in missing if chat not in newest]
    for document in await asyncio.gather(*(_sought(mongo, c, members[c]) for c in rest)):
        if document is not None:
            newest[document["chat"]] = document
    return newest


async def _sought(mongo: Mongo, chat: str, member: Member) -> Document | None:
    """The newest that is not hidden from the member, in its last span."""
    last = member.left or 10**11
    which = {
        "chat": chat,
        "_id": {"$gte": entry_id(chat, member.joined), "$lte": entry_id(chat, last)},
        "$or": [{"hidden": {"$exists": False}}, {"sender": member.user}],
    }
    answer: Document | None = await mongo.run(
        lambda: mongo.db["messages"].find_one(which, _FIELDS, sort=[("_id", -1)], hint="_id_")
    )
    return answer


async def _unread(mongo: Mongo, chats: Mapping[str, tuple[Member, Entry]]) -> dict[str, int]:
    counts = dict.fromkeys(chats, 0)
    few: list[Range] = []
    many: list[Range] = []
    for chat, (member, last) in chats.items():
        for first, end in _unseen(member, last.seq):
            (few if end - first < COUNTED_TOGETHER_MAX else many).append((chat, first, end))
    parts = [few[at : at + CHATS_A_QUESTION_MAX] for at in range(0, len(few), CHATS_A_QUESTION_MAX)]
    answers = await asyncio.gather(
        *(between(mongo, part, _COUNTED) for part in parts),
        *(_newest_of(mongo, each, chats[each[0]][0].user) for each in many),
    )
    for answer in answers:
        for each in answer:
            chat = each["chat"]
            counts[chat] += each["sender"] != chats[chat][0].user and "hidden" not in each
    return {chat: min(count, UNREAD_MAX) for chat, count in counts.items()}


def _unseen(member: Member, last: int) -> Iterator[tuple[int, int]]:
    """The runs of seqs above the read cursor that the member sees; none where it has left."""
    if not member.active:
        return
    for first, end in ((member.joined, last), *member.spans):
        if (start := max(first, member.read + 1)) <= end:
            yield start, end


async def _newest_of(mongo: Mongo, each: Range, user: str) -> list[Document]:
    """Enough of a long run to count to the limit."""
    chat, first, last = each
    first = max(first, last - COUNTED_ENTRIES_MAX + 1)
    which = {
        "chat": chat,
        "_id": {"$gte": entry_id(chat, first), "$lte": entry_id(chat, last)},
        "sender": {"$ne": user},
        "hidden": {"$exists": False},
    }
    return await mongo.run(
        lambda: (
            mongo.db["messages"].find(which, _COUNTED, hint="_id_").limit(UNREAD_MAX).to_list(None)
        )
    )


def _visible(document: Document, member: Member) -> bool:
    hidden = "hidden" in document and document["sender"] != member.user
    return member.sees(seq_of(document)) and not hidden
