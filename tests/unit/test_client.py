"""Logins, ends and the file, against a server that is told how to behave."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import pytest

from tests.support.scripted import (
    LIMIT_SECONDS,
    QUICK,
    Line,
    collect,
    first,
    item,
    logged_in,
    problem,
    scripted,
    silence,
    take_until,
)
from whatsapp import errors, wire
from whatsapp.client import (
    Client,
    Closed,
    Ended,
    Offline,
    OutboxInUse,
    Replaced,
)


async def test_close_ends_iterators_and_says_so_to_those_who_send():
    async with scripted() as server, logged_in(server) as me:
        messages, events = me.messages(), me.events()
        loop = asyncio.create_task(collect(messages))
        send = asyncio.create_task(me.send("bob", "never answered"))
        await me.connect()
        await me.close()
        await me.close()
        assert await loop == []
        with pytest.raises(Closed):
            await send
        assert [type(e) for e in await collect(events)] == [wire.Welcome]
        with pytest.raises(Closed):
            me.messages()


async def test_logout_ends_the_connection_first():
    async with scripted() as server, logged_in(server) as me:
        messages = me.messages()
        await me.connect()
        await me.logout()
        assert await collect(messages) == []
        assert ("POST", "/v1/logout", None) in server.asked
        await me.login("ann", "password 1")
        await me.connect()


async def test_a_logout_that_failed_leaves_the_client_usable():
    async with scripted() as server, logged_in(server) as me:
        await me.connect()
        server.answers["POST /v1/logout"] = problem(503, "unavailable")
        with pytest.raises(errors.Unavailable):
            await me.logout()
        await me.connect()
        assert len(server.lines) == 2
        server.answers["POST /v1/logout"] = problem(401, "unauthorized")
        with pytest.raises(errors.Unauthorized):
            await me.logout()
        with pytest.raises(Closed):
            await me.connect()


async def test_before_login_there_is_nothing_to_do():
    async with scripted() as server, Client(server.url) as me:
        with pytest.raises(errors.Unauthorized):
            me.messages()


async def test_a_restart_goes_on_where_the_program_was_killed(tmp_path: Path):
    heard = []
    went_out = asyncio.Event()

    async def deaf(line: Line) -> None:
        await line.welcome()
        heard.append(await line.hear("send"))
        went_out.set()
        await line.stay()

    async def well(line: Line) -> None:
        await line.welcome()
        heard.extend([await line.answer(1), await line.answer(2)])
        await line.stay()

    program = """
import asyncio, sys
from whatsapp.client import Client
async def main():
    me = Client(sys.argv[1], outbox=sys.argv[2])
    await me.login("ann", "password 1")
    await me.post("bob", "first")
    await me.post("bob", "second")
    print("posted", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    path = tmp_path / "outbox.json"
    async with scripted(deaf, well) as server, asyncio.timeout(LIMIT_SECONDS):
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, server.url, str(path), stdout=asyncio.subprocess.PIPE
        )
        assert other.stdout is not None
        assert await other.stdout.readline() == b"posted\n"
        with pytest.raises(OutboxInUse):
            Client(server.url, outbox=path)
        await went_out.wait()
        other.kill()
        await other.communicate()
        logins = [a for a in server.asked if a[1] == "/v1/login"]
        async with logged_in(server, outbox=path) as me:
            await me.flush()
        assert [a for a in server.asked if a[1] == "/v1/login"] == logins  # the same device
    assert [f["text"] for f in heard] == ["first", "first", "second"]
    assert heard[0]["id"] == heard[1]["id"]


async def test_an_outbox_belongs_to_one_user_of_one_server(tmp_path: Path):
    async with scripted() as server:
        async with logged_in(server, outbox=tmp_path / "o"):
            pass
        async with Client(server.url, outbox=tmp_path / "o") as me:
            with pytest.raises(errors.StartupError, match="belongs to ann"):
                await me.login("bob", "password 1")


async def test_a_server_that_is_away_at_the_start_does_not_matter_with_a_login_on_file(
    tmp_path: Path,
):
    async with scripted() as server, logged_in(server, outbox=tmp_path / "o"):
        pass
    async with Client(server.url, outbox=tmp_path / "o", options=QUICK) as me:
        await me.login("ann", "password 1")
        await me.post("bob", "one day")
    pending = [json.loads(line).get("put") for line in (tmp_path / "o").read_text().splitlines()]
    assert [p["text"] for p in pending if p] == ["one day"]


