"""The parts of the screen that textual does not have: the conversation, the composer."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import TextArea

from whatsapp.terminal.drawing import SELECTED, Block

PAGES_TO_THE_END = 1_000_000


class _MoreKeys(Enum):
    ALT_ENTER = "alt+enter"


# Most terminals send ESC CR for Alt-Enter; textual would take that for "^" and Enter.
ANSI_SEQUENCES_KEYS["\x1b\r"] = (_MoreKeys.ALT_ENTER,)  # type: ignore[index]


class Log(ScrollView, can_focus=True):
    """A conversation. Stays at its end if it is there, else where one reads, whatever comes.

    Up and Down choose a message, Enter answers it. At an edge it asks for `Edge`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", "Earlier", show=False),
        Binding("down,j", "choose(1)", "Later", show=False),
        Binding("pageup", "turn(-1)", "Page up", show=False),
        Binding("pagedown", "turn(1)", "Page down", show=False),
        Binding("home", f"turn(-{PAGES_TO_THE_END})", "First", show=False),
        Binding("end", "newest", "Newest", show=False),
        Binding("enter,r", "reply", "Reply", show=False),
    ]

    class Edge(Message):
        """There is nothing more to see above (or below)."""

        def __init__(self, *, above: bool) -> None:
            super().__init__()
            self.above = above

    class Newest(Message):
        """The end of the log is wanted."""

    class Reply(Message):
        """The chosen message is to be answered."""

        def __init__(self, seq: int) -> None:
            super().__init__()
            self.seq = seq

    def __init__(self, *, id: str) -> None:  # noqa: A002  (textual's name)
        super().__init__(id=id)
        self.chosen = 0  # the seq of the selected message
        self._blocks: list[Block] = []
        self._rows: list[tuple[Block, Strip]] = []
        self._starts: dict[str, int] = {}
        self._chat = ""

    @property
    def columns(self) -> int:
        """How wide a line may be."""
        return max(20, self.scrollable_content_region.width)

    @property
    def at_end(self) -> bool:
        return self.scroll_offset.y >= self.max_scroll_y - 1

    @property
    def text(self) -> str:
        """All lines, for tests."""
        return "\n".join(strip.text.rstrip() for _, strip in self._rows)

    def show(self, chat: str, blocks: list[Block]) -> None:
        other = chat != self._chat
        follow = other or self.at_end
        anchor = None if follow else self._anchor()
        self._chat, self._blocks = chat, blocks
        self._rows = [(block, line) for block in blocks for line in block.lines]
        self._starts = {}
        for row, (block, _) in enumerate(self._rows):
            self._starts.setdefault(block.key, row)
        if other:
            self.chosen = 0
        self.virtual_size = Size(self.columns, len(self._rows))
        if follow:
            self._go(len(self._rows))
        elif anchor is not None and anchor[0] in self._starts:
            self._go(self._starts[anchor[0]] - anchor[1])
        self.refresh()

    def reveal(self, seq: int) -> None:
        """Choose this entry and bring it into the middle."""
        self.chosen = seq
        row = self._starts.get(str(seq))
        if row is not None:
            self._go(row - self.size.height // 2)
        self.refresh()

    def turn(self, pages: int) -> None:
        """By pages; negative is up."""
        step = max(1, self.size.height - 2)
        before = self.scroll_offset.y
        self._go(before + pages * step)
        self._look_beyond(pages)

    def action_turn(self, pages: int) -> None:
        self.turn(pages)

    def action_newest(self) -> None:
        self.chosen = 0
        self.post_message(self.Newest())

    def action_choose(self, step: int) -> None:
        seqs = [block.seq for block in self._blocks if block.seq]
        if not seqs:
            return
        if self.chosen in seqs:
            at = seqs.index(self.chosen) + step
        else:
            at = len(seqs) - 1 if step < 0 else len(seqs)
        if at >= len(seqs):
            self.action_newest()
            return
        if at < 0:
            self._look_beyond(-1)
            return
        self.chosen = seqs[at]
        row = self._starts[str(self.chosen)]
        lines = next(len(block.lines) for block in self._blocks if block.seq == self.chosen)
        if row < self.scroll_offset.y:
            self._go(row)
        elif row + lines > self.scroll_offset.y + self.size.height:
            self._go(row + lines - self.size.height)
        self.refresh()

    def action_reply(self) -> None:
        if self.chosen:
            self.post_message(self.Reply(self.chosen))

    def render_line(self, y: int) -> Strip:
        lead = max(0, self.size.height - len(self._rows))  # a short conversation is at the bottom
        row = self.scroll_offset.y + y - lead
        if not 0 <= row < len(self._rows):
            return Strip.blank(self.size.width, self.rich_style)
        block, strip = self._rows[row]
        chosen = SELECTED if block.seq and block.seq == self.chosen else None
        return Strip(Segment.apply_style(strip, self.rich_style, chosen), strip.cell_length)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._go(self.scroll_offset.y - 3)
        self._look_beyond(-1)
        event.stop()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._go(self.scroll_offset.y + 3)
        self._look_beyond(1)
        event.stop()

    def on_click(self, event: events.Click) -> None:
        lead = max(0, self.size.height - len(self._rows))
        row = self.scroll_offset.y + event.y - lead
        if 0 <= row < len(self._rows) and self._rows[row][0].seq:
            self.chosen = self._rows[row][0].seq
            self.refresh()

    def _anchor(self) -> tuple[str, int] | None:
        """What is at the top of the view, and how many lines below its start that is."""
        top = self.scroll_offset.y
        if not 0 <= top < len(self._rows):
            return None
        for row in range(top, len(self._rows)):  # the head line moves up when older ones come
            block = self._rows[row][0]
            if block.seq:
                return block.key, self._starts[block.key] - top
        return None

    def _go(self, row: int) -> None:
        most = max(0, len(self._rows) - self.size.height)
        self.scroll_to(y=max(0, min(row, most)), animate=False, immediate=True, force=True)

    def _look_beyond(self, direction: int) -> None:
        if direction < 0 and self.scroll_offset.y <= 1:
            self.post_message(self.Edge(above=True))
        elif direction > 0 and self.at_end:
            self.post_message(self.Edge(above=False))


class Composer(TextArea):
    """Where one writes. Enter sends; Ctrl-J, Alt-Enter and Shift-Enter begin a new line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "turn(-1)", show=False, priority=True),
        Binding("pagedown", "turn(1)", show=False, priority=True),
    ]

    class Sent(Message):
        """Enter was pressed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Turned(Message):
        """The conversation is to be scrolled."""

        def __init__(self, pages: int) -> None:
            super().__init__()
            self.pages = pages

    class Up(Message):
        """Up was pressed where there is no line above."""

    def action_turn(self, pages: int) -> None:
        self.post_message(self.Turned(pages))

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            # Emptied now: what is typed from here on is the next message.
            text, self.text = self.text, ""
            self.post_message(self.Sent(text))
        elif event.key in ("ctrl+j", "alt+enter", "shift+enter"):
            event.stop()
            event.prevent_default()
            self.insert("\n")
        elif event.key == "up" and self.cursor_at_first_line and not self.text:
            event.stop()
            event.prevent_default()
            self.post_message(self.Up())
        elif event.key in ("tab", "shift+tab"):
            pass  # the focus moves on
        else:
            await super()._on_key(event)
