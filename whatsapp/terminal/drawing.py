"""A conversation as lines of text: bubbles, ticks, names, days. No widget, no terminal.

    ─────────── Today ───────────
     Carol
     Are you coming?  10:02
               ┃ Carol: Are you coming?
               Yes!  10:03 ✓✓

Text of others goes through `shown.visible` and is never read as markup.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import date

from msgspec import Struct
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from whatsapp import shown
from whatsapp.terminal.state import Queued, State, Tick
from whatsapp.wire import Item

BUBBLE_SHARE = 0.82  # of the width, at most
BUBBLE_CELLS_MIN = 12
QUOTE_CHARACTERS_MAX = 200
LINES_MAX = 400  # of one message; who writes more is cut off
DRAWN_MAX = 4_000  # bubbles kept drawn; more than one thread has

MINE = Style(bgcolor="#144d37", color="#e9edef")
THEIRS = Style(bgcolor="#202c33", color="#e9edef")
FAINT = Style(color="#8696a0")
BLUE = Style(color="#53bdeb", bold=True)
RED = Style(color="#ff6b6b", bold=True)
GREEN = Style(color="#25d366", bold=True)
SELECTED = Style(bgcolor="#3b5b6d", color="#ffffff")
NAMES = ("#e542a3", "#f2a365", "#7bd88f", "#6fb1ff", "#c792ea", "#ffcb6b", "#4dd0c9", "#ff8a80")

_console = Console(width=80)


class Block(Struct, frozen=True):
    """Some lines that belong together. `seq`: of the entry that can be selected, else 0."""

    key: str
    lines: list[Strip]
    seq: int = 0


TICKS = {
    Tick.QUEUED: ("\u2026", FAINT),
    Tick.REFUSED: ("!", RED),
    Tick.STORED: ("\u2713", FAINT),
    Tick.DELIVERED: ("\u2713\u2713", FAINT),
    Tick.READ: ("\u2713\u2713", BLUE),
}


def tick_text(tick: Tick) -> Text:
    return Text(*TICKS[tick])


def colour(user: str) -> Style:
    """The same one for the same user, everywhere."""
    return Style(color=NAMES[zlib.crc32(user.encode()) % len(NAMES)], bold=True)


class Drawing:
    """The conversation of one chat at a time; remembers what it has drawn."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._drawn: dict[tuple[object, ...], list[Strip]] = {}

    def blocks(self, chat: str, width: int, today: date) -> list[Block]:
        """All that is loaded of a chat, then what waits to be sent."""
        if len(self._drawn) > DRAWN_MAX:
            self._drawn.clear()
        blocks: list[Block] = []
        thread = self._state.thread(chat)
        if thread.loaded and not thread.more_before:
            blocks.append(Block("top", [_centred("The beginning", width)]))
        group = self._state.peer(chat) is None
        named_day = author = ""
        for item in thread.entries:
            if (that := shown.day(item.time, today)) != named_day:
                named_day, author = that, ""
                blocks.append(Block(f"day {that}", [_rule(that, width)]))
            if item.kind != "text":
                author = ""
                blocks.append(Block(str(item.seq), self._event(item, width)))
                continue
            named = item.sender not in (self._state.me, author)
            author = item.sender or ""
            lines = self._entry(item, width, named=named and group)
            blocks.append(Block(str(item.seq), lines, item.seq))
        blocks += [Block(one.id, self._queued(one, width)) for one in self._state.waiting(chat)]
        return blocks

    def _entry(self, item: Item, width: int, *, named: bool) -> list[Strip]:
        mine = item.sender == self._state.me
        tick = self._state.tick(item) if mine else None
        quoted = self._state.thread(item.chat).find(item.reply_to) if item.reply_to else None
        name = self._state.name(item.sender or "?") if named else ""
        author = self._state.name(quoted.sender or "?") if quoted else ""
        key = (item.chat, item.seq, width, tick, name, quoted is not None, author)
        return self._once(key, lambda: self._bubble_of(item, quoted, name, tick, width))

    def _bubble_of(
        self, item: Item, quoted: Item | None, name: str, tick: Tick | None, width: int
    ) -> list[Strip]:
        end = Text(shown.clock(item.time), FAINT)
        if tick is not None:
            end.append(" ").append_text(tick_text(tick))
        head = [Text(shown.one_line(name), colour(item.sender or ""))] if name else []
        if item.reply_to:
            head.append(self._quote(item.reply_to, quoted))
        return bubble(item.text or "", head, end, width, mine=tick is not None)

    def _quote(self, seq: int, quoted: Item | None) -> Text:
        if quoted is None:
            return Text(f"\u2503 message {seq}", FAINT)
        who = "You" if quoted.sender == self._state.me else self._state.name(quoted.sender or "?")
        said = shown.one_line((quoted.text or quoted.kind)[:QUOTE_CHARACTERS_MAX])
        return Text(f"\u2503 {shown.one_line(who)}: {said}", FAINT)

    def _queued(self, queued: Queued, width: int) -> list[Strip]:
        key = (queued.id, width, queued.refused)
        return self._once(key, lambda: self._bubble_of_queued(queued, width))

    def _bubble_of_queued(self, queued: Queued, width: int) -> list[Strip]:
        tick = Tick.REFUSED if queued.refused else Tick.QUEUED
        end = tick_text(tick)
        if queued.refused:
            end = Text(f"! {shown.one_line(queued.refused)}", RED)
        head = []
        if queued.reply_to:
            quoted = self._state.thread(queued.chat).find(queued.reply_to)
            head = [self._quote(queued.reply_to, quoted)]
        return bubble(queued.text, head, end, width, mine=True)

    def _event(self, item: Item, width: int) -> list[Strip]:
        key = (item.chat, item.seq, width)
        told = shown.happened(item, self._state.me)
        return self._once(key, lambda: [_centred(told, width)])

    def _once(self, key: tuple[object, ...], draw: Callable[[], list[Strip]]) -> list[Strip]:
        lines = self._drawn.get(key)
        if lines is None:
            lines = self._drawn[key] = draw()
        return lines


