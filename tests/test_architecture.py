"""What no linter can say: sizes, completeness of tables, and which words may not be here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from whatsapp import config, router, wire
from whatsapp.session import State

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted(p for folder in ("whatsapp", "backends") for p in (ROOT / folder).rglob("*.py"))

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400

# Exceptions, each with its reason.
LONG_FUNCTIONS: dict[str, str] = {}
LONG_FILES: dict[str, str] = {}
WITHOUT_A_UNIT_TEST: dict[str, str] = {
    "__init__": "nothing in it but the map",
    "__main__": "one call; tests/scripts start the program",
    "core": "built anew for every unit test of the core, and for each of the seeded worlds",
    "server": "built and run by test_app, and by everything that talks to a server",
    "interfaces": "promises; tests/contracts keep them, for every backend",
    "resources": "shapes without behaviour; test_contract and test_rest use all of them",
}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def files_of_the_project() -> list[Path]:
    """What is in version control or would be; in an unpacked archive: what is there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        found = [p for p in ROOT.rglob("*") if not any(part.startswith(".") for part in p.parts)]
    return [path for path in found if path.is_file()]


def test_a_function_fits_a_screen():
    long = {
        f"{named(path)}:{function.name}": lines
        for path in CODE
        for function in functions(path)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert set(long) == set(LONG_FUNCTIONS), long


def test_a_file_fits_a_sitting():
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in CODE}
    long = {name: count for name, count in lines.items() if count > FILE_LINES_MAX}
    assert set(long) == set(LONG_FILES), long


def test_every_file_begins_with_what_may_live_in_it():
    silent = [named(p) for p in CODE if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert silent == []


def test_every_module_has_its_own_unit_test():
    modules = {path.stem for path in (ROOT / "whatsapp").glob("*.py")}
    tested = {p.stem.removeprefix("test_") for p in (ROOT / "tests/unit").glob("test_*.py")}
    assert modules - tested - set(WITHOUT_A_UNIT_TEST) == set()
    assert set(WITHOUT_A_UNIT_TEST) & tested == set(), "it has one: no exception is needed"


def test_every_frame_that_a_client_may_send_is_routed():
    frames = set(get_args(wire.AnyClientFrame))
    assert set(router.TABLE) == set(State)
    assert set(router.TABLE[State.LIVE]) == frames
    assert set().union(*router.TABLE.values()) == frames


def test_the_example_spells_out_every_option_at_its_default():
    example = ROOT / "config.example.toml"
    assert config.load(example) == config.Config()
    table = tomllib.loads(example.read_text(encoding="utf-8"))
    for section in msgspec.structs.fields(config.Config):
        options = {option.name for option in msgspec.structs.fields(section.type)}
        assert set(table[section.name]) == options, section.name


def test_imports_follow_the_layers():
    linter = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run(
        [linter, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


# Rules that every backend shares; they belong to no technology.
SHARED_BY_BACKENDS = {"changes"}
IMPORTED = re.compile(r"\b(?:from backends import |backends\.)(\w+)")


def test_a_backend_is_made_of_its_own_files_only():
    """`sqlite.py` may import `sqlite_rows.py`, but nothing of another technology's."""
    strangers = [
        f"{named(path)} -> {module}"
        for path in sorted((ROOT / "backends").glob("*.py"))
        for module in IMPORTED.findall(path.read_text("utf-8"))
        if path.stem != "__init__"
        and module not in SHARED_BY_BACKENDS
        and module.split("_")[0] != path.stem.split("_")[0]
    ]
    assert strangers == []


LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


def log_calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = ast.unparse(node.func.value)
        if node.func.attr in LOG_METHODS and re.fullmatch(r"(\w+\.)*_?log(ger)?", owner):
            yield node


def test_a_log_line_is_a_constant_phrase_with_arguments():
    """So that a line can be searched for, and costs nothing where its level is off."""
    loose = [
        f"{named(path)}:{call.lineno}"
        for path in CODE
        for call in log_calls(path)
        if not (
            call.args
            and isinstance(call.args[0], ast.Constant)
            and isinstance(call.args[0].value, str)
        )
    ]
    assert loose == []


# What must stay secret in a log: no such value is ever an argument of a log call.
SECRETS = re.compile(r"\b(token|password|text|body|secret|token_hash|password_hash)\b")


def test_a_log_line_has_no_secrets():
    told = [
        f"{named(path)}:{call.lineno}: {ast.unparse(argument)}"
        for path in CODE
        for call in log_calls(path)
        for argument in call.args[1:]
        if SECRETS.search(ast.unparse(argument))
    ]
    assert told == []


# Written in halves, so that this file may be searched too.
FORBIDDEN = [
    first + second
    for first, second in [
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/ho", "me/"),
        ("pypi", ".org"),
        ("python", "hosted"),
        ("npm", "js.org"),
        ("npm", "js.com"),
        ("deb", "ian.org"),
    ]
]


@pytest.mark.parametrize("word", FORBIDDEN)
def test_nothing_tells_of_one_machine_or_one_registry(word):
    """The project is installed from whatever pip and npm are configured for, anywhere."""
    found = [named(p) for p in files_of_the_project() if word.encode() in p.read_bytes()]
    assert found == []
