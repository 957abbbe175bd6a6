"""What a test needs of the machine: there, or skipped with the reason, or, in CI, a failure.

A laptop need not have everything; CI must, or it would stay green while testing less and less.
"""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Where the Makefile puts programs that are no part of the virtual environment.
OUTSIDE = ROOT / ".cache" / "outside"
PLACES = (ROOT / ".venv" / "bin", ROOT / ".cache" / "bin", OUTSIDE / "bin")
NODE_MODULES = ROOT / ".cache" / "node" / "node_modules"


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


def need(program: str) -> str:
    """The path of a program, such as `node`; what the Makefile installed first."""
    return find(program) or missing(f"the program {program} is missing")


def find(program: str) -> str | None:
    """As `need`, or None."""
    # Debian keeps some where only root's PATH looks.
    path = os.pathsep.join([*map(str, PLACES), os.environ.get("PATH", os.defpath), "/usr/sbin"])
    return shutil.which(program, path=path)


def need_node_package(name: str) -> Path:
    """The folder to give to node as NODE_PATH, with the package `name` in it."""
    need("node")
    if (NODE_MODULES / name / "package.json").exists():
        return NODE_MODULES
    return missing(f"the Node.js package {name} is missing (`make test` installs it)")


def need_module(name: str) -> None:
    """A Python module that is an extra of ours, by its dotted name."""
    try:
        import_module(name)
    except ImportError:
        missing(f"the module {name} is missing")


def missing(what: str) -> NoReturn:
    if in_ci():
        pytest.fail(f"{what}, and in CI nothing may be skipped", pytrace=False)
    pytest.skip(f"skipped, because {what}")
