"""Autobahn's WebSocket conformance cases (by way of kosoku) against `connection.py` as it is.

The server of the cases is an echo over the real `Connection`: text and binary, with a limit of
message size that lets the large ones through. Sections 12 and 13 are about compression, which
we do not offer: it costs memory per connection and leaks lengths, so they do not apply.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.need import need
from tests.support.server import loop_factory, serving
from whatsapp.connection import Connection, Settings
from whatsapp.lean import LeanConnection
from whatsapp.metrics import Metrics

pytestmark = [pytest.mark.slow, pytest.mark.external]

SETTINGS = Settings(
    frame_bytes_max=17 * 1024 * 1024,
    heartbeat_seconds=60.0,
    close_timeout_seconds=2.0,
    stall_seconds=30.0,
)
COMPRESSION = ["12.*", "13.*"]
# Read the plain way, broken UTF-8 is refused when the message is whole, not at its first broken
# byte. Both conform (RFC 6455, 8.1); the lean way does the better one.
NON_STRICT = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}
CASES_MIN = 300
AT_ONCE = 4
GOOD = {"OK", "INFORMATIONAL"}


class Echo:
    """A receiver that says back what it hears."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def text(self, data: bytes) -> None:
        self._connection.write([data])

    def binary(self, data: bytes) -> None:
        self._connection.write_binary(data)

    def ended(self) -> None:
        pass


@contextlib.asynccontextmanager
async def echo_server(reader: type[Connection]) -> AsyncIterator[str]:
    """Its URL."""
    metrics = Metrics(version="test", store="memory")

    async def handle(request: web.Request) -> web.StreamResponse:
        connection = reader(SETTINGS, metrics)
        response = await connection.open(request, ())
        connection.receiver = Echo(connection)
        await connection.run()
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    async with serving(app) as url:
        yield url


@pytest.mark.timeout(240)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("reader", [Connection, LeanConnection])
def test_every_case(tmp_path: Path, loop: str, reader: type[Connection]) -> None:
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        told = runner.run(play_cases(tmp_path, reader))
    index = tmp_path / "index.json"
    assert index.exists(), told
    (cases,) = json.loads(index.read_text()).values()
    odd = [
        f"{case}: {found['behavior']}, close {found['behaviorClose']}"
        for case, found in cases.items()
        if not is_good(case, found, lenient=reader is Connection)
    ]
    assert not odd, "\n".join([*odd, told])
    assert len(cases) >= CASES_MIN


async def play_cases(reports: Path, reader: type[Connection]) -> str:
    async with echo_server(reader) as url:
        return await run_cases(url, reports)


def is_good(case: str, found: dict[str, Any], *, lenient: bool) -> bool:
    allowed = GOOD | {"NON-STRICT"} if lenient and case in NON_STRICT else GOOD
    return found["behavior"] in allowed and found["behaviorClose"] in GOOD


async def run_cases(url: str, reports: Path) -> str:
    """What it told. As a process of its own: now and then it aborts while it ends."""
    excluded = [word for case in COMPRESSION for word in ("--exclude", case)]
    process = await asyncio.create_subprocess_exec(
        need("kosoku"),
        *("--parallelism", str(AT_ONCE), "--outdir", str(reports), *excluded, url),
        stdout=PIPE,
        stderr=STDOUT,
    )
    told, _ = await process.communicate()
    return told.decode()
