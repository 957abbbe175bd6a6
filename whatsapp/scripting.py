"""`whatsapp send`, `tail`, `login` and `logout`: chatting from scripts.

`send` is one REST call, repeated with the same id until its outcome is known. `tail` holds a
connection of the client library, so that it goes on where it was after the server was away.
As whom: `access.py` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
import uuid
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from whatsapp import errors, model, resources, shown, wire
from whatsapp.access import (
    EXIT_TEMPORARY,
    EXIT_USAGE,
    Failed,
    Who,
    calls_of,
    client_of,
    device_name,
    user_of,
)
from whatsapp.calls import Calls, ConnectionLost, Offline
from whatsapp.client import Client, Disconnected, Ended
from whatsapp.saved import CHAT, SCRIPT, Slot
from whatsapp.wire import Item

CHATS_PAGE = 100
CHAT_PAGES_MAX = 100
PAST_MESSAGES_MAX = 100_000  # that `--since` prints; of more, the newest
RETRY_FIRST_SECONDS = 0.2
RETRY_SECONDS_MAX = 5.0
# After these the message may be stored. The server's own `unavailable` and `internal` say no more
# than a proxy's 502 and 504, which become the same.
UNKNOWN = (ConnectionLost, errors.Unavailable, errors.Internal)

_AGO = re.compile(r"^(\d+)\s*([smhd])$")
_UNITS_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


# --- login and logout ----------------------------------------------------------------


async def login(who: Who, password: str, *, register: bool) -> Slot:
    """Save a login for scripts. One that is there and valid stays."""
    user = user_of(who)
    slot = who.logins.slot(user, SCRIPT)
    who.logins.make_folder()
    try:
        async with Client(who.logins.url, outbox=slot.path) as client:
            await client.login(user, password, device=device_name("script"), register=register)
    finally:
        if slot.login() is None:
            who.logins.forget(slot)
    return slot


async def logout(who: Who) -> int:
    """End all saved logins of this user; how many there were."""
    user = user_of(who)
    slots = who.logins.logged_in(user, CHAT)
    for slot in slots:
        login = slot.login()
        calls = Calls(who.logins.url, token=login.token if login else None)
        try:
            with contextlib.suppress(errors.Unauthorized):
                await calls.logout()
        finally:
            await calls.close()
        who.logins.forget(slot)
    return len(slots)


# --- send ----------------------------------------------------------------------------


class Letter(Struct, frozen=True, kw_only=True):
    """What is to be sent. `to`: a user, a chat's id or a group's title. `id`: for repeats."""

    to: str
    text: str
    is_chat: bool = False
    id: str | None = None
    reply_to: int | None = None


async def send(who: Who, letter: Letter, *, timeout_seconds: float) -> resources.Posted:
    """Return once the server has it durably. Waits so long for a server that is busy."""
    try:
        letter.text.encode()
    except UnicodeEncodeError:
        raise Failed("the text is not UTF-8", "Give it as UTF-8.", EXIT_USAGE) from None
    async with calls_of(who) as calls:
        chat = await _chat(calls, letter.to, is_chat=letter.is_chat)
        message_id = letter.id or str(uuid.uuid4())
        deadline = time.monotonic() + timeout_seconds
        wait = RETRY_FIRST_SECONDS
        maybe_stored = False
        while True:
            try:
                return await calls.post_over_http(
                    chat, message_id, letter.text, reply_to=letter.reply_to
                )
            except (Offline, ConnectionLost, errors.Answer) as error:
                maybe_stored = maybe_stored or isinstance(error, UNKNOWN)
                if isinstance(error, errors.Answer) and not error.retryable:
                    raise
                asked = (getattr(error, "retry_after_ms", None) or 0) / 1000
                pause = max(asked, wait)
                if time.monotonic() + pause > deadline:
                    raise _unknown(error, message_id) if maybe_stored else error from None
            wait = min(wait * 2, RETRY_SECONDS_MAX)
            await asyncio.sleep(pause)


def _unknown(error: Exception, message_id: str) -> Failed:
    return Failed(
        f"whether the message was sent is not known: {error}",
        f"Repeat with --id {message_id}: it is stored once, however often it is sent.",
        EXIT_TEMPORARY,
    )


async def _chat(calls: Calls, named: str, *, is_chat: bool) -> str:
    """The id of a chat that is named by its id, by a user, or by a group's title."""
    if ":" in named:
        return named
    if not is_chat:
        return model.direct_chat(calls.user, model.user_id(named))
    chats = await _chats(calls)
    found = [chat.chat for chat in chats if chat.kind == "group" and chat.title == named]
    if len(found) == 1:
        return found[0]
    if found:
        raise Failed(f"{len(found)} groups are called {named!r}", "Name one by its id: g:…")
    with contextlib.suppress(errors.BadRequest):
        chat = model.direct_chat(calls.user, model.user_id(named))
        if any(one.chat == chat for one in chats):
            return chat
    raise Failed(
        f"there is no chat {shown.one_line(named)!r}",
        "Name a group by its title or its id, or a direct chat by its user.",
    )


async def _chats(calls: Calls) -> list[resources.ChatInfo]:
    """All of the user's chats, newest activity first."""
    found: dict[str, resources.ChatInfo] = {}
    before: int | None = None
    for _ in range(CHAT_PAGES_MAX):
        page = await calls.chats(limit=CHATS_PAGE, before_ms=before)
        new = [chat for chat in page if chat.chat not in found]
        found.update({chat.chat: chat for chat in new})
        times = [chat.last.time for chat in page if chat.last is not None]
        if len(page) < CHATS_PAGE or not times:
            break
        # Chats may share a time, so the oldest one's is asked for again. Where that brought
        # nothing new, a whole page shares it, and what can be had is what is older.
        before = min(times) + bool(new)
    return list(found.values())


