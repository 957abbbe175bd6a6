"""Bringing sessions that are behind up to the log: the one way in which old entries travel.

Sessions wait here for their turn; a few workers serve them, round by round, so that a
storm of reconnects reads the store at a bounded pace. In a round a session gets a run of
entries of several chats, as much as its window and its socket take. What does not fit is
not kept: the session comes back when `received` makes room.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence

from whatsapp.clock import Scheduler
from whatsapp.errors import Answer
from whatsapp.interfaces import MessageStore
from whatsapp.model import Entry, Page
from whatsapp.room import Room, Rooms
from whatsapp.session import Session, State
from whatsapp.wire import Synced, encode, item

log = logging.getLogger(__name__)

WORKERS_MAX = 4
CHATS_PER_ROUND_MAX = 16
ENTRIES_PER_CHAT_MAX = 100
# A `messages` frame is cut before this, so that it fits the clients' frame limit.
RUN_BYTES_MAX = 60_000

SYNCED = encode(Synced())


class Catchup:
    """Workers over the queue of sessions that are behind."""

    def __init__(self, messages: MessageStore, rooms: Rooms, scheduler: Scheduler) -> None:
        self._messages = messages
        self._rooms = rooms
        self._scheduler = scheduler
        self._queue: deque[Session] = deque()
        self._workers = 0
        # Sessions with chats behind that cannot go on now: no room, or the store is away.
        self._parked: dict[Session, None] = {}

    def __len__(self) -> int:
        return len(self._queue) + len(self._parked)

    def wake(self, session: Session) -> None:
        """The session is behind, or has room again: give it a turn."""
        if session.queued or session.state is not State.LIVE:
            return
        if session.room_left <= 0:
            self._parked[session] = None
            return
        session.queued = True
        self._parked.pop(session, None)
        self._queue.append(session)
        if self._workers < WORKERS_MAX:
            self._workers += 1
            self._scheduler.spawn(self._work())

    def forget(self, session: Session) -> None:
        """The session is over."""
        self._parked.pop(session, None)

    def tick(self) -> None:
        """Look at the parked ones again: a slow socket may have drained."""
        parked, self._parked = self._parked, {}
        for session in parked:
            self.wake(session)

    async def _work(self) -> None:
        try:
            while self._queue:
                session = self._queue.popleft()
                session.queued = False
                await self._serve(session)
        finally:
            self._workers -= 1

    async def _serve(self, session: Session) -> None:
        try:
            progress = await self._round(session)
        except Answer as error:
            log.warning("catch-up waits conn=%d code=%s", session.number, error.code)
            progress = False
        if session.state is not State.LIVE:
            return
        if not session.behind:
            if not session.synced:
                session.synced = True
                session.push(SYNCED)
        elif progress:
            self.wake(session)
        else:
            self._parked[session] = None

    async def _round(self, session: Session) -> bool:
        """Push what one read of the store gives. False where nothing could be pushed."""
        if not session.behind:
            return True
        chats = sorted(session.behind)[:CHATS_PER_ROUND_MAX]
        rooms = await self._rooms.load(chats)
        limit = min(ENTRIES_PER_CHAT_MAX, max(1, session.room_left))
        wishes = [
            Page(chat=chat, after=session.position(chat), limit=limit)
            for chat in chats
            if chat in rooms
        ]
        for chat in chats:
            if chat not in rooms:
                session.behind.discard(chat)
        pages = await self._messages.pages(wishes)
        progress = False
        for wish, entries in zip(wishes, pages, strict=True):
            room = rooms[wish.chat]
            if self._rooms.shared and entries and entries[-1].seq > room.head:
                # Whether it may see these, an instance that wrote them knows, and the store.
                room.stale = True
                progress = True
                continue
            room.recall(entries)
            progress = self._push_run(session, room, entries) or progress
        return progress

    def _push_run(self, session: Session, room: Room, entries: Sequence[Entry]) -> bool:
        """From here on nothing waits: what is checked is true when it is pushed."""
        chat = room.chat
        member = room.members.get(session.user)
        if session.state is not State.LIVE or chat not in session.behind:
            return True
        if member is None or not member.active:
            session.leave(chat)
            return True
        start = session.position(chat)
        if start < member.joined - 1:
            session.begin(chat, member.joined - 1)
            return True
        fresh = [entry for entry in entries if entry.seq > start][: max(0, session.room_left)]
        progress = False
        for last, frame in _frames(chat, fresh, session.user):
            if session.stalled:
                break  # a slow socket: the rest stays in the log until it has drained
            session.advance(chat, last)
            session.push(frame)
            progress = True
        if session.position(chat) >= room.head:
            session.behind.discard(chat)
            return True
        return progress


def _frames(chat: str, entries: Sequence[Entry], viewer: str) -> Iterator[tuple[int, bytes]]:
    """The entries as `messages` frames that fit; each with the seq that it ends with."""
    head = b'{"type":"messages","chat":' + encode(chat) + b',"items":['
    run: list[bytes] = []
    run_bytes, last = 0, 0
    for entry in entries:
        encoded = encode(item(entry, viewer))
        if run and run_bytes + len(encoded) > RUN_BYTES_MAX:
            yield last, head + b",".join(run) + b"]}"
            run, run_bytes = [], 0
        run.append(encoded)
        run_bytes += len(encoded) + 1
        last = entry.seq
    if run:
        yield last, head + b",".join(run) + b"]}"
