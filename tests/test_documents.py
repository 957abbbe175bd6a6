"""RELIABILITY.md and SECURITY.md promise with tests: each one that they name is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.contracts.test_wounded import NOTICED_BY
from tests.faults import planted
from tests.faults.planted_many import PLANTS_OF_MANY
from tests.faults.test_torture import PLANTS as ON_A_SERVER
from tests.security.test_authorization import PLANTS as HOLES

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("RELIABILITY.md", "SECURITY.md")
# A test as pytest names it, without what it is parametrized with; several of one file may follow.
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`|`::(\w+)`")
PATH = re.compile(r"`((?:tests|whatsapp|backends|docs|deploy)/[\w./-]+)`")


@cache
def functions_of(name: str) -> set[str]:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def named_tests(text: str) -> list[tuple[str, str]]:
    found, file = [], ""
    for match in NAMED.finditer(text):
        file = match[1] or file
        if test := match[2] or match[3]:
            found.append((file, test))
    return found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_named_exists(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = named_tests(text)
    assert len(named) > 20
    assert [one for one in named if one[1] not in functions_of(one[0])] == []
    assert [path for path in PATH.findall(text) if not (ROOT / path).exists()] == []


def test_a_test_that_is_not_there_is_noticed():
    text = "`tests/test_documents.py::functions_of` and `::nowhere`"
    here = "tests/test_documents.py"
    assert named_tests(text) == [(here, "functions_of"), (here, "nowhere")]
    assert "nowhere" not in functions_of(here)


def test_every_planted_bug_is_listed():
    text = (ROOT / "RELIABILITY.md").read_text(encoding="utf-8")
    names = {plant.__name__ for plant in (*planted.PLANTS, *PLANTS_OF_MANY, *HOLES)}
    names |= {*ON_A_SERVER, *NOTICED_BY}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_row_of_a_table_has_its_test(document):
    """A row of a table whose head says `test` names one, or says that there is none."""
    columns = -1
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            columns = -1
        elif "test" in cells:
            columns = cells.index("test")
        elif columns >= 0 and not line.startswith("| ---"):
            assert "::" in cells[columns] or "not tested" in cells[columns], line
