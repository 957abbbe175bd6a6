"""The operator's commands: what they say. Their work is tested where it is."""

from __future__ import annotations

import logging

import pytest

from tests.support.command import refused
from whatsapp import operating
from whatsapp.check import Report

pytestmark = pytest.mark.usefixtures("home")


def test_the_commands():
    assert [command.name for command in operating.COMMANDS] == [
        "backup",
        "restore",
        "check",
        "plan",
    ]


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_file_must_be_named(command: str):
    assert refused(command, code=2)[1] == f"See `whatsapp {command} --help`."


@pytest.mark.parametrize(
    "problems,said", [([], "all is well"), (["a"], "1 problem"), (["a", "b"], "2 problems")]
)
def test_the_verdict(problems: list[str], said: str):
    assert operating._verdict(Report(problems=problems)) == said


def test_the_stores_log_is_silent_only_while_it_works():
    store = logging.getLogger("backends")
    before = store.level
    with operating._working():
        assert not store.isEnabledFor(logging.CRITICAL)
    assert store.level == before
