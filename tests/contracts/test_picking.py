"""The table of backends."""

from __future__ import annotations

import subprocess
import sys

import pytest

import backends
from whatsapp.errors import StartupError


def test_a_known_name_gives_its_module():
    assert backends.stores("memory").open_stores
    assert backends.stores("sqlite").open_stores
    assert backends.directory("memory").open_directory


@pytest.mark.parametrize("pick", [backends.stores, backends.directory])
def test_an_unknown_name_lists_the_right_ones(pick):
    with pytest.raises(StartupError) as caught:
        pick("oracle")
    assert "'oracle'" in caught.value.cause
    assert "memory" in caught.value.cure


def test_a_driver_is_imported_when_it_is_picked():
    code = (
        "import sys, backends; backends.stores('memory');"
        " assert not {'sqlite3', 'aiosqlite'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
