"""The screen with the chats: the list, the conversation, the composer, the status line."""

from __future__ import annotations

import time
from datetime import date
from typing import ClassVar

from rich.text import Text
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import OptionList, Static, TextArea
from textual.widgets.option_list import Option

from whatsapp import errors, model, shown
from whatsapp.resources import Hit
from whatsapp.terminal import commands
from whatsapp.terminal.dialogs import Ask, Confirm, Help, NewChat, Search
from whatsapp.terminal.drawing import BLUE, FAINT, Drawing, hint
from whatsapp.terminal.group import GroupInfo
from whatsapp.terminal.lines import chat_line, head, status
from whatsapp.terminal.session import Session
from whatsapp.terminal.widgets import PAGES_TO_THE_END, Composer, Log

LISTED_MAX = 500  # chats in the list; /go and /new find the others
NARROW_CELLS = 62  # below, the list is only there while it has the focus
TOLD_SECONDS = 8.0
TICK_SECONDS = 1.0
GROUP_LABELS = ("title", "members: user ids, with spaces")


class ChatScreen(Screen[None]):
    """See the head of this file; a `commands.Desk`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "open_dialog('help')", "Help", priority=True, show=False),
        Binding("ctrl+n", "open_dialog('new')", "New chat", priority=True, show=False),
        Binding("ctrl+g", "open_dialog('group')", "New group", priority=True, show=False),
        Binding("ctrl+f", "open_dialog('search')", "Search", priority=True, show=False),
        Binding("ctrl+o", "open_dialog('info')", "Info", priority=True, show=False),
        Binding("ctrl+up,alt+up", "step(-1)", "Previous", priority=True, show=False),
        Binding("ctrl+down,alt+down", "step(1)", "Next", priority=True, show=False),
        Binding("ctrl+l", "list", "Chats", priority=True, show=False),
        Binding("escape", "back", "Back", show=False),
        Binding("ctrl+c", "clear_or_quit", "Quit", priority=True, show=False),
    ]

    def __init__(self, session: Session, url: str) -> None:
        super().__init__()
        self.session = session
        self._url = url
        self._chat = ""
        self._reply_to = 0
        self._told = ("", 0.0)
        self._ticked: tuple[bool, date] | None = None
        self._drawing = Drawing(session.state)
        self._due = False
        self._drafts: dict[str, str] = {}
        self._listed: list[str] = []

    @property
    def chat(self) -> str:
        return self._chat

    def compose(self) -> ComposeResult:
        with Horizontal(id="panes"):
            with Vertical(id="left"):
                yield Static(id="me")
                yield OptionList(id="chats", markup=False)
            with Vertical(id="right"):
                yield Static(id="head")
                yield Log(id="log")
                yield Static(id="quote")
                yield Composer(
                    id="composer",
                    compact=True,
                    show_line_numbers=False,
                    highlight_cursor_line=False,
                    placeholder="Write a message; /help for more",
                )
        yield Static(id="status")

    def on_mount(self) -> None:
        self.set_interval(TICK_SECONDS, self._tick)
        self.query_one("#quote").display = False
        self.set_focus(self.query_one(Composer))
        self.look_again()

    # --- drawing --------------------------------------------------------------------

    def look_again(self) -> None:
        """Draw soon; many changes at once are one drawing."""
        if not self._due and self.is_mounted:
            self._due = True
            self.call_after_refresh(self._draw)

    def _tick(self) -> None:
        """For what ends by itself: who types, what was told, the day."""
        state = (bool(self._told_now()), shown.today())
        if state != self._ticked or self.session.state.moves():
            self._ticked = state
            self.look_again()

    def _told_now(self) -> str:
        told, until = self._told
        return told if time.monotonic() < until else ""

    def _draw(self) -> None:
        self._due = False
        if not self.is_attached:
            return
        self._draw_list()
        self._draw_head()
        self._draw_log()
        self._draw_status()
        # Only what is looked at is read.
        if self._chat and self.app.app_focus and self.app.screen is self:
            self._read()

    def _draw_list(self) -> None:
        state = self.session.state
        listed = self.query_one("#chats", OptionList)
        width = max(10, listed.scrollable_content_region.width - 2)
        today, now = shown.today(), time.monotonic()
        lines = [
            (one.chat, chat_line(state, one, width, today, state.typing(one.chat, now)))
            for one in state.listed()[:LISTED_MAX]
        ]
        at = listed.highlighted
        focused = self._listed[at] if at is not None and at < len(self._listed) else self._chat
        focused = focused if listed.has_focus else self._chat
        names = [name for name, _ in lines]
        if names == self._listed:
            for row, (_, line) in enumerate(lines):
                if listed.get_option_at_index(row).prompt != line:
                    listed.replace_option_prompt_at_index(row, line)
        else:
            self._listed = names
            listed.clear_options()
            listed.add_options([Option(line) for _, line in lines])
        if focused in names:
            listed.highlighted = names.index(focused)

    def _draw_head(self) -> None:
        state = self.session.state
        me = Text(" " + shown.one_line(state.name(state.me)), "bold")
        self.query_one("#me", Static).update(me)
        self.query_one("#head", Static).update(head(self.session, self._chat))

    def _draw_log(self) -> None:
        log = self.query_one(Log)
        if self._chat:
            blocks = self._drawing.blocks(self._chat, log.columns, shown.today())
            log.show(self._chat, blocks)
        else:
            log.show("", hint(log.columns, have=bool(self.session.state.chats)))

    def _draw_status(self) -> None:
        below = "" if self._at_end() else self._chat
        line = status(self.session, self._told_now(), below)
        self.query_one("#status", Static).update(line)

    def _at_end(self) -> bool:
        return self.query_one(Log).at_end and not self.session.state.thread(self._chat).more_after

    @work(exclusive=True, group="read")
    async def _read(self) -> None:
        if self._at_end():
            await self.session.read(self._chat)

    # --- commands.Desk --------------------------------------------------------------

    def tell(self, text: str) -> None:
        """In the status line, for some seconds."""
        self._told = (text, time.monotonic() + TOLD_SECONDS)
        self.look_again()

    async def show(self, chat: str) -> None:
        """Open this chat."""
        before = self._chat
        self._switch(chat)
        if before and before != chat:
            await self.session.typing(before, on=False)
        await self.session.open(chat)

    def _switch(self, chat: str) -> None:
        """Show what is known of this chat at once. Each chat keeps what was begun to be written."""
        if chat != self._chat:
            composer = self.query_one(Composer)
            self._drafts[self._chat] = composer.text
            self._chat = chat
            self._no_reply()
            composer.text = self._drafts.pop(chat, "")
            composer.move_cursor(composer.document.end)
        self.remove_class("listing")
        self.look_again()

    def choose_reply(self, seq: int) -> None:
        """The next message answers this one."""
        item = self.session.state.thread(self._chat).find(seq)
        if item is None:
            return
        self._reply_to = seq
        who = self.session.state.name(item.sender or "?")
        line = Text(f" \u2503 reply to {shown.one_line(who)}: ", BLUE, no_wrap=True)
        line.append(shown.one_line((item.text or "")[:200]), FAINT)
        line.overflow = "ellipsis"
        self.query_one("#quote", Static).update(line)
        self.query_one("#quote").display = True
        self.set_focus(self.query_one(Composer))

    async def dialog(self, name: str, text: str = "") -> None:
        self.open_dialog(name, text)

    async def log_out(self) -> None:
        if await self.app.push_screen_wait(Confirm("End this login? Unsent messages are lost.")):
            await self.app.log_out()  # type: ignore[attr-defined]

    async def leave_program(self) -> None:
        await self.app.action_quit()

    # --- what the user does ---------------------------------------------------------

    def action_open_dialog(self, name: str) -> None:
        self.open_dialog(name)

    @work(group="dialog")
    async def open_dialog(self, name: str, text: str = "") -> None:
        if self.app.screen is not self:
            return
        try:
            await self._dialog(name, text)
        except errors.WhatsAppError as error:
            self.tell(str(error))

    async def _dialog(self, name: str, text: str) -> None:
        ask = self.app.push_screen_wait
        match name:
            case "help":
                await ask(Help(commands.help_text()))
            case "new":
                if user := await ask(NewChat(self.session)):
                    await self.show(await self.session.start(user))
            case "group":
                await self._new_group(await ask(Ask("New group", *GROUP_LABELS)))
            case "search":
                await self._jump(await ask(Search(self.session, text)))
            case _ if model.is_group(self._chat):
                await ask(GroupInfo(self.session, self._chat))
            case _:
                await commands.execute(self, "/whois")

    async def _new_group(self, given: list[str] | None) -> None:
        if given and given[0]:
            users = given[1].replace(",", " ").lower().split()
            await self.show(await self.session.group(given[0], users))

    async def _jump(self, hit: Hit | None) -> None:
        if hit is None:
            return
        await self.session.jump(hit.chat, hit.message.seq)
        self._switch(hit.chat)
        self._draw()
        log = self.query_one(Log)
        self.set_focus(log)
        log.reveal(hit.message.seq)

    @on(Composer.Sent)
    def _entered(self, event: Composer.Sent) -> None:
        self._send(event.text)

    @work(group="send")
    async def _send(self, text: str) -> None:
        """Sends of one composer are in order: each is in the outbox before a loop's turn ends."""
        composer = self.query_one(Composer)
        if not text.strip():
            return
        try:
            if text.startswith("/") and not text.startswith("//"):
                await commands.execute(self, text)
                return
            if not self._chat:
                raise commands.Mistake("Open a chat first: choose one in the list, or Ctrl-N.")
            text = text.removeprefix("/") if text.startswith("//") else text
            chat, reply_to = self._chat, self._reply_to or None
            self._no_reply()
            if self.session.state.thread(chat).more_after:
                await self.session.open(chat)
            await self.session.post(chat, text, reply_to)
            self.query_one(Log).turn(PAGES_TO_THE_END)
        except errors.WhatsAppError as error:
            self.tell(str(error))
            if not composer.text:
                composer.text = text
                composer.move_cursor(composer.document.end)

    @on(TextArea.Changed, "#composer")
    async def _typed(self, event: TextArea.Changed) -> None:
        text = event.text_area.text
        if self._chat:
            await self.session.typing(self._chat, on=bool(text) and not text.startswith("/"))

    @on(OptionList.OptionSelected, "#chats")
    def _picked(self, event: OptionList.OptionSelected) -> None:
        if event.option_index < len(self._listed):
            self._switch(self._listed[event.option_index])
            self._show_soon(self._chat)
            self.set_focus(self.query_one(Composer))

    @work(exclusive=True, group="show")
    async def _show_soon(self, chat: str) -> None:
        try:
            await self.show(chat)
        except errors.WhatsAppError as error:
            self.tell(str(error))

    def action_step(self, step: int) -> None:
        if self._listed:
            at = self._listed.index(self._chat) + step if self._chat in self._listed else 0
            self._switch(self._listed[max(0, min(at, len(self._listed) - 1))])
            self._show_soon(self._chat)

    def action_list(self) -> None:
        self.add_class("listing")
        self.set_focus(self.query_one("#chats", OptionList))
        self.look_again()

    def action_back(self) -> None:
        self._no_reply()
        self.remove_class("listing")
        self.query_one(Log).action_newest()

    async def action_clear_or_quit(self) -> None:
        composer = self.query_one(Composer)
        if composer.text:
            composer.text = ""
        else:
            await self.app.action_quit()

    @on(Log.Reply)
    def _answer(self, event: Log.Reply) -> None:
        self.choose_reply(event.seq)

    @on(Log.Newest)
    def _newest(self) -> None:
        log = self.query_one(Log)
        log.chosen = 0
        if self._chat and self.session.state.thread(self._chat).more_after:
            self._show_soon(self._chat)
        log.turn(PAGES_TO_THE_END)
        self.set_focus(self.query_one(Composer))

    @on(Composer.Up)
    def _choose(self) -> None:
        log = self.query_one(Log)
        self.set_focus(log)
        log.action_choose(-1)

    @on(Composer.Turned)
    def _turn(self, event: Composer.Turned) -> None:
        self.query_one(Log).turn(event.pages)

    @on(Log.Edge)
    def _edge(self, event: Log.Edge) -> None:
        if self._chat:
            self._load_more(above=event.above)

    @work(exclusive=True, group="more")
    async def _load_more(self, *, above: bool) -> None:
        load = self.session.older if above else self.session.newer
        try:
            await load(self._chat)
        except errors.WhatsAppError as error:
            self.tell(str(error))

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width < NARROW_CELLS, "narrow")
        self.look_again()

    def _no_reply(self) -> None:
        self._reply_to = 0
        self.query_one("#quote").display = False
