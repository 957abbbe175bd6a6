"""Where chats stand: their newest entries, and their members as the log says.

A chat's head is the newest entry of its log, and no counter. To find the heads of many chats
in one question, the chat's document says where to begin looking (`head`, some entries behind).

Members, title and the like follow from the changes in the log. They are written down after
the entry, change by change in order, and `applied` says how far that has come. Whoever finds
a chat where a server was interrupted between the two does the rest; each step may be done
twice, since a member's document says which change it has seen last (`at`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from backends.mongo_documents import (
    ENTRY_FIELDS,
    Document,
    change_of,
    chat_end,
    entry_id,
    member_document,
    member_fields,
    member_id,
    member_of,
    seq_of,
)
from backends.mongo_driver import Lost, Mongo
from whatsapp.changes import changed_members, named
from whatsapp.model import Change, Member

# So many chats are asked for one by one, each by an index read of one key; of more, many in
# one question.
CHATS_ONE_BY_ONE_MAX = 2
CHATS_A_QUESTION_MAX = 100
TRIES_MAX = 10

HEAD_FIELDS = {"chat": 1, "epoch": 1, "stored_us": 1}


class Step(NamedTuple):
    """A change, the entry that has it, and the one before."""

    seq: int
    change: Change
    prior: int


async def chat_documents(mongo: Mongo, chats: Collection[str]) -> dict[str, Document]:
    """Chats that have a document; it may come before the first entry."""
    found: dict[str, Document] = {}
    for document in await by_ids(mongo, "chats", chats):
        found[document["_id"]] = document
    return found


async def by_ids(mongo: Mongo, collection: str, ids: Collection[str]) -> list[Document]:
    wanted, fields = list(ids), ENTRY_FIELDS if collection == "messages" else None
    if not wanted:
        return []
    if len(wanted) == 1:
        one = await mongo.run(lambda: mongo.db[collection].find_one({"_id": wanted[0]}, fields))
        return [one] if one else []
    which = {"_id": {"$in": wanted}}
    return await mongo.find(collection, which, fields)


async def heads(
    mongo: Mongo, floors: Mapping[str, int], fields: Document | None = None
) -> dict[str, list[Document]]:
    """Each chat's entries from its floor on, ascending, the newest one at least.

    The floor is an entry that there is, or 0. A chat without entries is left out.
    """
    fields = HEAD_FIELDS if fields is None else fields
    if len(floors) <= CHATS_ONE_BY_ONE_MAX:
        newest = await asyncio.gather(*(_newest(mongo, chat, fields) for chat in floors))
        return {document["chat"]: [document] for document in newest if document}
    chats = list(floors)
    parts = [
        chats[at : at + CHATS_A_QUESTION_MAX] for at in range(0, len(chats), CHATS_A_QUESTION_MAX)
    ]
    found: dict[str, list[Document]] = {}
    for answer in await asyncio.gather(
        *(between(mongo, [(chat, floors[chat], None) for chat in part], fields) for part in parts)
    ):
        for document in answer:
            found.setdefault(document["chat"], []).append(document)
    for documents in found.values():
        documents.sort(key=seq_of)
    return found


async def _newest(mongo: Mongo, chat: str, fields: Document) -> Document | None:
    every = {"chat": chat, "_id": {"$gt": entry_id(chat, 0), "$lt": chat_end(chat)}}
    answer: Document | None = await mongo.run(
        lambda: mongo.db["messages"].find_one(every, fields, sort=[("_id", -1)], hint="_id_")
    )
    return answer


async def between(
    mongo: Mongo, ranges: Sequence[tuple[str, int, int | None]], fields: Document
) -> list[Document]:
    """Entries of these chats, from the first seq to the last, in no order."""
    parts = [
        {
            "chat": chat,
            "_id": {
                "$gte": entry_id(chat, first),
                "$lt": chat_end(chat) if last is None else entry_id(chat, last + 1),
            },
        }
        for chat, first, last in ranges
    ]
    if not parts:
        return []
    which = parts[0] if len(parts) == 1 else {"$or": parts}
    return await mongo.find("messages", which, fields)


async def steps_since(
    mongo: Mongo, chat: str, applied: int, epoch: int, known: Iterable[Step] = ()
) -> list[Step]:
    """The changes after `applied` up to `epoch`, ascending: the chain, followed back."""
    by_seq = {step.seq: step for step in known}
    steps: list[Step] = []
    while epoch > applied:
        step = by_seq.get(epoch)
        if step is None:
            (document,) = await by_ids(mongo, "messages", [entry_id(chat, epoch)])
            step = Step(epoch, change_of(document), document["prior"])
        steps.append(step)
        epoch = step.prior
    return steps[::-1]


def applied_to(document: Document, steps: Iterable[Step]) -> Document:
    """The chat's document with these changes."""
    document = dict(document)
    for seq, change, _ in steps:
        document["applied"] = seq
        for name in ("title", "about", "announce"):
            if (value := getattr(change, name)) is not None:
                document[name] = value
    return document


