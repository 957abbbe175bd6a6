"""The terminal client without its screen: a client library's connection that feeds a `State`.

Whatever changes, `changed` is called; the screen then looks at `state`. Errors of what the
user asked for are raised to the one who asked; those of work in the background are told.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

from whatsapp import errors, model, wire
from whatsapp.calls import ConnectionLost, Offline
from whatsapp.client import Client, Disconnected, Ended, Events, Refused
from whatsapp.client import Event as ClientEvent
from whatsapp.resources import ChatInfo, Hit
from whatsapp.terminal.state import Queued, State
from whatsapp.wire import Item

PAGE_ENTRIES = 60
CHATS_PAGE = 100
CHAT_PAGES_MAX = 50
NAMES_ASKED_MAX = 64  # at once, of a group's members
TYPING_EVERY_SECONDS = 4.0
JUMP_CONTEXT_ENTRIES = 30

AWAY = (Offline, ConnectionLost, errors.Trouble, errors.RateLimited)


class Session:
    """One user, logged in. `ended`: the connection will not come back."""

    def __init__(
        self,
        client: Client,
        *,
        changed: Callable[[], None],
        tell: Callable[[str], None],
        ended: Callable[[Ended], None],
    ) -> None:
        self.client = client
        self.state = State(client.user)
        self.connected = False
        self.trouble = ""  # why not, while it is not
        self._changed = changed
        self._tell = tell
        self._ended = ended
        self._tasks: set[asyncio.Task[None]] = set()
        self._typing_told: dict[str, float] = {}
        self._asked: set[str] = set()  # whose names are known, or cannot be
        self._watched: list[str] = []

    async def begin(self) -> None:
        """Know the chats, and follow what happens; with the server away, as soon as it is there."""
        for pending in self.client.unanswered():
            self.state.waits(pending)
        with contextlib.suppress(*AWAY):
            self.state.names[self.state.me] = (await self.client.profile()).name
            await self._load_chats()
        # Before there is a connection: what is there now is read from the history when it is
        # looked at, so that a new device is not pushed years of it.
        for info in self.state.chats.values():
            await self.client.received(info.chat, info.head, skip=True)
        self._spawn(self._follow_events(self.client.events()))
        self._spawn(self._follow_entries())
        self._changed()

    async def end(self) -> None:
        """Stop following. The client is closed by who made it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- chats ----------------------------------------------------------------------

    async def open(self, chat: str) -> None:
        """Have the newest part of a chat, its members and their cursors."""
        thread = self.state.thread(chat)
        if thread.loaded and not thread.more_after:
            self._spawn(self._look_again(chat))
            return
        try:
            thread.newest(await self.client.page(chat, limit=PAGE_ENTRIES))
        except errors.NotFound:
            thread.loaded, thread.more_before = True, False
        await self._members(chat)
        self._changed()

    async def older(self, chat: str) -> bool:
        """Load what is before; was there anything?"""
        thread = self.state.thread(chat)
        if not thread.more_before or not thread.entries:
            return False
        first = thread.entries[0].seq
        thread.older(await self.client.page(chat, before=first, limit=PAGE_ENTRIES))
        self._changed()
        return True

    async def newer(self, chat: str) -> bool:
        """After a jump: load what is after."""
        thread = self.state.thread(chat)
        if not thread.more_after or not thread.entries:
            return False
        last = thread.entries[-1].seq
        thread.newer(await self.client.page(chat, after=last, limit=PAGE_ENTRIES))
        self._changed()
        return True

    async def jump(self, chat: str, seq: int) -> None:
        """Have this entry and those around it."""
        if self.state.thread(chat).find(seq) is None:
            before, after = await asyncio.gather(
                self.client.page(chat, before=seq + 1, limit=JUMP_CONTEXT_ENTRIES),
                self.client.page(chat, after=seq, limit=JUMP_CONTEXT_ENTRIES),
            )
            self.state.thread(chat).window(before, after)
            await self._members(chat)
        self._changed()

    async def start(self, user: str) -> str:
        """The direct chat with this user (`NotFound`, `BadRequest`); it may be empty."""
        info = await self.client.user_info(model.user_id(user))
        self.state.names[info.user] = info.name
        chat = model.direct_chat(self.state.me, info.user)
        self.state.started(chat)
        self._watch()
        self._changed()
        return chat

    async def info(self, chat: str) -> ChatInfo:
        """With its members and their roles."""
        info = await self.client.chat(chat)
        self.state.known([info])
        await self._learn_names(chat)
        self._changed()
        return info

    async def group(self, title: str, users: list[str]) -> str:
        info = await self.client.create_group(title, [model.user_id(user) for user in users])
        return self._joined(info)

    async def join(self, code: str) -> str:
        return self._joined(await self.client.join(code))

    async def search(self, query: str, chat: str | None) -> list[Hit]:
        return (await self.client.search(query, chat=chat, limit=50)).results

    def _joined(self, info: ChatInfo) -> str:
        self.state.known([info])
        self._changed()
        return info.chat

    # --- messages -------------------------------------------------------------------

    async def post(self, chat: str, text: str, reply_to: int | None) -> None:
        """Safe in the outbox when this returns. `OutboxFull`, `OutboxBroken`, `TooLarge` …"""
        peer = self.state.peer(chat)
        known = self.state.chats.get(chat)
        to = peer if peer is not None and (known is None or not known.head) else chat
        message = await self.client.post(to, text, reply_to=reply_to)
        # No turn of the loop between these two: the answer cannot have been seen yet.
        self.state.posted(Queued(id=message, chat=chat, text=text, reply_to=reply_to))
        self._typing_told.pop(chat, None)
        self._changed()

    async def read(self, chat: str) -> None:
        """The user has all of this chat before its eyes."""
        info = self.state.chats.get(chat)
        if info is not None and info.unread and self.state.read(chat, info.head):
            with contextlib.suppress(Ended):
                await self.client.read(chat, info.head)
            self._changed()

    async def typing(self, chat: str, *, on: bool) -> None:
        """Tell the others, not more often than is of use."""
        now = time.monotonic()
        told = self._typing_told.get(chat)
        if on and (told is None or now - told > TYPING_EVERY_SECONDS):
            self._typing_told[chat] = now
        elif not on and told is not None:
            del self._typing_told[chat]
        else:
            return
        with contextlib.suppress(Ended):
            await self.client.typing(chat, on=on)

    # --- in the background ----------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._told(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Ended as error:
            self.connected = False
            self._ended(error)
        except AWAY:
            pass  # asked again when the connection is back
        except errors.WhatsAppError as error:
            self._tell(str(error))

    async def _follow_entries(self) -> None:
        async for item in self.client.entries():
            await self._entry(item)
            self._changed()

    async def _entry(self, item: Item) -> None:
        self.state.arrived(item)
        new = item.chat not in self.state.chats
        if new or (item.kind != "text" and model.is_group(item.chat)):
            self._spawn(self._look_again(item.chat))

    async def _look_again(self, chat: str) -> None:
        with contextlib.suppress(errors.NotFound):
            info = await self.client.chat(chat)
            self.state.known([info])
            await self._learn_names(chat)
            self._watch()
        self._changed()

    async def _follow_events(self, events: Events) -> None:
        dropped = 0
        async for event in events:
            self._event(event)
            if events.dropped > dropped:  # ask for what passed by unseen
                dropped = events.dropped
                self._spawn(self._synced())
            self._changed()

    def _event(self, event: ClientEvent) -> None:
        match event:
            case wire.Welcome():
                self.connected, self.trouble = True, ""
            case Disconnected(reason=reason):
                self.connected, self.trouble = False, reason
            case wire.Synced():
                self._spawn(self._synced())
            case wire.Sent():
                self._sent(event)
            case Refused():
                self.state.refused(event.id, str(event.error))
            case wire.Cursor(chat=chat, read=read):
                self._read_elsewhere(chat, read)
            case _:
                self.state.heard(event, time.monotonic())

    def _sent(self, frame: wire.Sent) -> None:
        first = not self.state.cursors.get(frame.chat)
        self.state.sent(frame)
        if first:
            self._spawn(self._look_again(frame.chat))

    def _read_elsewhere(self, chat: str, seq: int) -> None:
        if self.state.read(chat, seq) and self.state.chats[chat].unread:
            self._spawn(self._look_again(chat))

    async def _synced(self) -> None:
        """What is not pushed may have changed while there was no connection."""
        await self._load_chats()
        for chat in [chat for chat, thread in self.state.threads.items() if thread.loaded]:
            await self._look_again(chat)

    async def _load_chats(self) -> None:
        before: int | None = None
        seen: set[str] = set()
        for _ in range(CHAT_PAGES_MAX):
            page = await self.client.chats(limit=CHATS_PAGE, before_ms=before)
            self.state.known(self._not_behind(info) for info in page)
            new = {info.chat for info in page} - seen
            seen |= new
            times = [info.last.time for info in page if info.last is not None]
            if len(page) < CHATS_PAGE or not times:
                break
            # Chats may share a time, so the oldest one's is asked for again. Where that brought
            # nothing new, a whole page shares it, and what can be had is what is older.
            before = min(times) + bool(new)
        self._watch()
        self._changed()

    def _not_behind(self, info: ChatInfo) -> ChatInfo:
        """What was pushed while the answer was on its way is newer."""
        mine = self.state.chats.get(info.chat)
        return mine if mine is not None and mine.head > info.head else info

    async def _members(self, chat: str) -> None:
        with contextlib.suppress(errors.NotFound, errors.NotMember, errors.Forbidden):
            self.state.known([await self.client.chat(chat)])
            self._spawn(self._learn_names(chat))

    async def _learn_names(self, chat: str) -> None:
        senders = {item.sender for item in self.state.thread(chat).entries if item.sender}
        unknown = (senders | set(self.state.cursors.get(chat, {}))) - self._asked
        for user in sorted(unknown - set(self.state.names))[:NAMES_ASKED_MAX]:
            self._asked.add(user)
            with contextlib.suppress(errors.NotFound):
                self.state.names[user] = (await self.client.user_info(user)).name
                self._changed()

    def _watch(self) -> None:
        peers = [self.state.peer(info.chat) for info in self.state.listed()]
        wanted = [user for user in peers if user is not None and user != self.state.me]
        wanted = wanted[: wire.WATCHED_USERS_MAX]
        if set(wanted) != set(self._watched):
            self._watched = wanted
            self._spawn(self.client.watch(wanted))
