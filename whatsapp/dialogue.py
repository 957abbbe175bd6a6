"""What a client says and hears on its connections: resends, acknowledgements, answers.

The client's side of the protocol's promises. `link.py` makes the connections and asks this
for frames; `inbox.py` and `outbox.py` keep what came and what goes. Nothing here waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from weakref import WeakSet

from whatsapp import errors, model, wire
from whatsapp.calls import answer, encoded
from whatsapp.inbox import Gap, Inbox
from whatsapp.link import Backoff, Ended, Options
from whatsapp.outbox import Lanes, Outbox, Pending
from whatsapp.streams import Disconnected, Event, Events, Refused
from whatsapp.wire import Item

log = logging.getLogger(__name__)

UNANSWERED_MAX = 64  # messages on their way at once, over all chats
INBOX_MESSAGES_MAX = 10_000  # a server keeps to its window, far below
TYPING_FRAMES_MAX = 32
# Of `received` and `read`, which a reconnect may say for thousands of chats: 100 a second, half
# of what a server lets a device do by default. The last turn before a good close may say more.
SIGNALS_MAX = 50
SIGNALS_SECONDS = 0.5
LAST_SIGNALS_MAX = 1_000
HELLO_BYTES_MAX = 56_000  # of cursors: below the limit of a frame
INTERNAL_TRIES = 5  # an error inside of the server may be this message's own doing


class Dialogue:
    """See the head of this file; a `link.Conversation` and a `streams.Source`."""

    def __init__(
        self,
        outbox: Outbox,
        options: Options,
        *,
        automatic: bool,
        on_gap: Callable[[Gap], None],
    ) -> None:
        self.wake: Callable[[], None] = _nothing  # the link's, while there is one
        self.give_up: Callable[[str], None] = _nothing_said
        self.inbox = Inbox(outbox.cursors, automatic=automatic)
        self.news = asyncio.Event()  # there is something to take, or it has ended
        self.idle = asyncio.Event()  # nothing waits for an answer
        self.opened = asyncio.Event()
        self.ended: Ended | None = None
        self.events: WeakSet[Events] = WeakSet()
        self.waiting: dict[str, asyncio.Future[wire.Sent]] = {}
        self.limits = wire.Limits(model.FRAME_BYTES_MAX, model.TEXT_BYTES_MAX, 512, 30)
        self.user = ""
        self.generation = 0  # of connections
        self._outbox = outbox
        self._backoff = Backoff(options)
        self._automatic = automatic
        self._received_delay_seconds = options.received_delay_seconds
        self._on_gap = on_gap
        self._lanes = Lanes()
        self._failures: dict[str, int] = {}  # id → how often the server failed inside
        self._reads: dict[str, int] = {}  # to be said
        self._reads_said: dict[str, int] = {}  # on this connection; said again on the next …
        self._reads_asked: dict[str, int] = {}  # … unless the pong that is awaited has come
        self._received: dict[str, int] = {}  # to be said
        self._signals_left = SIGNALS_MAX
        self._signals_timer: asyncio.TimerHandle | None = None
        self._ping_due = False
        self._typing: deque[bytes] = deque(maxlen=TYPING_FRAMES_MAX)
        self._watched: list[str] | None = None
        self._watch_due = False
        self._received_timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        for pending in outbox.pending.values():
            self._lanes.add(pending)
        self._check_idle()

    # --- what the application does --------------------------------------------------

    def send(self, pending: Pending) -> None:
        """A message that is in the outbox may go out."""
        self._lanes.add(pending)
        self._check_idle()
        self.wake()

    def received(self, chat: str, seq: int, *, skip: bool = False) -> None:
        (self.inbox.done if skip or not self._automatic else self.inbox.seen)(chat, seq)
        self.taken()

    def read(self, chat: str, seq: int) -> None:
        said = (self._reads, self._reads_said, self._reads_asked)
        self._reads[chat] = max(seq, *(reads.get(chat, 0) for reads in said))
        self.inbox.seen(chat, seq)
        self.taken()
        self.wake()

    def typing(self, chat: str, *, on: bool) -> None:
        if self.opened.is_set():
            self._typing.append(encoded(wire.Typing(chat=chat, on=on)))
            self.wake()

    def watch(self, users: list[str]) -> None:
        self._watched = users
        self._watch_due = True
        self.wake()

    def taken(self) -> None:
        """Acknowledge, in a moment, what the application is done with."""
        if self.inbox.moved and self._received_timer is None:
            loop = asyncio.get_running_loop()
            self._received_timer = loop.call_later(self._received_delay_seconds, self.acknowledge)

    def acknowledge(self) -> None:
        """Say `received` for all that the application is done with."""
        if self._received_timer is not None:
            self._received_timer.cancel()
            self._received_timer = None
        moved, self.inbox.moved = self.inbox.moved, {}
        self._outbox.moved(moved)
        self._outbox.flush_soon()
        self._received |= moved
        self.wake()

    def finish(self) -> None:
        """The turn that follows is the last one: what waits is to be said in it."""
        self._signals_left = LAST_SIGNALS_MAX
        self.acknowledge()

    def forget_cursors(self) -> None:
        """The account is a new one: what was known of its chats is of another life."""
        self._received = {}
        self.inbox = Inbox({}, automatic=self._automatic)

    def begin(self) -> None:
        """Forget an end: there is a new login."""
        self.ended = None
        self.opened.clear()
        self._check_idle()

    def end(self, error: Ended) -> None:
        """No connection any more. Those who wait learn it; the outbox keeps its messages."""
        self.ended = error
        self._closed()
        for timer in (self._received_timer, self._pause, self._signals_timer):
            if timer is not None:
                timer.cancel()
        self._received_timer = self._pause = self._signals_timer = None
        waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(type(error)(str(error)))
        for event in (self.news, self.idle, self.opened):
            event.set()
        for stream in self.events:
            stream.end(error)

    def emit(self, event: Event) -> None:
        for stream in self.events:
            stream.put(event)

    # --- link.Conversation ----------------------------------------------------------

    def hello(self) -> wire.Hello:
        cursors: dict[str, int] = {}
        size = 0
        for chat, seq in reversed(self.inbox.cursors().items()):
            size += len(chat) + 20
            if size > HELLO_BYTES_MAX or len(cursors) >= wire.HELLO_CURSORS_MAX:
                break  # of the others, unchanged for longest, the server's record is right
            cursors[chat] = seq
        return wire.Hello(cursors=cursors or None)

    def welcomed(self, frame: wire.Welcome) -> None:
        self.user, self.limits = frame.user, frame.limits
        self.opened.set()
        self._watch_due = self._watched is not None
        self.emit(frame)

    def heard(self, frame: wire.AnyServerFrame) -> None:
        match frame:
            case wire.Message():
                self._arrived([frame])
            case wire.Messages(items=items):
                self._arrived(items)
            case wire.Sent():
                self._sent(frame)
            case wire.Error():
                self._error(frame)
            case wire.Pong(n=n):
                if n is not None:
                    self._reads_asked = {}
            case wire.Welcome():
                pass
            case _:
                self.emit(frame)

    def outgoing(self) -> list[bytes]:
        frames = list(self._typing)
        self._typing.clear()
        if self._watch_due:
            frames.append(encoded(wire.Watch(users=self._watched or [])))
            self._watch_due = False
        frames += self._sends() + self._signals()
        if self._ping_due:
            frames.append(encoded(self._ping()))
            self._ping_due = False
        return frames

    def beat(self) -> None:
        self._ping_due = True
        self.wake()

    def lost(self, reason: str, wait_seconds: float) -> None:
        self._closed()
        self.emit(Disconnected(reason, wait_seconds))

    # --- signals out ----------------------------------------------------------------

    def _signals(self) -> list[bytes]:
        received = _first(self._received, self._signals_left)
        reads = _first(self._reads, self._signals_left - len(received))
        self._reads_said |= reads
        frames = [encoded(wire.Received(chat=c, seq=s)) for c, s in received.items()]
        frames += [encoded(wire.Read(chat=c, seq=s)) for c, s in reads.items()]
        self._signals_left -= len(frames)
        if frames and self._signals_timer is None:
            loop = asyncio.get_running_loop()
            self._signals_timer = loop.call_later(SIGNALS_SECONDS, self._more_signals)
        return frames

    def _more_signals(self) -> None:
        self._signals_timer = None
        self._signals_left = SIGNALS_MAX
        self.wake()

    def _ping(self) -> wire.Ping:
        # A server handles frames in order, so a pong says that it knows the reads before the
        # ping. Only that ping has a number, and only one such is on its way.
        if self._reads_asked or not self._reads_said:
            return wire.Ping()
        self._reads_asked, self._reads_said = self._reads_said, {}
        return wire.Ping(n=self.generation)

    # --- messages in ----------------------------------------------------------------

    def filled(self, gap: Gap, items: Iterable[Item], generation: int) -> None:
        """What the history has for a hole; of no use where the connection is another one."""
        if generation == self.generation:
            following = self.inbox.filled(gap, items)
            if following is not None:
                self._on_gap(following)
            self._look()

    def _arrived(self, items: Iterable[Item]) -> None:
        for item in items:
            if len(self.inbox.queue) >= INBOX_MESSAGES_MAX:
                self.give_up("the server pushes beyond its window")
                break
            if item.sender == self.user and item.id in self._outbox.pending:
                self.inbox.sent(item.chat, item.seq)  # ours; its `sent` is on its way
            gap = self.inbox.arrived(item)
            if gap is not None:
                log.info("hole in what was pushed after=%d before=%d", gap.after, gap.before)
                self._on_gap(gap)
        self._look()

    def _look(self) -> None:
        if self.inbox.queue:
            self.news.set()
        self.taken()

    # --- messages out ---------------------------------------------------------------

    def _sends(self) -> list[bytes]:
        frames: list[bytes] = []
        while self._pause is None and self._lanes.unanswered < UNANSWERED_MAX:
            pending = self._lanes.next()
            if pending is None:
                break
            data = encoded(_send(pending))
            if len(data) <= self.limits.frame_bytes:
                frames.append(data)
            else:
                most = self.limits.frame_bytes
                self._refuse(pending, errors.TooLarge(f"a frame is at most {most} bytes"))
        return frames

    def _sent(self, frame: wire.Sent) -> None:
        self._backoff.reset()
        pending = self._outbox.pending.get(frame.id)
        self.inbox.sent(frame.chat, frame.seq)
        self._look()
        if pending is None:
            return
        self._settle(pending)
        waiter = self.waiting.pop(frame.id, None)
        if waiter is None or waiter.done():
            self.emit(frame)
        else:
            waiter.set_result(frame)

    def _error(self, frame: wire.Error) -> None:
        pending = self._outbox.pending.get(frame.re) if isinstance(frame.re, str) else None
        if pending is None:
            log.warning("the server refused a frame code=%s re=%s", frame.code, frame.re)
        elif frame.retryable and self._may_try_again(pending, frame.code):
            self._lanes.again(pending)
            asked = (frame.retry_after_ms or 0) / 1000
            self._pause_for(asked or self._backoff.next_seconds())
        else:
            error = answer(
                frame.code,
                frame.message,
                retryable=frame.retryable,
                retry_after_ms=frame.retry_after_ms,
            )
            self._refuse(pending, error)

    def _may_try_again(self, pending: Pending, code: str) -> bool:
        if code != errors.Internal.code:
            return True
        self._failures[pending.id] = self._failures.get(pending.id, 0) + 1
        return self._failures[pending.id] < INTERNAL_TRIES

    def _refuse(self, pending: Pending, error: errors.Answer) -> None:
        self._settle(pending)
        waiter = self.waiting.pop(pending.id, None)
        if waiter is None or waiter.done():
            self.emit(Refused(pending.id, pending.chat, error))
        else:
            waiter.set_exception(error)

    def _settle(self, pending: Pending) -> None:
        self._outbox.done(pending.id)
        self._outbox.flush_soon()
        self._lanes.answered(pending)
        self._failures.pop(pending.id, None)
        self._check_idle()
        self.wake()

    def _pause_for(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._pause is not None:
            if self._pause.when() >= loop.time() + seconds:
                return
            self._pause.cancel()
        self._pause = loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self.wake()

    def _closed(self) -> None:
        self.generation += 1
        self.opened.clear()
        self._lanes.lost()
        self.inbox.lost()
        self._typing.clear()
        self._reads = self._reads_asked | self._reads_said | self._reads
        self._reads_asked, self._reads_said = {}, {}
        self._signals_left = SIGNALS_MAX
        self._ping_due = False

    def _check_idle(self) -> None:
        if self._outbox.pending:
            self.idle.clear()
        else:
            self.idle.set()


def _send(pending: Pending) -> wire.Send:
    return wire.Send(
        id=pending.id,
        text=pending.text,
        chat=None if pending.to else pending.chat,
        to=pending.to,
        reply_to=pending.reply_to,
    )


def _first(seqs: dict[str, int], count: int) -> dict[str, int]:
    """So many of these, taken out of them."""
    return {chat: seqs.pop(chat) for chat in list(islice(seqs, count))}


def _nothing() -> None:
    pass


def _nothing_said(reason: str) -> None:
    pass
