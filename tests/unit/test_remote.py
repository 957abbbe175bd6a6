"""The commands that talk to a server: what they understand. What they do is in test_scripting."""

from __future__ import annotations

import pytest

from tests.support.command import refused, run
from whatsapp import remote, saved

pytestmark = pytest.mark.usefixtures("home")


def test_the_default_server_is_that_of_a_server_without_options():
    assert remote.SERVER == saved.SERVER == "http://127.0.0.1:8080"


@pytest.mark.parametrize("command", ["chat", "send", "tail", "login", "logout"])
def test_they_are_commands_with_a_server_and_a_user(command: str):
    told = run(command, "--help").stdout
    assert "--server URL" in told
    assert "--as USER" in told


def test_send_needs_one_text():
    assert refused("send", "bob", code=2)[0] == "Error: one TEXT is needed after the USER"
    assert "quote it" in refused("send", "bob", "two", "words", code=2)[0]


def test_a_password_is_one_line_of_standard_input():
    told = refused("login", "--as", "ann", "--password-stdin", code=2, typed="")
    assert told[0] == "Error: there is no password on standard input"
