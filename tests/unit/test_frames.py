"""The checker that other tests rely on finds what it is there to find."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from tests.support.frames import check_client_frame, check_server_frame
from whatsapp import examples, wire


@pytest.mark.parametrize("kind", get_args(wire.AnyServerFrame), ids=lambda kind: kind.__name__)
def test_good_server_frames_pass(kind):
    check_server_frame(msgspec.json.encode(examples.value(kind)))


@pytest.mark.parametrize("kind", get_args(wire.AnyClientFrame), ids=lambda kind: kind.__name__)
def test_good_client_frames_pass(kind):
    check_client_frame(msgspec.json.encode(examples.value(kind)))


@pytest.mark.parametrize(
    "frame",
    [
        "[]",
        "{}",
        '{"type": "nothing"}',
        '{"type": "send", "id": "message-1", "to": "bob", "text": "hi"}',
        '{"type": "pong"}',
        '{"type": "pong", "time": "now"}',
        '{"type": "pong", "time": 1, "n": null}',
        '{"type": "pong", "time": 1, "colour": "red"}',
        '{"type": "messages", "chat": "alice:bob", "items": [{"chat": "alice:bob"}]}',
        '{"type": "typing", "chat": "alice:bob", "user": "BOB", "on": true}',
    ],
)
def test_bad_server_frames_are_found(frame):
    with pytest.raises(AssertionError):
        check_server_frame(frame)


def test_bad_client_frames_are_found():
    with pytest.raises(AssertionError, match=r"\$\.seq"):
        check_client_frame('{"type": "read", "chat": "alice:bob", "seq": -1}')
