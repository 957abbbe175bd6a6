"""What is asked for on top of the chats: whom to write to, a new group, a search, help."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from whatsapp import errors, shown
from whatsapp.client import Ended
from whatsapp.resources import Hit
from whatsapp.terminal.session import Session

PREFIX_CHARACTERS_MIN = 3  # as the server wants
SUGGESTED_MAX = 8
HITS_MAX = 50

_CLOSE: list[BindingType] = [Binding("escape", "dismiss(None)", "Close", show=False)]


class Ask(ModalScreen[list[str] | None]):
    """A few lines to be filled in. The answer is their texts, or None."""

    BINDINGS: ClassVar[list[BindingType]] = _CLOSE

    def __init__(self, title: str, *labels: str, given: str = "") -> None:
        super().__init__()
        self._title = title
        self._labels = labels
        self._given = given

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(Text(self._title), classes="title")
            for number, label in enumerate(self._labels):
                yield Input(
                    self._given if number == 0 else "", placeholder=label, id=f"field{number}"
                )
            yield Label(Text("Enter: go on   Esc: close"), classes="hint")

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        fields = list(self.query(Input))
        at = fields.index(event.input)
        if at + 1 < len(fields):
            fields[at + 1].focus()
        else:
            _ = self.dismiss([field.value.strip() for field in fields])


class Confirm(ModalScreen[bool]):
    """Yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes", show=False),
        Binding("n,escape,enter", "dismiss(False)", "No", show=False),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(Text(self._question), classes="title")
            yield Label(Text("y: yes   n: no"), classes="hint")


class NewChat(ModalScreen[str | None]):
    """Whom to write to; names that fit are offered. The answer is a user id."""

    BINDINGS: ClassVar[list[BindingType]] = [*_CLOSE, Binding("down", "focus_next", show=False)]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(Text("New chat"), classes="title")
            yield Input(placeholder="a user id, or the beginning of a name")
            yield OptionList(id="found", markup=False)
            yield Label(Text("Enter: write to them   Down: choose   Esc: close"), classes="hint")

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        if len(event.value.strip()) >= PREFIX_CHARACTERS_MIN:
            self._look_up(event.value.strip())
        else:
            self.query_one(OptionList).clear_options()

    @work(exclusive=True)
    async def _look_up(self, prefix: str) -> None:
        try:
            found = await self._session.client.users(prefix, limit=SUGGESTED_MAX)
        except errors.WhatsAppError:
            found = []
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options(
            Option(Text(f"{shown.one_line(one.name)} ({one.user})"), id=one.user) for one in found
        )

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            _ = self.dismiss(event.value.strip())

    @on(OptionList.OptionSelected)
    def _picked(self, event: OptionList.OptionSelected) -> None:
        _ = self.dismiss(event.option.id)


class Search(ModalScreen[Hit | None]):
    """Messages with some words; the answer is the one to go to."""

    BINDINGS: ClassVar[list[BindingType]] = [*_CLOSE, Binding("down", "focus_next", show=False)]

    def __init__(self, session: Session, query: str = "") -> None:
        super().__init__()
        self._session = session
        self._query = query
        self._hits: list[Hit] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            yield Label(Text("Search in all chats"), classes="title")
            yield Input(self._query, placeholder='words, or "a phrase"')
            yield OptionList(id="found", markup=False)
            yield Label(Text("Enter: search, go there   Down: choose   Esc: close"), classes="hint")

    def on_mount(self) -> None:
        if self._query:
            self._search(self._query)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self._search(event.value.strip())

    @work(exclusive=True)
    async def _search(self, query: str) -> None:
        hint = self.query(Label).last()
        try:
            self._hits = (await self._session.search(query, None))[:HITS_MAX]
        except (errors.WhatsAppError, Ended) as error:
            hint.update(Text(shown.one_line(str(error))))
            return
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options(Option(self._line(hit), id=str(at)) for at, hit in enumerate(self._hits))
        hint.update(Text(f"{len(self._hits)} found   Enter: go there   Esc: close"))
        if self._hits:
            listed.focus()
            listed.highlighted = 0

    def _line(self, hit: Hit) -> Text:
        state = self._session.state
        item = hit.message
        moment = shown.local(item.time).strftime("%Y-%m-%d %H:%M")
        who = "You" if item.sender == state.me else state.name(item.sender or "?")
        where = shown.one_line(state.title(hit.chat))
        line = Text(f"{where}  {moment}\n", "bold", no_wrap=True)
        return line.append(f"{shown.one_line(who)}: {shown.one_line(hit.snippet)}", "not bold")

    @on(OptionList.OptionSelected)
    def _picked(self, event: OptionList.OptionSelected) -> None:
        _ = self.dismiss(self._hits[int(event.option.id or 0)])


class Help(ModalScreen[None]):
    """A page of text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,f1,q", "dismiss(None)", "Close", show=False)
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog wide tall"):
            yield Static(Text(self._text))
