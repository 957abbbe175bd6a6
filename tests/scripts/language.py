"""The language of the stories: one step a line, as patterns beside the functions that do them.

    {who}      one or more devices: alice, or alice/phone, or `alice, bob and carol/phone`
    {name}     one of them
    {text}     "text" with JSON's escapes; `"a" times 300` is long
    {number}   digits
    {id}       a message's name in the story
    {chat}     a chat: its id, or a name that the story keeps for one
    {word}     a code, a role, a file
    {raw}      JSON, or what is none
    {rest}     whatever comes, `$name` replaced by what was kept under that name
    [ … ]      may be left out

A story begins with what it needs of the server: `with limits window_messages 4` is an option
of the configuration, `only on sqlite` a store. `#` begins a comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct

KINDS = {
    "who": r"[a-z0-9_]+(?:/[a-z]+)?(?:(?:, | and )[a-z0-9_]+(?:/[a-z]+)?)*",
    "name": r"[a-z0-9_]+(?:/[a-z]+)?",
    "any": r"[\w.+-]+",
    "text": r'"(?:[^"\\]|\\.)*"(?: times \d+)?',
    "number": r"\d+",
    "id": r"[a-z]+\d*",
    "chat": r"[^\s:]+(?::[^\s:]+)?",
    "word": r"[a-z_]+",
    "path": r"[^ ]+",
    "raw": r"[\[{].*",
    "rest": r".+",
}

Step = Callable[..., Awaitable[None]]


class Line(Struct, frozen=True):
    """A step of a story, and where it stands."""

    number: int
    text: str


class Story(Struct, frozen=True, kw_only=True):
    """A file: what it needs, and its steps."""

    path: Path
    options: dict[str, dict[str, Any]]
    stores: tuple[str, ...]
    lines: tuple[Line, ...]


class Pattern(Struct, frozen=True):
    """How a step is written, and what does it."""

    written: str
    regex: re.Pattern[str]
    kinds: dict[str, str]
    step: Step


PATTERNS: list[Pattern] = []


def step(written: str) -> Callable[[Step], Step]:
    """The function does the steps that are written like that."""

    def keep(function: Step) -> Step:
        PATTERNS.append(pattern(written, function))
        return function

    return keep


def pattern(written: str, function: Step) -> Pattern:
    """`{name:kind}` is a parameter; `{kind}` is one that is called like its kind."""
    regex, kinds = "", {}
    for piece in re.split(r"(\{[^}]*\}|\[|\])", written):
        if piece == "[":
            regex += "(?:"
        elif piece == "]":
            regex += ")?"
        elif piece.startswith("{"):
            name, _, kind = piece[1:-1].partition(":")
            kinds[name] = kind or name
            regex += f"(?P<{name}>{KINDS[kind or name]})"
        else:
            regex += re.escape(piece)
    return Pattern(written, re.compile(regex), kinds, function)


def match(line: Line) -> tuple[Pattern, dict[str, str]]:
    """The one pattern of a line, and its words; AssertionError for none, or for several."""
    found = [
        (one, {name: value for name, value in hit.groupdict().items() if value is not None})
        for one in PATTERNS
        if (hit := one.regex.fullmatch(line.text))
    ]
    assert found, f"line {line.number} is not of the language: {line.text}"
    assert len(found) == 1, f"line {line.number} is ambiguous: {[one.written for one, _ in found]}"
    return found[0]


@cache
def read(path: Path) -> Story:
    options: dict[str, dict[str, Any]] = {}
    stores: tuple[str, ...] = ("memory", "sqlite", "cluster")
    lines = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = raw.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("only on "):
            stores = (text.removeprefix("only on "),)
        elif text.startswith("with "):
            _, section, option, value = text.split(maxsplit=3)
            options.setdefault(section, {})[option] = json.loads(value)
        else:
            lines.append(Line(number, text))
    return Story(path=path, options=options, stores=stores, lines=tuple(lines))


def text_of(written: str) -> str:
    """What `"text"` or `"text" times n` stands for."""
    quoted, _, times = written.partition('" times ')
    if times:
        return str(json.loads(f'{quoted}"')) * int(times)
    return str(json.loads(written))


def names_of(written: str) -> list[str]:
    return re.split(", | and ", written)


def pick(path: str, body: Any) -> Any:
    """`.messages[].seq`, `.0.chat`: a part of a JSON value; `[]` is each item's."""
    head, each, tail = path.partition("[]")
    for name in filter(None, head.split(".")):
        body = body[int(name)] if isinstance(body, list) else body.get(name, "(missing)")
    return [pick(tail, item) for item in body] if each else body
