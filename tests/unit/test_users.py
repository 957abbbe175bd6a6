"""An operator's work on accounts, by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import refused, run
from whatsapp import users
from whatsapp.errors import StartupError

pytestmark = pytest.mark.usefixtures("home")

NEW = "correct horse x"


def test_an_account_from_beginning_to_end(monkeypatch):
    monkeypatch.setenv("WHATSAPP_AUTH_REGISTRATION", "closed")
    monkeypatch.setenv("WHATSAPP_AUTH_PASSWORD_MEMORY_KIB", "1024")
    assert run("user", "list").stdout == ""
    added = run("user", "add", "Alice", "--name", "Alice B", typed=f"{NEW}\n{NEW}\n")
    assert (added.exit_code, added.stdout.splitlines()[-1]) == (0, "added alice")
    assert NEW not in added.output
    assert run("user", "add", "bob", "--password-stdin", typed=NEW + "\n").exit_code == 0
    assert run("user", "list").stdout == "alice\tAlice B\tnever\nbob\tbob\tnever\n"
    changed = run("user", "password", "ALICE", "--password-stdin", typed="correct horse y")
    assert changed.stdout == "new password set for alice\n"
    assert run("user", "remove", "alice", typed="n\n").exit_code == 130
    assert run("user", "remove", "alice", typed="y\n").exit_code == 0
    assert run("user", "remove", "bob", "--yes").stdout == "removed bob\n"
    assert run("user", "list").stdout == ""
    assert refused("user", "remove", "bob", "--yes", code=1)
    # The id stays taken.
    assert refused("user", "add", "bob", "--password-stdin", code=1, typed=NEW)


def test_a_name_is_one_line_of_the_list_and_no_command_to_a_terminal():
    run("user", "add", "mal", "--name", "M\nroot \x9b2J", "--password-stdin", typed=NEW + "\n")
    assert run("user", "list").stdout == "mal\tM root \ufffd2J\tnever\n"


@pytest.mark.parametrize("user,password", [("a", NEW), ("alice", "short"), ("alice", "")])
def test_what_an_account_may_not_be(user: str, password: str):
    lines = refused("user", "add", user, "--password-stdin", code=1, typed=password + "\n")
    assert lines[0].startswith("Error: ")


def test_accounts_of_the_memory_store(monkeypatch):
    monkeypatch.setenv("WHATSAPP_STORAGE_BACKEND", "memory")
    assert "memory store" in refused("user", "list", code=1)[0]


def test_a_store_that_cannot_be_opened_says_why(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    cause, cure = refused("user", "list", "--data", str(tmp_path / "file"), code=1)
    assert "is not a folder" in cause
    assert "--data" in cure


def test_a_running_server_has_the_folder(tmp_path: Path, monkeypatch):
    def held(*_):
        raise StartupError(f"{tmp_path} is in use by process 7", "Name another folder.")

    monkeypatch.setattr(users, "open_app", held)
    cause, cure = refused("user", "list", code=1)
    assert cause == f"Error: {tmp_path} is in use by process 7"
    assert "REST API" in cure
