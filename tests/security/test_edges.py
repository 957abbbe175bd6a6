"""What everybody may see of the server: headers of every answer, and what its log has kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.peer import PASSWORD, Peer, client_session
from tests.support.server import Server, running, settings

# A document may be opened by a browser, so it says what it may load and who may frame it.
DOCUMENTS = ("/", "/docs", "/sw.js", "/manifest.webmanifest", "/openapi.json")
DATA = ("/v1/me", "/v1/chats", "/v1/devices", "/v1/search?q=so", "/v1/users?q=oli", "/v1/nowhere")
OPERATORS = ("/healthz", "/readyz", "/metrics")


async def test_headers_of_every_kind_of_answer(tmp_path: Path) -> None:
    async with running(settings("memory", tmp_path)) as server, client_session() as http:
        olga = await Peer(http, server.url, "olga").register()
        for path in (*DOCUMENTS, *DATA, *OPERATORS):
            answer = await olga.call("GET", path)
            assert answer.headers["X-Content-Type-Options"] == "nosniff", path
            assert "Access-Control-Allow-Origin" not in answer.headers, path
        for path in DOCUMENTS:
            answer = await olga.call("GET", path)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy, path
            assert "frame-ancestors 'none'" in policy, path
            assert "unsafe" not in policy, path
            assert answer.headers["Referrer-Policy"] == "no-referrer", path
        for path in (*DATA, *OPERATORS):
            answer = await olga.call("GET", path)
            assert answer.headers["Cache-Control"] == "no-store", path
            assert answer.headers["Content-Type"].partition(";")[0] != "text/html", path
        login = {"user": "olga", "password": PASSWORD}
        answer = await olga.call("POST", "/v1/login", login)
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_token_in_an_address_opens_nothing(tmp_path: Path) -> None:
    """Addresses are kept by browsers, proxies and logs."""
    async with running(settings("memory", tmp_path)) as server, client_session() as http:
        olga = await Peer(http, server.url, "olga").register()
        token, olga.token = olga.token, ""
        for name in ("token", "access_token", "authorization"):
            assert (await olga.call("GET", f"/v1/me?{name}={token}")).status == 401
        olga.url = server.url
        await olga.open(headers={"Cookie": f"token={token}"})
        await olga.hello()
        assert await olga.closed() == 4001


@pytest.mark.slow
async def test_the_log_keeps_no_secret(tmp_path: Path) -> None:
    """At its most talkative, of a server that is asked for everything, well and badly."""
    text, other = "a text that nobody else reads", "swordfish for the wrong one"
    talkative = {"WHATSAPP_LOG_LEVEL": "debug"}
    async with (
        Server(tmp_path / "data", environment=talkative) as server,
        client_session() as http,
    ):
        olga, mia = [await Peer(http, server.url, user).register() for user in ("olga", "mia")]
        await olga.online()
        await mia.online()
        await olga.send("message-1", text, to="mia")
        await olga.next("sent")
        await mia.next("message")
        await olga.send("message-1", text + "!", to="mia")
        assert (await olga.next("error"))["code"] == "id_reused"
        await olga.call("GET", "/v1/search?q=nobody%20else")
        await olga.call("POST", "/v1/login", {"user": "mia", "password": other})
        await olga.call("POST", "/v1/login", {"user": "mia", "password": {"$gt": other}})
        await olga.call("GET", f"/v1/me?token={olga.token}")
        await olga.call("GET", "/v1/me", Authorization=f"Bearer {olga.token}x")
        await mia.say_text('{"type": "send", "text": "' + text + '"')
        await mia.closed()
        group = await olga.ask("POST", "/v1/groups", {"title": "us", "members": ["mia"]})
        invite = await olga.ask("POST", f"/v1/groups/{group['chat']}/invite")
        await olga.leave()
        await asyncio.sleep(0.2)
        assert await server.terminate() == 0
        secrets = (text, "nobody else", other, PASSWORD, olga.token, mia.token, invite["code"])
        assert "connection opened" in server.log
        assert [one for one in (*secrets, "$argon2") if one in server.log] == []


async def test_limits_are_on_by_default(tmp_path: Path) -> None:
    """Nobody has to know of them: one address asks too often, and is told so."""
    async with running(settings("memory", tmp_path)) as server, client_session() as http:
        olga = await Peer(http, server.url, "olga").register()
        statuses = list[int]()
        # On a slow machine some of the allowance comes back meanwhile.
        while 429 not in statuses and len(statuses) < 200:
            statuses.append((await olga.call("GET", "/v1/users?q=some")).status)
        assert statuses[:30] == [200] * 30
        assert statuses[-1] == 429
        body = {"user": "nobody-here", "password": "a long password"}
        answer = await olga.call("POST", "/v1/login", body)
        for _ in range(200):
            if answer.status != 401:
                break
            answer = await olga.call("POST", "/v1/login", body)
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0
