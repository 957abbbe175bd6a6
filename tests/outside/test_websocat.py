"""A conversation by programs that are not ours: curl registers, two websocats talk.

What is typed and what is shown here is what the README tells people to try.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.need import need
from tests.support.server import Server

pytestmark = pytest.mark.external

WAIT_SECONDS = 10.0
PASSWORD = "tulips in may"


async def curl(url: str, body: dict[str, str], token: str = "") -> Any:
    head = ("-H", f"Authorization: Bearer {token}") if token else ()
    process = await asyncio.create_subprocess_exec(
        need("curl"),
        *("--silent", "--show-error", "--fail-with-body", "--json", json.dumps(body), *head, url),
        stdout=PIPE,
        stderr=PIPE,
    )
    said, complained = await process.communicate()
    assert process.returncode == 0, (said, complained)
    return json.loads(said)


async def token(server: Server, user: str) -> str:
    """Registered and logged in."""
    account = {"user": user, "password": PASSWORD}
    assert await curl(f"{server.url}/v1/users", account) == {"user": user, "name": user}
    answer = await curl(f"{server.url}/v1/login", {**account, "device": "websocat"})
    return str(answer["token"])


class Websocat:
    """One that runs: lines in, lines out."""

    def __init__(self, server: Server, *flags: str) -> None:
        url = server.url.replace("http://", "ws://")
        self._command = (
            need("websocat"),
            *("--protocol", "whatsapp.v1.json", *flags, f"{url}/v1/ws"),
        )

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.communicate()

    def type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def line(self) -> Any:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), WAIT_SECONDS)
        assert line, "it has ended"
        return json.loads(line)

    async def lines(self, count: int) -> list[Any]:
        return [await self.line() for _ in range(count)]


async def test_two_websocats_talk(tmp_path: Path) -> None:
    async with Server(tmp_path / "data") as server:
        alice_token, bob_token = await token(server, "alice"), await token(server, "bob")
        # One says its token in the first frame, one in the header.
        bob_header = f"--header=Authorization: Bearer {bob_token}"
        async with Websocat(server) as alice, Websocat(server, bob_header) as bob:
            alice.type(json.dumps({"type": "hello", "token": alice_token}))
            bob.type('{"type":"hello"}')
            for one, user in ((alice, "alice"), (bob, "bob")):
                welcome, synced = await one.lines(2)
                assert (welcome["type"], welcome["user"]) == ("welcome", user)
                assert welcome["durable"] is True
                assert synced == {"type": "synced"}

            alice.type('{"type":"send","id":"first-001","to":"bob","text":"Grüße 👋"}')
            sent, message = await alice.line(), await bob.line()
            assert (sent["type"], sent["id"], sent["chat"]) == ("sent", "first-001", "alice:bob")
            assert sent["seq"] == 1
            assert message == {
                "type": "message",
                "chat": "alice:bob",
                "seq": 1,
                "id": "first-001",
                "from": "alice",
                "time": sent["time"],
                "kind": "text",
                "text": "Grüße 👋",
            }

            bob.type('{"type":"received","chat":"alice:bob","seq":1}')
            receipt = {"type": "receipt", "chat": "alice:bob", "user": "bob"}
            assert await alice.line() == {**receipt, "received": 1, "read": 0}
            bob.type('{"type":"read","chat":"alice:bob","seq":1}')
            assert await alice.line() == {**receipt, "received": 1, "read": 1}

            bob.type('{"type":"send","id":"answer-01","chat":"alice:bob","text":"hi","reply_to":1}')
            assert (await bob.line())["seq"] == 2
            assert (await alice.line())["reply_to"] == 1
            bob.type('{"type":"sing"}')
            error = await bob.line()
            assert (error["type"], error["code"]) == ("error", "bad_request")


async def test_a_bot_posts_with_curl(tmp_path: Path) -> None:
    async with Server(tmp_path / "data") as server:
        alice_token, bob_token = await token(server, "alice"), await token(server, "bob")
        url = f"{server.url}/v1/chats/alice:bob/messages"
        posted = await curl(url, {"id": "cron-0001", "text": "backup done"}, bob_token)
        assert (posted["seq"], posted["dup"]) == (1, False)
        again = await curl(url, {"id": "cron-0001", "text": "backup done"}, bob_token)
        assert again == {**posted, "dup": True}
        async with Websocat(server) as alice:
            alice.type(json.dumps({"type": "hello", "token": alice_token}))
            _, pending, synced = await alice.lines(3)
            assert [item["text"] for item in pending["items"]] == ["backup done"]
            assert synced == {"type": "synced"}