async def test_a_new_account_forgets_the_cursors_of_an_older_one(tmp_path: Path):
    async def story(line: Line) -> None:
        await line.welcome()
        await line.text(1)
        await line.text(2)
        await line.stay()

    async with scripted(story) as server, asyncio.timeout(LIMIT_SECONDS):
        for _ in range(2):
            server.answers["GET /v1/me"] = problem(401, "unauthorized")
            async with Client(server.url, outbox=tmp_path / "o", options=QUICK) as me:
                await me.login("ann", "password 1", register=True)
                assert [m.seq for m in await first(me.messages(), 2)] == [1, 2]
        server.answers["POST /v1/users"] = problem(409, "user_exists")
        async with Client(server.url, outbox=tmp_path / "o", options=QUICK) as me:
            await me.login("ann", "password 1", register=True)
            await me.connect()
        assert server.lines[-1].hello["cursors"] == {"ann:bob": 2}


async def test_use_token():
    async with scripted() as server, Client(server.url) as me:
        server.answers["GET /v1/devices"] = (
            200,
            [{"device": "d9", "name": "x", "created": 1, "last_seen": 1, "current": True}],
        )
        await me.use_token("secret")
        assert (me.user, me.device) == ("ann", "d9")
        await me.connect()
        assert server.lines[0].request.headers["Authorization"] == "Bearer secret"


async def test_no_secret_and_no_text_is_logged(caplog, tmp_path: Path):
    async def story(line: Line) -> None:
        await line.welcome()
        await line.text(1, "very private")
        await line.refuse("forbidden")
        await line.cut()

    caplog.set_level(logging.DEBUG, logger="whatsapp")
    async with scripted(story, silence) as server, logged_in(server, outbox=tmp_path / "o") as me:
        await anext(me.messages())
        with pytest.raises(errors.Forbidden):
            await me.send("bob", "also private")
        [e async for e in take_until(me.events(), wire.Welcome)]
    for secret in ("private", "t1", "password"):
        assert secret not in caplog.text


async def test_offline_and_lost_calls_say_which():
    async with scripted() as server:
        pass
    async with Client(server.url) as me:
        with pytest.raises(Offline):
            await me.login("ann", "password 1")


async def test_a_second_login_connects_anew_and_iterators_go_on():
    async def second(line: Line) -> None:
        await line.welcome()
        await line.text(1)
        await line.stay()

    async with scripted(silence, second) as server, logged_in(server) as me:
        messages = asyncio.create_task(anext(me.messages()))
        await me.connect()
        await me.login("ann", "password 1")
        assert (await messages).seq == 1
        assert len(server.lines) == 2


async def test_a_token_that_is_not_valid_changes_nothing():
    async with scripted() as server, logged_in(server) as me:
        server.answers["GET /v1/me"] = problem(401, "unauthorized")
        with pytest.raises(errors.Unauthorized):
            await me.use_token("bad")
        await me.connect()
        assert server.lines[0].request.headers["Authorization"] == "Bearer t1"


async def test_a_mistake_inside_of_the_client_is_no_silence(monkeypatch, caplog):
    def broken(frame):
        raise ZeroDivisionError

    async with scripted() as server, logged_in(server) as me:
        monkeypatch.setattr(me._dialogue, "welcomed", broken)
        with pytest.raises(Ended, match="ZeroDivisionError"):
            await me.connect()
    assert "failed inside" in caplog.text


async def test_a_hole_that_is_too_wide_means_connecting_again(monkeypatch):
    async def story(line: Line) -> None:
        await line.welcome()
        await line.text(1)
        await line.text(9)
        await line.stay()

    async def better(line: Line) -> None:
        await line.welcome()
        for seq in range(2, 10):
            await line.text(seq)
        await line.stay()

    monkeypatch.setattr("whatsapp.client.GAP_MESSAGES_MAX", 3)
    async with scripted(story, better) as server, logged_in(server) as me:
        history = {"messages": [item(s) for s in range(2, 10)], "more": False}
        server.answers["GET /v1/chats/ann:bob/messages"] = (200, history)
        assert [m.seq for m in await first(me.messages(), 9)] == list(range(1, 10))
        assert len(server.lines) == 2


async def test_who_waits_for_the_outbox_learns_that_it_is_over():
    async def story(line: Line) -> None:
        await line.welcome()
        await line.hear("send")
        await line.close(4009)

    async with scripted(story) as server, logged_in(server) as me:
        await me.post("bob", "hi")
        with pytest.raises(Replaced):
            await me.flush()
