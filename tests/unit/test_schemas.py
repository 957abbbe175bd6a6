"""What is made of msgspec's schemas."""

from __future__ import annotations

import re

import msgspec
import pytest

from whatsapp import resources, schemas, wire
from whatsapp.model import user_id

FOUND = schemas.components([wire.Send, wire.Hello, wire.Receipt, wire.Item, resources.ChatInfo])


def test_what_comes_in_may_be_null_and_is_in_any_case():
    to = FOUND["Send"]["properties"]["to"]
    assert {"type": "null"} in to["anyOf"]
    assert to["anyOf"][0]["pattern"] == schemas.USER_PATTERN_LENIENT
    assert to["description"] == "A user, for the direct chat with it"


def test_what_goes_out_is_in_lower_case():
    assert "A-Z" not in FOUND["Receipt"]["properties"]["user"]["pattern"]


@pytest.mark.parametrize("user", ["Bob", "alice", "+4912345678", "a.b-c_d"])
def test_the_lenient_pattern_takes_what_the_model_takes(user):
    assert re.match(schemas.USER_PATTERN_LENIENT, user)
    assert user_id(user) == user.lower()


def test_one_choice_is_a_constant_and_choices_have_a_type():
    assert FOUND["Send"]["properties"]["type"] == {"type": "string", "const": "send"}
    assert FOUND["Role"]["type"] == "string"
    assert FOUND["Role"]["enum"] == ["admin", "member", "owner"]


def test_null_stays_where_it_is_sent():
    assert {"type": "null"} in FOUND["ChatInfo"]["properties"]["last"]["anyOf"]


def test_several_choices_stay_without_null():
    error = schemas.components([wire.Error])["Error"]["properties"]["re"]
    assert error == {"anyOf": [{"type": "string"}, {"type": "integer"}]}


def test_descriptions_are_not_indented():
    assert "\n  " not in FOUND["ChatInfo"]["description"]


def test_every_member_that_is_described_exists():
    structs = {**vars(resources), **vars(wire)}
    for name, member in schemas.SAID:
        names = {field.encode_name for field in msgspec.structs.fields(structs[name])}
        assert member in names, (name, member)
