"""The driver of MongoDB, touched here alone: motor, or PyMongo's own asyncio client.

Both offer the same collections and cursors, so what stands above does not know which it is.
Errors of the driver end here. One that says "away", "not the primary", "too slow" or "not
replicated" becomes `Lost`: the outcome is unknown, try again; a command that the server
does not understand is a bug of ours and stays an error. Neither carries the driver's text,
which may hold addresses, passwords and what people wrote.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from whatsapp import config
from whatsapp.errors import StartupError, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECTIONS_MAX = 32
CONNECT_SECONDS_MAX = 2.0
PAUSE_SECONDS = 0.02
PAUSE_SECONDS_MAX = 0.25
SECONDS_MIN = 0.05
UPDATES_AT_ONCE_MAX = 1_000
DUPLICATE_KEY = 11000
AUTHENTICATION_CODES = frozenset({18, 11})
RIGHTS_CODES = frozenset({13})

# Codes of a server that understood us and cannot now: stepping down, shutting down, too slow,
# not replicated in time, no primary, no room, no right. What else it says is our own mistake.
TROUBLE_CODES = frozenset(
    {6, 7, 13, 18, 24, 43, 46, 50, 63, 64, 79, 89, 91, 100, 112, 117, 125, 133, 134, 150, 175, 189}
    | {202, 234, 237, 246, 262, 290, 317, 318, 358, 384, 402, 462, 9001, 10058, 10107, 11600}
    | {11601, 11602, 13388, 13435, 13436, 14031}
)


class Lost(Unavailable):
    """The server did not answer, or cannot: what was asked has happened or not."""


class Mongo:
    """One client and one database of it; what all the stores here share."""

    def __init__(self, client: Any, settings: config.Storage) -> None:
        self.client = client
        self.db = client[settings.database]
        self.timeout_seconds = settings.timeout_seconds
        # The address without user and password.
        self.place = settings.url.rpartition("@")[2].rpartition("://")[2].partition("/")[0]
        self._errors = import_module("pymongo.errors")
        pymongo = import_module("pymongo")
        self._limit: Callable[[float], Any] = pymongo.timeout
        # One update of a `bulk`: which document, what to change, upsert=….
        self.update: Callable[..., Any] = pymongo.UpdateOne
        self.updates_at_once_max = UPDATES_AT_ONCE_MAX
        self._tasks: set[asyncio.Task[Any]] = set()
        self._away = False

    async def once(self, work: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """Do it once. `Lost`: unknown whether it happened. A bulk write's own error passes."""
        seconds = self.timeout_seconds if seconds is None else seconds
        try:
            with self._limit(max(seconds, SECONDS_MIN)):
                answer = await work()
        except self._errors.BulkWriteError:
            raise
        except self._errors.PyMongoError as error:
            raise self._translated(error) from None
        if self._away:
            self._away = False
            log.info("store is back")
        return answer

    async def find(
        self, collection: str, which: dict[str, Any], fields: dict[str, int] | None = None
    ) -> list[dict[str, Any]]:
        """All documents that are so, in no order."""
        return await self.run(lambda: self.db[collection].find(which, fields).to_list(None))

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what may be done twice, again and again until it is done or time is up."""
        deadline = self.now() + self.timeout_seconds
        pause = PAUSE_SECONDS
        while True:
            try:
                return await self.once(work, deadline - self.now())
            except Lost:
                if self.now() + pause >= deadline:
                    raise
            except self._errors.BulkWriteError as error:
                raise self.bug(error) from None
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)

    async def write(self, work: Callable[[], Awaitable[T]]) -> T:
        """As `run`, in a task that its caller's cancellation does not touch."""
        return await self.apart(self.run(work))

    async def apart(self, work: Coroutine[Any, Any, T]) -> T:
        """Let it end, whatever becomes of who waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def insert(
        self, collection: str, documents: list[dict[str, Any]], *, ordered: bool, seconds: float
    ) -> tuple[set[int], bool]:
        """Which of them were refused for a duplicate key (or not tried); is the rest in doubt?"""
        try:
            await self.once(
                lambda: self.db[collection].insert_many(documents, ordered=ordered), seconds
            )
        except Lost:
            return set(range(len(documents))), True
        except self._errors.BulkWriteError as error:
            details = error.details
            codes = {each.get("code") for each in details["writeErrors"]}
            if not codes <= TROUBLE_CODES | {DUPLICATE_KEY}:
                raise self.bug(error) from None
            if codes - {DUPLICATE_KEY} or details["writeConcernErrors"]:
                self._went_away("bulk write", sorted(codes - {DUPLICATE_KEY}))
                return set(range(len(documents))), True
            failed = {each["index"] for each in details["writeErrors"]}
            return set(range(min(failed), len(documents))) if ordered else failed, False
        return set(), False

    async def insert_new(self, collection: str, documents: list[dict[str, Any]]) -> bool:
        """Insert those that are not there; were all new?"""
        refused, doubt = set(range(len(documents))), True
        deadline = self.now() + self.timeout_seconds
        while documents and doubt:
            refused, doubt = await self.insert(
                collection, documents, ordered=False, seconds=deadline - self.now()
            )
            if doubt and self.now() >= deadline:
                raise self.away()
            if doubt:
                await asyncio.sleep(PAUSE_SECONDS)
        return not refused

    async def bulk(self, collection: str, operations: list[Any]) -> None:
        """Updates, each of which may be repeated, in any order."""
        step = self.updates_at_once_max
        for at in range(0, len(operations), step):
            part = operations[at : at + step]
            await self.run(partial(self._bulk, collection, part))

    async def _bulk(self, collection: str, operations: list[Any]) -> None:
        try:
            await self.db[collection].bulk_write(operations, ordered=False)
        except KeyError:  # FerretDB's answer where two upsert one document: it lacks a number
            raise self._errors.AutoReconnect from None
        except self._errors.BulkWriteError as error:
            codes = {each.get("code") for each in error.details["writeErrors"]}
            # A duplicate: two upserted one document at once; now it is there.
            if codes <= TROUBLE_CODES | {DUPLICATE_KEY}:
                raise self._errors.AutoReconnect from None
            raise

    async def start(self, work: Callable[[], Awaitable[T]], what: str) -> T:
        """Do it at the start, where what goes wrong is told with its cure."""
        try:
            return await work()
        except self._errors.PyMongoError as error:
            raise explained(error, self.place, what) from None

    async def close(self) -> None:
        """Wait for what is under way, then for the connections to close."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        if iscoroutinefunction(self.client.close):
            await self.client.close()
        else:  # motor says goodbye to the server on the caller's thread
            await asyncio.to_thread(self.client.close)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def away(self) -> Lost:
        """What is raised when time is up."""
        return Lost("the message store cannot be reached; try again in a moment")

    def bug(self, error: Exception) -> RuntimeError:
        """The server did not understand us."""
        details = getattr(error, "details", None) or {}
        codes = {each.get("code") for each in details.get("writeErrors", ())}
        said = sorted(codes) or getattr(error, "code", None)
        return RuntimeError(f"MongoDB refuses a command: {type(error).__name__}, code {said}")

    def _translated(self, error: Exception) -> Exception:
        code = getattr(error, "code", None)
        errors = self._errors
        lost = isinstance(error, (errors.ConnectionFailure, errors.ExecutionTimeout))
        lost = lost or isinstance(error, errors.WriteConcernError) or code in TROUBLE_CODES
        if not lost and not getattr(error, "timeout", False):
            return self.bug(error)
        self._went_away(type(error).__name__, code)
        return self.away()

    def _went_away(self, kind: str, code: Any) -> None:
        if not self._away:
            self._away = True
            log.warning("store is away kind=%s code=%s", kind, code)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # who waited was told; who went away does not ask


