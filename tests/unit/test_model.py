"""Names and their rules; what a member sees; what a draft becomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp import model
from whatsapp.errors import BadRequest

GROUP = "g:01890a5d-ac96-774b-bcce-b302099a8057"

users = st.from_regex(r"[a-z0-9][a-z0-9_.-]{2,31}|\+[1-9][0-9]{6,14}", fullmatch=True)


@pytest.mark.parametrize("text", ["bob", "a.b-c_d", "0x0", "a" * 32, "+4912345678", "+1234567"])
def test_user_ids_that_are_good(text):
    assert model.user_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "ab",
            "a" * 33,
            ".bob",
            "-bob",
            "_bob",
            "bob!",
            "bob ",
            " bob",
            "bob\n",
            "a:b",
            "g:x",
        ),
        *("+0123456", "+123456", "+1234567890123456", "+12a4567", "4912 345", "bøb", "\u0130bob"),
        # Lower-cased, the Kelvin sign is the letter k.
        "bo\u212a",
    ],
)
def test_user_ids_that_are_not(text):
    with pytest.raises(BadRequest, match="a user id is"):
        model.user_id(text)


@given(users)
def test_a_user_id_has_one_form(text):
    assert model.user_id(text.upper()) == text
    assert model.user_id(text) == text


@pytest.mark.parametrize("text", ["a" * 8, "A-Z_a-z0", "x" * 64])
def test_message_ids_that_are_good(text):
    assert model.message_id(text) == text


@pytest.mark.parametrize("text", ["", "a" * 7, "a" * 65, "has space", "eight888\n", "ümlauts_"])
def test_message_ids_that_are_not(text):
    with pytest.raises(BadRequest, match="a message id is"):
        model.message_id(text)


def test_plain_text_loses_the_space_around_it():
    assert model.plain("  Ann Lee \n", what="a name", characters_max=7) == "Ann Lee"
    assert model.plain("two\nlines", what="about", characters_max=9) == "two\nlines"
    assert model.plain("  ", what="about", characters_max=9, empty=True) == ""


@pytest.mark.parametrize(
    "text, complaint",
    [
        (" \t", "a name is empty"),
        ("x" * 8, "a name is longer than 7 characters"),
        ("a\x00b", "a name has a control character in it"),
        ("a\tb", "a name has a control character in it"),
        ("a\x7fb", "a name has a control character in it"),
    ],
)
def test_plain_text_says_what_is_wrong(text, complaint):
    with pytest.raises(BadRequest) as refused:
        model.plain(text, what="a name", characters_max=7)
    assert refused.value.message == complaint


@given(users, users)
def test_a_direct_chat_has_one_id_whoever_asks(one, other):
    chat = model.direct_chat(one, other)
    assert chat == model.direct_chat(other, one)
    assert model.pair(chat) == (min(one, other), max(one, other))
    assert not model.is_group(chat)


@pytest.mark.parametrize(
    "chat", ["", "bob", "bob:", ":bob", "bob:ann", "ann:bob:cat", "ann:BOB", "ann:bob\n", "g:bob"]
)
def test_what_is_no_direct_chat(chat):
    assert model.pair(chat) is None


def test_a_group_is_known_by_its_id():
    assert model.is_group(GROUP)
    assert model.pair(GROUP) is None


@pytest.mark.parametrize(
    "chat",
    [GROUP[2:], GROUP.upper(), GROUP + "\n", GROUP[:-1], GROUP.replace("-774b", "-474b"), "g:bob"],
)
def test_what_is_no_group(chat):
    assert not model.is_group(chat)


def test_a_member_sees_from_where_it_joined_to_where_it_left():
    here = model.Member(user="bob", joined=5)
    assert [seq for seq in range(1, 10) if here.sees(seq)] == [5, 6, 7, 8, 9]
    gone = model.Member(user="bob", joined=5, left=7)
    assert [seq for seq in range(1, 10) if gone.sees(seq)] == [5, 6, 7]
    assert here.active
    assert not gone.active


def test_a_member_that_came_again_does_not_see_what_was_said_in_between():
    back = model.Member(user="bob", joined=8, spans=((1, 2), (4, 5)))
    assert [seq for seq in range(1, 10) if back.sees(seq)] == [1, 2, 4, 5, 8, 9]


drafts = st.builds(
    model.Draft,
    chat=st.just("ann:bob"),
    sender=st.sampled_from(["ann", "bob"]),
    id=st.just("12345678"),
    time_ms=st.integers(0, 9),
    text=st.sampled_from(["", "hi"]),
    kind=st.sampled_from(["text", "title"]),
    reply_to=st.integers(0, 2),
    event=st.sampled_from([None, model.Event(title="Tea")]),
    hidden=st.booleans(),
)


@given(drafts, st.integers(1, 2**53))
def test_a_draft_becomes_the_entry_that_it_says(draft, seq):
    entry = draft.entry(seq)
    assert entry.seq == seq
    for name in entry.__struct_fields__:
        assert name == "seq" or getattr(entry, name) == getattr(draft, name)


texts = st.none() | st.text(max_size=20)
events = st.builds(
    model.Event,
    users=st.lists(users, max_size=3).map(tuple),
    title=texts,
    about=texts,
    user=st.none() | users,
    role=st.none() | st.sampled_from(model.Role),
    on=st.none() | st.booleans(),
)


@given(events)
def test_events_survive_the_store(event):
    data = model.encode_event(event)
    assert model.decode_event(data) == event
    assert model.decode_event(data.decode()) == event


def test_an_event_is_stored_without_what_it_does_not_say():
    assert model.encode_event(model.Event(title="Tea")) == b'{"title":"Tea"}'


@given(st.text())
def test_no_name_is_both_refused_and_used(text):
    """Whatever is typed: a canonical id, or `BadRequest`; nothing else."""
    try:
        user = model.user_id(text)
    except BadRequest:
        return
    assert model.user_id(user) == user
