"""Looking again at what may have grown without our hearing of it: chats, sessions, all sessions.

Paced: a few at a time, each the read that a connecting device costs. Where the store is away
it is tried again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable

from whatsapp.clock import Clock, Scheduler
from whatsapp.errors import Answer
from whatsapp.hub import Hub
from whatsapp.metrics import Metrics
from whatsapp.room import Rooms
from whatsapp.session import Session, State

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 4
# More than of sessions: messages wait for these. Few enough to leave the store to others, too.
CHATS_AT_ONCE = 32
AGAIN_SECONDS = 1.0


class Looks:
    """`look_again(session)` reads the heads of its chats and marks what is behind."""

    look_again: Callable[[Session], Awaitable[None]]

    def __init__(
        self,
        *,
        rooms: Rooms,
        hub: Hub,
        clock: Clock,
        scheduler: Scheduler,
        metrics: Metrics,
    ) -> None:
        self._rooms = rooms
        self._hub = hub
        self._clock = clock
        self._scheduler = scheduler
        self._metrics = metrics
        self._later: deque[tuple[float, Session]] = deque()
        self._sessions: dict[Session, None] = {}
        self._workers = 0
        self._chats: dict[str, bool] = {}  # under way: is it to be read once more?
        self._more_chats: dict[str, None] = {}
        self._all_at: list[float] = []

    def __len__(self) -> int:
        """Chats and sessions that are to be looked at, now or in a few seconds."""
        chats = len(self._chats) + len(self._more_chats)
        return chats + len(self._sessions) + len(self._later)

    def at(self, session: Session, due: float) -> None:
        """Look at this session at that time. Times are given in their order."""
        self._later.append((due, session))

    def everywhere(self) -> None:
        """Look at all sessions."""
        self._sessions |= dict.fromkeys(self._hub.all())
        self._go_on()

    def everywhere_at(self, due: float) -> None:
        """Look at all sessions at that time, or a moment later."""
        if not any(due <= other <= due + AGAIN_SECONDS for other in self._all_at):
            self._all_at.append(due)

    def chat(self, chat: str) -> None:
        """Read this chat's room anew; sessions that are behind then catch up."""
        if chat in self._chats:
            self._chats[chat] = True
            return
        if len(self._chats) >= CHATS_AT_ONCE:
            self._more_chats[chat] = None
            return
        self._chats[chat] = False
        self._scheduler.spawn(self._look_at_chat(chat))

    def tick(self) -> None:
        now = self._clock.monotonic()
        if any(due <= now for due in self._all_at):
            self._all_at = [due for due in self._all_at if due > now]
            self.everywhere()
        while self._later and self._later[0][0] <= now:
            self._sessions[self._later.popleft()[1]] = None
        self._go_on()

    async def _look_at_chat(self, chat: str) -> None:
        again = True
        try:
            while again:
                self._chats[chat] = False
                await self._rooms.refresh(chat)
                again = self._chats[chat]
            room = self._rooms.get(chat)
            if room is not None:
                self._hub.grown(room)  # also where the room was read before, for something else
        except Answer as error:
            log.warning("chat not looked at, all will be later code=%s", error.code)
            self.everywhere_at(self._clock.monotonic() + AGAIN_SECONDS)
        finally:
            del self._chats[chat]
            if self._more_chats:
                following = next(iter(self._more_chats))
                del self._more_chats[following]
                self.chat(following)

    def _go_on(self) -> None:
        while self._workers < min(LOOKS_AT_ONCE, len(self._sessions)):
            self._workers += 1
            self._scheduler.spawn(self._look_at_sessions())

    async def _look_at_sessions(self) -> None:
        try:
            while self._sessions:
                session = next(iter(self._sessions))
                del self._sessions[session]
                if session.state is State.WELCOMED:
                    self._at_once_more(session)
                if session.state is not State.LIVE:
                    continue
                self._metrics.second_looks.value += 1
                try:
                    await self.look_again(session)
                except Answer as error:
                    log.warning("look waits conn=%d code=%s", session.number, error.code)
                    self._at_once_more(session)
                    return
        finally:
            self._workers -= 1

    def _at_once_more(self, session: Session) -> None:
        self._later.appendleft((self._clock.monotonic() + AGAIN_SECONDS, session))
