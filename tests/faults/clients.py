"""Simulated devices and their connections: they speak frames, and check every frame they get.

A `Device` is what a client keeps: what it has, what it has sent without an answer. A `Link`
is one connection of it, and the `Sink` of the server's session. What the server writes is
checked when it is written; the device takes notice when it reads, which may be later or never.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tests.faults.loop import awaited
from tests.faults.truth import as_item, seen_by
from whatsapp import wire
from whatsapp.model import Entry
from whatsapp.session import State

if TYPE_CHECKING:
    from tests.faults.core import Core
    from tests.faults.world import World


class Wish(Struct, frozen=True, kw_only=True):
    """A text that somebody wants to send; `step` is when it was first said."""

    chat: str
    id: str
    text: str
    reply_to: int
    step: int

    def is_in(self, entry: Entry) -> bool:
        return (entry.text, entry.reply_to, entry.kind) == (self.text, self.reply_to, "text")


class Device:
    """One login. `keeps_cursors`: it says in hello what it has applied."""

    def __init__(self, world: World, user: str, name: str, *, keeps_cursors: bool) -> None:
        self.world = world
        self.user = user
        self.name = name
        self.keeps_cursors = keeps_cursors
        self.acks = True
        self.connects = 0
        self.eager = True
        self.absent = False
        self.have: dict[str, set[int]] = {}
        self.applied: dict[str, int] = {}
        self.outbox: dict[tuple[str, str], Wish] = {}
        self.link: Link | None = None

    def __repr__(self) -> str:
        return self.name

    @property
    def token(self) -> str:
        return f"the token of {self.name}"

    def apply(self, chat: str, seq: int) -> None:
        self.have.setdefault(chat, set()).add(seq)
        self.applied[chat] = max(self.applied.get(chat, 0), seq)

    def knows(self, chat: str, seq: int) -> None:
        """It is ours and was answered; in order, it is as good as applied."""
        have = self.have.setdefault(chat, set())
        have.add(seq)
        while self.applied.get(chat, 0) + 1 in have:
            self.applied[chat] = self.applied.get(chat, 0) + 1

    def rewind(self, chat: str, seq: int) -> None:
        """An older backup was restored."""
        self.have[chat] = {n for n in self.have.get(chat, ()) if n <= seq}
        self.applied[chat] = seq

    def connect(self) -> Link:
        if self.link is not None and self.link.open and self.world.draw() < 0.5:
            self.link.drop()
        self.connects += 1
        cursors = dict(self.applied) if self.keeps_cursors else None
        self.link = Link(self.world, self, cursors)
        return self.link


class Link:
    """One connection, both of its ends."""

    def __init__(self, world: World, device: Device, cursors: dict[str, int] | None) -> None:
        self.world = world
        self.device = device
        self.user, self.name = device.user, device.name
        self.core: Core = world.core
        self.session = self.core.connected(self)
        self.open = True
        self.busy = self.ended = self.ghost = False
        self.welcomed = False
        self.synced = False
        self.lazy = False
        self.cursors = cursors
        self.inbox: deque[bytes] = deque()
        self.unread: deque[tuple[Any, int]] = deque()
        self.position: dict[str, int] = {}
        self.own: dict[str, set[int]] = {}
        self.unacked: dict[str, list[int]] = {}
        self.acked: dict[str, int] = {}
        self.reads: dict[str, int] = {}
        # What was sent and not answered; and, beside it, the how-manieth of this link it was.
        self.waiting: list[Wish] = []
        self.numbers: list[int] = []
        self.stored: dict[str, tuple[int, int]] = {}
        self.times: Counter[str] = Counter()
        self._sends = 0
        self.shown: dict[str, wire.Presence] = {}
        self.watched: set[str] = set()
        self.watching: set[str] = set()
        self.receipts: dict[tuple[str, str], wire.Receipt] = {}
        self.typing: dict[tuple[str, str], float] = {}  # since when; 0: not
        self.last_read: dict[str, int] = {}
        self._left = False
        self.say(wire.Hello(token=device.token, cursors=cursors))

    def say(self, frame: wire.AnyClientFrame) -> None:
        self.inbox.append(wire.encode(frame))

    def send(self, wish: Wish) -> None:
        self.waiting.append(wish)
        self.numbers.append(self._sends)
        self.times[wish.id] += 1
        self._sends += 1
        self.say(wire.Send(wish.id, wish.text, chat=wish.chat, reply_to=wish.reply_to or None))

    def resend(self) -> None:
        pending = {(wish.chat, wish.id) for wish in self.waiting}
        for key, wish in self.device.outbox.items():
            if key not in pending:
                self.send(wish)

    def ack(self, chat: str, seq: int, *, read: bool) -> None:
        self.acked[chat] = max(self.acked.get(chat, 0), seq)
        self.unacked[chat] = [n for n in self.unacked.get(chat, ()) if n > seq]
        if read:
            self.reads[chat] = max(self.reads.get(chat, 0), seq)
        self.world.acked(self.user, chat, seq, read=read)
        self.say(wire.Read(chat, seq) if read else wire.Received(chat, seq))

    def watch(self, users: list[str]) -> None:
        self.watched |= set(users)
        self.watching = set(users)
        self.shown = {user: told for user, told in self.shown.items() if user in self.watching}
        self.say(wire.Watch(users))

    def pump(self) -> None:
        """The server takes what has come in, one frame after the other."""
        while self.inbox and not self.busy and self.open and not self.core.asleep:
            later = self.core.router.receive(self.session, self.inbox.popleft())
            if later is not None:
                self.busy = True
                self.core.loop.start(awaited(later), self._handled)

    def _handled(self, result: Any, error: BaseException | None) -> None:
        self.busy = False
        if error is not None:
            self.world.fail(f"router raised {error!r}")
        if not self.open:
            self._leave()
        else:
            self.pump()

    def drop(self) -> None:
        """The connection breaks: what was not read is lost, the server notices in its time."""
        self.open = False
        self.unread.clear()
        self.inbox.clear()
        if self.device.link is self:
            self.device.link = None
        if not self.busy:
            self._leave()

    def _leave(self) -> None:
        """As `web.Door` does it."""
        if self.core.asleep:
            self.core.loop.soon(self._leave)
        elif not self._left and not self.core.loop.dead:
            self._left = True
            self.session.state = State.CLOSED
            self.core.session_ended(self.session)

    # --- server to client: the sink -----------------------------------------------------

    def write(self, frames: list[bytes]) -> None:
        for data in frames:
            frame = wire.decode_server(data)
            if self.ended and not isinstance(frame, wire.Error):
                self.fail(f"{frame} after the logout")
            if not self.open or self.ghost:
                continue
            self.world.trace("   %s#%d <- %s", self.device, self.session.number, frame)
            self._check(frame)
            self.unread.append((frame, len(data)))
        if not self.lazy:
            self.read_all()

    def buffered_bytes(self) -> int:
        return sum(size for _, size in self.unread)

    def close(self, code: int, reason: str) -> None:
        self.world.trace("   %s#%d closed %d %s", self.device, self.session.number, code, reason)
        self.world.closed(self, code)
        if not self.lazy:
            self.read_all()
        self.core.loop.soon(self.drop)

    def read_all(self) -> None:
        while self.unread:
            self._take(self.unread.popleft()[0])

    def _take(self, frame: Any) -> None:
        """The device takes notice."""
        device = self.device
        match frame:
            case wire.Message(chat=chat, seq=seq):
                device.apply(chat, seq)
            case wire.Messages(chat=chat, items=items):
                for item in items:
                    device.apply(chat, item.seq)
            case wire.Sent(id=id_, chat=chat, seq=seq):
                device.outbox.pop((chat, id_), None)
                device.knows(chat, seq)
            case wire.Error(re=str(id_), retryable=False):
                for key in [key for key in device.outbox if key[1] == id_]:
                    del device.outbox[key]
            case wire.Error(re=None, retryable=True):
                self._ack_again()
            case wire.Welcome():
                self.welcomed = True
                self.resend()
            case wire.Synced():
                self.synced = True
            case _:
                pass

    def _ack_again(self) -> None:
        """One of them was not taken; which, is not said."""
        for chat, seq in self.acked.items():
            self.say(wire.Received(chat, seq))
        for chat, seq in self.reads.items():
            self.say(wire.Read(chat, seq))

    # --- what must hold of every frame ----------------------------------------------------

    def _check(self, frame: Any) -> None:
        match frame:
            case wire.Message():
                self._check_pushed(frame.chat, frame.seq, as_item(frame))
            case wire.Messages():
                for item in frame.items:
                    if item.chat != frame.chat:
                        self.fail(f"{item} in a run of {frame.chat}")
                    self._check_pushed(item.chat, item.seq, item)
            case wire.Sent():
                self._check_sent(frame)
            case wire.Error():
                self._check_error(frame)
            case wire.Receipt():
                self._check_receipt(frame)
            case wire.Cursor():
                self._check_cursor(frame)
            case wire.TypingShown():
                self._check_typing(frame)
            case wire.Presence():
                if frame.user not in self.watched:
                    self.fail(f"{frame} was not asked for")
                if frame.user in self.watching:
                    self.shown[frame.user] = frame
            case _:
                pass

    def fail(self, what: str) -> None:
        self.world.fail(f"{self.device}#{self.session.number}: {what}")

    def _check_member(self, chat: str, frame: Any) -> None:
        removed_at = self.world.gone.get((chat, self.user))
        removed = removed_at is not None and self.world.heard(removed_at, self.core)
        if removed or chat not in self.world.truth.logs:
            self.fail(f"{frame}, and it is no member")

    def _check_pushed(self, chat: str, seq: int, item: wire.Item) -> None:
        log = self.world.truth.logs.get(chat)
        if log is None or seq > len(log.entries):
            self.fail(f"{item} is not stored")
            return
        expected = seen_by(log.entries[seq - 1], self.user)
        if item != expected:
            self.fail(f"{item} should be {expected}")
        self._check_member(chat, item)
        span = log.span(self.user, seq)
        if span is None:
            self.fail(f"{item} is not for {self.user}, who saw {log.spans.get(self.user)}")
            return
        self._check_order(chat, seq, span.first)
        self.position[chat] = seq
        unacked = self.unacked.setdefault(chat, [])
        if seq > self.acked.get(chat, 0):
            unacked.append(seq)
        self._check_window()

    def _check_order(self, chat: str, seq: int, joined: int) -> None:
        position = self.position.get(chat)
        if position is None and self.cursors is not None:
            position = self.cursors.get(chat, None)
        first_known = position is not None
        before = max(position or 0, joined - 1)
        if first_known and seq <= before:
            self.fail(f"{chat} {seq} after {before}: again, or out of order")
        own, acked = self.own.get(chat, set()), self.acked.get(chat, 0)
        missed = [n for n in range(before + 1, seq) if n not in own and n > acked]
        if missed and not first_known:
            entries = self.world.truth.logs[chat].entries
            have = self.device.have.get(chat, set())
            missed = [n for n in missed if n not in have and entries[n - 1].sender != self.user]
        if missed:
            self.fail(f"{chat} {seq} after {before}: {missed} left out")

    def _check_window(self) -> None:
        count = 0
        for chat, seqs in self.unacked.items():
            spans = self.world.truth.logs[chat].spans[self.user]
            if seqs and spans[-1].last is None:
                count += sum(seq >= spans[-1].first for seq in seqs)
        if count > self.world.settings.window:
            self.fail(f"{count} pushed and not received")

    def _check_sent(self, frame: wire.Sent) -> None:
        entry = self.world.check_stored(self.user, frame, frame.id)
        if entry is None:
            return
        fitting = [
            wish
            for wish in self.waiting
            if (wish.chat, wish.id) == (frame.chat, frame.id) and wish.is_in(entry)
        ]
        if not fitting:
            self.fail(f"{frame} answers nothing that was sent; it is {entry}")
            return
        number = self._answered(fitting[0])
        if not frame.dup:
            self.own.setdefault(frame.chat, set()).add(frame.seq)
            self._check_order_of_sends(frame, number)

    def _check_order_of_sends(self, frame: wire.Sent, number: int) -> None:
        """What one connection sends is stored in that order; repeats are told apart by nobody."""
        if self.times[frame.id] > 1:
            return
        before = self.stored.get(frame.chat, (-1, 0))
        if number < before[0] or frame.seq < before[1]:
            self.fail(f"{frame} was sent as number {number}, but stored after {before}")
        self.stored[frame.chat] = (number, frame.seq)

    def _answered(self, wish: Wish) -> int:
        index = self.waiting.index(wish)
        del self.waiting[index]
        return self.numbers.pop(index)

    def _check_error(self, frame: wire.Error) -> None:
        if frame.code == "internal":
            self.fail(f"{frame}")
        if not isinstance(frame.re, str):
            return
        fitting = [wish for wish in self.waiting if wish.id == frame.re]
        if not fitting:
            self.fail(f"{frame} answers nothing that was sent")
            return
        self._answered(fitting[0])
        self.world.check_refused(self.user, fitting[0], frame.code)

    def _check_receipt(self, frame: wire.Receipt) -> None:
        self._check_member(frame.chat, frame)
        self.world.check_receipt(self, frame)
        before = self.receipts.get((frame.chat, frame.user))
        if before is not None and (
            frame.received < before.received
            or (frame.read < before.read and not (frame.read == 0 and self.world.on("privacy")))
        ):
            self.fail(f"{frame} after {before}")
        self.receipts[frame.chat, frame.user] = frame

    def _check_cursor(self, frame: wire.Cursor) -> None:
        self._check_member(frame.chat, frame)
        head = self.world.truth.head(frame.chat)
        if max(frame.received, frame.read) > head or frame.read > frame.received:
            self.fail(f"{frame} with head {head}")
        if frame.read < self.last_read.get(frame.chat, 0):
            self.fail(f"{frame} moves back")
        self.last_read[frame.chat] = frame.read

    def _check_typing(self, frame: wire.TypingShown) -> None:
        self._check_member(frame.chat, frame)
        if frame.user == self.user:
            self.fail(f"{frame} is itself")
        if frame.on and self.world.surely_blocks(self.user, frame.user, frame.chat, self.core):
            self.fail(f"{frame} although blocked")
        self.typing[frame.chat, frame.user] = self.world.clock.seconds if frame.on else 0.0
