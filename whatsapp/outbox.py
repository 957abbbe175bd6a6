"""What a client must not forget: messages without an answer, cursors, its login. In one file.

    {"login": {"url": …, "user": …, "token": …, "device": …}}   whose it is; logged out: token ""
    {"put": {"id": …, "chat": …, "to": …, "text": …, "reply_to": …}}
    {"done": "id"}                                              answered, or given up
    {"at": {"chat": seq, …}}                                    the application has all up to here

JSON lines, only ever appended; rewritten whole, beside and then over the old one, when most
of it is history. A `put` is on the disk (fsync) before the message goes out; the rest may
be lost with the machine and costs a repeat that both sides know how to drop. A last line
that was cut off is dropped with a warning. `<file>.lock` keeps a second process away.

Why no database: a client author gets a file that can be read, copied and deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from whatsapp import model
from whatsapp.errors import BadRequest, StartupError, TooLarge, WhatsAppError

log = logging.getLogger(__name__)

LIVELY_LINES_FACTOR = 4  # rewritten when it has this many times the lines that it needs …
LINES_MIN = 1_000  # … and at least so many


class OutboxFull(WhatsAppError):
    """As many messages wait for an answer as may; the server has been away for long."""


class OutboxBroken(WhatsAppError):
    """The outbox file cannot be written (disk full?): the message was not accepted."""


class OutboxInUse(StartupError):
    """Another process, or another client of this one, has the file."""


class Login(Struct, frozen=True, kw_only=True):
    """Whose file it is, and the device that it is."""

    url: str
    user: str
    token: str
    device: str


class Pending(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message without an answer. `chat` is always known; `to` is how it was addressed."""

    id: str
    chat: str
    text: str
    to: str | None = None
    reply_to: int | None = None


def pending(
    chat_or_user: str, text: str, *, sender: str, reply_to: int | None, text_bytes_max: int
) -> Pending:
    """A new message with an id of its own; `BadRequest`, `TooLarge`: no server would take it."""
    if ":" in chat_or_user:
        chat, to = chat_or_user, None
    else:
        to = model.user_id(chat_or_user)
        chat = model.direct_chat(sender, to)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise BadRequest("the text has half a surrogate pair in it") from None
    if not text or "\0" in text:
        raise BadRequest("a text is not empty and has no NUL character")
    if size > text_bytes_max:
        raise TooLarge(f"a text is at most {text_bytes_max} bytes of UTF-8; this has {size}")
    return Pending(id=str(uuid.uuid4()), chat=chat, to=to, text=text, reply_to=reply_to)


class Line(Struct, omit_defaults=True):
    """One line of the file; exactly one member is there."""

    put: Pending | None = None
    done: str | None = None
    at: dict[str, int] | None = None
    login: Login | None = None


