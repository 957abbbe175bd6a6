"""The screen that asks who you are."""

from __future__ import annotations

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Button, Input, Label, Static

from whatsapp import shown

OFFERED_MAX = 4


class UserInput(Input):
    """Where the user id goes, and nothing that is typed after it.

    Why: keys come in bursts over a slow line. Those after Enter or Tab were the password, in plain
    sight, before the focus had moved on.
    """

    async def _on_key(self, event: events.Key) -> None:
        focused = self.screen.focused
        if focused is not None and focused is not self:
            focused.post_message(events.Key(event.key, event.character))
        elif event.key in ("enter", "tab"):
            self.screen.set_focus(self.screen.query_one("#password", Input))
        else:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()


class LoginScreen(Screen[None]):
    """User and password; those with a login, and the demo's people, at one press of a key."""

    class Chosen(Message):
        """Somebody wants in. An empty password: the saved login, or the demo's."""

        def __init__(self, user: str, password: str, *, register: bool) -> None:
            super().__init__()
            self.user = user
            self.password = password
            self.register = register

    def __init__(self, url: str, *, user: str, saved: list[str], demo: list[str]) -> None:
        super().__init__()
        self._url = url
        self._user = user
        self._saved = saved[:OFFERED_MAX]
        self._demo = [one for one in demo if one not in self._saved]
        self._there = False
        self._told: tuple[str, bool] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="login"):
            yield Label(Text("WhatsApp in the terminal"), classes="title")
            yield Label(Text(f"Server: {self._url}"), classes="hint")
            yield UserInput(self._user, placeholder="user id", id="user")
            yield Input(placeholder="password", password=True, id="password")
            with Horizontal(classes="buttons"):
                yield Button("Log in", id="enter", variant="success", compact=True)
                yield Button("Create account", id="register", compact=True)
                yield Button("Quit", id="quit", compact=True)
            if self._saved:
                yield from self._offered("Logged in before:", self._saved, "saved")
            if self._demo:
                yield from self._offered("If this is the demo:", self._demo, "demo")
            yield Static(id="told")
            yield Label(Text("Tab: next   Enter: log in   Ctrl-Q: quit"), classes="hint")

    def _offered(self, label: str, users: list[str], kind: str) -> ComposeResult:
        with Horizontal(classes="offered"):
            yield Label(Text(label))
            for at, user in enumerate(users):
                button = Button(Text(user), id=f"{kind}{at}", compact=True)
                button.tooltip = None
                yield button

    def on_mount(self) -> None:
        # At once: what is typed from the first sight of it on must not land in the other field.
        self.set_focus(self.query_one("#password" if self._user else "#user", Input))
        self._there = True
        if self._told is not None:
            self._show(*self._told)

    def told(self, text: str, *, trouble: bool = True) -> None:
        """What went wrong, or what is under way. Also before its fields are there."""
        self._told = text, trouble
        if self._there:
            self._show(text, trouble)

    def _show(self, text: str, trouble: bool) -> None:  # noqa: FBT001 — as told
        static = self.query_one("#told", Static)
        static.update(Text(shown.visible(text), "bold red" if trouble else ""))
        for widget in (*self.query(Button), *self.query(Input)):
            widget.disabled = not trouble
        if trouble:
            self.set_focus(self.query_one("#password", Input))

    @on(Input.Submitted, "#password")
    @on(Button.Pressed, "#enter")
    def _enter(self) -> None:
        self._choose(register=False)

    @on(Button.Pressed, "#register")
    def _register(self) -> None:
        self._choose(register=True)

    def _choose(self, *, register: bool) -> None:
        user = self.query_one("#user", Input).value.strip().lower()
        password = self.query_one("#password", Input).value
        if not user or not password:
            self.told("User id and password, please.")
            return
        self.post_message(self.Chosen(user, password, register=register))

    @on(Button.Pressed, ".offered Button")
    def _offered_one(self, event: Button.Pressed) -> None:
        name = event.button.id or ""
        users = self._saved if name.startswith("saved") else self._demo
        user = users[int(name.removeprefix("saved").removeprefix("demo"))]
        self.query_one("#user", Input).value = user
        self.post_message(self.Chosen(user, "", register=False))

    @on(Button.Pressed, "#quit")
    async def _quit(self) -> None:
        await self.app.action_quit()
