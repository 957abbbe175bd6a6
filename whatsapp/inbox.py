"""What a client was pushed and its application has not taken yet: each message once, in order.

Plain values and rules; no I/O. Per chat it knows two seqs: up to where messages were
`queued` (what comes again is dropped), and up to where the application is done with them
(`applied`: what is acknowledged with `received`, kept in the outbox file, and told in
`hello`). What this client sent itself comes back only in part, so its seqs are `own`: known
without a push.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from whatsapp.wire import Item

OWN_SEQS_MAX = 10_000  # per chat; of more, the oldest are forgotten and come as messages
HELD_MESSAGES_MAX = 2_000  # per chat, while a hole is being filled; the rest is a hole again


class Gap(Struct, frozen=True):
    """The messages between these two seqs of a chat were not pushed."""

    chat: str
    after: int
    before: int


class Position(Struct):
    """How far one chat has come. `queued` is None until something was pushed."""

    queued: int | None = None
    applied: int = 0
    own: set[int] = set()
    held: list[Item] | None = None  # pushed while a hole before them is being filled


class Inbox:
    """See the head of this file. With `automatic`, a message is done when the next is taken."""

    def __init__(self, cursors: dict[str, int], *, automatic: bool = True) -> None:
        self.queue: deque[Item] = deque()
        self.moved: dict[str, int] = {}  # cursors to acknowledge
        self._automatic = automatic
        self._taken: Item | None = None
        self._positions = {chat: Position(queued=seq, applied=seq) for chat, seq in cursors.items()}

    def cursors(self) -> dict[str, int]:
        """Up to where the application has each chat; the longest unchanged first."""
        return {chat: p.applied for chat, p in self._positions.items() if p.applied}

    def arrived(self, item: Item) -> Gap | None:
        """One pushed message. Where others are missing before it, it waits for `filled`."""
        position = self._position(item.chat)
        if position.held is not None:
            if len(position.held) < HELD_MESSAGES_MAX:
                position.held.append(item)
            return None
        if position.queued is not None:
            if item.seq <= position.queued:
                self._again(position, item)
                return None
            if item.seq > position.queued + 1:
                position.held = [item]
                return Gap(item.chat, position.queued, item.seq)
        self._queue(position, item)
        return None

    def filled(self, gap: Gap, items: Iterable[Item]) -> Gap | None:
        """What the history has for a hole; less than all, where the user may not see the rest.

        Another hole after this one is the answer.
        """
        position = self._position(gap.chat)
        held, position.held = position.held or [], None
        for item in items:
            if gap.after < item.seq < gap.before and item.seq > (position.queued or 0):
                self._queue(position, item)
        position.queued = max(position.queued or 0, gap.before - 1)
        following: Gap | None = None
        for item in held:
            following = self.arrived(item) or following
        return following

    def lost(self) -> None:
        """The connection is gone: what was held will be pushed again."""
        for position in self._positions.values():
            position.held = None

    def sent(self, chat: str, seq: int) -> None:
        """This client has sent `seq` itself."""
        position = self._position(chat)
        if seq <= (position.queued or 0):
            return
        position.own.add(seq)
        if len(position.own) > OWN_SEQS_MAX:
            position.own.remove(min(position.own))
        if position.queued is None and seq == 1:
            position.queued = 0
        if position.queued is not None:
            self._absorb(chat, position)

    def take(self) -> Item | None:
        """The next message, if there is one; the one taken before it is done."""
        self.finish()
        if not self.queue:
            return None
        self._taken = self.queue.popleft()
        return self._taken

    def finish(self) -> None:
        """The application is done with the message that it took last."""
        taken, self._taken = self._taken, None
        if taken is not None and self._automatic:
            self.done(taken.chat, taken.seq)

    def done(self, chat: str, seq: int) -> None:
        """The application has all of `chat` up to `seq`. Behind what it had is nothing."""
        position = self._position(chat)
        if seq <= position.applied:
            return
        position.applied = seq
        position.queued = max(position.queued or 0, seq)
        self._absorb(chat, position)
        self._move(chat, position)

    def seen(self, chat: str, seq: int) -> None:
        """As `done`, but not beyond what was queued: a seq too high must not hide what comes."""
        self.done(chat, min(seq, self._position(chat).queued or 0))

    def _position(self, chat: str) -> Position:
        position = self._positions.get(chat)
        if position is None:
            position = self._positions[chat] = Position()
        return position

    def _queue(self, position: Position, item: Item) -> None:
        if position.queued is None:
            position.applied = max(position.applied, item.seq - 1)
        position.queued = item.seq
        if item.seq not in position.own:
            self.queue.append(item)
        self._absorb(item.chat, position)

    def _absorb(self, chat: str, position: Position) -> None:
        # Own seqs count as queued when next in line, as applied when all before them are.
        queued = position.queued or 0
        while queued + 1 in position.own:
            queued += 1
        position.queued = queued
        applied = position.applied
        while applied + 1 in position.own and applied < queued:
            applied += 1
            position.own.discard(applied)
        if position.own and min(position.own) <= applied:
            position.own = {seq for seq in position.own if seq > applied}
        if applied > position.applied:
            position.applied = applied
            self._move(chat, position)

    def _again(self, position: Position, item: Item) -> None:
        # The server does not know that we have it: tell it again.
        if item.seq <= position.applied:
            self.moved[item.chat] = position.applied

    def _move(self, chat: str, position: Position) -> None:
        self.moved[chat] = position.applied
        self._positions[chat] = self._positions.pop(chat)  # the latest changed is the last
