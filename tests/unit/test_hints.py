"""The grammar of the links: what is packed comes back, and newer versions may say more."""

from __future__ import annotations

import msgspec
import pytest

from whatsapp.hints import Grown, Here, Said, pack, unpack
from whatsapp.model import Change, Entry, Event, Role

ENTRY = Entry(
    chat="ann:bob", seq=3, id="id-00000003", sender="ann", time_ms=5, kind="added",
    event=Event(users=("cid",)),
)  # fmt: skip


@pytest.mark.parametrize(
    "hint",
    [
        Said(ENTRY, Change(joins=(("cid", Role.MEMBER),), title="Tea")),
        Said(ENTRY),
        Grown(None),
        Grown(("ann:bob",)),
        Here("ann", "phone", 7, answer=True),
    ],
)
def test_what_is_packed_comes_back(hint):
    assert unpack(pack(hint)) == hint


def test_fields_may_be_added_at_the_end():
    newer = msgspec.msgpack.encode(["here", "ann", "phone", 7, False, "what a later version says"])
    assert unpack(newer) == Here("ann", "phone", 7)
    older = msgspec.msgpack.encode(["here", "ann", "phone", 7])
    assert unpack(older) == Here("ann", "phone", 7)


@pytest.mark.parametrize("data", [b"", b"\xc1", msgspec.msgpack.encode(["unheard of", 1])])
def test_what_is_none_of_ours_is_refused(data):
    with pytest.raises(msgspec.MsgspecError):
        unpack(data)
