"""Telling authors that their messages were received and read. Coalesced, never stored.

A receipt is two cursors, so only the newest counts: direct chats are told at the end of
the loop's turn, groups at the next tick, however many acknowledgements came in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from whatsapp.clock import Scheduler
from whatsapp.errors import Answer
from whatsapp.room import Room, Rooms
from whatsapp.wire import Receipt, encode

Tell = Callable[[str, bytes], None]
# `elsewhere(room, reader, received, read, authors)`: the same for the other instances.
Elsewhere = Callable[[Room, str, int, int, Sequence[str]], None]


class Receipts:
    """What is to be told: (room, reader) → the authors concerned."""

    def __init__(self, rooms: Rooms, scheduler: Scheduler, tell: Tell) -> None:
        self._rooms = rooms
        self.elsewhere: Elsewhere | None = None
        self._scheduler = scheduler
        self._tell = tell
        self._direct: dict[tuple[Room, str], set[str]] = {}
        self._group: dict[tuple[Room, str], set[str]] = {}
        self.told_count = 0

    def __len__(self) -> int:
        """How many are waiting."""
        return len(self._direct) + len(self._group)

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
            received, read = room.received[reader], _read(room, reader)
            # Some may have left meanwhile.
            there = [author for author in sorted(authors) if room.members[author].active]
            self._show(room, reader, received, read, there)

    def _flush_direct(self) -> None:
        waiting, self._direct = self._direct, {}
        for (room, reader), authors in waiting.items():
            if room.relations is None:
                self._scheduler.spawn(self._later(room, reader, authors))
                continue
            shown = _shown(room, reader)
            if shown is not None:
                self._show(room, reader, *shown, tuple(authors))

    def _show(
        self, room: Room, reader: str, received: int, read: int, authors: Sequence[str]
    ) -> None:
        frame = encode(Receipt(room.chat, reader, received, read))
        for author in authors:
            self._tell(author, frame)
        self.told_count += len(authors)
        if self.elsewhere is not None and authors:
            self.elsewhere(room, reader, received, read, authors)

    async def _later(self, room: Room, reader: str, authors: set[str]) -> None:
        try:
            await self._rooms.ready(room.chat, reader)
        except Answer:
            return  # a receipt is a courtesy: the next one tells the same and more
        self.note(room, reader, authors)


def direct_receipt(room: Room, reader: str) -> bytes | None:
    """What the other one of a direct chat may know of the reader's cursors, as a frame."""
    shown = _shown(room, reader)
    return None if shown is None else encode(Receipt(room.chat, reader, *shown))


def _shown(room: Room, reader: str) -> tuple[int, int] | None:
    """Nothing where the reader blocks it; nothing of reading where one of the two hides that."""
    relations = room.relations
    if relations is None or reader in relations.blockers:
        return None
    read = _read(room, reader) if relations.read_receipts else 0
    return room.received[reader], read


def _read(room: Room, reader: str) -> int:
    return room.read.get(reader, 0)
