"""Members, cursors and invitations in MongoDB."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from backends.mongo_documents import Document, cursor_id, member_id, member_of, seq_of
from backends.mongo_driver import Mongo
from backends.mongo_heads import (
    applied_to,
    by_ids,
    chat_documents,
    heads,
    heal,
    stepped,
    steps_since,
    with_cursors,
)
from backends.mongo_lines import lines
from whatsapp.model import Chat, ChatLine, CursorMove, Member, Position, direct_chat, pair

KNOWN_MEMBERS_MAX = 200_000
_NOWHERE: Document = {"received": 0}


class MongoChats:
    """`ChatStore`. `heals`: changes of a group that a server broke off are written when seen."""

    def __init__(self, mongo: Mongo, *, heals: bool = True) -> None:
        self._mongo = mongo
        self._heals = heals
        self._cursors = mongo.db["cursors"]
        # Members of chats never cease to be; those that were seen need not be looked for.
        self._known: set[str] = set()
        self._turn = asyncio.Lock()

    async def load(self, chats: Collection[str]) -> dict[str, Chat]:
        """The chat first, then its members, then the newest entry: what they had not seen yet
        of the changes up to it is applied here, and what came after it is not there. (Were the
        chat read after its members, it could say that a change is applied which they lack.)"""
        wanted = list(set(chats))
        if not wanted:
            return {}
        mongo, which = self._mongo, {"chat": wanted[0] if len(wanted) == 1 else {"$in": wanted}}
        documents = await chat_documents(mongo, wanted)
        if not documents:
            return {}
        members, cursors = await asyncio.gather(
            mongo.find("members", which),
            mongo.find("cursors", which | {"device": ""}),
        )
        newest = await heads(mongo, {chat: each["head"] for chat, each in documents.items()})
        moved = {(each["chat"], each["user"]): each for each in cursors}
        groups: dict[str, dict[str, tuple[Member, int]]] = {chat: {} for chat in newest}
        for each in members:
            if each["chat"] in groups:
                member = with_cursors(member_of(each), moved.get((each["chat"], each["user"])))
                groups[each["chat"]][each["user"]] = (member, each["at"])
        loaded = await asyncio.gather(
            *(
                self._loaded(documents[chat], found[-1], groups[chat])
                for chat, found in newest.items()
            )
        )
        return {chat.chat: chat for chat in loaded}

    async def of_user(self, user: str, device: str) -> list[Position]:
        members, own = await asyncio.gather(
            self._members_of(user), self._cursors_of(user, *{"", device})
        )
        active = [each["chat"] for each in members if each["left"] == 0]
        peers = {chat: _peer(user, chat) for chat in active}
        documents, others = await asyncio.gather(
            chat_documents(self._mongo, active),
            by_ids(self._mongo, "cursors", [cursor_id(u, "", c) for c, u in peers.items() if u]),
        )
        newest = await heads(self._mongo, {chat: each["head"] for chat, each in documents.items()})
        theirs = {each["chat"]: each for each in others}
        devices = own if device else {}
        return [
            Position(
                chat=chat,
                head=seq_of(newest[chat][-1]),
                member=with_cursors(member_of(each), own.get(("", chat))),
                device_received=devices.get((device, chat), _NOWHERE)["received"],
                peer=with_cursors(Member(user=peer), theirs.get(chat)) if peer else None,
            )
            for each in members
            if (chat := each["chat"]) in newest and each["left"] == 0
            for peer in [peers[chat]]
        ]

    async def lines(self, user: str, *, limit: int, before_ms: int | None) -> list[ChatLine]:
        members, cursors = await asyncio.gather(self._members_of(user), self._cursors_of(user, ""))
        own = {
            each["chat"]: with_cursors(member_of(each), cursors.get(("", each["chat"])))
            for each in members
        }
        return await lines(self._mongo, own, limit=limit, before_ms=before_ms)

    async def advance(self, moves: Sequence[CursorMove]) -> None:
        if moves:
            await self._mongo.apart(self._advance(tuple(moves)))

    async def set_invite(self, chat: str, code: str) -> None:
        change = {"$set": {"invite": code}} if code else {"$unset": {"invite": ""}}
        await self._mongo.write(lambda: self._mongo.db["chats"].update_one({"_id": chat}, change))

    async def by_invite(self, code: str) -> str | None:
        if not code:
            return None
        found = await self._mongo.run(
            lambda: self._mongo.db["chats"].find_one({"invite": code}, {"_id": 1})
        )
        return str(found["_id"]) if found else None

    async def contacts(self, user: str, others: Collection[str]) -> set[str]:
        chats = {direct_chat(user, other): other for other in others}
        documents = await chat_documents(self._mongo, chats)
        return {
            chats[chat]
            for chat, each in documents.items()
            if {user, chats[chat]} <= set(each.get("spoke", ()))
        }

    async def _loaded(
        self, document: Document, head: Document, members: dict[str, tuple[Member, int]]
    ) -> Chat:
        chat, epoch = document["_id"], head["epoch"]
        if document["applied"] < epoch:
            steps = await steps_since(self._mongo, chat, document["applied"], epoch)
            if self._heals:
                await self._mongo.apart(heal(self._mongo, chat, epoch, steps))
            document = applied_to(document, steps)
            members = members | stepped(members, steps)
        return Chat(
            chat=chat,
            head=seq_of(head),
            epoch=epoch,
            title=document["title"],
            about=document["about"],
            announce=document["announce"],
            invite=document.get("invite", ""),
            members={user: member for user, (member, _) in members.items()},
        )

    async def _members_of(self, user: str) -> list[Document]:
        which = {"_id": {"$gt": f"{user}/", "$lt": f"{user}0"}}
        return await self._mongo.find("members", which)

    async def _cursors_of(self, user: str, *devices: str) -> dict[tuple[str, str], Document]:
        ranges: list[Document] = [
            {"_id": {"$gt": f"{user}/{device}/", "$lt": f"{user}/{device}0"}} for device in devices
        ]
        which = ranges[0] if len(ranges) == 1 else {"$or": ranges}
        found = await self._mongo.find("cursors", which)
        return {(each["device"], each["chat"]): each for each in found}

    async def _advance(self, moves: Sequence[CursorMove]) -> None:
        """One at a time, so that of one call's and the next one's the order holds."""
        async with self._turn:
            unknown = {member_id(move.user, move.chat) for move in moves} - self._known
            if unknown:
                if len(self._known) > KNOWN_MEMBERS_MAX:
                    self._known.clear()
                found = await by_ids(self._mongo, "members", unknown)
                self._known.update(each["_id"] for each in found)
            updates = list(self._updates(_merged(self._members_moves(moves))))
            await self._mongo.bulk("cursors", updates)

    def _members_moves(self, moves: Sequence[CursorMove]) -> Iterable[CursorMove]:
        return (move for move in moves if member_id(move.user, move.chat) in self._known)

    def _updates(self, merged: dict[str, tuple[Document, Document]]) -> Iterable[Any]:
        for key, (names, values) in merged.items():
            change: Document = {"$setOnInsert": names}
            if "rewind" in values:
                change["$set"] = {"received": values["received"]}
            else:
                change["$max"] = values
            yield self._mongo.update({"_id": key}, change, upsert=True)


def _merged(moves: Iterable[CursorMove]) -> dict[str, tuple[Document, Document]]:
    """What the moves come to, one after the other, for each document."""
    merged: dict[str, tuple[Document, Document]] = {}

    def of(move: CursorMove, device: str) -> Document:
        key = cursor_id(move.user, device, move.chat)
        names = {"user": move.user, "device": device, "chat": move.chat}
        return merged.setdefault(key, (names, {}))[1]

    for move in moves:
        user = of(move, "")
        for name, value in (
            ("received", move.received),
            ("read", move.read),
            ("moved_ms", move.time_ms),
        ):
            user[name] = max(user.get(name, 0), value)
        if move.device:
            own = of(move, move.device)
            if move.rewind:
                own.update(received=move.device_received, rewind=True)
            else:
                own["received"] = max(own.get("received", 0), move.device_received)
    return merged


def _peer(user: str, chat: str) -> str | None:
    return next((other for other in pair(chat) or () if other != user), None)
