"""Bugs, planted one at a time: a checker that cannot fail proves nothing.

Each is a mistake that somebody made in a real chat server, or nearly made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from whatsapp import catchup, hub, receipts, room, wire
from whatsapp.errors import Unavailable
from whatsapp.journal import Journal
from whatsapp.positions import Positions
from whatsapp.sending import Sending
from whatsapp.session import Session, State

Plant = Callable[[], AbstractContextManager[None]]


@contextmanager
def _replaced(*replacements: tuple[Any, str, Any]) -> Iterator[None]:
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in replacements]
    for owner, name, value in replacements:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _may_push(session: Session) -> bool:
    return session.state is State.LIVE and session.room_left > 0


def acknowledged_before_commit() -> AbstractContextManager[None]:
    commit, answer = Journal._commit, Sending._answer

    async def early(self, batch, drafts):
        for pending, draft in zip(batch, drafts, strict=True):
            if isinstance(pending, Sending):
                answer(pending, draft.entry(pending.room.head + 1), dup=False)
        await commit(self, batch, drafts)

    def not_again(self, entry, *, dup):
        if dup:
            answer(self, entry, dup=dup)

    return _replaced((Journal, "_commit", early), (Sending, "_answer", not_again))


def reversed_batch() -> AbstractContextManager[None]:
    commit = Journal._commit

    async def backwards(self, batch, drafts):
        await commit(self, batch[::-1], drafts[::-1])

    return _replaced((Journal, "_commit", backwards))


def told_in_reverse() -> AbstractContextManager[None]:
    settle = Journal._settle

    async def commit(self, batch, drafts):
        try:
            outcomes = await self._messages.append(drafts)
        except Unavailable as error:
            for pending in batch:
                self._doubtful[pending.chat] = None
                pending.fail(error)
            return
        for pending, outcome in reversed(list(zip(batch, outcomes, strict=True))):
            settle(self, pending, outcome)

    return _replaced((Journal, "_commit", commit))


def delivered_twice() -> AbstractContextManager[None]:
    offer = Session.offer

    def again(self, chat, seq, frame):
        if seq <= self.position(chat) and _may_push(self):
            self.push(frame)
        else:
            offer(self, chat, seq, frame)

    return _replaced((Session, "offer", again))


def gap_not_noticed() -> AbstractContextManager[None]:
    def offer(self, chat, seq, frame):
        if seq <= self.position(chat):
            return
        if not _may_push(self):
            self.behind.add(chat)
            return
        self.advance(chat, seq)
        self.push(frame)

    return _replaced((Session, "offer", offer))


def lost_cursor() -> AbstractContextManager[None]:
    place = Positions._place

    def one_too_far(self, session, position, *more):
        place(self, session, position, *more)
        if position.chat in session.behind:
            session.begin(position.chat, session.position(position.chat) + 1)

    return _replaced((Positions, "_place", one_too_far))


def fetched_before_subscribed() -> AbstractContextManager[None]:
    offer = Session.offer

    def deaf(self, chat, seq, frame):
        if self.state is not State.WELCOMED:
            offer(self, chat, seq, frame)

    return _replaced((Session, "offer", deaf))


def removed_still_reads() -> AbstractContextManager[None]:
    def everybody(self):
        return iter(self.members)

    def stays(self, chat):
        self.behind.discard(chat)

    return _replaced((room.Room, "active", everybody), (Session, "leave", stays))


def removal_not_checked_at_push() -> AbstractContextManager[None]:
    def push_run(self, session, of, entries):
        start = session.position(of.chat)
        fresh = [entry for entry in entries if entry.seq > start][: max(0, session.room_left)]
        if session.state is State.LIVE and fresh:
            session.advance(of.chat, fresh[-1].seq)
            for _, frame in catchup._frames(of.chat, fresh, session.user):
                session.push(frame)
        if session.position(of.chat) >= of.head:
            session.behind.discard(of.chat)
        return bool(fresh)

    return _replaced((catchup.Catchup, "_push_run", push_run))


def id_not_bound_to_content() -> AbstractContextManager[None]:
    def always(self, entry):
        self._answer(entry, dup=True)

    return _replaced((Sending, "_answer_duplicate", always))


def receipts_beyond() -> AbstractContextManager[None]:
    covered = room.Room.covered

    def all_of_it(self, user, old, new):
        return covered(self, user, old, self.head)

    return _replaced((room.Room, "covered", all_of_it))


def window_ignored() -> AbstractContextManager[None]:
    init = Session.__init__

    def roomy(self, sink, flusher, *, window, **others):
        init(self, sink, flusher, window=1_000, **others)

    return _replaced((Session, "__init__", roomy))


def hidden_pushed() -> AbstractContextManager[None]:
    frame = wire.message_frame
    return _replaced((hub, "message_frame", lambda entry, viewer: frame(entry, entry.sender)))


def hidden_caught_up() -> AbstractContextManager[None]:
    item = wire.item
    return _replaced((catchup, "item", lambda entry, viewer: item(entry, entry.sender)))


def receipts_of_blockers() -> AbstractContextManager[None]:
    def always(of, reader):
        return of.received[reader], of.read.get(reader, 0)

    return _replaced((receipts, "_shown", always))


def doubt_forgotten() -> AbstractContextManager[None]:
    """What became of an append that failed is not looked at."""
    commit = Journal._commit

    async def sure(self, batch, drafts):
        await commit(self, batch, drafts)
        self._doubtful.clear()

    return _replaced((Journal, "_commit", sure))


PLANTS: tuple[Plant, ...] = (
    acknowledged_before_commit,
    reversed_batch,
    told_in_reverse,
    delivered_twice,
    gap_not_noticed,
    lost_cursor,
    fetched_before_subscribed,
    removed_still_reads,
    removal_not_checked_at_push,
    id_not_bound_to_content,
    receipts_beyond,
    window_ignored,
    hidden_pushed,
    hidden_caught_up,
    receipts_of_blockers,
    doubt_forgotten,
)
