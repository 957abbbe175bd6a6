"""Users and their devices in MongoDB."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from backends.mongo_documents import (
    Document,
    account_document,
    account_of,
    device_document,
    device_of,
)
from backends.mongo_driver import Mongo
from whatsapp.model import Account, Device

_LAST = "\U0010ffff"


class MongoAccounts:
    """`AccountStore`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._accounts = mongo.db["accounts"]
        self._blocks = mongo.db["blocks"]

    async def create(self, account: Account) -> bool:
        return await self._mongo.apart(self._create(account_document(account)))

    async def _create(self, document: Document) -> bool:
        if await self._mongo.insert_new("accounts", [document]):
            return True
        # It is ours where an earlier attempt got through and its answer was lost: a password's
        # hash has a salt, no two are alike.
        found = await self._mongo.run(lambda: self._accounts.find_one({"_id": document["_id"]}))
        return bool(document["password_hash"]) and found == document

    async def find(self, users: Collection[str]) -> dict[str, Account]:
        wanted = list(set(users))
        if len(wanted) == 1:
            one = await self._mongo.run(lambda: self._accounts.find_one({"_id": wanted[0]}))
            return {wanted[0]: account_of(one)} if one else {}
        if not wanted:
            return {}
        found = await self._mongo.find("accounts", {"_id": {"$in": wanted}})
        return {document["_id"]: account_of(document) for document in found}

    async def update(self, before: Account, after: Account) -> bool:
        return await self._mongo.apart(self._update(_changeable(before), _changeable(after)))

    async def _update(self, before: Document, after: Document) -> bool:
        done = await self._mongo.run(lambda: self._accounts.update_one(before, {"$set": after}))
        if done.matched_count:
            return True
        # It is ours, too, where an earlier attempt got through and its answer was lost. (Or it
        # is another's that wrote the same: then both were done.)
        return bool(await self._mongo.run(lambda: self._accounts.count_documents(after)))

    async def saw(self, times_ms: dict[str, int]) -> None:
        # An erased account's time is not read.
        await self._mongo.apart(self._mongo.bulk("accounts", _seen(self._mongo, "_id", times_ms)))

    async def search(self, prefix: str, limit: int) -> list[Account]:
        wanted = prefix.casefold()
        begins = {"$gte": wanted, "$lt": wanted + _LAST}
        filters: list[Document] = [{"_id": begins, "erased": False}]
        if wanted:
            filters.append({"folded": begins, "erased": False})
        found: dict[str, Account] = {}
        for each in filters:
            for document in await self._first(each, limit):
                found[document["_id"]] = account_of(document)
        return [found[user] for user in sorted(found)][:limit]

    async def _first(self, which: Document, limit: int) -> list[Document]:
        if limit <= 0:
            return []
        return await self._mongo.run(
            lambda: self._accounts.find(which).sort("_id", 1).limit(limit).to_list(None)
        )

    async def erase(self, user: str) -> None:
        await self._mongo.apart(self._erase(user))

    async def _erase(self, user: str) -> None:
        mongo = self._mongo
        tombstone = account_document(Account(user=user, name="", erased=True))
        answer = await mongo.run(lambda: self._accounts.replace_one({"_id": user}, tombstone))
        if not answer.matched_count:
            return
        await mongo.run(lambda: mongo.db["devices"].delete_many({"user": user}))
        own = {"_id": {"$gte": f"{user}/", "$lt": f"{user}0"}}
        cursors = own | {"device": {"$ne": ""}}
        await mongo.run(lambda: mongo.db["cursors"].delete_many(cursors))
        await mongo.run(lambda: self._blocks.delete_many(own))
        await mongo.run(lambda: self._blocks.delete_many({"other": user}))

    async def block(self, user: str, other: str, *, on: bool) -> None:
        document = {"_id": f"{user}/{other}", "other": other}
        if on:
            await self._mongo.apart(self._mongo.insert_new("blocks", [document]))
        else:
            await self._mongo.write(lambda: self._blocks.delete_one({"_id": document["_id"]}))

    async def blocks(self, user: str) -> set[str]:
        own = {"_id": {"$gte": f"{user}/", "$lt": f"{user}0"}}
        found = await self._mongo.find("blocks", own)
        return {document["other"] for document in found}


class MongoDevices:
    """`DeviceStore`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._devices = mongo.db["devices"]

    async def add(self, device: Device) -> None:
        document = device_document(device)
        key = {"_id": document.pop("_id")}
        # A repeat may meet the first attempt, whose answer was lost: `bulk` knows of that.
        added = self._mongo.update(key, {"$set": document}, upsert=True)
        await self._mongo.apart(self._mongo.bulk("devices", [added]))

    async def by_token(self, token_hash: bytes) -> Device | None:
        key = {"_id": token_hash.hex()}
        found = await self._mongo.run(lambda: self._devices.find_one(key))
        return device_of(found) if found else None

    async def of_user(self, user: str) -> list[Device]:
        found = await self._mongo.find("devices", {"user": user})
        return sorted(map(device_of, found), key=lambda device: (device.created_ms, device.device))

    async def end(self, user: str, devices: Collection[str]) -> list[str]:
        return await self._mongo.apart(self._end(user, set(devices)))

    async def _end(self, user: str, wanted: set[str]) -> list[str]:
        mongo = self._mongo
        ended = [device for device in await self.of_user(user) if device.device in wanted]
        if ended:
            hashes = [device.token_hash.hex() for device in ended]
            await mongo.run(lambda: self._devices.delete_many({"_id": {"$in": hashes}}))
            ranges = [
                {"_id": {"$gte": f"{user}/{one.device}/", "$lt": f"{user}/{one.device}0"}}
                for one in ended
            ]
            await mongo.run(lambda: mongo.db["cursors"].delete_many({"$or": ranges}))
        return [device.device for device in ended]

    async def saw(self, times_ms: dict[str, int]) -> None:
        await self._mongo.apart(self._mongo.bulk("devices", _seen(self._mongo, "device", times_ms)))


def _changeable(account: Account) -> Document:
    document = account_document(account)
    return {key: value for key, value in document.items() if not key.endswith("_ms")}


def _seen(mongo: Mongo, key: str, times_ms: dict[str, int]) -> list[Any]:
    return [
        mongo.update({key: value}, {"$max": {"last_seen_ms": time_ms}})
        for value, time_ms in times_ms.items()
    ]
