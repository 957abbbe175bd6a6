"""The door: who may open a connection, how many, and how those that are open are kept."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, WSServerHandshakeError
from msgspec import Struct

from tests.support.peer import SUBPROTOCOL, Peer, Stalled, client_session
from tests.support.server import Running, running, settings
from whatsapp.server import App
from whatsapp.web import _header_token, _same_origin

BIG_TEXT = "x" * 16_000
BACKLOG_MESSAGES = 60


class Place(Struct):
    """A server and a way to it."""

    server: Running
    http: ClientSession

    @property
    def app(self) -> App:
        return self.server.app

    async def peer(self, user: str) -> Peer:
        return await Peer(self.http, self.server.url, user).register()

    async def handshake(self, *protocols: str, **headers: str) -> int:
        """The status; 101 where it opens."""
        try:
            async with self.http.ws_connect(
                f"{self.server.url}/v1/ws",
                protocols=protocols or (SUBPROTOCOL,),
                headers={name.replace("_", "-"): value for name, value in headers.items()},
            ) as ws:
                assert ws.protocol == SUBPROTOCOL
        except WSServerHandshakeError as error:
            return error.status
        return 101


@contextlib.asynccontextmanager
async def place(tmp_path: Path, **sections: dict[str, Any]) -> AsyncIterator[Place]:
    async with (
        running(settings("memory", tmp_path, sections)) as server,
        client_session() as http,
    ):
        yield Place(server, http)


async def until(condition: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


# --- who may open one ----------------------------------------------------------------


@pytest.mark.parametrize(
    "origin, host, same",
    [
        ("http://chat.example.org", "chat.example.org", True),
        ("https://Chat.Example.org:8080", "chat.example.org:8080", True),
        ("http://chat.example.org:8080", "chat.example.org", False),
        ("http://chat.example.org.evil.org", "chat.example.org", False),
        ("null", "chat.example.org", False),
        ("http://[", "chat.example.org", False),
    ],
)
def test_same_origin(origin: str, host: str, same: bool) -> None:
    assert _same_origin(origin, host) is same


@pytest.mark.parametrize(
    "header, token",
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        ("", None),
    ],
)
def test_the_token_of_the_header(header: str, token: str | None) -> None:
    class Request:
        headers = {"Authorization": header}  # noqa: RUF012

    assert _header_token(Request()) == token  # type: ignore[arg-type]


async def test_handshakes(tmp_path: Path) -> None:
    allowed = {"allowed_origins": ["https://chat.example.org"]}
    async with place(tmp_path, server=allowed) as here:
        assert await here.handshake() == 101
        assert await here.handshake("chat", SUBPROTOCOL) == 101
        assert await here.handshake("chat") == 400
        assert await here.handshake(Origin=here.server.url) == 101
        assert await here.handshake(Origin="https://chat.example.org") == 101
        assert await here.handshake(Origin="https://evil.example.org") == 403
        await until(lambda: len(here.app.door) == 0)
        # What is refused has no place taken.
        assert here.app.door._opening_count == 0
        assert here.app.door._opening == {}


async def test_not_a_websocket_request(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        head = {"Sec-WebSocket-Protocol": SUBPROTOCOL}
        async with here.http.get(f"{here.server.url}/v1/ws", headers=head) as response:
            assert response.status == 400
            assert response.content_type == "application/problem+json"
        assert here.app.door._opening_count == 0


async def test_while_it_drains_nobody_comes_in(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.app.door.announce_drain()
        assert await here.handshake() == 503


# --- how many that have not said who they are ----------------------------------------


async def test_limit_of_one_address(tmp_path: Path) -> None:
    async with place(tmp_path, server={"unauthenticated_per_address_max": 2}) as here:
        alice = await here.peer("alice")
        waiting = [Stalled(here.server.url) for _ in range(2)]
        for one in waiting:
            await one.connect()
        answer = await alice.call("GET", "/v1/ws", None, **{"Sec-WebSocket-Protocol": SUBPROTOCOL})
        assert (answer.status, answer.body["code"]) == (429, "rate_limited")
        assert int(answer.headers["Retry-After"]) >= 1
        # Who says hello makes room, and so does who goes.
        await waiting[0].say({"type": "hello", "token": alice.token})
        await until(lambda: here.app.door._opening_count == 1)
        third = Stalled(here.server.url)
        await third.connect()
        assert await here.handshake() == 429
        waiting[1].close()
        await until(lambda: here.app.door._opening_count == 1)
        assert await here.handshake() == 101
        waiting[0].close()
        third.close()


async def test_who_goes_while_its_hello_waits_for_the_store_is_counted_out_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with place(tmp_path) as here:
        alice = await here.peer("alice")
        begun, go_on = asyncio.Event(), asyncio.Event()
        begin = here.app.positions.begin

        async def slowly(*arguments: Any, **named: Any) -> None:
            begun.set()
            await go_on.wait()
            await begin(*arguments, **named)

        here.app.positions.begin = slowly  # type: ignore[method-assign]
        waiting = Stalled(here.server.url)
        await waiting.connect()
        await alice.open()
        await alice.hello()
        await begun.wait()
        # As where a write finds that the peer is gone: nothing is read meanwhile.
        [gone] = [one for one in here.app.door._all() if one.session.user == "alice"]
        gone.connection.abort()
        await until(lambda: len(here.app.door) == 1)
        await alice.drop()
        go_on.set()
        await asyncio.sleep(0.05)
        # The one that still says nothing is counted.
        assert (here.app.door._opening_count, here.app.door._opening) == (1, {"127.0.0.1": 1})
        waiting.close()
        await until(lambda: here.app.door._opening_count == 0)
        assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_limit_in_all(tmp_path: Path) -> None:
    limits = {"unauthenticated_connections_max": 1, "trusted_proxies": ["127.0.0.1"]}
    async with place(tmp_path, server=limits) as here:
        waiting = Stalled(here.server.url)
        await waiting.connect()
        assert await here.handshake(X_Forwarded_For="192.0.2.7") == 429
        waiting.close()
        await until(lambda: here.app.door._opening_count == 0)
        assert await here.handshake(X_Forwarded_For="192.0.2.7") == 101


async def test_addresses_behind_a_trusted_proxy_are_told_apart(tmp_path: Path) -> None:
    limits = {"unauthenticated_per_address_max": 1, "trusted_proxies": ["127.0.0.1"]}
    async with place(tmp_path, server=limits) as here:
        waiting = Stalled(here.server.url)
        await waiting.connect()
        assert await here.handshake() == 429
        assert await here.handshake(X_Forwarded_For="192.0.2.7") == 101
        waiting.close()


async def test_a_whole_network_of_ipv6_is_one_address(tmp_path: Path) -> None:
    limits = {"unauthenticated_per_address_max": 1, "trusted_proxies": ["127.0.0.1"]}
    async with place(tmp_path, server=limits) as here:
        waiting = Stalled(here.server.url)
        await waiting.connect(forwarded_for="2001:db8::1")
        assert await here.handshake(X_Forwarded_For="2001:db8::2:3") == 429
        assert await here.handshake(X_Forwarded_For="2001:db8:0:1::1") == 101
        waiting.close()


async def test_a_frame_that_is_not_masked_is_refused(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        raw = Stalled(here.server.url)
        await raw.connect()
        await raw.write(b"\x81\x02{}")
        [(first, payload)] = await raw.frames(1)
        assert (first, int.from_bytes(payload[:2], "big")) == (0x88, 1002)
        await raw.gone()
        raw.close()


async def test_no_hello_in_time(tmp_path: Path) -> None:
    async with place(tmp_path, server={"hello_timeout_seconds": 0.3}) as here:
        alice = await here.peer("alice")
        await alice.open()
        assert await alice.closed(3.0) == 4002
        await alice.leave()
        await until(lambda: here.app.door._opening_count == 0)


# --- those that are open -------------------------------------------------------------


async def test_connections_are_counted(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        alice = await (await here.peer("alice")).online()
        assert len(here.app.door) == 1
        page = (await alice.call("GET", "/metrics")).body.decode()
        assert re.search(r"^whatsapp_connections 1$", page, re.MULTILINE), page
        await alice.leave()
        await until(lambda: len(here.app.door) == 0)
        page = (await alice.call("GET", "/metrics")).body.decode()
        assert re.search(r'closes_total\{.*code="1000".*\} 1', page), page


async def test_readiness(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        alice = await here.peer("alice")
        assert (await alice.call("GET", "/readyz")).status == 200
        await here.app.drain()
        answer = await alice.call("GET", "/readyz")
        assert (answer.status, answer.body["missing"]) == (503, ["draining"])
        assert (await alice.call("GET", "/healthz")).status == 200


async def test_draining_tells_those_who_are_known(tmp_path: Path) -> None:
    async with place(tmp_path, server={"close_timeout_seconds": 60.0}) as here:
        alice, bob = await here.peer("alice"), await here.peer("bob")
        await alice.online()
        await bob.open()
        began = time.monotonic()
        await here.app.drain()
        assert time.monotonic() - began < 30.0  # both close at once; nobody is waited for
        assert (await alice.next("draining"))["reconnect_ms"] > 0
        assert await alice.closed() == 1001
        assert await bob.closed() == 1001
        assert bob.inbox == []
        await alice.leave()
        await bob.leave()


async def test_draining_does_not_wait_for_the_stalled(tmp_path: Path) -> None:
    async with place(tmp_path, server={"close_timeout_seconds": 0.3}) as here:
        alice = await here.peer("alice")
        async with stalled(here, alice, count=5):
            began = time.monotonic()
            await here.app.drain()
            assert time.monotonic() - began < 10.0
            await until(lambda: len(here.app.door) == 0)


async def test_a_silent_client_is_closed_after_two_heartbeats(tmp_path: Path) -> None:
    fast = {"heartbeat_seconds": 1, "close_timeout_seconds": 0.2}
    async with place(tmp_path, server=fast) as here:
        alice, bob = await here.peer("alice"), await here.peer("bob")
        await bob.online()  # its library answers pings
        silent = Stalled(here.server.url)
        await silent.connect(alice.token)
        began = time.monotonic()
        await until(lambda: len(here.app.door) == 2)
        await until(lambda: len(here.app.door) == 1)
        assert 1.5 < time.monotonic() - began < 15.0
        assert bob.connected
        silent.close()
        await bob.leave()


# --- clients that do not read --------------------------------------------------------


@contextlib.asynccontextmanager
async def stalled(here: Place, writer: Peer, count: int) -> AsyncIterator[list[Stalled]]:
    """So many devices of one user that ask for a long history and read none of it."""
    reader = await here.peer("sloth")
    for number in range(BACKLOG_MESSAGES):
        body = {"id": f"backlog-{number}", "text": BIG_TEXT}
        await writer.ask("POST", f"/v1/chats/{writer.user}:sloth/messages", body)
    clients = []
    try:
        for _ in range(count):
            await reader.login()
            clients.append(Stalled(here.server.url))
            await clients[-1].connect(reader.token)
        yield clients
    finally:
        for client in clients:
            client.close()


async def delays(sender: Peer, reader: Peer, count: int, name: str) -> list[float]:
    """Seconds from a send to its message, one after the other."""
    found = []
    for number in range(count):
        began = time.monotonic()
        await sender.send(f"{name}-{number:06}", "quick", to=reader.user)
        message = await reader.next("message")
        assert message["id"] == f"{name}-{number:06}"
        found.append(time.monotonic() - began)
    return sorted(found)


@pytest.mark.slow
async def test_stalled_clients_delay_nobody_and_are_cut(tmp_path: Path) -> None:
    sections: dict[str, dict[str, Any]] = {
        "limits": {"stall_seconds": 1.5, "outbox_bytes_max": 131_072},
        "server": {"close_timeout_seconds": 0.3},
        "auth": {"devices_per_user_max": 100},
        "rates": {"enabled": False},
    }
    async with place(tmp_path, **sections) as here:
        alice, bob = await here.peer("alice"), await here.peer("bob")
        await alice.online()
        await bob.online()
        await delays(alice, bob, 50, "warm")
        before = await delays(alice, bob, 100, "before")
        async with stalled(here, alice, count=50):
            await until(lambda: len(here.app.door) == 52)
            during = await delays(alice, bob, 100, "during")
            # What is kept for one that does not read is bounded.
            kept = max(guest.connection.buffered_bytes() for guest in here.app.door._all())
            assert 0 < kept <= 2 * 131_072 + 65_536
            await until(lambda: len(here.app.door) == 2, 10.0)
        assert here.app.metrics.closes["4008"].value == 50
        # Generous: other programs run on this machine, too.
        assert during[98] < max(0.25, 10 * before[98])
        assert alice.connected
        assert bob.connected
        await alice.leave()
        await bob.leave()


async def test_a_client_that_leaves_while_it_sends_is_not_a_failure_of_ours(tmp_path):
    head = "POST /v1/login HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n{"
    wanted = 'whatsapp_http_requests_total{operation="login",status="499"} 1'
    async with running(settings("memory", tmp_path)) as server, client_session() as http:
        address = urlsplit(server.url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
        async with asyncio.timeout(10):
            while True:
                async with http.get(f"{server.url}/metrics") as answer:
                    text = await answer.text()
                if wanted in text:
                    break
                await asyncio.sleep(0.05)
        assert 'operation="login",status="500"' not in text
