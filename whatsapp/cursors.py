"""Cursors that moved and are not written yet: coalesced, then written in batches.

Losing the last moment of them costs a repeat that the client drops by seq, never a
message; so they wait up to a quarter of a second for company.
"""

from __future__ import annotations

import logging
from collections import deque
from itertools import islice

from whatsapp.clock import Scheduler
from whatsapp.errors import Answer
from whatsapp.interfaces import ChatStore
from whatsapp.model import CursorMove

log = logging.getLogger(__name__)

MOVES_PER_WRITE_MAX = 2_000
# Remembered for readings of the store that began before them: of ten seconds, at four a second.
WRITES_KEPT = 40

Key = tuple[str, str, str]


class Cursors:
    """Moves by (chat, user, device); the furthest wins."""

    def __init__(self, chats: ChatStore, scheduler: Scheduler) -> None:
        self._chats = chats
        self._scheduler = scheduler
        self._moves: dict[Key, CursorMove] = {}
        self._under_way: dict[Key, CursorMove] = {}
        self._written: deque[dict[Key, CursorMove]] = deque(maxlen=WRITES_KEPT)
        self._writes = 0
        self._writing = False

    def __len__(self) -> int:
        return len(self._moves)

    def chats(self) -> set[str]:
        """Those of the moves that are not written yet."""
        return {chat for moves in (self._moves, self._under_way) for chat, _, _ in moves}

    def move(self, move: CursorMove) -> None:
        key = (move.chat, move.user, move.device)
        before = self._moves.get(key)
        if before is None or (
            # The later one says it all, as nearly always.
            move.device_received >= before.device_received
            and move.received >= before.received
            and move.read >= before.read
            and move.time_ms >= before.time_ms
            and not before.rewind
        ):
            self._moves[key] = move
        else:
            self._moves[key] = _furthest(before, move)

    def ticket(self) -> int:
        """Take one before reading cursors from the store, and give it to `device_at`."""
        return self._writes

    def device_at(self, chat: str, user: str, device: str, written: int, ticket: int) -> int:
        """Where the device is, whose cursor in the store is `written`: what waits counts too.

        Why: a device that comes back within a quarter of a second has acknowledged all the same.
        And what was written during the reading counts. What was written before it does not:
        another instance may have moved the cursor since, also back.
        """
        kept = len(self._written)
        since = islice(self._written, max(0, kept - (self._writes - ticket)), kept)
        for moves in (*since, self._under_way, self._moves):
            move = moves.get((chat, user, device))
            if move is not None:
                seq = move.device_received
                written = seq if move.rewind else max(written, seq)
        return written

    def tick(self) -> None:
        """Write what has gathered, unless a write is under way."""
        if self._moves and not self._writing:
            self._writing = True
            self._scheduler.spawn(self._write())

    async def flush(self) -> None:
        """Write all now (shutdown). Raises `Unavailable` where the store is away."""
        while self._moves:
            await self._write_some()

    async def _write(self) -> None:
        try:
            await self._write_some()
        except Answer as error:
            log.warning("cursors not written, kept moves=%d code=%s", len(self._moves), error.code)
        finally:
            self._writing = False

    async def _write_some(self) -> None:
        keys = list(self._moves)[:MOVES_PER_WRITE_MAX]
        moves = {key: self._moves.pop(key) for key in keys}
        self._under_way |= moves
        try:
            await self._chats.advance(list(moves.values()))
        except BaseException:
            for move in moves.values():
                self._restore(move)
            raise
        else:
            self._written.append(moves)
            self._writes += 1
        finally:
            for key in keys:
                self._under_way.pop(key, None)

    def _restore(self, move: CursorMove) -> None:
        key = (move.chat, move.user, move.device)
        later = self._moves.get(key)
        self._moves[key] = move if later is None else _furthest(move, later)


def _furthest(before: CursorMove, after: CursorMove) -> CursorMove:
    """Both moves as one. A rewind that came after counts as it is."""
    rewind = after.rewind or before.rewind
    if after.rewind:
        device_received = after.device_received
    else:
        device_received = max(before.device_received, after.device_received)
    return CursorMove(
        chat=after.chat,
        user=after.user,
        device=after.device,
        device_received=device_received,
        received=max(before.received, after.received),
        read=max(before.read, after.read),
        rewind=rewind,
        time_ms=max(before.time_ms, after.time_ms),
    )
