"""Examples are decoded by the very decoders of the server, and come out as they went in."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from whatsapp import examples, wire
from whatsapp.endpoints import OPERATIONS
from whatsapp.model import user_id

ALL = [operation for group in OPERATIONS.values() for operation in group]
BODIES = [operation.body for operation in ALL if operation.body is not None]
FRAMES = get_args(wire.AnyClientFrame) + get_args(wire.AnyServerFrame)


@pytest.mark.parametrize("kind", [*BODIES, *FRAMES], ids=lambda kind: kind.__name__)
def test_an_example_is_what_it_says(kind):
    encoded = msgspec.json.encode(examples.of(kind))
    assert msgspec.json.decode(encoded, type=kind) == examples.value(kind)


@pytest.mark.parametrize("kind", get_args(wire.AnyClientFrame), ids=lambda kind: kind.__name__)
def test_the_server_takes_the_example_of_a_frame(kind):
    assert wire.decode(msgspec.json.encode(examples.of(kind))) == examples.value(kind)


def test_what_need_not_be_given_is_left_out():
    assert examples.of(wire.Send).keys() == {"type", "id", "to", "text"}
    assert examples.of(wire.Presence)["last_seen"]


def test_a_list_has_one():
    kind: Any = list[wire.Item]
    with pytest.raises(KeyError):
        examples.of(kind)
    [operation] = [o for o in ALL if o.name == "listDevices"]
    assert len(examples.answer(operation)) == 1


def test_paths_are_complete():
    for operation in ALL:
        assert "{" not in operation.path.format(**examples.path(operation))
    assert user_id(examples.PATH["user"]) == "bob"