class Lanes:
    """Which message goes out next: in order within a chat, one unanswered per chat.

    Why one: with a second on its way, a `busy` for the first and a `sent` for the second
    would turn their order around.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, deque[Pending]] = {}
        self._ready: deque[str] = deque()
        self._unanswered: dict[str, str] = {}  # chat → id

    @property
    def unanswered(self) -> int:
        return len(self._unanswered)

    def add(self, pending: Pending) -> None:
        lane = self._lanes.setdefault(pending.chat, deque())
        if not lane:
            self._ready.append(pending.chat)
        lane.append(pending)

    def next(self) -> Pending | None:
        """The next to go out; it is unanswered from now on."""
        if not self._ready:
            return None
        chat = self._ready.popleft()
        head = self._lanes[chat][0]
        self._unanswered[chat] = head.id
        return head

    def answered(self, pending: Pending) -> None:
        """It needs no sending any more, wherever in its lane it is."""
        lane = self._lanes.get(pending.chat, deque())
        if pending not in lane:
            return
        was_head = lane[0].id == pending.id
        lane.remove(pending)
        if not lane:
            del self._lanes[pending.chat]
            self._unanswered.pop(pending.chat, None)
            with contextlib.suppress(ValueError):
                self._ready.remove(pending.chat)
        elif was_head and self._unanswered.pop(pending.chat, None) is not None:
            self._ready.append(pending.chat)

    def again(self, pending: Pending) -> None:
        """It was answered with "later": it goes first when sending goes on."""
        if self._unanswered.get(pending.chat) == pending.id:
            del self._unanswered[pending.chat]
            self._ready.appendleft(pending.chat)

    def lost(self) -> None:
        """The connection is gone: all that is unanswered goes out again."""
        self._ready.extendleft(reversed(self._unanswered))
        self._unanswered.clear()


class Outbox:
    """See the head of this file. Without a path all of it is in memory only.

    Opening may raise `OutboxInUse` or `StartupError`. At most `messages_max` wait.
    """

    def __init__(self, path: Path | None, *, messages_max: int) -> None:
        self.path = path
        self.pending: dict[str, Pending] = {}  # in the order they were put
        self.cursors: dict[str, int] = {}
        self.login: Login | None = None
        self._messages_max = messages_max
        self._lines: list[bytes] = []  # not written yet
        self._lines_in_file = 0
        self._appended = self._synced = 0
        self._rewrite = False
        self._job: asyncio.Task[OSError | None] | None = None
        self._file: IO[bytes] | None = None
        if path is not None:
            # One thread, so that writes stay in order; fsync must not stop the event loop.
            self._lock = _lock(path)
            try:
                self._load(path)
                self._file = _open(path)
            except OSError as error:
                self._lock.close()
                raise StartupError(
                    f"the outbox file {path} cannot be opened: {error}",
                    "Give a path in a folder that exists and may be written.",
                ) from error
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="outbox")

    async def put(self, pending: Pending) -> None:
        """Keep this message; it is on the disk when this returns.

        `OutboxFull`, `OutboxBroken`: it is not kept. Cancelled: it may be.
        """
        if len(self.pending) >= self._messages_max:
            raise OutboxFull(
                f"{self._messages_max} messages wait for an answer; wait for some of them"
            )
        self.pending[pending.id] = pending
        self._append(Line(put=pending))
        try:
            await self.flush()
        except OSError as error:
            self.done(pending.id)
            raise OutboxBroken(f"the outbox file cannot be written: {error}") from error

    def done(self, message_id: str) -> None:
        """This message needs no sending any more."""
        if self.pending.pop(message_id, None) is not None:
            self._append(Line(done=message_id))

    def moved(self, cursors: dict[str, int]) -> None:
        """The application has all up to these."""
        if cursors:
            self.cursors.update(cursors)
            self._append(Line(at=cursors))

    def belongs_to(self, login: Login, *, new_account: bool = False) -> None:
        """Remember this login; a new account has no cursors yet, whatever the file says."""
        self.login = login
        if new_account:
            self.cursors.clear()
        self._rewrite = self._rewrite or new_account
        self._append(Line(login=login))

    async def flush(self) -> None:
        """Until all that was noted so far is on the disk; one fsync for all who wait. `OSError`."""
        number = self._appended
        while self._synced < number and self._file is not None:
            if self._job is None:
                self._job = asyncio.create_task(self._write_out(durable=True))
            error = await asyncio.shield(self._job)
            if error is not None:
                raise error

    def flush_soon(self) -> None:
        """Hand what was noted to the system: a kill of this process does not lose it."""
        if self._file is not None and self._job is None and self._lines:
            self._job = asyncio.create_task(self._write_out(durable=False))

    async def close(self) -> None:
        """Write what is waiting, and let go of the file. Repeatable."""
        if self._file is None:
            return
        try:
            await self.flush()
        except OSError:
            log.warning("outbox not written at close path=%s", self.path, exc_info=True)
        finally:
            self._writer.shutdown()
            self._file.close()
            self._file = None
            self._lock.close()

    # --- the file -------------------------------------------------------------------

    def _append(self, line: Line) -> None:
        if self._file is not None:
            self._lines.append(msgspec.json.encode(line) + b"\n")
            self._appended += 1

    async def _write_out(self, *, durable: bool) -> OSError | None:
        needed = len(self.pending) + 2
        if self._lines_in_file > max(LINES_MIN, LIVELY_LINES_FACTOR * needed):
            self._rewrite = True
        lines, self._lines = self._lines, []
        number = self._appended
        rewrite, self._rewrite = self._rewrite, False
        if rewrite:
            lines = self._snapshot()
        try:
            loop = asyncio.get_running_loop()
            if rewrite:
                await loop.run_in_executor(self._writer, self._replace, lines)
            else:
                await loop.run_in_executor(self._writer, self._write, lines, durable)
            self._lines_in_file = len(lines) + (0 if rewrite else self._lines_in_file)
            self._synced = number if durable or rewrite else self._synced
        except OSError as error:
            # Whatever it left behind is written over, as a whole, next time. The error is
            # raised by those who wait for it, if anybody does.
            self._rewrite, self._job = True, None
            return error
        self._job = None
        self.flush_soon()
        return None

    def _snapshot(self) -> list[bytes]:
        kept = [Line(at=dict(self.cursors))]
        if self.login is not None:
            kept.append(Line(login=self.login))
        kept += [Line(put=pending) for pending in self.pending.values()]
        return [msgspec.json.encode(line) + b"\n" for line in kept]

    def _write(self, lines: list[bytes], durable: bool) -> None:  # noqa: FBT001
        assert self._file is not None
        _write_all(self._file, lines)
        if durable:
            os.fsync(self._file.fileno())

    def _replace(self, lines: list[bytes]) -> None:
        assert self.path is not None
        beside = self.path.with_name(self.path.name + ".new")
        beside.unlink(missing_ok=True)
        with _open(beside) as file:
            _write_all(file, lines)
            os.fsync(file.fileno())
        beside.replace(self.path)
        if self._file is not None:
            self._file.close()
        self._file = _open(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name is durable too
        finally:
            os.close(folder)

    def _load(self, path: Path) -> None:
        data = path.read_bytes() if path.exists() else b""
        lines = data.split(b"\n")
        tail = lines.pop()
        if tail:
            log.warning("outbox: last line cut off, dropped path=%s bytes=%d", path, len(tail))
            self._rewrite = True
        damaged = 0
        for line in lines:
            try:
                self._apply(msgspec.json.decode(line, type=Line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                damaged += 1
        if damaged:
            kept = path.with_name(path.name + ".damaged")
            kept.write_bytes(data)
            kept.chmod(0o600)
            log.warning("outbox: unreadable lines skipped lines=%d kept=%s", damaged, kept)
            self._rewrite = True
        self._lines_in_file = len(lines)

    def _apply(self, line: Line) -> None:
        if line.put is not None:
            self.pending[line.put.id] = line.put
        elif line.done is not None:
            self.pending.pop(line.done, None)
        elif line.at is not None:
            self.cursors.update(line.at)
        elif line.login is not None:
            self.login = line.login


def _open(path: Path) -> IO[bytes]:
    # Unbuffered, so that nothing is left in this process; for the user's eyes only.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return os.fdopen(descriptor, "ab", buffering=0)


def _write_all(file: IO[bytes], lines: list[bytes]) -> None:
    rest = memoryview(b"".join(lines))
    while rest:
        rest = rest[file.write(rest) :]


def _lock(path: Path) -> IO[bytes]:
    try:
        file = _open(path.with_name(path.name + ".lock"))
    except OSError as error:
        raise StartupError(
            f"the outbox file {path} cannot be locked: {error}",
            "Give a path in a folder that exists and may be written.",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OutboxInUse(
            f"the outbox file {path} is in use by another client",
            "Stop the other one, or give each its own file.",
        ) from error
    return file
