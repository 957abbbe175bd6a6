"""The composition root: what is built, what is ready, and the order of the end."""

from __future__ import annotations

from typing import Any, cast

import aiohttp
import pytest
from msgspec.structs import replace

from tests.support.server import running, settings
from whatsapp.app import open_app
from whatsapp.errors import StartupError, Unavailable
from whatsapp.model import Actor
from whatsapp.session import State
from whatsapp.wire import Received


async def test_a_server_is_ready_once_it_is_open(tmp_path):
    async with open_app(settings("memory", tmp_path)) as app:
        assert app.missing() == []
        assert {"/v1/ws", "/healthz", "/metrics"} <= {
            resource.canonical for resource in app.web.router.resources()
        }


async def test_while_draining_it_is_not_ready_and_stores_nothing(tmp_path):
    async with open_app(settings("memory", tmp_path)) as app:
        await app.auth.add_user("ann", "a long road home")
        await app.drain()
        assert app.missing() == ["draining"]
        with pytest.raises(Unavailable):
            await app.conversations.post(Actor("ann", ""), "ann:ann", "12345678", "note", None)
        await app.drain()


async def test_cursors_are_written_before_the_store_is_closed(tmp_path):
    config = settings("sqlite", tmp_path)
    async with open_app(config) as app:
        for name in ("ann", "ben"):
            await app.auth.add_user(name, "a long road home")
        await app.conversations.post(Actor("ann", ""), "ann:ben", "12345678", "hi", None)
        room = await app.rooms.existing("ann:ben")
        app.acks._move("ben", room, read=1)
        assert len(app.cursors) == 1
    async with open_app(config) as app:
        [line] = await app.histories.lines(Actor("ben", ""), 10, None)
        assert (line.received, line.read, line.unread) == (1, 1, 0)


async def test_what_was_acknowledged_in_a_group_is_written_before_the_store_is_closed(tmp_path):
    config = settings("sqlite", tmp_path)
    async with open_app(config) as app:
        for name in ("ann", "ben"):
            await app.auth.add_user(name, "a long road home")
        chat = await app.groups.create(Actor("ann", ""), "all", ["ben"])
        session = app._new_session(cast("Any", None), 1, None)
        session.user, session.device, session.state = "ben", "phone", State.LIVE
        session.begin(chat, 0)
        assert app.conversations.received(session, Received(chat, 1)) is None
        assert len(app.cursors) == 0
    async with open_app(config) as app:
        [line] = await app.histories.lines(Actor("ben", ""), 10, None)
        assert line.received == 1


async def test_an_unknown_backend_is_named(tmp_path):
    config = settings("memory", tmp_path)
    with pytest.raises(StartupError, match="sqlite"):
        async with open_app(_with_backend(config, "papyrus")):
            pass


def _with_backend(config, name):
    return replace(config, storage=replace(config.storage, backend=name))


async def test_logins_are_counted(tmp_path):
    async with running(settings("memory", tmp_path)) as server, aiohttp.ClientSession() as http:
        await server.app.auth.add_user("ann", "a long road home")
        for password in ("a long road home", "a short one"):
            body = {"user": "ann", "password": password}
            async with http.post(f"{server.url}/v1/login", json=body):
                pass
        async with http.get(f"{server.url}/metrics") as answer:
            text = await answer.text()
    assert 'whatsapp_logins_total{result="ok"} 1' in text
    assert 'whatsapp_logins_total{result="bad_credentials"} 1' in text