def bubble(text: str, head: list[Text], end: Text, width: int, *, mine: bool) -> list[Strip]:
    """A message in its box, at the right if it is one's own. `end`: time and ticks."""
    inner = max(BUBBLE_CELLS_MIN, int(width * BUBBLE_SHARE) - 2)
    body = Text(shown.visible(text)).wrap(_console, inner, overflow="fold", tab_size=4)
    lines = list(body)[:LINES_MAX]
    for line in lines:
        line.rstrip()
    if len(body) > LINES_MAX:
        lines.append(Text("(cut off here)", FAINT))
    ends = list(end.wrap(_console, inner, overflow="fold"))
    if len(ends) == 1 and lines and lines[-1].cell_len + 2 + end.cell_len <= inner:
        room = max(line.cell_len for line in [*lines, *head] if line.cell_len <= inner)
        gap = max(2, room - lines[-1].cell_len - end.cell_len)
        lines[-1] = Text.assemble(lines[-1], " " * gap, end)
        ends = []
    for one in head:
        one.truncate(inner, overflow="ellipsis")
    room = max(line.cell_len for line in [*head, *lines, *ends])
    for one in ends:
        one.pad_left(room - one.cell_len)
    style = MINE if mine else THEIRS
    left = width - room - 2 if mine else 0
    return [_boxed(line, room, left, width, style) for line in [*head, *lines, *ends]]


def _boxed(line: Text, room: int, left: int, width: int, style: Style) -> Strip:
    padded = Text(" ", end="").append_text(line)
    padded.append(" " * max(0, room - line.cell_len) + " ")
    segments = [
        Segment(part.text, style + (part.style or Style())) for part in padded.render(_console)
    ]
    rest = width - left - room - 2
    return Strip([Segment(" " * left), *segments, Segment(" " * max(0, rest))])


def _rule(text: str, width: int) -> Strip:
    side = max(1, (width - cell_len(text) - 2) // 2)
    line = "\u2500" * side
    return Strip([Segment(f"{line} {text} {line}", FAINT)]).adjust_cell_length(width)


def _centred(text: str, width: int) -> Strip:
    line = Text(text, FAINT + Style(italic=True), end="")
    line.truncate(width, overflow="ellipsis")
    line.align("center", width)
    return Strip(list(line.render(_console)))


def hint(width: int, *, have: bool) -> list[Block]:
    """While no chat is open."""
    told = "Choose a chat: Ctrl-Down, or Tab" if have else "Write to somebody: Ctrl-N"
    return [Block("hint", [_centred(told, width), _centred("", width)])]
