"""The program: which login it is, which screen is shown, and that the client ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import App
from textual.binding import Binding, BindingType

from whatsapp import errors, model
from whatsapp.access import device_name
from whatsapp.client import Client, Ended, Options, OutboxInUse
from whatsapp.saved import (
    CHAT,
    DEMO_USERS,
    Logins,
    Slot,
    demo_password,
    is_here,
    password_given,
)
from whatsapp.terminal.chats import ChatScreen
from whatsapp.terminal.login import LoginScreen
from whatsapp.terminal.session import Session


class ChatApp(App[int]):
    """See the head of this file. `folder`: for the logins; the user's data folder by default."""

    CSS_PATH = "terminal.tcss"
    ENABLE_COMMAND_PALETTE = False
    TITLE = "WhatsApp"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", priority=True, show=False),
        Binding("ctrl+c", "quit", "Quit", show=False),
    ]

    def __init__(
        self,
        url: str,
        user: str | None = None,
        *,
        folder: Path | None = None,
        options: Options | None = None,
    ) -> None:
        super().__init__()
        self.logins = Logins(url, folder)
        self.session: Session | None = None
        self._user = model.user_id(user) if user else None
        self._options = options
        self._client: Client | None = None
        self._slot: Slot | None = None

    # --- the beginning --------------------------------------------------------------

    def on_mount(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: tests
                asyncio.get_running_loop().add_signal_handler(
                    number, lambda: self.run_worker(self.action_quit())
                )
        saved = self.logins.users()
        user = self._user or (saved[0] if len(saved) == 1 else None)
        self._ask(user or "")
        if user is not None and (
            user in saved or password_given() or demo_password(self.logins.url, user)
        ):
            self.log_in(user, password_given() or "", register=False)

    def _ask(self, user: str, trouble: str = "") -> None:
        demo = list(DEMO_USERS) if is_here(self.logins.url) else []
        screen = LoginScreen(self.logins.url, user=user, saved=self.logins.users(), demo=demo)
        if trouble:
            screen.told(trouble)
        _ = self.push_screen(screen)

    @on(LoginScreen.Chosen)
    def _chosen(self, event: LoginScreen.Chosen) -> None:
        self.log_in(event.user, event.password, register=event.register)

    @work(exclusive=True, group="login")
    async def log_in(self, user: str, password: str, *, register: bool) -> None:
        """Be this user, and show the chats; or say why not."""
        screen = self.screen
        if isinstance(screen, LoginScreen):
            screen.told(f"Logging in as {user} \u2026", trouble=False)
        try:
            client = await self._logged_in(model.user_id(user), password, register=register)
        except (errors.WhatsAppError, Ended) as error:
            if isinstance(screen, LoginScreen):
                screen.told(_why(error, user))
            return
        self._client = client
        self.session = session = Session(
            client, changed=self._changed, tell=self._tell, ended=self._ended
        )
        await self.push_screen(ChatScreen(session, self.logins.url))
        await session.begin()

    async def _logged_in(self, user: str, password: str, *, register: bool) -> Client:
        """A client with a saved login that is free; else with a new one, in the chat's file."""
        self.logins.make_folder()
        known = self.logins.logged_in(user, CHAT)
        slots = [*known, *(slot for slot in self.logins.slots(user, CHAT) if slot not in known)]
        secret = password or demo_password(self.logins.url, user) or ""
        busy: OutboxInUse | None = None
        for slot in slots if secret else known:
            try:
                client = Client(self.logins.url, outbox=slot.path, options=self._options)
            except OutboxInUse as error:
                busy = error
                continue
            try:
                await client.login(user, secret, device=device_name("chat"), register=register)
            except BaseException:
                await client.close()
                if slot.login() is None:
                    self.logins.forget(slot)
                raise
            self._slot = slot
            return client
        raise busy or errors.Unauthorized("The password, please.")

    # --- what the session says ------------------------------------------------------

    def _changed(self) -> None:
        if isinstance(screen := self._chats(), ChatScreen):
            screen.look_again()

    def _tell(self, text: str) -> None:
        if isinstance(screen := self._chats(), ChatScreen):
            screen.tell(text)

    def _chats(self) -> ChatScreen | None:
        found = [screen for screen in self.screen_stack if isinstance(screen, ChatScreen)]
        return found[-1] if found else None

    def _ended(self, error: Ended) -> None:
        self.run_worker(self._begin_anew(str(error)))

    async def _begin_anew(self, why: str) -> None:
        user = self._client.user if self._client else ""
        await self._close()
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        self._ask(user, why)

    # --- the end --------------------------------------------------------------------

    async def log_out(self) -> None:
        """End the login, here and there, and the program."""
        if self._client is None:
            return
        slot = self._slot
        if self.session is not None:
            await self.session.end()
        await self._client.logout()
        await self._close()
        if slot is not None:
            self.logins.forget(slot)
        self.exit(0)

    async def action_quit(self) -> None:
        """End in good order: what waits to be sent is in its file."""
        await self._close()
        self.exit(0)

    async def on_unmount(self) -> None:
        await self._close()

    async def _close(self) -> None:
        session, self.session = self.session, None
        client, self._client = self._client, None
        if session is not None:
            await session.end()
        if client is not None:
            await client.close()


def _why(error: Exception, user: str) -> str:
    if isinstance(error, errors.BadCredentials):
        return f"{user} does not exist here, or has another password."
    if isinstance(error, OutboxInUse):
        return (
            f"The logins of {user} are in use by other programs: close one, or give the password."
        )
    return str(error)


def run(url: str, user: str | None) -> None:
    """Until the user quits. `StartupError`, `BadRequest`: no such URL or user id."""
    app = ChatApp(url, user)
    # A log line on standard error would end up in the middle of the screen.
    logging.getLogger().addHandler(logging.NullHandler())
    app.run()