# --- tail ----------------------------------------------------------------------------


class Wish(Struct, frozen=True, kw_only=True):
    """What `tail` is to show. `count`: of past messages; None is all `since_ms`."""

    chat: str | None = None
    count: int | None = 10
    since_ms: int = 0
    as_json: bool = False
    follow: bool = True


async def tail(who: Who, wish: Wish, out: Callable[[str], None]) -> None:
    """Past messages, then new ones as they come; each entry once, in order within a chat."""
    async with client_of(who) if wish.follow else calls_of(who) as calls:
        chats = await _chats(calls)
        if wish.chat is not None:
            chat = await _chat(calls, wish.chat, is_chat=True)
            chats = [one for one in chats if one.chat == chat] or [await calls.chat(chat)]
        printer = Printer(calls.user, {c.chat: c.title for c in chats if c.kind == "group"}, wish)
        if isinstance(calls, Client):
            # All that is there now is read from the history, so nothing of it is pushed.
            for known in chats if wish.chat is None else await _chats(calls):
                await calls.received(known.chat, known.head, skip=True)
        for item in await _past(calls, chats, wish):
            out(printer.line(item))
        if isinstance(calls, Client):
            await _follow(calls, printer, None if wish.chat is None else chats[0].chat, out)


async def _past(calls: Calls, chats: list[resources.ChatInfo], wish: Wish) -> list[Item]:
    most = PAST_MESSAGES_MAX if wish.count is None else min(wish.count, PAST_MESSAGES_MAX)
    found: list[Item] = []
    for chat in chats:  # the latest active first
        if not most or chat.last is None or chat.last.time < wish.since_ms:
            continue
        if len(found) >= most and found[-most].time > chat.last.time:
            continue
        found += await _past_of(calls, chat, wish.since_ms, most)
        found = sorted(found, key=lambda item: item.time)[-most:]
    return found


async def _past_of(calls: Calls, chat: resources.ChatInfo, since_ms: int, most: int) -> list[Item]:
    found: list[Item] = []
    history = calls.history(chat.chat, before=chat.head + 1)
    async with contextlib.aclosing(history):
        async for item in history:
            if item.time < since_ms or len(found) >= most:
                break
            if item.kind != "void":
                found.append(item)
    return found[::-1]


async def _follow(
    client: Client, printer: Printer, chat: str | None, out: Callable[[str], None]
) -> None:
    told = asyncio.create_task(_tell_of_connection(client))
    try:
        async for item in client.entries():
            if chat is None or item.chat == chat:
                if model.is_group(item.chat):
                    await printer.learn(client, item)
                out(printer.line(item))
    finally:
        told.cancel()


async def _tell_of_connection(client: Client) -> None:
    """On standard error, where a person looks; a script's output stays clean."""
    lost = False
    with contextlib.suppress(Ended):
        async for event in client.events():
            if isinstance(event, Disconnected) and not lost:
                print(f"connection lost, trying again: {event.reason}", file=sys.stderr)  # noqa: T201
                lost = True
            elif isinstance(event, wire.Synced) and lost:
                print("connected again", file=sys.stderr)  # noqa: T201
                lost = False


class Printer:
    """An entry as a line. `titles`: of groups."""

    def __init__(self, me: str, titles: dict[str, str], wish: Wish) -> None:
        self._me = me
        self._titles = titles
        self._one_chat = wish.chat is not None
        self._as_json = wish.as_json

    async def learn(self, calls: Calls, item: Item) -> None:
        """The title of a group that is new, or has a new one."""
        if item.kind == "title" and item.title:
            self._titles[item.chat] = item.title
        elif item.chat not in self._titles:
            self._titles[item.chat] = item.chat
            with contextlib.suppress(errors.WhatsAppError):
                self._titles[item.chat] = (await calls.chat(item.chat)).title

    def line(self, item: Item) -> str:
        """JSON, or text whose further lines are indented: nobody can forge a line of others."""
        if self._as_json:
            return shown.json_line(plain(item))
        moment = shown.local(item.time).strftime("%Y-%m-%d %H:%M:%S")
        if item.kind != "text":
            return f"{moment} {self._where(item)}* {shown.happened(item)}"
        text = shown.visible(item.text or "").replace("\n", "\n    ")
        return f"{moment} {self._where(item)}{self._author(item)}: {text}"

    def _where(self, item: Item) -> str:
        if self._one_chat or not model.is_group(item.chat):
            return ""
        return f"[{shown.one_line(self._titles.get(item.chat, item.chat))}] "

    def _author(self, item: Item) -> str:
        sender = item.sender or "?"
        pair = model.pair(item.chat)
        if self._one_chat or pair is None or sender != self._me:
            return sender
        return f"{sender} \u2192 {pair[1] if pair[0] == sender else pair[0]}"


def plain(item: Item) -> Item:
    """The same, without what says that it came as a frame."""
    return Item(**{name: getattr(item, name) for name in Item.__struct_fields__})


def since(text: str, now_ms: int) -> int:
    """A moment in milliseconds: `10m` ago (s, m, h, d), or a date with or without a time."""
    ago = _AGO.match(text.strip())
    if ago:
        return now_ms - int(ago[1]) * _UNITS_SECONDS[ago[2]] * 1000
    try:
        return int(datetime.fromisoformat(text.strip()).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise Failed(
            f"{text!r} is no moment", "Give it like 10m, 2h, 3d or 2026-01-31T12:00.", EXIT_USAGE
        ) from None
