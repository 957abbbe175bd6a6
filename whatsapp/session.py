"""One device's connection without its socket: how far it was pushed, what it may still take.

A session never waits and never reads the store. It knows, per chat, the seq that it last
pushed; a live entry goes out only if it is the next one, else the chat is marked *behind*
and `catchup.py` reads it from the log. A connecting device, a slow one, a full window, a
lost hint: all of them are the same case with the same cure.

`Flusher` gathers the sessions that have something to write, and writes each once per turn
of the loop, however many frames it has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum
from typing import Protocol

from msgspec import Struct

from whatsapp.wire import CLOSE_TOO_SLOW


class State(Enum):
    OPENING = "opening"  # connected, no hello yet
    WELCOMED = "welcomed"  # known, but its positions are still being read: nothing is pushed
    LIVE = "live"
    CLOSED = "closed"

    # An enum's own is a call of Python, at each look into a table by state.
    __hash__ = object.__hash__


# Looked up once: by its class, an enum's member costs a call each time (in Python 3.11).
LIVE, CLOSED = State.LIVE, State.CLOSED


class Sink(Protocol):
    """Where a session's frames go: the socket, or a test."""

    def write(self, frames: list[bytes]) -> None:
        """Hand these text frames to the peer, in order, without waiting."""
        ...

    def buffered_bytes(self) -> int:
        """What was written and has not left this process."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection: after what was written, within a bounded time."""
        ...


class Shown(Struct, frozen=True):
    """A presence as this session was last told."""

    online: bool
    last_seen_ms: int | None


class Flusher:
    """The sessions with frames to write; one write each at the end of the loop's turn."""

    def __init__(self, soon: Callable[[Callable[[], None]], None]) -> None:
        self._soon = soon
        self._waiting: list[Session] = []

    def add(self, session: Session) -> None:
        if not self._waiting:
            self._soon(self.flush)
        self._waiting.append(session)

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for session in waiting:
            session.flush()


