"""What instances tell each other: the grammar of the links, as msgpack.

All of it is hints. One that is lost, or comes twice or late, costs a read of the store and
never a message: the log is the authority. `cluster.py` says and hears them, `peers.py`
carries them.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from whatsapp.model import Change, Entry


class Hint(Struct, frozen=True, array_like=True):
    """One thing told. Fields are only ever added at the end, with a default."""


class Said(Hint, frozen=True, tag="said"):
    """This entry is committed; you have readers of it."""

    entry: Entry
    change: Change | None = None


class Absent(Hint, frozen=True, tag="absent"):
    """The answer to `Said`: no reader of this chat is here."""

    chat: str


class Grown(Hint, frozen=True, tag="grown"):
    """Look into the store: these chats have entries that you were not told; None: any may."""

    chats: tuple[str, ...] | None = None


class Receipted(Hint, frozen=True, tag="receipted"):
    """`reader` has this much of these authors' messages, as far as they may know."""

    chat: str
    reader: str
    received: int
    read: int
    authors: tuple[str, ...]


class Moved(Hint, frozen=True, tag="moved"):
    """The user has read: for its other devices."""

    chat: str
    user: str
    received: int
    read: int


class Typed(Hint, frozen=True, tag="typed"):
    """The user types, or stopped."""

    chat: str
    user: str
    on: bool


class Came(Hint, frozen=True, tag="came"):
    """These users have come to me: what you know of where they are is old."""

    users: tuple[str, ...]


class Here(Hint, frozen=True, tag="here"):
    """This device has connected to me at this time of my clock; an older connection ends."""

    user: str
    device: str
    since_ms: int
    answer: bool = False


class Ended(Hint, frozen=True, tag="ended"):
    """These devices are logged out. Not `sure`: the store did not say; ask it about them."""

    user: str
    devices: tuple[str, ...]
    sure: bool


class Forget(Hint, frozen=True, tag="forget"):
    """Profile, blocks or existence of these users changed: read them anew."""

    users: tuple[str, ...]


class Bye(Hint, frozen=True, tag="bye"):
    """I am going away and have told everything."""


AnyHint = Said | Absent | Grown | Receipted | Moved | Typed | Came | Here | Ended | Forget | Bye

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyHint)


def pack(hint: Hint) -> bytes:
    return _encoder.encode(hint)


def unpack(data: bytes) -> AnyHint:
    """`msgspec.MsgspecError` where it is none of ours."""
    hint: AnyHint = _decoder.decode(data)
    return hint
