"""What a test needs of the machine: there, or skipped with the reason, or, in CI, a failure.

A laptop need not have everything; CI must, or it would stay green while testing less and less.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
NODE_MODULES = ROOT / ".cache" / "node" / "node_modules"


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


def need(program: str) -> str:
    """The path of a program, such as `node`; in the virtual environment first."""
    here = ROOT / ".venv" / "bin" / program
    found = str(here) if here.exists() else shutil.which(program)
    return found or missing(f"the program {program} is missing")


def need_node_package(name: str) -> Path:
    """The folder to give to node as NODE_PATH, with the package `name` in it."""
    need("node")
    if (NODE_MODULES / name / "package.json").exists():
        return NODE_MODULES
    return missing(f"the Node.js package {name} is missing (`make test` installs it)")


def missing(what: str) -> NoReturn:
    if in_ci():
        pytest.fail(f"{what}, and in CI nothing may be skipped", pytrace=False)
    pytest.skip(f"skipped, because {what}")
