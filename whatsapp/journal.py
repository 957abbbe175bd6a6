"""Group commit: what wants to be stored is gathered, appended in one go, and told in order.

One append is under way at a time. What comes meanwhile forms the next batch, so batches
grow with load and a lone message waits for nobody. Why not linger for more: measured, it
makes both slower.

The check "may it be stored?" (`admit`) runs when the batch is formed, and an entry that
changes its chat is the last of that chat in its batch. So what was checked is still true
when it is stored: nobody writes after having been removed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from whatsapp.clock import Clock, Scheduler
from whatsapp.errors import Answer, Busy, Internal, Unavailable
from whatsapp.interfaces import MessageStore
from whatsapp.metrics import Metrics
from whatsapp.model import Draft, Duplicate, Outcome, Stale, Stored

log = logging.getLogger(__name__)

# A chat that keeps changing under our hands is given up after so many looks.
LOOKS_MAX = 20
# What the store takes no sooner than this is refused: its senders would take it for lost, and
# after an overload all that waited would have to be worked off first.
WAIT_SECONDS_MAX = 2.0


class Unready(Exception):
    """Raised by `admit`: what it needs to know of the chat must be read again."""


class Pending(Protocol):
    """Something that wants to be stored."""

    chat: str

    def admit(self) -> Draft | None:
        """The draft, if it may be stored now; an `Answer` if not; `Unready` to look again.

        None: it has turned out that there is nothing to store, and who waits was told.
        """
        ...

    def settle(self, outcome: Stored | Duplicate) -> None:
        """It is durable."""
        ...

    def fail(self, error: Answer) -> None:
        """It was not admitted, or could not be stored (as far as we know)."""
        ...


class Journal:
    """See the head of this file. Above `drafts_max` waiting, or what the store takes in
    `WAIT_SECONDS_MAX` at the speed of its last full batch, `submit` raises `Busy`.

    `look_again(chat)` reads a chat anew. `cleared(chat)`: an append to it had failed, which may
    have happened all the same; what became of it is known here now.
    """

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        messages: MessageStore,
        scheduler: Scheduler,
        clock: Clock,
        metrics: Metrics,
        *,
        look_again: Callable[[str], Awaitable[None]],
        cleared: Callable[[str], None] | None = None,
        drafts_max: int,
        batch_max: int,
    ) -> None:
        self._messages = messages
        self._scheduler = scheduler
        self._clock = clock
        self._metrics = metrics
        self._look_again = look_again
        self._cleared = cleared
        self._drafts_max = self._waiting_max = drafts_max
        self._batch_max = batch_max
        self._waiting: deque[Pending] = deque()
        # Chats of appends that failed, which may have happened all the same.
        self._doubtful: dict[str, None] = {}
        self._running = False
        self._closed = False
        self._looks = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def quiet(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not self._running

    def submit(self, pending: Pending) -> None:
        """Store it with the next batch; it hears of it by `settle` or `fail`."""
        if self._closed:
            raise Unavailable("the server is going away; reconnect and send it again")
        if len(self._waiting) >= self._waiting_max:
            raise Busy("the server is overloaded; try again in a second", retry_after_ms=1000)
        self._waiting.append(pending)
        if not self._running:
            self._running = True
            self._scheduler.spawn(self._run())

    def close(self) -> None:
        """Accept nothing more; what was accepted is still stored."""
        self._closed = True

    def tick(self) -> None:
        """Find out what became of appends that failed; nobody else may ever ask for them."""
        if self._doubtful and not self._running:
            self._running = True
            self._scheduler.spawn(self._run())

    async def _run(self) -> None:
        if self._doubtful:
            await self._look(tuple(self._doubtful))
        while self._waiting:
            batch, drafts, unready = self._form()
            if unready:
                await self._look(unready)
            if batch:
                await self._commit(batch, drafts)
        self._running = False

    def _form(self) -> tuple[list[Pending], list[Draft], Collection[str]]:
        """The next batch. What must wait (a changed chat, an unready one) stays, in order."""
        batch: list[Pending] = []
        drafts: list[Draft] = []
        unready: dict[str, None] = {}
        sealed: set[str] = set()
        kept: list[Pending] = []
        while self._waiting and len(batch) < self._batch_max:
            pending = self._waiting.popleft()
            if pending.chat in sealed:
                kept.append(pending)
                continue
            try:
                draft = self._admit(pending)
            except Unready:
                unready[pending.chat] = None
                sealed.add(pending.chat)
                kept.append(pending)
                continue
            except Exception as error:  # noqa: BLE001 — one bad draft must not stop the others
                _fail(pending, error)
                continue
            if draft is None:
                continue
            if draft.change is not None:
                sealed.add(pending.chat)
            batch.append(pending)
            drafts.append(draft)
        self._waiting.extendleft(reversed(kept))
        return batch, drafts, unready

    def _admit(self, pending: Pending) -> Draft | None:
        if pending.chat in self._doubtful:
            raise Unready
        return pending.admit()

    async def _commit(self, batch: Sequence[Pending], drafts: Sequence[Draft]) -> None:
        started = self._clock.monotonic()
        try:
            outcomes = await self._messages.append(drafts)
        except Exception as error:  # noqa: BLE001 — each waiting sender must hear of it
            for pending in batch:
                self._doubtful[pending.chat] = None
                _fail(pending, error)
            return
        self._learn(len(batch), self._clock.monotonic() - started)
        self._metrics.journal_batch_messages.observe(len(batch))
        stale = [
            pending
            for pending, outcome in zip(batch, outcomes, strict=True)
            if not self._settle(pending, outcome)
        ]
        if stale:
            self._waiting.extendleft(reversed(stale))
            await self._look(dict.fromkeys(pending.chat for pending in stale))
        else:
            self._looks = 0

    def _learn(self, count: int, seconds: float) -> None:
        """How many may wait, now that so many took so long.

        Only a full batch can lower it: a small one is slow for what each commit costs.
        """
        in_time = self._drafts_max
        if seconds > 0:
            in_time = min(in_time, round(WAIT_SECONDS_MAX / seconds * count))
        full = count >= self._batch_max
        # Never less than a batch: a single slow one must not end what shows the next speed.
        least = min(self._drafts_max, self._batch_max) if full else self._waiting_max
        self._waiting_max = max(in_time, least)

    def _settle(self, pending: Pending, outcome: Outcome) -> bool:
        if isinstance(outcome, Stale):
            return False
        if isinstance(outcome, Stored):
            self._metrics.messages_stored.value += 1
        else:
            self._metrics.messages_duplicate.value += 1
        try:
            pending.settle(outcome)
        except Exception:
            log.exception("settling failed chat=%s", pending.chat)
        return True

    async def _look(self, chats: Collection[str]) -> None:
        """Read these chats again; where that fails, what waits for them fails."""
        self._looks += 1
        if self._looks > LOOKS_MAX:
            self._give_up(chats, Unavailable("the chat changes too often; try again"))
            return
        try:
            for chat in chats:
                await self._look_again(chat)
                if chat in self._doubtful:
                    del self._doubtful[chat]
                    if self._cleared is not None:
                        self._cleared(chat)
        except Exception as error:  # noqa: BLE001 — each waiting sender must hear of it
            self._give_up(chats, error)

    def _give_up(self, chats: Collection[str], error: Exception) -> None:
        self._looks = 0
        waiting, self._waiting = self._waiting, deque()
        for pending in waiting:
            if pending.chat in chats:
                _fail(pending, error)
            else:
                self._waiting.append(pending)


def _fail(pending: Pending, error: Exception) -> None:
    if not isinstance(error, Answer):
        log.error("storing failed chat=%s", pending.chat, exc_info=error)
        error = Internal("something went wrong on the server; it was logged; try again")
    try:
        pending.fail(error)
    except Exception:
        log.exception("telling a failure failed chat=%s", pending.chat)