def connect(settings: config.Storage) -> Mongo:
    """A client, not connected yet; or `StartupError`: no driver, or no such address."""
    try:
        errors = import_module("pymongo.errors")
        if settings.driver == "motor":
            make = import_module("motor.motor_asyncio").AsyncIOMotorClient
        else:
            make = import_module("pymongo").AsyncMongoClient
    except (ImportError, AttributeError):
        raise StartupError(
            f'[storage] driver = "{settings.driver}" is not installed',
            "Install it: pip install 'whatsapp[cluster]'.",
        ) from None
    timeout_ms = int(settings.timeout_seconds * 1000)
    try:
        client = make(
            settings.url,
            appname="whatsapp",
            connectTimeoutMS=int(min(settings.timeout_seconds, CONNECT_SECONDS_MAX) * 1000),
            maxPoolSize=CONNECTIONS_MAX,
            serverSelectionTimeoutMS=timeout_ms,
            socketTimeoutMS=timeout_ms,
            timeoutMS=timeout_ms,
            waitQueueTimeoutMS=timeout_ms,
            # Acknowledged is what a majority has on disk, and nothing else is ever read.
            w="majority",
            journal=True,
            readConcernLevel="majority",
            readPreference="primary",
            # A write whose outcome is unknown is looked up by its id, here and not in the driver.
            retryWrites=False,
        )
    except (errors.PyMongoError, ValueError, TypeError):
        raise StartupError(
            "[storage] url is not an address of MongoDB",
            'Write it as "mongodb://user:password@host:27017/?replicaSet=name".',
        ) from None
    return Mongo(client, settings)


def explained(error: Exception, place: str, what: str) -> StartupError:
    """What an error at the start means to the one who starts."""
    code = getattr(error, "code", None)
    if code in AUTHENTICATION_CODES:
        return StartupError(
            f"MongoDB at {place} refuses the user or the password in [storage] url",
            "Mend them there (a '@', ':' or '/' in them is written %40, %3A, %2F); where the user"
            " belongs to another database, add ?authSource=thatdatabase.",
        )
    if code in RIGHTS_CODES:
        return StartupError(
            f"MongoDB at {place} does not let this user {what}",
            'Give it the role "readWrite" on the database of [storage] database.',
        )
    if code is None:
        return StartupError(
            f"MongoDB cannot be reached at {place} ({type(error).__name__})",
            "See that it runs and that [storage] url names it, with ?replicaSet=name where it is"
            " a replica set, and tls=true where it wants that.",
        )
    return StartupError(
        f"MongoDB at {place} cannot {what} ({type(error).__name__}, code {code})",
        "See its log; MongoDB 6.0 or later is needed.",
    )
