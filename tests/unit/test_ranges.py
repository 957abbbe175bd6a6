"""Ranges of numbers, wherever a command has one."""

from __future__ import annotations

import click
import pytest

from tests.support.command import every_command, refused
from whatsapp.ranges import NumberRange


@pytest.mark.parametrize("text", ["nan", "-nan", "NaN", "inf", "-inf", "1e999"])
def test_what_is_no_number(text: str):
    for span in (NumberRange(0, 10), NumberRange(0), NumberRange()):
        with pytest.raises(click.BadParameter):
            span.convert(text, None, None)


def test_numbers_in_and_out_of_it():
    assert NumberRange(0, 10).convert("2.5", None, None) == 2.5
    with pytest.raises(click.BadParameter, match="not in the range 0<=x<=10"):
        NumberRange(0, 10).convert("11", None, None)


def test_every_option_with_a_range_has_this_one():
    ranged = {
        f"{' '.join(path)} {option.name}": type(option.type)
        for path, command in every_command()
        for option in command.params
        if isinstance(option.type, click.types.FloatParamType)
    }
    assert len(ranged) > 10
    assert set(ranged.values()) == {NumberRange}, ranged


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--years", "nan"),
        ("plan", "--messages-per-user", "nan"),
        ("send", "--timeout", "nan", "ben", "hi"),
        ("bench", "direct", "--seconds", "nan"),
    ],
)
def test_a_command_says_so(arguments: tuple[str, ...]):
    assert "nan is not a number" in refused(*arguments, code=2)[0]
