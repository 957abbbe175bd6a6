"""Frames are followed whatever pieces they come in; what is refused is refused at once."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.peer import masked
from whatsapp.errors import ProtocolViolation
from whatsapp.framing import Framing

TEXT, BINARY, PING, CLOSE = 0x81, 0x82, 0x89, 0x88
FRAGMENT = 0x80  # the bit that is missing in all pieces but the last

masks = st.binary(min_size=4, max_size=4)
controls = st.builds(masked, st.sampled_from([PING, 0x8A]), st.binary(max_size=125), masks)
binaries = st.builds(masked, st.just(BINARY), st.binary(max_size=300), masks)
texts = st.builds(lambda text, mask: masked(TEXT, text.encode(), mask), st.text(), masks)


@st.composite
def in_fragments(draw: st.DrawFn) -> bytes:
    """A message of several frames, with control frames between them."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    whole = draw(st.text().map(str.encode) if opcode == TEXT else st.binary(max_size=300))
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    frames = []
    for number, piece in enumerate(pieces):
        first = opcode if number == 0 else 0x80
        first -= FRAGMENT if number < len(pieces) - 1 else 0
        frames.append(masked(first, piece, draw(masks)))
        if draw(st.booleans()):
            frames.append(draw(controls) if number < len(pieces) - 1 else b"")
    return b"".join(frames)


conversations = st.lists(st.one_of(controls, binaries, texts, in_fragments()), max_size=8)


def look(data: bytes, cuts: list[int], framing: Framing | None = None) -> Framing:
    framing = framing or Framing()
    edges = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(edges):
        framing.look(data[start:end])
    return framing


def refused(data: bytes, cuts: list[int]) -> int:
    with pytest.raises(ProtocolViolation) as caught:
        look(data, cuts)
    return caught.value.close_code


@given(conversations, st.lists(st.integers(0, 5000), max_size=20))
def test_good_frames_pass_in_any_pieces(frames: list[bytes], cuts: list[int]) -> None:
    framing = look(b"".join(frames), cuts)
    assert framing.idle
    framing.look(masked(TEXT, b"the next"))


@given(conversations, st.lists(st.integers(0, 5000), max_size=20), st.binary(max_size=200))
def test_an_unmasked_frame_is_refused(frames: list[bytes], cuts: list[int], body: bytes) -> None:
    head = struct.pack("!BB", TEXT, len(body)) if len(body) < 126 else b"\x81\x7e\x00\xc8"
    assert refused(b"".join(frames) + head + body, cuts) == 1002


def test_masked_frames_of_every_length_pass_whole_and_byte_by_byte() -> None:
    for size in (0, 1, 125, 126, 127, 65_535, 65_536):
        frame = masked(TEXT, b"x" * size)
        assert look(frame, []).idle
        assert look(frame, list(range(20))).idle


@pytest.mark.parametrize("broken", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_broken_text_is_refused_at_its_first_broken_byte(broken: bytes) -> None:
    frame = masked(TEXT, "κόσμε".encode() + broken + b"more to come" * 20)
    framing = Framing()
    upto = 4 + 4 + len("κόσμε".encode())
    framing.look(frame[:upto])
    with pytest.raises(ProtocolViolation) as caught:
        framing.look(frame[upto : upto + len(broken)])
    assert caught.value.close_code == 1007


def test_a_character_may_be_cut_by_a_fragment_but_not_by_the_end() -> None:
    first, second = "€".encode()[:1], "€".encode()[1:]
    framing = Framing()
    framing.look(masked(TEXT - FRAGMENT, first))
    framing.look(masked(PING, b"\xff"))
    framing.look(masked(0x80, second))
    framing.look(masked(TEXT - FRAGMENT, first))
    with pytest.raises(ProtocolViolation):
        framing.look(masked(0x80, b""))


def test_binary_messages_may_be_anything() -> None:
    framing = Framing()
    framing.look(masked(BINARY - FRAGMENT, b"\xff"))
    framing.look(masked(0x80, b"\xff"))
    framing.look(masked(BINARY, b"\xff" * 200)[:20])


def test_whole_texts_are_left_to_those_who_handle_them() -> None:
    framing = Framing()
    framing.look(masked(TEXT, b"\xff"))
    framing.look(masked(TEXT, b"\xff" * 300) + masked(TEXT, b"good"))
    assert framing.idle


# --- the common case ---------------------------------------------------------------------

LIMIT = 1_000
bodies = st.binary(min_size=2, max_size=300)


@given(st.lists(st.tuples(bodies, masks), min_size=1, max_size=5))
def test_whole_texts_are_unmasked_at_once(said: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(masked(TEXT, body, mask) for body, mask in said)
    assert Framing().whole_texts(data, LIMIT) == [body for body, _ in said]
    assert Framing().whole_texts(data[:-1], LIMIT) is None


@given(st.one_of(controls, binaries, in_fragments()), st.booleans())
def test_what_is_no_text_or_has_no_mask_is_looked_at(frame: bytes, first: bool) -> None:
    text = masked(TEXT, b"a text", b"mask")
    if frame[:1] != bytes((TEXT,)):
        data = frame + text if first else text + frame
        assert Framing().whole_texts(data, LIMIT) is None
    unmasked = struct.pack("!BB", TEXT, 100) + bytes(100)
    assert Framing().whole_texts(text + unmasked, LIMIT) is None
    assert Framing().whole_texts(unmasked + text, LIMIT) is None


def test_texts_of_any_length_up_to_the_limit_are_taken_at_once() -> None:
    for size in (2, 125, 126, LIMIT):
        frame = masked(TEXT, b"x" * size)
        assert Framing().whole_texts(frame, LIMIT) == [b"x" * size]
    for size in (LIMIT + 1, 65_536):
        assert Framing().whole_texts(masked(TEXT, b"x" * size), LIMIT) is None


@pytest.mark.parametrize("begun", [masked(TEXT, b"one")[:-1], masked(TEXT - FRAGMENT, b"one")])
def test_what_follows_something_begun_is_looked_at(begun: bytes) -> None:
    framing = Framing()
    framing.look(begun)
    assert framing.whole_texts(masked(TEXT, b"two"), LIMIT) is None
