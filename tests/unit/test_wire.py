"""Frames: there and back unchanged; whatever a stranger sends, one of two errors."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whatsapp import wire
from whatsapp.errors import BadRequest, ProtocolViolation
from whatsapp.model import FRAME_BYTES_MAX, TEXT_BYTES_MAX, Entry, Event, Role

# Surrogates alone are no characters: no JSON encoder of ours can be given any.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{2,31}", fullmatch=True)
chats = st.builds("{}:{}".format, names, names)
ids = st.from_regex(r"[A-Za-z0-9_-]{8,64}", fullmatch=True)
seqs = st.integers(0, 2**53 - 1)
times = st.integers(0, 2**53 - 1)
small = st.integers(-(2**63), 2**63 - 1)


def maybe(strategy):
    return st.none() | strategy


client_frames = st.one_of(
    st.builds(
        wire.Hello, token=maybe(texts), cursors=maybe(st.dictionaries(chats, seqs, max_size=3))
    ),
    st.builds(
        wire.Send,
        id=ids,
        text=texts,
        chat=maybe(chats),
        to=maybe(names),
        reply_to=maybe(seqs),
    ),
    st.builds(wire.Received, chat=chats, seq=seqs),
    st.builds(wire.Read, chat=chats, seq=seqs),
    st.builds(wire.Typing, chat=chats, on=st.booleans()),
    st.builds(wire.Watch, users=st.lists(names, max_size=4)),
    st.builds(wire.Ping, n=maybe(small)),
)

item_members = {
    "chat": chats,
    "seq": seqs,
    "time": times,
    "kind": st.sampled_from(["text", "void", "added", "role"]),
    "id": maybe(ids),
    "sender": maybe(names),
    "text": maybe(texts),
    "reply_to": maybe(seqs),
    "users": maybe(st.lists(names, max_size=3).map(tuple)),
    "title": maybe(texts),
    "about": maybe(texts),
    "user": maybe(names),
    "role": maybe(st.sampled_from(Role)),
    "on": maybe(st.booleans()),
}
limits = st.builds(
    wire.Limits,
    frame_bytes=st.integers(1, 2**20),
    text_bytes=st.integers(1, 2**20),
    window=st.integers(1, 2**20),
    heartbeat_s=st.integers(1, 60),
)
server_frames = st.one_of(
    st.builds(
        wire.Welcome,
        user=names,
        device=ids,
        instance=texts,
        time=times,
        durable=st.booleans(),
        limits=limits,
    ),
    st.just(wire.Synced()),
    st.builds(wire.Sent, id=ids, chat=chats, seq=seqs, time=times, dup=st.booleans()),
    st.builds(wire.Message, **item_members),
    st.builds(
        wire.Messages,
        chat=chats,
        items=st.lists(st.builds(wire.Item, **item_members), max_size=3),
    ),
    st.builds(wire.Receipt, chat=chats, user=names, received=seqs, read=seqs),
    st.builds(wire.Cursor, chat=chats, received=seqs, read=seqs),
    st.builds(wire.TypingShown, chat=chats, user=names, on=st.booleans()),
    st.builds(wire.Presence, user=names, online=st.booleans(), last_seen=maybe(times)),
    st.builds(wire.Pong, time=times, n=maybe(small)),
    st.builds(
        wire.Error,
        code=texts,
        message=texts,
        retryable=st.booleans(),
        re=maybe(ids | small),
        retry_after_ms=maybe(times),
    ),
    st.builds(wire.Draining, reconnect_ms=times),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
tags = st.sampled_from([*(kind.__struct_config__.tag for kind in get_args(wire.AnyClientFrame))])


@st.composite
def spoiled(draw):
    """A good frame with a few bytes cut, changed or doubled."""
    data = bytearray(wire.encode(draw(client_frames)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data)


def try_to_decode(data: bytes) -> None:
    """Any error but the two that `decode` promises ends the test."""
    try:
        wire.decode(data)
    except BadRequest as error:
        assert error.message
    except ProtocolViolation as error:
        assert error.close_code == wire.CLOSE_BROKEN_FRAME
        assert len(error.reason.encode()) <= 123  # what fits a close frame (RFC 6455, 5.5)
    answered = wire.answers(data)
    assert answered is None or len(str(answered)) <= wire.ANSWERED_ID_CHARACTERS_MAX
    wire.encode(answered)


@given(client_frames)
def test_client_frames_come_back_as_they_were(frame):
    assert wire.decode(wire.encode(frame)) == frame


@given(server_frames)
def test_server_frames_come_back_as_they_were(frame):
    data = wire.encode(frame)
    assert wire.decode_server(data) == frame
    assert wire.decode_server(data.decode()) == frame


@given(client_frames)
def test_frames_are_what_any_json_parser_reads(frame):
    parsed = json.loads(wire.encode(frame))
    assert parsed["type"] == frame.__struct_config__.tag
    assert wire.decode(json.dumps(parsed).encode()) == frame


def test_every_frame_has_a_type_of_its_own():
    for union in (wire.AnyClientFrame, wire.AnyServerFrame):
        found = [kind.__struct_config__.tag for kind in get_args(union)]
        assert len(found) == len(set(found))


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b'{"type":"ping"}\x00')
@example(b'{"type":"ping","n":NaN}')
@example(b'{"type":"ping","n":1e999}')
@example(b'{"type":"ping","n":' + b"1" * 5000 + b"}")
@example(b'{"type":"send","id":"\\ud800","text":""}')
@example(b'{"type":"send","id":"\xff"}')
@example(b"[" * 60_000)
@example(b'{"type":"send","id":' + b"[" * 5000 + b"]" * 5000 + b"}")
@example(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)
def test_strange_bytes_are_one_of_two_errors(data):
    try_to_decode(data)


@given(spoiled())
def test_spoiled_frames_are_one_of_two_errors(data):
    try_to_decode(data)


@given(tags, st.dictionaries(texts, json_values, max_size=3), json_values)
def test_well_formed_nonsense_leaves_the_connection_open(tag, members, value):
    for data in (json.dumps(members | {"type": tag}), json.dumps(value)):
        if "NaN" in data or "Infinity" in data:  # JSON has no such numbers
            continue
        try:
            wire.decode(data.encode())
        except BadRequest as error:
            assert "see /docs" in error.message


@pytest.mark.parametrize(
    "data, complaint",
    [
        (b'{"type":"shout"}', "invalid value 'shout' - at `$.type`"),
        (b'{"typ":"ping"}', "object missing required field `type`"),
        (b'{"type":"ping","Extra":1}', "object contains unknown field `Extra`"),
        (b'{"type":"read","chat":"ann:bob"}', "object missing required field `seq`"),
        (b'{"type":"read","chat":"ann:bob","seq":-1}', "expected `int` >= 0 - at `$.seq`"),
        (b'{"type":"read","chat":"ann:bob","seq":"1"}', "expected `int`, got `str` - at `$.seq`"),
        (b'{"type":"read","chat":"ann:bob","seq":1.5}', "expected `int`, got `float` - at `$.seq`"),
        (b"[]", "expected `object`, got `array`"),
        (b"7", "expected `object`, got `int`"),
    ],
)
def test_what_is_wrong_is_said_by_name(data, complaint):
    with pytest.raises(BadRequest) as refused:
        wire.decode(data)
    assert refused.value.message == f"{complaint}; see /docs for the frames"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"hello", b'{"type":"ping",}', b"\xff", b'"\xc3("', b"{}x"]
)
def test_what_is_not_json_closes(data):
    with pytest.raises(ProtocolViolation) as broken:
        wire.decode(data)
    assert broken.value.close_code == wire.CLOSE_BROKEN_FRAME


def test_deep_nesting_is_refused_and_no_crash():
    with pytest.raises((BadRequest, ProtocolViolation)):
        wire.decode(b'{"type":"ping","n":' + b"[" * 30_000 + b"]" * 30_000 + b"}")


def test_a_complaint_does_not_echo_what_is_long():
    with pytest.raises(BadRequest) as refused:
        wire.decode(b'{"type":"ping","' + b"x" * 60_000 + b'":1}')
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    "data, answered",
    [
        (b'{"type":"send","id":"12345678","extra":1}', "12345678"),
        (b'{"type":"ping","n":7,"extra":1}', 7),
        (b'{"type":"ping"}', None),
        (b'{"id":"' + b"x" * 65 + b'"}', None),
        (b'{"n":9223372036854775807}', 2**63 - 1),
        (b'{"n":9223372036854775808}', None),
        (b'{"n":' + b"9" * 65 + b"}", None),
        (b'{"n":' + b"9" * 5000 + b"}", None),
        (b'{"id":null}', None),
        (b'{"id":true}', None),
        (b'{"id":["12345678"]}', None),
        (b'["12345678"]', None),
        (b"{", None),
        (b"[" * 60_000 + b"]" * 60_000, None),
    ],
)
def test_an_error_names_what_it_answers_if_it_can(data, answered):
    found = wire.answers(data)
    assert (found, type(found)) == (answered, type(answered))


def entry(**members: Any) -> Entry:
    rest: dict[str, Any] = {
        "chat": "ann:bob",
        "seq": 3,
        "id": "12345678",
        "sender": "ann",
        "time_ms": 99,
    }
    return Entry(**(rest | members))


def test_a_text_as_its_reader_sees_it():
    assert json.loads(wire.message_frame(entry(text="hi", reply_to=2), "bob")) == {
        "type": "message",
        "chat": "ann:bob",
        "seq": 3,
        "id": "12345678",
        "from": "ann",
        "time": 99,
        "kind": "text",
        "text": "hi",
        "reply_to": 2,
    }
    assert "reply_to" not in json.loads(wire.message_frame(entry(text="hi"), "bob"))


def test_an_event_as_its_reader_sees_it():
    seen = json.loads(wire.encode(wire.item(entry(kind="announce", event=Event(on=False)), "bob")))
    assert (seen["kind"], seen["on"]) == ("announce", False)
    assert not {"text", "users", "title", "about", "user", "role", "type"} & set(seen)
    role = entry(kind="role", event=Event(user="cat", role=Role.ADMIN))
    seen = json.loads(wire.encode(wire.item(role, "bob")))
    assert (seen["user"], seen["role"]) == ("cat", "admin")
    seen = json.loads(wire.encode(wire.item(entry(kind="left"), "bob")))
    assert seen["kind"] == "left"


@pytest.mark.parametrize("frame", [wire.message_frame, lambda e, v: wire.encode(wire.item(e, v))])
def test_a_hidden_entry_is_void_but_for_its_author(frame):
    hidden = entry(text="let me in", hidden=True)
    seen = json.loads(frame(hidden, "bob"))
    seen.pop("type", None)
    assert seen == {"chat": "ann:bob", "seq": 3, "time": 99, "kind": "void"}
    assert json.loads(frame(hidden, "ann"))["text"] == "let me in"


@pytest.mark.parametrize("frame", [wire.message_frame, lambda e, v: wire.encode(wire.item(e, v))])
def test_an_expired_entry_is_void_for_all(frame):
    for viewer in ("ann", "bob"):
        seen = json.loads(frame(entry(text="", reply_to=2), viewer))
        seen.pop("type", None)
        assert seen == {"chat": "ann:bob", "seq": 3, "time": 99, "kind": "void"}


@given(st.data())
def test_a_text_is_kept_to_the_byte(data):
    text = data.draw(texts.filter(bool))
    frame = wire.decode_server(wire.message_frame(entry(text=text), "bob"))
    assert isinstance(frame, wire.Message)
    assert frame.text == text


def test_the_longest_text_that_is_allowed_fits_a_frame():
    """`TEXT_ENCODED_BYTES_MAX` bounds the encoded text; what is around it must fit the rest."""
    around = entry(
        chat=f"{'a' * 32}:{'b' * 32}",
        sender="a" * 32,
        id="x" * 64,
        seq=2**53 - 1,
        time_ms=2**53 - 1,
        reply_to=2**53 - 2,
    )
    longest = wire.message_frame(around, "bob")
    assert len(longest) + wire.TEXT_ENCODED_BYTES_MAX <= FRAME_BYTES_MAX
    assert wire.TEXT_ENCODED_BYTES_MAX >= TEXT_BYTES_MAX


def test_server_frames_that_are_broken_are_for_the_client_to_judge():
    with pytest.raises(msgspec.DecodeError):
        wire.decode_server(b"{")
