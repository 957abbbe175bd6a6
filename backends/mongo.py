"""Everything in MongoDB: for several instances over one history.

`mongo_schema` says what is kept and how it is sharded, `mongo_log` how a message is stored,
`mongo_heads` how what follows from the log is kept true to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backends import mongo_schema
from backends.mongo_accounts import MongoAccounts, MongoDevices
from backends.mongo_chats import MongoChats
from backends.mongo_driver import connect
from backends.mongo_messages import MongoMessages
from whatsapp import config
from whatsapp.errors import StartupError
from whatsapp.interfaces import Stores


@asynccontextmanager
async def open_stores(settings: config.Storage) -> AsyncIterator[Stores]:
    """The stores in `settings.database` of the MongoDB at `settings.url`, or `StartupError`.

    A method gives up, with `Unavailable`, about `settings.timeout_seconds` after it was called.
    """
    mongo = connect(settings)
    try:
        await mongo_schema.prepare(mongo)
        messages = MongoMessages(mongo)
        yield Stores(
            accounts=MongoAccounts(mongo),
            devices=MongoDevices(mongo),
            messages=messages,
            chats=MongoChats(mongo),
            durable=True,
        )
        await messages.close()
    finally:
        await mongo.close()


@asynccontextmanager
async def open_reading(settings: config.Storage) -> AsyncIterator[Stores]:
    """The same stores to be looked at. Opening them and reading writes nothing, so that a user
    with the role "read" is enough. `StartupError` where there is nothing to read.
    """
    mongo = connect(settings)
    try:
        await mongo_schema.recognise(mongo)
        yield Stores(
            accounts=MongoAccounts(mongo),
            devices=MongoDevices(mongo),
            messages=MongoMessages(mongo),
            chats=MongoChats(mongo, heals=False),
            durable=True,
        )
    finally:
        await mongo.close()


async def diagnose(settings: config.Storage) -> list[tuple[bool, str, str]]:
    """For `whatsapp doctor`: is it well, what was found, what to do. Changes nothing."""
    try:
        mongo = connect(settings)
    except StartupError as error:
        return [(False, error.cause, error.cure)]
    try:
        return await mongo_schema.diagnose(mongo)
    finally:
        await mongo.close()
