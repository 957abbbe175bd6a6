"""Between a driver and MongoDB: delays, cuts, lost answers, errors of a server in trouble.

It understands of the wire protocol what it needs: messages (OP_MSG), which command one is, on
which collection, and its documents. What it does not understand goes through as it is.

    async with MongoProxy("127.0.0.1", port) as proxy:
        proxy.rule("insert", "messages", lose_answer, times=1)
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import bson

OP_MSG = 2013
MORE_TO_COME = 2
_HEAD = struct.Struct("<iiii")
NOT_PRIMARY = {"ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary"}
NOT_REPLICATED = {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting timed out"}


class Cut(Exception):
    """Close this connection."""


@dataclass
class Message:
    """One message of the driver's. `documents` are those of an insert or an update."""

    raw: bytes
    name: str = ""
    collection: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    documents: list[bytes] = field(default_factory=list)
    field: str = ""

    @classmethod
    def read(cls, raw: bytes) -> Message:
        """As far as it is understood."""
        if _HEAD.unpack_from(raw)[3] != OP_MSG:
            return cls(raw)
        message, at = cls(raw), _HEAD.size + 4
        while at < len(raw):
            kind, size = raw[at], struct.unpack_from("<i", raw, at + 1)[0]
            part = raw[at + 1 : at + 1 + size]
            at += 1 + size
            if kind == 0:
                message.body = bson.decode(part)
                message.name, named = next(iter(message.body.items()))
                message.collection = named if isinstance(named, str) else ""
            else:
                name, _, rest = part[4:].partition(b"\0")
                message.field = name.decode()
                while rest:
                    length = struct.unpack_from("<i", rest)[0]
                    message.documents.append(rest[:length])
                    rest = rest[length:]
        return message

    def with_documents(self, documents: list[bytes]) -> bytes:
        """The same command for these documents alone."""
        _, request, answer_to, code = _HEAD.unpack_from(self.raw)
        sequence = self.field.encode() + b"\0" + b"".join(documents)
        parts = struct.pack("<I", 0) + b"\0" + bson.encode(self.body)
        parts += b"\1" + struct.pack("<i", len(sequence) + 4) + sequence
        return _HEAD.pack(_HEAD.size + len(parts), request, answer_to, code) + parts

    def answer(self, document: dict[str, Any]) -> bytes:
        """An answer that the server did not give."""
        request = _HEAD.unpack_from(self.raw)[1]
        parts = struct.pack("<I", 0) + b"\0" + bson.encode(document)
        return _HEAD.pack(_HEAD.size + len(parts), 1, request, OP_MSG) + parts


Forward = Callable[[bytes], Awaitable[bytes]]
# Given the message and a way to the server: the answer for the driver.
Action = Callable[[Message, Forward], Awaitable[bytes]]


async def lose_answer(message: Message, forward: Forward) -> bytes:
    """It is done, and the connection breaks."""
    await forward(message.raw)
    raise Cut


async def swallow_answer(message: Message, forward: Forward) -> bytes:
    """It is done, and nothing is ever heard of it."""
    await forward(message.raw)
    await asyncio.sleep(3600)
    raise Cut


async def cut(message: Message, forward: Forward) -> bytes:
    """It does not arrive, and the connection breaks."""
    raise Cut


async def refuse(message: Message, forward: Forward) -> bytes:
    """Another server is the primary now; nothing was done."""
    return message.answer(NOT_PRIMARY)


async def do_and_refuse(message: Message, forward: Forward) -> bytes:
    """Done, and then the server stepped down."""
    await forward(message.raw)
    return message.answer(NOT_PRIMARY)


async def not_replicated(message: Message, forward: Forward) -> bytes:
    """Done, and not held by a majority in time."""
    said = Message.read(await forward(message.raw)).body
    return message.answer(said | {"writeConcernError": NOT_REPLICATED})


def partly(*which: int) -> Action:
    """Only the documents at these places arrive before the connection breaks."""

    async def action(message: Message, forward: Forward) -> bytes:
        kept = [each for at, each in enumerate(message.documents) if at in which]
        if kept:
            await forward(message.with_documents(kept))
        raise Cut

    return action


def slowly(seconds: float) -> Action:
    async def action(message: Message, forward: Forward) -> bytes:
        await asyncio.sleep(seconds)
        return await forward(message.raw)

    return action


@dataclass
class Rule:
    name: str
    collection: str
    action: Action
    times: int


class MongoProxy:
    """See the head of this file."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._rules: list[Rule] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._away = False
        self.port = 0
        # Commands that came by, with their collections and numbers of documents.
        self.seen: list[tuple[str, str, int]] = []

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._end()

    def rule(self, name: str, collection: str, action: Action, times: int = 1) -> Rule:
        """Treat the next commands of this name on this collection so; older rules first."""
        rule = Rule(name, collection, action, times)
        self._rules.append(rule)
        return rule

    def hold(self) -> None:
        """Let nothing through, and break nothing."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def away(self) -> None:
        """Break every connection, and every new one, until it is `back`."""
        self._away = True
        await self._end()

    def back(self) -> None:
        self._away = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if not self._away:
                await self._serve(reader, writer)
        except (Cut, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)

        async def forward(raw: bytes) -> bytes:
            back.write(raw)
            return await _message(there)

        try:
            while True:
                message = Message.read(await _message(reader))
                await self._open.wait()
                self.seen.append((message.name, message.collection, len(message.documents)))
                action = self._action(message)
                answer = await (action(message, forward) if action else forward(message.raw))
                await self._open.wait()
                writer.write(answer)
                while struct.unpack_from("<I", answer, _HEAD.size)[0] & MORE_TO_COME:
                    answer = await _message(there)
                    writer.write(answer)
        finally:
            back.close()

    def _action(self, message: Message) -> Action | None:
        for rule in self._rules:
            if (rule.name, rule.collection) == (message.name, message.collection) and rule.times:
                rule.times -= 1
                return rule.action
        return None

    async def _end(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack("<i", head)[0] - 4)
