"""Who may link: both sides of the handshake, and everybody who tries without the secret."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp.handshake import REASONS, VERSION, Handshake, Hello, Proof, Refused, Why, no
from whatsapp.interfaces import Instance

SECRET = "a secret of the tests, long enough"
ANN = Instance(name="ann", address="", epoch=7)
BOB = Instance(name="bob", address="", epoch=9)


def side(me=ANN, *, secret=SECRET, dials=True, refuse: Why | None = None, nonce=b"n" * 32):
    return Handshake(me, secret, dials=dials, admit=lambda hello: refuse, nonce=nonce)


def shake(dialling: Handshake, waiting: Handshake) -> None:
    proof = dialling.take(waiting.take(dialling.begin(1), 2), 3)
    assert dialling.take(waiting.take(proof, 4), 5) == b""


def refused(handshake: Handshake, payload: bytes) -> Why:
    with pytest.raises(Refused) as caught:
        handshake.take(payload, 0)
    assert not handshake.done
    return caught.value.why


def test_two_that_know_the_secret_learn_of_each_other():
    dialling, waiting = side(), side(BOB, dials=False)
    shake(dialling, waiting)
    assert dialling.done
    assert waiting.done
    assert dialling.theirs == Hello(VERSION, "bob", 9, b"n" * 32, 2)
    assert waiting.theirs == Hello(VERSION, "ann", 7, b"n" * 32, 1)


def test_a_wrong_secret_is_found_by_the_one_that_waits_before_it_proves_anything():
    dialling, waiting = side(secret="x" * 40), side(BOB, dials=False)
    proof = dialling.take(waiting.take(dialling.begin(1), 2), 3)
    assert refused(waiting, proof) == "secret"


def test_the_one_that_dials_wants_a_proof_too():
    dialling, waiting = side(), side(BOB, dials=False)
    dialling.take(waiting.take(dialling.begin(1), 2), 3)
    assert refused(dialling, msgspec.msgpack.encode(Proof(b"0" * 32))) == "secret"


def test_our_own_words_sent_back_are_refused():
    dialling, waiting = side(), side(BOB, dials=False)
    ours = dialling.begin(1)
    assert refused(dialling, ours) == "self"
    proof = dialling.take(waiting.take(ours, 2), 3)
    assert refused(dialling, proof) == "secret"


def test_a_proof_of_one_handshake_is_worth_nothing_in_another():
    dialling, waiting = side(), side(BOB, dials=False)
    hello = dialling.begin(1)
    proof = dialling.take(waiting.take(hello, 2), 3)
    again = side(BOB, dials=False, nonce=b"m" * 32)
    again.take(hello, 2)
    assert refused(again, proof) == "secret"


@pytest.mark.parametrize("changed", ["name", "epoch", "time_ms", "nonce"])
def test_a_hello_changed_on_its_way_is_found(changed):
    dialling, waiting = side(), side(BOB, dials=False)
    hello = msgspec.msgpack.decode(dialling.begin(1), type=Hello)
    other = {"name": "eve", "epoch": 8, "time_ms": 5, "nonce": b"o" * 32}[changed]
    forged = msgspec.msgpack.encode(msgspec.structs.replace(hello, **{changed: other}))
    proof = dialling.take(waiting.take(forged, 2), 3)
    assert refused(waiting, proof) == "secret"


def test_another_version_is_refused_also_where_its_hello_has_more_in_it():
    newer = ["hello", VERSION + 1, "bob", 9, b"n" * 32, 2, "more"]
    assert refused(side(), msgspec.msgpack.encode(newer)) == "version"


def test_who_is_not_expected_is_refused_when_it_has_proved_itself():
    dialling, waiting = side(), side(BOB, dials=False, refuse="unknown")
    proof = dialling.take(waiting.take(dialling.begin(1), 2), 3)
    assert refused(waiting, proof) == "unknown"


def test_nobody_is_shown_a_proof_who_was_not_dialled():
    dialling, waiting = side(refuse="name"), side(BOB, dials=False)
    assert refused(dialling, waiting.take(dialling.begin(1), 2)) == "name"


def test_a_no_of_the_other_side_says_why():
    with pytest.raises(Refused) as caught:
        side().take(no("epoch"), 0)
    assert caught.value.theirs
    assert caught.value.why == "epoch"


def test_a_proof_before_any_hello_is_refused():
    assert refused(side(dials=False), msgspec.msgpack.encode(Proof(b"0" * 32))) == "hello"


def test_every_refusal_has_a_cause_and_a_cure():
    assert set(REASONS) == set(get_args(Why))
    assert all(cause and cure for cause, cure in REASONS.values())


@given(st.lists(st.binary(max_size=200), max_size=3), st.booleans())
def test_noise_is_refused(payloads, dials):
    handshake = side(dials=dials)
    for payload in payloads:
        refused(handshake, payload)
