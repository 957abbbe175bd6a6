"""A restart in good order under load, again and again: no send fails, nothing is lost or doubled.

There is no handing over to a new process: for a second or two nobody listens. A client that
does what the protocol wants (ours does) sends again what has no answer yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.flood import Record, log_in_file
from tests.support.peer import Peer, Stalled, client_session
from tests.support.server import Server
from whatsapp.client import Client

RESTARTS = 4
LOAD_SECONDS = 0.6
# The promise to whoever restarts it: drain, and what is left, whatever the clients do.
END_SECONDS_MAX = 10.0
WRITERS_EACH = 6
STALLED = 5
BACKLOG_MESSAGES = 60
BIG_TEXT = "x" * 16_000
SETTLE_SECONDS_MAX = 40.0
CHAT = "alice:bob"
PASSWORD = "a long road home"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


class Writer:
    """Sends one text after the other; a send that fails ends it, and so the test."""

    def __init__(self, client: Client, other: str, name: str) -> None:
        self.acknowledged: list[Record] = []
        self._client, self._other, self._name = client, other, name

    async def run(self, enough: asyncio.Event) -> None:
        count = 0
        while not enough.is_set():
            count += 1
            text = f"{self._name} says {count}"
            sent = await self._client.send(self._other, text)
            one = Record(sent.chat, sent.seq, self._client.user, sent.id, text)
            self.acknowledged.append(one)


async def listen(client: Client, got: list[int]) -> None:
    async for message in client.messages():
        if message.chat == CHAT:
            got.append(message.seq)  # noqa: PERF401 — counted while it grows


@contextlib.asynccontextmanager
async def stalled(url: str, tokens: list[str]) -> AsyncIterator[None]:
    """Devices that have much to read and read nothing."""
    clients = [Stalled(url) for _ in tokens]
    try:
        for client, token in zip(clients, tokens, strict=True):
            await client.connect(token)
        yield
    finally:
        for client in clients:
            client.close()


async def tokens_of_sloth(server: Server) -> list[str]:
    async with client_session() as http:
        writer = await Peer(http, server.url, "writer").register()
        sloth = await Peer(http, server.url, "sloth").register()
        for number in range(BACKLOG_MESSAGES):
            body = {"id": f"backlog-{number}", "text": BIG_TEXT}
            await writer.ask("POST", "/v1/chats/sloth:writer/messages", body)
        tokens = []
        for number in range(STALLED):
            await sloth.login(f"device {number}")
            tokens.append(sloth.token)
    return tokens


async def restarted_under_load(server: Server, tokens: list[str]) -> None:
    ends = []
    for _ in range(RESTARTS):
        async with stalled(server.url, tokens):
            await asyncio.sleep(LOAD_SECONDS)
            began = time.monotonic()
            assert await server.terminate() == 0
            ends.append(time.monotonic() - began)
            assert ends[-1] < END_SECONDS_MAX
            await server.restart()
    print(f"{RESTARTS} restarts with {STALLED} stalled clients, ended in {max(ends):.1f} s at most")


async def until_there(got: list[list[int]], wanted: list[list[int]]) -> None:
    """Each reader has what the other wrote, in order, once."""
    end = time.monotonic() + SETTLE_SECONDS_MAX
    while list(map(len, got)) != list(map(len, wanted)) and time.monotonic() < end:
        await asyncio.sleep(0.05)
    assert got == wanted


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_restarts_that_no_client_needs_to_know_of(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--port", str(free_port()), "--no-rate-limits")
    enough = asyncio.Event()
    async with server, contextlib.AsyncExitStack() as stack:
        tokens = await tokens_of_sloth(server)
        clients = [await stack.enter_async_context(Client(server.url)) for _ in range(2)]
        got: list[list[int]] = [[], []]
        for client, user in zip(clients, ("alice", "bob"), strict=True):
            await client.login(user, PASSWORD, register=True)
        readers = [
            asyncio.create_task(listen(client, seqs))
            for client, seqs in zip(clients, got, strict=True)
        ]
        writers = [
            Writer(client, other, f"{other}'s friend {number}")
            for client, other in zip(clients, ("bob", "alice"), strict=True)
            for number in range(WRITERS_EACH)
        ]
        writing = [asyncio.create_task(writer.run(enough)) for writer in writers]
        await restarted_under_load(server, tokens)
        await asyncio.sleep(LOAD_SECONDS)
        enough.set()
        async with asyncio.timeout(SETTLE_SECONDS_MAX):
            await asyncio.gather(*writing)
        acknowledged = [one for writer in writers for one in writer.acknowledged]
        of_alice = sorted(one.seq for one in acknowledged if one.sender == "alice")
        of_bob = sorted(one.seq for one in acknowledged if one.sender == "bob")
        await until_there(got, [of_bob, of_alice])
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        await asyncio.gather(*(client.close() for client in clients))
        assert await server.terminate() == 0
        assert "Traceback" not in server.log
    log = log_in_file(server.data, CHAT)
    # All that was sent was answered, with its place; and nothing else is there.
    assert sorted(acknowledged, key=lambda one: one.seq) == log
    assert len(log) > RESTARTS * WRITERS_EACH
