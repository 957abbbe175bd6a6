"""What others wrote, made fit for a terminal: no control sequence of theirs reaches it.

A terminal obeys what is printed to it. A message may hold escape sequences (which move the
cursor, change the title, write to the clipboard), a C1 byte that begins one, or marks that
turn the direction of all text after them. `visible` shows all of these instead.

Times are the user's own: the machine's time zone.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

import msgspec

from whatsapp.wire import Item

ESCAPE_PICTURES = 0x2400  # U+2400 to U+241F show U+0000 to U+001F
DELETE = "\x7f"
DELETE_PICTURE = "\u2421"
REPLACEMENT = "\ufffd"
SPACES_OF_A_TAB = 4

# C0 but for the line feed, DEL, C1, line and paragraph separator, what turns the direction
# (and does not end with the line), what has no width, halves of surrogate pairs.
_UNFIT = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
# The same, as JSON would print them as they are.
_UNFIT_IN_JSON = re.compile(
    "[\x7f-\x9f\u200e\u200f\u061c\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
_GONE = frozenset("\u00ad\u061c\u200b\u200e\u200f\ufeff") | frozenset(
    map(chr, range(0x2060, 0x2070))
)


def visible(text: str) -> str:
    """Safe to print, over as many lines as it has; each control character as a picture."""
    text = text.replace("\r\n", "\n").expandtabs(SPACES_OF_A_TAB)
    return _UNFIT.sub(_shown, text)


def one_line(text: str) -> str:
    """As `visible`, with its lines joined."""
    return " ".join(visible(text).split("\n"))


def json_line(value: object) -> str:
    """JSON that a terminal may show: what it would obey is written as `\\u…`."""
    line = msgspec.json.encode(value).decode()
    return _UNFIT_IN_JSON.sub(_escaped, line)


def _shown(found: re.Match[str]) -> str:
    character = found[0]
    if character in ("\u2028", "\u2029"):
        return "\n"
    if character == DELETE:
        return DELETE_PICTURE
    if character < " ":
        return chr(ESCAPE_PICTURES + ord(character))
    if character in _GONE or "\u202a" <= character <= "\u202e" or character >= "\U000e0000":
        return ""
    return REPLACEMENT


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


# --- what happened in a group --------------------------------------------------------


def happened(item: Item, me: str = "") -> str:
    """An entry that is not text, as a sentence; what is unknown to this version, by name."""
    who = "You" if item.sender == me else item.sender or "Somebody"
    if item.kind == "role":
        whom = "you" if item.user == me else item.user
        return one_line(f"{who} made {whom} {item.role}")
    if item.kind == "announce":
        return one_line(f"{who} lets {'only admins' if item.on else 'everybody'} write")
    if item.kind == "about" and not item.about:
        return one_line(f"{who} removed the description")
    told = _HAPPENED.get(item.kind, "{who}: something that this version does not know ({kind})")
    users = ", ".join("you" if user == me else user for user in item.users or ())
    return one_line(
        told.format(who=who, users=users, title=item.title, about=item.about, kind=item.kind)
    )


_HAPPENED = {
    "created": "{who} created the group \u201c{title}\u201d",
    "added": "{who} added {users}",
    "removed": "{who} removed {users}",
    "left": "{who} left",
    "joined": "{who} joined",
    "title": "{who} named the group \u201c{title}\u201d",
    "about": "{who} changed the description: {about}",
}


# --- times ---------------------------------------------------------------------------


def local(time_ms: int) -> datetime:
    """In the machine's time zone."""
    return datetime.fromtimestamp(time_ms / 1000).astimezone()


def today() -> date:
    """The user's own."""
    return datetime.now().astimezone().date()


def clock(time_ms: int) -> str:
    return local(time_ms).strftime("%H:%M")


def day(time_ms: int, today: date) -> str:
    """For a separator between days."""
    that = local(time_ms).date()
    if that == today:
        return "Today"
    if that == today - timedelta(days=1):
        return "Yesterday"
    named = f"{that:%A}, {that.day} {that:%B}"
    return named if that.year == today.year else f"{named} {that.year}"


def short(time_ms: int, today: date) -> str:
    """For a list: the time of today, else the day."""
    that = local(time_ms).date()
    if that == today:
        return clock(time_ms)
    if that > today - timedelta(days=7):
        return f"{that:%a}"
    return f"{that.day} {that:%b}" if that.year == today.year else f"{that:%Y-%m-%d}"


def last_seen(time_ms: int, today: date) -> str:
    """As in "last seen today at 12:00"."""
    named = day(time_ms, today)
    named = named.lower() if named in ("Today", "Yesterday") else named
    return f"last seen {named} at {clock(time_ms)}"
