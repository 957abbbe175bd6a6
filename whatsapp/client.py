"""A client of `whatsapp.v1`: one object that stays connected, forgets nothing, repeats nothing.

    async with Client("http://127.0.0.1:8080", outbox="echo.json") as me:
        await me.login("echo", "correct horse battery", register=True)
        async for message in me.messages():
            if message.sender != me.user:
                await me.send(message.chat, message.text)

What it takes off an author's hands: reconnecting, for ever, with back-off; sending again
with the same id until the server has the message durably, once; each message once, in
order, holes filled; acknowledging a message only when the application is done with it; and
all of that across a restart, where it has a file for it (`outbox.py`).

Errors: `errors.Answer` (the server's word, by code), `Offline` and `ConnectionLost` (of
REST calls), `Ended` (`LoggedOut`, `Replaced`, `Closed`: this connection will not come
back), `OutboxFull`, `OutboxBroken`, `OutboxInUse`. All of them are `errors.WhatsAppError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Self

import aiohttp

from whatsapp import errors, model, resources, wire
from whatsapp.calls import Calls, ConnectionLost, Offline
from whatsapp.dialogue import Dialogue
from whatsapp.inbox import Gap
from whatsapp.link import Ended, Link, LoggedOut, Options, Replaced
from whatsapp.outbox import Login, Outbox, OutboxBroken, OutboxFull, OutboxInUse, Pending, pending
from whatsapp.streams import Closed, Disconnected, Entries, Event, Events, Refused, Text, Texts
from whatsapp.wire import Item

__all__ = [
    "Client",
    "Closed",
    "ConnectionLost",
    "Disconnected",
    "Ended",
    "Entries",
    "Event",
    "Events",
    "Item",
    "LoggedOut",
    "Offline",
    "Options",
    "OutboxBroken",
    "OutboxFull",
    "OutboxInUse",
    "Pending",
    "Refused",
    "Replaced",
    "Text",
    "Texts",
]

log = logging.getLogger(__name__)

FRAME_FROM_SERVER_BYTES_MAX = 4_194_304
GAP_MESSAGES_MAX = 10_000  # of a wider hole the server's next push after a reconnect is the cure


class Client(Calls):
    """One user on one device: everything REST has (see `Calls`), and a connection.

    `outbox`: a file that keeps what must survive this process: messages without an answer,
    how far the application has read, and the login (so it is a secret; made for its owner's
    eyes only). One file per user and server, one program at a time. Without it all of that
    is in memory. The connection is made at the first call that needs one.

    `automatic`: a message is acknowledged to the server when the one after it is asked for,
    or the client is closed in good order. False: the application says `received`.

    Raises `OutboxInUse` or `errors.StartupError` when made. Make it inside of a running
    event loop, and close it there (`async with` does).
    """

    def __init__(
        self,
        url: str,
        *,
        outbox: str | Path | None = None,
        automatic: bool = True,
        options: Options | None = None,
    ) -> None:
        self.options = chosen = options or Options()
        path = None if outbox is None else Path(outbox)
        self._outbox = Outbox(path, messages_max=chosen.outbox_messages_max)
        super().__init__(url, request_timeout_seconds=chosen.request_timeout_seconds)
        self._dialogue = Dialogue(self._outbox, chosen, automatic=automatic, on_gap=self._fill_soon)
        self._link: Link | None = None
        self._running: asyncio.Task[None] | None = None
        self._filling: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self._dialogue.inbox.finish()
        await self.close()

    async def close(self) -> None:
        """Say what is to be acknowledged, end the connection, let go of the file. Repeatable.

        What has no answer yet stays in the outbox file; without a file it is forgotten, so
        `flush` first.
        """
        if self._closed:
            return
        self._closed = True
        try:
            await self._disconnect(Closed("the client was closed"))
        finally:
            try:
                await self._outbox.close()
            finally:
                await super().close()

    # --- login ----------------------------------------------------------------------

    async def login(
        self, user: str, password: str, *, device: str | None = None, register: bool = False
    ) -> resources.LoggedIn:
        """Be this user. The login that the outbox file has is used again while it is valid.

        Why: each login is a new device, and a user has only so many. Where the server cannot
        be asked, the file's login is believed. `register`: make the account first, if there
        is none. Raises `BadCredentials`, or `StartupError` where the outbox is another user's.
        """
        user = model.user_id(user)
        saved = self._must_be_of(user)
        if saved is not None and saved.token and await self._still(saved):
            await self._begin()
            return resources.LoggedIn(token=saved.token, user=user, device=saved.device)
        new_account = register and await self._register_once(user, password)
        logged_in = await super().login(user, password, device=device)
        new_account = new_account or await self.is_behind(self._outbox.cursors)
        if new_account:
            self._dialogue.forget_cursors()
        await self._remember(logged_in.token, new_account=new_account)
        await self._begin()
        return logged_in

    async def use_token(self, token: str) -> None:
        """Be the device that has this token, from a login elsewhere (`Unauthorized`)."""
        before, self._token = self._token, token
        try:
            user = (await self.profile()).user
        except errors.WhatsAppError:
            self._token = before
            raise
        self._must_be_of(user)
        self.user = user
        self.device = next(d.device for d in await self.devices() if d.current)
        await self._remember(token)
        await self._begin()

    async def logout(self) -> None:
        """End this device on the server, and its connection here. A new `login` may follow."""
        await self._disconnect(Closed("logged out by this program"))
        try:
            await super().logout()
        except BaseException as error:
            if not isinstance(error, errors.Unauthorized):
                self._dialogue.begin()  # as far as is known, the token is still good
            raise
        await self._remember("")

    # --- messages -------------------------------------------------------------------

    async def connect(self) -> None:
        """Until there is a connection; only needed by those who want to know (`Ended`)."""
        self._start()
        await self._dialogue.opened.wait()
        self._must_go_on()

    async def send(self, chat_or_user: str, text: str, *, reply_to: int | None = None) -> wire.Sent:
        """Send, and wait until the server has it durably: its `chat`, `seq` and `time`.

        `text`: 1 to 16,384 bytes of UTF-8, no NUL. `reply_to`: a seq of that chat. Messages
        to one chat go out in the order of these calls. Waits out a server that is away, busy
        or limits the rate. Other refusals raise (`NotMember`, `NotFound`, `TooLarge` …), and
        so do `OutboxFull`, `OutboxBroken` and `Ended`. A cancelled wait does not take the
        message back.
        """
        message = self._pending(chat_or_user, text, reply_to)
        waiter: asyncio.Future[wire.Sent] = asyncio.get_running_loop().create_future()
        self._dialogue.waiting[message.id] = waiter
        try:
            await self._post(message)
            return await waiter
        finally:
            self._dialogue.waiting.pop(message.id, None)
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # seen, if nobody waits any more

    async def post(self, chat_or_user: str, text: str, *, reply_to: int | None = None) -> str:
        """As `send`, but only until it is safe in the outbox. The message's id.

        The answer is an event later: `Sent` or `Refused`.
        """
        message = self._pending(chat_or_user, text, reply_to)
        await self._post(message)
        return message.id

    def unanswered(self) -> list[Pending]:
        """What waits in the outbox, of this run or an earlier one; in the order it was sent."""
        return list(self._outbox.pending.values())

    async def flush(self) -> None:
        """Until every message has its answer (`Ended`)."""
        self._start()
        await self._dialogue.idle.wait()
        if self._outbox.pending:
            self._must_go_on()

    def messages(self) -> Texts:
        """What people write, each message once, in order within a chat; for ever.

        What this client sent itself does not come back, what the user sends from other
        devices does. One loop at a time; breaking out and beginning again loses nothing.
        """
        self._start()
        return Texts(self._dialogue)

    def entries(self) -> Entries:
        """As `messages`, but with changes of groups (`kind` is not "text") among them."""
        self._start()
        return Entries(self._dialogue)

    def events(self) -> Events:
        """Receipts, typing, presence, answers to `post`, the connection's state: from now on."""
        self._start()
        events = Events()
        self._dialogue.events.add(events)
        return events

    # --- signals --------------------------------------------------------------------

    async def received(self, chat: str, seq: int, *, skip: bool = False) -> None:
        """The application has all of `chat` up to here. `skip`: without a push of it, too."""
        self._start()
        self._dialogue.received(chat, seq, skip=skip)

    async def read(self, chat: str, seq: int) -> None:
        """The user has read `chat` up to here. Said again after a reconnect, to be sure."""
        self._start()
        self._dialogue.read(chat, seq)

    async def typing(self, chat: str, *, on: bool = True) -> None:
        """The user types, or stopped; ends by itself after 6 s. Dropped while not connected."""
        self._start()
        self._dialogue.typing(chat, on=on)

    async def watch(self, users: list[str]) -> None:
        """Have `Presence` events of these (at most 256) users from now on; over reconnects too."""
        if len(users) > wire.WATCHED_USERS_MAX:
            raise errors.BadRequest(f"at most {wire.WATCHED_USERS_MAX} users can be watched")
        self._start()
        self._dialogue.watch([model.user_id(user) for user in users])

    # --- inside: login --------------------------------------------------------------

    def _must_be_of(self, user: str) -> Login | None:
        saved = self._outbox.login
        if saved is not None and (saved.user, saved.url) != (user, self.url):
            raise errors.StartupError(
                f"this outbox belongs to {saved.user} at {saved.url}",
                "Give each user its own outbox file.",
            )
        return saved

    async def _still(self, saved: Login) -> bool:
        self._token, self.user, self.device = saved.token, saved.user, saved.device
        try:
            await self.profile()
        except errors.Unauthorized:
            self._token = None
            return False
        except (Offline, ConnectionLost, errors.Answer) as error:
            log.info("saved login not verified reason=%s", error)
        return True

    async def _register_once(self, user: str, password: str) -> bool:
        try:
            await self.register(user, password)
        except (errors.UserExists, errors.Forbidden):
            return False
        return True

    async def _remember(self, token: str, *, new_account: bool = False) -> None:
        login = Login(url=self.url, user=self.user, token=token, device=self.device)
        self._outbox.belongs_to(login, new_account=new_account)
        with contextlib.suppress(OSError):  # then the next start is one more device, no more
            await self._outbox.flush()

    async def _begin(self) -> None:
        was_running = self._running is not None
        if was_running:
            await self._disconnect(None)
        self._dialogue.user = self.user
        self._dialogue.begin()
        if was_running:
            self._start()

    # --- inside: the connection -----------------------------------------------------

    def _start(self) -> None:
        self._must_go_on()
        if self._token is None:
            raise errors.Unauthorized("log in first")
        if self._running is None:
            self._link = Link(self._dial, self._dialogue, self.options)
            self._dialogue.wake, self._dialogue.give_up = self._link.wake, self._link.give_up
            self._running = asyncio.create_task(self._link.run())
            self._running.add_done_callback(self._stopped)

    def _must_go_on(self) -> None:
        ended = Closed("the client was closed") if self._closed else self._dialogue.ended
        if ended is not None:
            raise type(ended)(str(ended))

    def _stopped(self, running: asyncio.Task[None]) -> None:
        error = None if running.cancelled() else running.exception()
        if error is None or running is not self._running:
            return
        self._running = None
        if not isinstance(error, Ended):
            log.error("the connection failed inside of the client", exc_info=error)
            error = Ended(f"the connection failed inside of the client: {error!r}")
        elif isinstance(error, LoggedOut):
            self._token = None
        self._dialogue.end(error)

    async def _disconnect(self, reason: Ended | None) -> None:
        running, self._running = self._running, None
        tasks = [*self._filling, *([running] if running else [])]
        try:
            if running is not None and self._link is not None:
                self._dialogue.finish()
                self._link.finish()
                if self._dialogue.opened.is_set():
                    await asyncio.wait([running], timeout=self.options.close_timeout_seconds)
        finally:
            for task in tasks:
                task.cancel()
            if reason is None:
                self._dialogue.lost("logged in anew", 0.0)
            else:
                self._dialogue.end(reason)
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _dial(self) -> aiohttp.ClientWebSocketResponse[bool]:
        return await self._http.ws_connect(
            self.url + "/v1/ws",
            protocols=(wire.SUBPROTOCOL,),
            headers={"Authorization": f"Bearer {self._token}"},
            autoping=False,
            max_msg_size=FRAME_FROM_SERVER_BYTES_MAX,
            timeout=aiohttp.ClientWSTimeout(ws_close=self.options.close_timeout_seconds),
        )

    # --- inside: messages -----------------------------------------------------------

    def _pending(self, chat_or_user: str, text: str, reply_to: int | None) -> Pending:
        self._start()
        most = self._dialogue.limits.text_bytes
        return pending(chat_or_user, text, sender=self.user, reply_to=reply_to, text_bytes_max=most)

    async def _post(self, message: Pending) -> None:
        try:
            await self._outbox.put(message)
        finally:
            # Cancelled, it may be in the file all the same: out with it, now.
            if message.id in self._outbox.pending:
                self._dialogue.send(message)

    def _fill_soon(self, gap: Gap) -> None:
        task = asyncio.create_task(self._fill(gap, self._dialogue.generation))
        self._filling.add(task)
        task.add_done_callback(self._filling.discard)

    async def _fill(self, gap: Gap, generation: int) -> None:
        trouble = ""
        try:
            items = await self.between(gap.chat, gap.after, gap.before, most=GAP_MESSAGES_MAX)
        except (errors.Answer, Offline, ConnectionLost) as error:
            items, trouble = [], f"a hole cannot be filled: {error}"
        if len(items) >= GAP_MESSAGES_MAX:
            trouble = "a hole is too wide to be filled"
        if not trouble:
            self._dialogue.filled(gap, items, generation)
        elif generation == self._dialogue.generation:
            self._dialogue.give_up(trouble)