class Session:
    """See the head of this file. `number` tells connections apart in the log.

    Limits: at most `window` messages pushed and not received; above `outbox_bytes_max` not
    yet written, messages wait in the log; above twice that the connection ends (4008).
    """

    __slots__ = (
        "_acked",
        "_flusher",
        "_outbox",
        "_outbox_bytes",
        "_outbox_bytes_max",
        "_own",
        "_positions",
        "_window",
        "behind",
        "device",
        "header_token",
        "number",
        "opened_at",
        "outstanding",
        "pushed_count",
        "queued",
        "since_ms",
        "sink",
        "state",
        "synced",
        "user",
        "watching",
    )

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        sink: Sink,
        flusher: Flusher,
        *,
        number: int,
        opened_at: float,
        window: int,
        outbox_bytes_max: int,
        header_token: str | None = None,
    ) -> None:
        self.sink = sink
        self.number = number
        self.opened_at = opened_at
        self.header_token = header_token
        self.state = State.OPENING
        self.user = ""
        self.device = ""
        self.since_ms = 0  # when it said who it is
        self.behind: set[str] = set()
        self.queued = False  # waits for its turn to catch up
        self.synced = False  # `synced` was sent
        self.outstanding = 0  # messages pushed and not received
        self.pushed_count = 0
        self.watching: dict[str, Shown | None] = {}
        self._flusher = flusher
        self._window = window
        self._positions: dict[str, int] = {}
        self._acked: dict[str, int] = {}  # only chats with messages outstanding
        self._own: dict[str, list[int]] = {}  # seqs that it sent itself meanwhile
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._outbox_bytes_max = outbox_bytes_max

    # --- frames out -----------------------------------------------------------------

    def push(self, frame: bytes) -> None:
        """Write this frame at the end of the turn."""
        if self.state is CLOSED:
            return
        outbox = self._outbox
        if not outbox:
            self._flusher.add(self)
        outbox.append(frame)
        self._outbox_bytes += len(frame)
        if self._outbox_bytes > 2 * self._outbox_bytes_max:
            self._check_overflow()

    def flush(self) -> None:
        if not self._outbox or self.state is CLOSED:
            return
        frames, self._outbox = self._outbox, []
        self._outbox_bytes = 0
        self.sink.write(frames)

    def close(self, code: int, reason: str) -> None:
        """Write what is waiting, then end the connection. Repeatable."""
        if self.state is CLOSED:
            return
        self.flush()
        self.state = CLOSED
        self.behind.clear()
        self.sink.close(code, reason)

    def _check_overflow(self) -> None:
        # A catch-up's first flush may be large at once; only what the peer does not take counts.
        self.flush()
        if self.sink.buffered_bytes() > 2 * self._outbox_bytes_max:
            self.close(CLOSE_TOO_SLOW, "too slow: read what is sent, then reconnect")

    # --- positions -------------------------------------------------------------------

    @property
    def room_left(self) -> int:
        """How many messages may be pushed now; 0 for a full window or a slow socket."""
        if self.stalled:
            return 0
        return self._window - self.outstanding

    @property
    def stalled(self) -> bool:
        """Has the peer left more unread than we keep for it?"""
        return self.sink.buffered_bytes() + self._outbox_bytes > self._outbox_bytes_max

    def position(self, chat: str) -> int:
        """The seq up to which this connection has been pushed."""
        return self._positions.get(chat, 0)

    def chats(self) -> Collection[str]:
        """The chats that it has a position in."""
        return self._positions.keys()

    def begin(self, chat: str, seq: int) -> None:
        """Pushes of this chat start after `seq` (connect, or the user has just joined)."""
        self._forget(chat)
        self._positions[chat] = seq

    def leave(self, chat: str) -> None:
        """Nothing of this chat any more."""
        self._forget(chat)
        self._positions.pop(chat, None)
        self.behind.discard(chat)

    def offer(self, chat: str, seq: int, frame: bytes) -> None:
        """Push a live entry if it is the next one and there is room; else the chat is behind.

        Once for every device and message: so `room_left` and `advance` are spelled out here.
        """
        pushed = self._positions.get(chat, 0)
        if seq <= pushed and self.state is LIVE:
            return
        if (
            seq != pushed + 1
            or self.state is not LIVE
            or chat in self.behind
            or self.outstanding >= self._window
            or self.sink.buffered_bytes() + self._outbox_bytes > self._outbox_bytes_max
        ):
            self.behind.add(chat)
            return
        if chat not in self._acked:
            self._acked[chat] = pushed
        self._positions[chat] = seq
        self.outstanding += 1
        self.pushed_count += 1
        self.push(frame)

    def advance(self, chat: str, seq: int) -> None:
        """All entries up to `seq` are being pushed: they are outstanding from here on."""
        pushed = self._positions.get(chat, 0)
        self._acked.setdefault(chat, pushed)
        self._positions[chat] = seq
        self.outstanding += seq - pushed
        self.pushed_count += seq - pushed

    def sent(self, chat: str, seq: int) -> int | None:
        """This connection sent entry `seq` itself: it has it, without a push.

        The device's new cursor where that moved it; None where it is not known to have all
        before `seq`.
        """
        if seq != self._positions.get(chat, 0) + 1 or chat in self.behind:
            self.behind.add(chat)
            return None
        self._positions[chat] = seq
        if chat not in self._acked:
            return seq
        self.outstanding += 1
        self._own.setdefault(chat, []).append(seq)
        return None

    def received(self, chat: str, seq: int) -> int | None:
        """The device has all up to `seq` (at most the head). Its new cursor if that moved."""
        pushed = self._positions.get(chat, 0)
        acked = self._acked.get(chat, pushed)
        if seq <= acked:
            return None
        own = self._own.get(chat, ())
        while own and own[0] <= seq + 1:
            seq = max(seq, own.pop(0))
        self.outstanding -= min(seq, pushed) - acked
        if seq >= pushed:
            self._positions[chat] = seq
            self._acked.pop(chat, None)
            self._own.pop(chat, None)
        else:
            self._acked[chat] = seq
        return seq

    def _forget(self, chat: str) -> None:
        acked = self._acked.pop(chat, None)
        if acked is not None:
            self.outstanding -= self._positions[chat] - acked
        self._own.pop(chat, None)
