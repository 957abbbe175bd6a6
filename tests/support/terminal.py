"""People at terminals, for tests: a server with users, and `whatsapp` as a process in a home."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from msgspec import Struct

from tests.support.need import ROOT
from tests.support.server import Running, running, settings
from whatsapp.client import Client
from whatsapp.resources import ChatInfo
from whatsapp.wire import Item

PASSWORD = "a good password"
COMMAND_SECONDS_MAX = 30.0


class Done(Struct):
    """How a command ended."""

    code: int
    out: str
    err: str


@contextlib.asynccontextmanager
async def people(folder: Path, *users: str) -> AsyncIterator[Running]:
    """A server in this process with these users; the names are those of people."""
    async with running(settings("memory", folder / "data")) as server:
        for user in users:
            await server.app.auth.add_user(user, PASSWORD, user.capitalize())
        yield server


@contextlib.asynccontextmanager
async def someone(url: str, user: str) -> AsyncIterator[Client]:
    """A client of another kind, as whom a test acts."""
    async with Client(url) as client:
        await client.login(user, PASSWORD)
        yield client


class ChatList(Client):
    """A client without a server, whose chats were last active at these times; paged as there."""

    def __init__(self, times: Iterable[int]) -> None:
        self.user = "ann"
        self.all = [_empty_chat(f"g:{number:03}", time) for number, time in enumerate(times)]

    async def chats(
        self, *, limit: int | None = None, before_ms: int | None = None
    ) -> list[ChatInfo]:
        found = [info for info in self.all if before_ms is None or _active(info) < before_ms]
        return sorted(found, key=lambda info: (-_active(info), info.chat))[:limit]

    async def watch(self, users: list[str]) -> None:
        """Nobody is looked at."""


def _empty_chat(chat: str, time: int) -> ChatInfo:
    last = Item(chat=chat, seq=1, kind="created", time=time)
    return ChatInfo(
        chat=chat, kind="group", title=chat, last=last, head=1, received=0, read=0, unread=0
    )


def _active(info: ChatInfo) -> int:
    assert info.last is not None
    return info.last.time


class Home:
    """A user's home and environment, with nothing in it but what a test puts there."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    async def start(self, *arguments: str, password: str | None = None) -> Process:
        """`whatsapp` with these arguments, its server being the test's."""
        environment = {n: t for n, t in os.environ.items() if not n.startswith("WHATSAPP_")}
        environment |= {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        environment |= {"WHATSAPP_URL": self.url, "PYTHONUTF8": "1"}
        if password is not None:
            environment["WHATSAPP_PASSWORD"] = password
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "whatsapp", *arguments),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=ROOT,
            env=environment,
        )

    async def run(self, *arguments: str, typed: str = "", password: str | None = None) -> Done:
        """The same, until it ends."""
        process = await self.start(*arguments, password=password)
        async with asyncio.timeout(COMMAND_SECONDS_MAX):
            out, err = await process.communicate(typed.encode())
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())
