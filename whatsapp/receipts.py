"""Telling authors that their messages were received and read. Coalesced, never stored.

A receipt is two cursors, so only the newest counts: direct chats are told at the end of
the loop's turn, groups at the next tick, however many acknowledgements came in between.
"""

from __future__ import annotations

from collections.abc import Callable

from whatsapp.clock import Scheduler
from whatsapp.errors import Answer
from whatsapp.room import Room, Rooms
from whatsapp.wire import Receipt, encode

Tell = Callable[[str, bytes], None]


class Receipts:
    """What is to be told: (room, reader) → the authors concerned."""

    def __init__(self, rooms: Rooms, scheduler: Scheduler, tell: Tell) -> None:
        self._rooms = rooms
        self._scheduler = scheduler
        self._tell = tell
        self._direct: dict[tuple[Room, str], set[str]] = {}
        self._group: dict[tuple[Room, str], set[str]] = {}

    def note(self, room: Room, reader: str, authors: set[str]) -> None:
        """`reader`'s cursors moved over messages of these authors. The set is ours from here on."""
        if room.group:
            waiting = self._group
        else:
            waiting = self._direct
            if not waiting:
                self._scheduler.soon(self._flush_direct)
        earlier = waiting.setdefault((room, reader), authors)
        if earlier is not authors:
            earlier |= authors

    def tick(self) -> None:
        waiting, self._group = self._group, {}
        for (room, reader), authors in waiting.items():
            frame = encode(Receipt(room.chat, reader, room.received[reader], _read(room, reader)))
            for author in sorted(authors):
                if room.members[author].active:  # it may have left meanwhile
                    self._tell(author, frame)

    def _flush_direct(self) -> None:
        waiting, self._direct = self._direct, {}
        for (room, reader), authors in waiting.items():
            if room.relations is None:
                self._scheduler.spawn(self._later(room, reader, authors))
                continue
            frame = direct_receipt(room, reader)
            if frame is not None:
                for author in authors:
                    self._tell(author, frame)

    async def _later(self, room: Room, reader: str, authors: set[str]) -> None:
        try:
            await self._rooms.ready(room.chat, reader)
        except Answer:
            return  # a receipt is a courtesy: the next one tells the same and more
        self.note(room, reader, authors)


def direct_receipt(room: Room, reader: str) -> bytes | None:
    """What the other one of a direct chat may know of the reader's cursors.

    Nothing where the reader blocks it; nothing of reading where one of the two hides that.
    """
    relations = room.relations
    if relations is None or reader in relations.blockers:
        return None
    read = _read(room, reader) if relations.read_receipts else 0
    return encode(Receipt(room.chat, reader, room.received[reader], read))


def _read(room: Room, reader: str) -> int:
    return room.read.get(reader, 0)
