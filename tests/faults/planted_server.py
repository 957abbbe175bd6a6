"""`whatsapp` with a bug in it, as a process: the real server for a judge that must find it.

    python -m tests.faults.planted_server acknowledged_too_early serve --port 0 --data …

Beside those of `planted.py`, which the seeded world finds, here are the ones that only a real
server can have. `hangs_when_told` (SIGUSR1 blocks the event loop for a few seconds) and
`slow_disk` are no bugs, but faults that can only be made from inside.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import AbstractContextManager

from backends import sqlite_log
from tests.faults import planted
from tests.faults.planted import _replaced
from whatsapp import cli
from whatsapp.connection import Connection
from whatsapp.hub import Hub
from whatsapp.journal import Journal
from whatsapp.lean import LeanConnection
from whatsapp.metrics import Metrics
from whatsapp.session import Session

COMMIT_SECONDS = 0.15
HANG_SECONDS = 3.0
SLOW_SECONDS = 0.001
ONE_IN = 30


def acknowledged_too_early() -> AbstractContextManager[None]:
    """What is answered is on its way to the disk; a kill in between loses it."""
    early = planted.acknowledged_before_commit()
    early.__enter__()
    answered = Journal._commit

    async def commit(self, batch, drafts):
        store = self._messages

        class Late:
            async def append(self, drafts):
                await asyncio.sleep(COMMIT_SECONDS)
                return await store.append(drafts)

        self._messages = Late()
        try:
            await answered(self, batch, drafts)
        finally:
            self._messages = store

    return _replaced((Journal, "_commit", commit))


def stored_twice() -> AbstractContextManager[None]:
    """A message that is sent again is another one."""
    append = sqlite_log.Appender.append

    def without_index(self, db, drafts):
        db.execute("DROP INDEX IF EXISTS messages_id")
        return append(self, db, drafts)

    def nothing(self, db, drafts, *, below_epoch):
        return {}

    return _replaced(
        (sqlite_log.Appender, "append", without_index), (sqlite_log.Appender, "_stored", nothing)
    )


def dropped_push() -> AbstractContextManager[None]:
    """Now and then a message is taken for pushed, and is not."""
    push, count = Session.push, [0]

    def leaky(self, frame):
        if frame.startswith(b'{"type":"message"'):
            count[0] += 1
            if count[0] % ONE_IN == 0:
                return
        push(self, frame)

    return _replaced((Session, "push", leaky))


def pushed_twice() -> AbstractContextManager[None]:
    push, count = Session.push, [0]

    def again(self, frame):
        push(self, frame)
        if frame.startswith(b'{"type":"message"'):
            count[0] += 1
            if count[0] % ONE_IN == 0:
                push(self, frame)

    return _replaced((Session, "push", again))


def dropped_write() -> AbstractContextManager[None]:
    """Now and then what a turn of the loop has for a socket does not get there."""
    write, count = Connection.write, [0]

    def leaky(self, frames):
        count[0] += 1
        if count[0] % (10 * ONE_IN):
            write(self, frames)

    where = [one for one in (Connection, LeanConnection) if "write" in one.__dict__]
    return _replaced(*((one, "write", leaky) for one in where))


def always_online() -> AbstractContextManager[None]:
    """Nobody is told that somebody went."""
    remove = Hub.remove

    def quietly(self, session):
        went, self._went = self._went, lambda user: None
        try:
            remove(self, session)
        finally:
            self._went = went

    return _replaced((Hub, "remove", quietly))


def no_answer() -> AbstractContextManager[None]:
    """A sender is forgotten now and then: it waits for ever, its message is stored."""
    from whatsapp.sending import Sending

    answer, count = Sending._answer, [0]

    def forgetful(self, entry, *, dup):
        count[0] += 1
        if hash(self.id) % ONE_IN:
            answer(self, entry, dup=dup)

    return _replaced((Sending, "_answer", forgetful))


def hangs_when_told() -> AbstractContextManager[None]:
    def armed(*args, **named):
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, time.sleep, HANG_SECONDS)
        return metrics(*args, **named)

    metrics = Metrics.__init__
    return _replaced((Metrics, "__init__", armed))


def slow_disk() -> AbstractContextManager[None]:
    """No bug either: a millisecond for each message, so that the store is what limits it."""
    commit = Journal._commit

    async def slowly(self, batch, drafts):
        await asyncio.sleep(len(drafts) * SLOW_SECONDS)
        await commit(self, batch, drafts)

    return _replaced((Journal, "_commit", slowly))


HERE = {
    one.__name__: one
    for one in (
        acknowledged_too_early,
        stored_twice,
        dropped_push,
        pushed_twice,
        dropped_write,
        always_online,
        no_answer,
        hangs_when_told,
        slow_disk,
    )
}


def main() -> None:
    name, *arguments = sys.argv[1:]
    plant = HERE.get(name) or getattr(planted, name)
    with plant():
        cli.main(arguments, prog_name="whatsapp")


def program(name: str) -> tuple[str, ...]:
    """What `Server` is to run."""
    return ("-m", "tests.faults.planted_server", name)


if __name__ == "__main__":
    main()
