"""What others wrote reaches a terminal as text, and as nothing else."""

from __future__ import annotations

import json
import unicodedata
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp import shown
from whatsapp.wire import Item

# Whatever a terminal obeys or a reader is deceived by: controls, and what turns the direction.
HOSTILE = [
    *map(chr, range(32)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u202a\u202b\u202c\u202d\u202e\u2066",
]
ANYTHING = st.text(st.one_of(st.characters(), st.sampled_from(HOSTILE)))


@given(ANYTHING)
def test_nothing_of_a_text_is_obeyed(text: str):
    for character in shown.visible(text):
        assert character == "\n" or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in (
            "LRO",
            "RLO",
            "LRE",
            "RLE",
            "RLI",
            "LRI",
        )
    assert "\n" not in shown.one_line(text)
    shown.visible(text).encode()


@given(st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(HOSTILE))))
def test_json_is_the_same_value_and_nothing_of_it_is_obeyed(text: str):
    line = shown.json_line({"text": text})
    assert json.loads(line) == {"text": text}
    assert not set(HOSTILE) & set(line)


def test_controls_are_pictures_and_people_s_texts_stay():
    assert shown.visible("\x1b[31mred\x07 \x7f\x9b") == "\u241b[31mred\u2407 \u2421\ufffd"
    assert shown.visible("a\r\nb\tc") == "a\nb   c"
    same = "[bold]no markup[/] \u4e2d\u6587 \U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301"
    assert shown.visible(same) == same


def event(kind: str, **members) -> Item:
    return Item(chat="g:1", seq=1, time=0, kind=kind, id="1", sender="carol", **members)


@pytest.mark.parametrize(
    "item,told",
    [
        (event("created", title="Us"), "carol created the group \u201cUs\u201d"),
        (event("added", users=("alice", "bob")), "carol added you, bob"),
        (event("removed", users=("bob",)), "carol removed bob"),
        (event("left"), "carol left"),
        (event("joined"), "carol joined"),
        (event("title", title="{who}"), "carol named the group \u201c{who}\u201d"),
        (event("about", about="x\x1b"), "carol changed the description: x\u241b"),
        (event("about", about=""), "carol removed the description"),
        (event("role", user="alice", role="admin"), "carol made you admin"),
        (event("announce", on=True), "carol lets only admins write"),
        (event("poll"), "carol: something that this version does not know (poll)"),
    ],
)
def test_events_are_sentences(item: Item, told: str):
    assert shown.happened(item, "alice") == told


def test_days_are_named_as_people_do():
    now = datetime(2026, 3, 4, 12, 0).astimezone()
    ms = int(now.timestamp() * 1000)
    today = now.date()
    assert shown.day(ms, today) == "Today"
    assert shown.day(ms, today + timedelta(days=1)) == "Yesterday"
    assert shown.day(ms, today + timedelta(days=9)) == "Wednesday, 4 March"
    assert shown.day(ms, today + timedelta(days=900)) == "Wednesday, 4 March 2026"
    assert shown.short(ms, today) == "12:00"
    assert shown.short(ms, today + timedelta(days=2)) == "Wed"
    assert shown.short(ms, today + timedelta(days=20)) == "4 Mar"
    assert shown.short(ms, today + timedelta(days=900)) == "2026-03-04"
    assert shown.last_seen(ms, today) == "last seen today at 12:00"
