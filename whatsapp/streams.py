"""What a client's application iterates over: messages, every entry of the logs, events.

All are plain iterators, not generators, so that a time-out around `anext` ends the wait and
not the iterator.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Protocol, Self

from msgspec import Struct

from whatsapp import errors, wire
from whatsapp.inbox import Inbox
from whatsapp.link import Ended
from whatsapp.wire import Item

EVENTS_MAX = 1_024  # per iterator; of more, the oldest are dropped and counted


class Closed(Ended):
    """The client was closed, by the application itself."""


class Text(Item, frozen=True, kw_only=True, rename={"sender": "from"}, repr_omit_defaults=True):
    """A message that a person or a bot wrote: an `Item` that surely has these."""

    id: str
    sender: str
    text: str


class Refused(Struct, frozen=True):
    """A message that was posted cannot be sent, and has left the outbox."""

    id: str
    chat: str
    error: errors.Answer


class Disconnected(Struct, frozen=True):
    """No connection; the next try is in `retry_seconds`. A `Welcome` says that it is back."""

    reason: str
    retry_seconds: float


Event = (
    wire.Welcome
    | wire.Synced
    | Disconnected
    | wire.Draining
    | wire.Receipt
    | wire.Cursor
    | wire.TypingShown
    | wire.Presence
    | wire.Sent
    | Refused
)


class Source(Protocol):
    """Where entries come from."""

    inbox: Inbox
    news: asyncio.Event
    ended: Ended | None

    def taken(self) -> None:
        """Something was taken, so something may have to be acknowledged."""
        ...


class Entries(AsyncIterator[Item]):
    """Every entry of every chat that this user may see: texts, and changes of groups.

    In `seq` order within a chat. An entry is acknowledged when the one after it is asked
    for: a program that dies over a message gets it again. Raises `Ended`, or stops when the
    client is closed.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        source = self._source
        while True:
            item = source.inbox.take()
            source.taken()
            if item is None:
                _go_on(source.ended)
                source.news.clear()
                await source.news.wait()
            elif item.kind != "void":
                return item


class Texts(AsyncIterator[Text]):
    """The texts among the entries; of the others it is only noted that they were there."""

    def __init__(self, source: Source) -> None:
        self._entries = Entries(source)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Text:
        while True:
            item = await anext(self._entries)
            if item.kind == "text":
                return _text(item)


class Events(AsyncIterator[Event]):
    """What passes by: receipts, typing, presence, the connection's state, answers to `post`.

    From the moment of `Client.events()` on, for each such iterator. `dropped` counts what a
    slow application has missed (see `EVENTS_MAX`); all of them but answers can be asked for.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._queue: deque[Event] = deque()
        self._news = asyncio.Event()
        self._ended: Ended | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            _go_on(self._ended)
            self._news.clear()
            await self._news.wait()
        return self._queue.popleft()

    def put(self, event: Event) -> None:
        if len(self._queue) >= EVENTS_MAX:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(event)
        self._news.set()

    def end(self, error: Ended) -> None:
        self._ended = error
        self._news.set()


def _go_on(ended: Ended | None) -> None:
    if isinstance(ended, Closed):
        raise StopAsyncIteration
    if ended is not None:
        raise type(ended)(str(ended))


def _text(item: Item) -> Text:
    members: dict[str, Any] = {name: getattr(item, name) for name in Text.__struct_fields__}
    return Text(**members)
