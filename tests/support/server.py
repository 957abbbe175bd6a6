"""The real server for tests: in this process on a real socket, or as a process to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from aiohttp import web
from msgspec import Struct

from whatsapp import config
from whatsapp.app import open_app
from whatsapp.clock import Clock, SystemClock
from whatsapp.listen import BACKLOG, listen
from whatsapp.server import App

# One that needs a service is added with `marks=pytest.mark.external`.
STORES = [pytest.param("memory"), pytest.param("sqlite")]

READY_SECONDS_MAX = 20.0
END_SECONDS_MAX = 15.0
# Hashes as weak as they may be: a test logs in often, and its passwords are no secrets.
WEAK_HASHES_KIB = 1024

Options = Mapping[str, Mapping[str, Any]]


class ShiftedClock(SystemClock):
    """The machine's clocks; a test can let hours pass in no time."""

    def __init__(self) -> None:
        self.shift_seconds = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.shift_seconds * 1000)

    def monotonic(self) -> float:
        return super().monotonic() + self.shift_seconds


class Running(Struct):
    """A server in this process."""

    app: App
    url: str


def settings(store: str, data: Path, options: Options | None = None) -> config.Config:
    """The configuration of a test: weak hashes, a store, and what the test wants otherwise."""
    table: dict[str, dict[str, Any]] = {
        "storage": {"backend": store, "data": str(data)},
        "auth": {"password_memory_kib": WEAK_HASHES_KIB},
    }
    for section, changed in (options or {}).items():
        table.setdefault(section, {}).update(changed)
    return msgspec.convert(table, config.Config)


@contextlib.asynccontextmanager
async def running(wanted: config.Config, *, clock: Clock | None = None) -> AsyncIterator[Running]:
    """The whole server on a free port of 127.0.0.1, and its orderly end."""
    async with open_app(wanted, clock=clock) as app, serving(app.web, app.door.abort_all) as url:
        yield Running(app, url)


@contextlib.asynccontextmanager
async def serving(
    application: web.Application, before_end: Callable[[], None] = lambda: None
) -> AsyncIterator[str]:
    """Any aiohttp application on a free port of 127.0.0.1; its URL."""
    runner = web.AppRunner(
        application, access_log=None, handler_cancellation=False, shutdown_timeout=0.2
    )
    with listen("127.0.0.1", 0, tries=0) as listening:
        await runner.setup()
        try:
            await web.SockSite(runner, listening.sockets[0], backlog=BACKLOG).start()
            yield listening.url
        finally:
            before_end()
            await runner.cleanup()


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Of "asyncio" or "uvloop"; the transports of the two are not the same code."""
    if name == "uvloop":
        factory: Callable[[], asyncio.AbstractEventLoop]
        factory = pytest.importorskip("uvloop").new_event_loop
        return factory
    return asyncio.new_event_loop


class Server:
    """`whatsapp serve` as a process of its own, on one data folder for all of its lives.

    `program`: what Python runs, where it is not `-m whatsapp` itself.
    """

    def __init__(
        self,
        data: Path,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "whatsapp"),
    ) -> None:
        self.data = data
        self.url = ""
        self.ready_seconds = 0.0
        self.said: list[str] = []
        self._flags = flags
        self._program = program
        self._environment = {
            **os.environ,
            "WHATSAPP_AUTH_PASSWORD_MEMORY_KIB": str(WEAK_HASHES_KIB),
            **(environment or {}),
        }
        self._log = data.parent / f"{data.name}.log"
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill9()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def log(self) -> str:
        """What all lives so far wrote to standard error."""
        return self._log.read_text() if self._log.exists() else ""

    async def start(self) -> None:
        """Return once it says that it is ready, or fail with what it said instead."""
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._program,
                *("serve", "--port", "0", "--data", str(self.data)),
                *self._flags,
                stdout=PIPE,
                stderr=log,
                env=self._environment,
            )
        self.said = []
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                await self._until_ready()
        except TimeoutError:
            await self.kill9()
            raise AssertionError(f"not ready in {READY_SECONDS_MAX} s: {self._told()}") from None
        self.ready_seconds = time.monotonic() - began

    async def restart(self) -> None:
        """On the same data, after it has ended in whatever way."""
        assert self._running().returncode is not None, "the server still runs"
        await self.start()

    async def kill9(self) -> None:
        """The end that no process can prepare for."""
        process = self._running()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await self._ended(process)

    async def terminate(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.signal(number)
        return await self.ended()

    def signal(self, number: int) -> None:
        self._running().send_signal(number)

    async def ended(self) -> int:
        """Wait for the end that it was asked for; its exit code."""
        process = self._running()
        try:
            return await asyncio.wait_for(self._ended(process), END_SECONDS_MAX)
        except TimeoutError:
            await self.kill9()
            raise AssertionError(f"still there after {END_SECONDS_MAX} s: {self._told()}") from None

    async def _until_ready(self) -> None:
        stdout = self._running().stdout
        assert stdout is not None
        while line := (await stdout.readline()).decode():
            self.said.append(line.rstrip("\n"))
            name, _, value = line.strip().partition(" ")
            if name == "page":
                self.url = value.strip().rstrip("/")
            if name == "ready":
                return
        code = await self._ended(self._running())
        raise AssertionError(f"ended with {code} before it was ready: {self._told()}")

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        if process.stdout is not None:
            await process.stdout.read()  # a full pipe must not hold it up
        return await process.wait()

    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "start it first"
        return self._process

    def _told(self) -> str:
        return "\n".join([*self.said, *self.log.splitlines()[-20:]])


async def run_serve(
    data: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Start a server that must not start: its exit code and what it told on standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "whatsapp", "serve", "--data", str(data), *flags),
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, **(environment or {})},
    )
    try:
        _, told = await asyncio.wait_for(process.communicate(), READY_SECONDS_MAX)
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise AssertionError("it started, or hangs") from None
    assert process.returncode is not None
    return process.returncode, told.decode()
