"""The command line: what is understood, what is said where it is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import ROOT, every_command, refused, run
from whatsapp.config import Config
from whatsapp.errors import StartupError

pytestmark = pytest.mark.usefixtures("home")

EXAMPLE = ROOT / "config.example.toml"


@pytest.fixture
def served(monkeypatch):
    """What `serve` was asked for, without serving."""
    calls: list[tuple[Config, object]] = []
    monkeypatch.setattr("whatsapp.serve.run", lambda *asked: calls.append(asked))
    return calls


# --- help and mistakes ---------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path, _ in every_command()], ids=" ".join)
def test_every_command_explains_itself_with_examples(path: list[str]):
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert "Examples:\n" in result.stdout
    assert re.search(r"^    .*whatsapp", result.stdout, re.MULTILINE)
    # No description is cut.
    assert "..." not in result.stdout.replace("[ARGS]...", "")


def test_version():
    assert re.fullmatch(r"whatsapp \d\S*\n", run("--version").stdout)


def test_help_and_version_need_no_server_code():
    code = (
        "import sys\n"
        "from whatsapp.cli import main\n"
        "try: main(['--help'], prog_name='whatsapp')\n"
        "except SystemExit: pass\n"
        "print({'aiohttp', 'asyncio', 'msgspec', 'sqlite3'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_python_m_whatsapp_is_the_same():
    done = subprocess.run(
        [sys.executable, "-m", "whatsapp", "serv"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert done.stderr == "Error: No such command 'serv'.\nDid you mean serve?\n"


def test_a_mistyped_command_or_option_is_guessed():
    assert refused("docter", code=2)[1] == "Did you mean doctor?"
    assert refused("config", "shw", code=2)[1] == "Did you mean show?"
    assert refused("serve", "--hots", "x", code=2)[1] == "Did you mean --host?"
    assert refused("--dmo", code=2)[1] == "Did you mean --demo?"


def test_a_mistake_that_cannot_be_guessed_points_to_the_help():
    assert refused("xyzzy", code=2)[1] == "See `whatsapp --help`."
    assert refused("serve", "--port", "many", code=2)[1] == "See `whatsapp serve --help`."
    assert refused("user", "add", code=2)[1] == "See `whatsapp user add --help`."


def test_a_group_without_a_command_shows_its_help():
    result = run("config")
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: whatsapp config")


def test_an_interrupt_is_no_traceback(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("whatsapp.serve.run", interrupted)
    assert run("serve").exit_code == 130


def test_a_reader_that_is_gone_is_no_traceback():
    done = subprocess.run(
        f"{sys.executable} -m whatsapp config show | true",
        check=True,
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.stdout, done.stderr) == ("", "")


# --- serve ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_without_a_command_it_serves(served, arguments: list[str]):
    assert run(*arguments).exit_code == 0
    ((config, options),) = served
    assert config == Config()
    assert (options.port_given, options.demo, options.loop) == (False, False, "auto")


def test_flags_reach_the_configuration(served):
    run(
        *("--host", "::1", "--port", "0", "--data", "/x", "--store", "memory"),
        *("--directory", "memory", "--no-rate-limits", "--loop", "asyncio"),
    )
    ((config, options),) = served
    assert (config.server.host, config.server.port) == ("::1", 0)
    assert (config.storage.data, config.storage.backend) == ("/x", "memory")
    assert not config.rates.enabled
    assert (options.port_given, options.loop) == (True, "asyncio")


def test_a_port_may_be_asked_for_in_every_way(served, tmp_path: Path, monkeypatch):
    file = tmp_path / "w.toml"
    file.write_text("[server]\nport = 8080\n")
    run("serve", "--config", str(file))
    monkeypatch.setenv("WHATSAPP_CONFIG", str(file))
    run("serve")
    monkeypatch.delenv("WHATSAPP_CONFIG")
    monkeypatch.setenv("WHATSAPP_SERVER_PORT", "8080")
    run("serve")
    assert [options.port_given for _, options in served] == [True] * 3


def test_no_file_is_read_that_was_not_named(served, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("whatsapp.toml", "config.toml"):
        (tmp_path / name).write_text("[server]\nport = 1\n")
    run("serve")
    assert served[0][0] == Config()


def test_the_demo_has_a_folder_of_its_own(served, home: Path):
    run("--demo")
    run("--demo", "--data", "/x")
    assert [config.storage.data for config, _ in served] == [str(home / "demo"), "/x"]
    assert all(options.demo for _, options in served)


def test_what_keeps_it_from_starting_is_cause_and_cure(monkeypatch):
    def cannot(*_):
        raise StartupError("the cause", "the cure")

    monkeypatch.setattr("whatsapp.serve.run", cannot)
    assert refused("serve", code=1) == ("Error: the cause", "the cure")
    assert refused("serve", "--config", "/no/such", code=1) == (
        "Error: /no/such: cannot be read: No such file or directory",
        "Name a file with --config that exists.",
    )


def test_a_variable_that_is_no_option_is_warned_of(served, monkeypatch):
    monkeypatch.setenv("WHATSAPP_SERVER_PROT", "1")
    result = run("serve")
    assert "WHATSAPP_SERVER_PROT is no option; did you mean WHATSAPP_SERVER_PORT?" in result.stderr


# --- config --------------------------------------------------------------------------


def test_config_check(tmp_path: Path, monkeypatch):
    assert run("config", "check", str(EXAMPLE)).stdout == f"{EXAMPLE}: right\n"
    assert run("config", "check", "--config", str(EXAMPLE)).exit_code == 0
    assert run("config", "check").exit_code == 0
    file = tmp_path / "w.toml"
    file.write_text("[server]\nprot = 1\n")
    assert refused("config", "check", str(file), code=1) == (
        f"Error: {file}: [server]: Object contains unknown field `prot`",
        "Did you mean `port`?",
    )
    monkeypatch.setenv("WHATSAPP_LOG_LEVEL", "loud")
    assert "WHATSAPP_LOG_LEVEL" in refused("config", "check", code=1)[0]


# --- doctor --------------------------------------------------------------------------


def test_doctor(tmp_path: Path):
    well = run("doctor", "--port", "0", "--data", str(tmp_path / "new"))
    assert (well.exit_code, "fail" in well.stdout) == (0, False)
    (tmp_path / "file").write_text("x")
    ill = run("doctor", "--port", "0", "--data", str(tmp_path / "file"))
    assert ill.exit_code == 1
    assert re.search(r"^fail +data .*\n +-> .*--data", ill.stdout, re.MULTILINE)


# --- completion ----------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_the_shells_script(shell: str):
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_WHATSAPP_COMPLETE" in result.stdout


def test_completion_completes():
    done = subprocess.run(
        [sys.executable, "-m", "whatsapp"],
        env={
            **os.environ,
            "_WHATSAPP_COMPLETE": "bash_complete",
            "COMP_WORDS": "whatsapp serve --st",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.split() == ["plain,--store"]