def stepped(
    members: Mapping[str, tuple[Member, int]], steps: Iterable[Step]
) -> dict[str, tuple[Member, int]]:
    """Those members, each with the last change it has seen, that these changes make different.

    A change does to each member something that only depends on this member, so that one who
    has seen a change already is left as it is while the others follow.
    """
    now = dict(members)
    different: dict[str, tuple[Member, int]] = {}
    for seq, change, _ in steps:
        before = {user: member for user, (member, _) in now.items()}
        for user, member in changed_members(before, change, seq).items():
            if now.get(user, (None, 0))[1] < seq:
                now[user] = different[user] = (member, seq)
    return different


async def heal(mongo: Mongo, chat: str, epoch: int, known: Iterable[Step] = ()) -> None:
    """Write down what the changes up to `epoch` made of the chat and its members."""
    for _ in range(TRIES_MAX):
        (document,) = await by_ids(mongo, "chats", [chat])
        steps = await steps_since(mongo, chat, document["applied"], epoch, known)
        if not steps:
            return
        if await _write_members(mongo, chat, steps, fresh=document["applied"] == 0):
            changed = applied_to(document, steps)
            values = {name: changed[name] for name in ("applied", "title", "about", "announce")}
            behind = {"_id": chat, "applied": {"$lt": epoch}}
            await mongo.run(lambda: mongo.db["chats"].update_one(behind, {"$set": values}))  # noqa: B023
            return
    raise Lost("the chat changes too often; try again")


async def _write_members(mongo: Mongo, chat: str, steps: list[Step], *, fresh: bool) -> bool:
    """False: somebody else is doing the same; look again."""
    users = set().union(*(named(change) for _, change, _ in steps))
    there: dict[str, tuple[Member, int]] = {}
    # The first members of a group: there are none to read, but where a server broke off here.
    if not fresh or len(users) < CHATS_A_QUESTION_MAX:
        for each in await by_ids(mongo, "members", [member_id(user, chat) for user in users]):
            there[each["user"]] = (member_of(each), each["at"])
    new: list[Document] = []
    updates: list[Any] = []
    for user, (member, at) in stepped(there, steps).items():
        if user not in there:
            new.append(member_document(chat, member, at))
            continue
        behind = {"_id": member_id(user, chat), "at": {"$lt": at}}
        updates.append(mongo.update(behind, {"$set": member_fields(member, at)}))
    if new and not await mongo.insert_new("members", new):
        if fresh and not there:
            return await _write_members(mongo, chat, steps, fresh=False)
        return False
    await mongo.bulk("members", updates)
    return True


def with_cursors(member: Member, cursor: Document | None) -> Member:
    if cursor is None:
        return member
    return replace(
        member, received=cursor["received"], read=cursor["read"], moved_ms=int(cursor["moved_ms"])
    )
