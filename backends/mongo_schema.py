"""Collections, indexes and their version; what is looked at before the first message.

On one replica set all of this is as it stands. On a sharded cluster shard these, before there
is data (`sh.shardCollection`); a collection that is not sharded stays on one shard, and works:

    messages   {chat: 1}        a chat is on one shard, chats spread. Why not hashed: `_id`, which
                                begins with the chat, and (chat, sender, id) must be unique over
                                all shards, which a shard key that is a prefix of both gives
                                (documents with one `_id` have one chat, so one shard)
    members    {_id: 1}         begins with the user: a user's chats are one range
    cursors    {_id: 1}         as members
    blocks     {_id: 1}         as members
    chats      {_id: "hashed"}
    accounts   {_id: "hashed"}
    devices    {_id: "hashed"}  by the token's hash
    claims     {_id: "hashed"}  a few, for moments (see `mongo_claims`)

FerretDB, a stand-in for trials, keeps the same data and gives the same answers, but: it reads
whole collections for all but one `_id`; its updates are not atomic, so that two servers that
change one member or one cursor in the same moment may lose one of the two; of an ordered insert
of more than a hundred documents it goes on after an error (ours are shorter); a command with
more updates than it has connections to its own store, 100, never ends (so it gets few); and
`j`, `w` and read concerns mean nothing to it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from backends.mongo_documents import Document
from backends.mongo_driver import Mongo
from whatsapp.errors import StartupError

log = logging.getLogger(__name__)

VERSION = 1
TRIES_MAX = 3
TRY_PAUSE_SECONDS = 0.3
FERRETDB_UPDATES_AT_ONCE_MAX = 20

# Collection: key, unique. The `_id` of each has an index of its own.
INDEXES: dict[str, list[tuple[dict[str, int], bool]]] = {
    "messages": [
        ({"chat": 1, "sender": 1, "id": 1}, True),
        ({"chat": 1, "words": 1, "stored_us": -1}, False),
    ],
    "members": [({"chat": 1}, False)],
    "cursors": [({"chat": 1, "device": 1}, False)],
    "chats": [({"invite": 1}, False)],
    "accounts": [({"folded": 1}, False)],
    "devices": [({"user": 1}, False), ({"device": 1}, False)],
    "blocks": [({"other": 1}, False)],
}


async def prepare(mongo: Mongo) -> None:
    """Check the server and the data, bring them to this version; or `StartupError`."""
    hello = await mongo.start(lambda: mongo.client.admin.command("hello"), "answer")
    if not replicated(hello):
        log.warning("store is one server alone: messages are as safe as its disk")
    build = await mongo.start(lambda: mongo.client.admin.command("buildInfo"), "answer")
    if "ferretdbVersion" in build:
        mongo.updates_at_once_max = FERRETDB_UPDATES_AT_ONCE_MAX
    found = await mongo.start(lambda: mongo.db["meta"].find_one({"_id": "schema"}), "read")
    version = found["version"] if found else 0
    if version > VERSION:
        raise newer(version)
    for collection in INDEXES:
        await _make_indexes(mongo, collection)
    await _write_version(mongo)


async def recognise(mongo: Mongo) -> None:
    """Is there data that this version can read? For those that only read it."""
    found = await mongo.start(lambda: mongo.db["meta"].find_one({"_id": "schema"}), "read")
    if found is None:
        raise StartupError(
            f"the database {mongo.db.name} in MongoDB at {mongo.place} has no data",
            "Name the servers' one: [storage] database and url.",
        )
    if found["version"] > VERSION:
        raise newer(found["version"])


async def diagnose(mongo: Mongo) -> list[tuple[bool, str, str]]:
    """Of each thing looked at: is it well, what was found, and what to do where it is not."""
    try:
        hello = await mongo.start(lambda: mongo.client.admin.command("hello"), "answer")
        build = await mongo.start(lambda: mongo.client.admin.command("buildInfo"), "answer")
        found = await mongo.start(lambda: mongo.db["meta"].find_one({"_id": "schema"}), "read")
        findings = [(True, f"MongoDB {build.get('version')} answers at {mongo.place}", "")]
        well = replicated(hello)
        said = "a sharded cluster" if hello.get("msg") == "isdbgrid" else hello.get("setName")
        findings.append(
            (
                well,
                f"replicated: {said}" if well else "one server alone, not a replica set",
                "Messages are as safe as its one disk; make it a replica set of three.",
            )
        )
        if found is None:
            return [*findings, (True, "no data yet; made at the first start", "")]
        version = found["version"]
        cure = "Start the newer server that wrote it, or name another [storage] database."
        findings.append((version <= VERSION, f"schema version {version}", cure))
        missing = [
            f"{collection}.{each['name']}"
            for collection in INDEXES
            for each in await _missing(mongo, collection)
        ]
        said = f"indexes missing: {', '.join(missing)}" if missing else "all indexes are there"
        findings.append((not missing, said, "They are made at the next start of a server."))
    except StartupError as error:
        return [(False, error.cause, error.cure)]
    return findings


def replicated(hello: Document) -> bool:
    return "setName" in hello or hello.get("msg") == "isdbgrid"


def newer(version: int) -> StartupError:
    return StartupError(
        f"the data in MongoDB was written by a newer version (schema {version}, known {VERSION})",
        "Start the newer server that wrote it, or name another [storage] database.",
    )


def index_document(key: dict[str, int], *, unique: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"key": key, "name": "_".join(key)}
    return document | {"unique": True} if unique else document


async def _write_version(mongo: Mongo) -> None:
    """At each start: that writing works is told now, not with the first message.

    Two that start at once on an empty database may both insert; the second try updates.
    """
    schema = {"_id": "schema", "version": VERSION}
    for left in reversed(range(TRIES_MAX)):
        try:
            await mongo.start(
                lambda: mongo.db["meta"].replace_one({"_id": "schema"}, schema, upsert=True),
                "write",
            )
        except StartupError:
            if not left:
                raise
            await asyncio.sleep(TRY_PAUSE_SECONDS)
        else:
            return


async def _make_indexes(mongo: Mongo, collection: str) -> None:
    """Another server may start at the same time and make the same."""
    for left in reversed(range(TRIES_MAX)):
        missing = await _missing(mongo, collection)
        if not missing:
            return
        command = {"createIndexes": collection, "indexes": missing}
        try:
            await mongo.start(lambda: mongo.db.command(command), "make indexes")  # noqa: B023
        except StartupError:
            if not left:
                raise
            await asyncio.sleep(TRY_PAUSE_SECONDS)


async def _missing(mongo: Mongo, collection: str) -> list[dict[str, Any]]:
    # Asked of all collections: one that is not there yet would be an error.
    known = await mongo.start(mongo.db.list_collection_names, "list collections")
    there: set[str] = set()
    if collection in known:
        answer = await mongo.start(
            lambda: mongo.db.command({"listIndexes": collection}), "list indexes"
        )
        there = {each["name"] for each in answer["cursor"]["firstBatch"]}
    documents = [index_document(key, unique=unique) for key, unique in INDEXES[collection]]
    return [each for each in documents if each["name"] not in there]
