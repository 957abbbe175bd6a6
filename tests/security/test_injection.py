"""Only texts and numbers reach a query: operators of a database are texts like any other.

Over every store, since what is harmless to one may be an order to another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import msgspec
import pytest
from msgspec.structs import fields, replace

from tests.support import mongo
from tests.support.backends import STORES
from tests.support.peer import Peer, client_session
from tests.support.server import running, settings
from whatsapp import examples, wire
from whatsapp.endpoints import OPERATIONS
from whatsapp.operations import Operation

ALL = [one for group in OPERATIONS.values() for one in group]
PHRASE = "a long road home"

# What a database might take for an order where a text should be.
OBJECTS: tuple[Any, ...] = ({"$gt": ""}, {"$ne": None}, {"$where": "1"}, ["olga"], [{"$gt": ""}])
LISTS = {"members", "users"}
# The same as texts, and what a pattern or SQL might take for more than itself.
TEXTS = (
    *("$gt", '{"$gt": ""}', "$where: 1", "$$ROOT", "olga.user", "user\\.", ".*", "^ol", "(?i)OLG"),
    *("olg%", "ol_a", "' OR '1'='1", "olga'--", 'olg" OR "1"="1', "olga*"),
)


@pytest.fixture(params=STORES)
async def olga(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Peer]:
    """Logged in at a server of her own, on which she has a group with mia."""
    wanted = settings("memory", tmp_path, {"rates": {"enabled": False}})
    if request.param.startswith("mongo-"):
        storage = mongo.settings(tmp_path, request.param.removeprefix("mongo-"))
    else:
        storage = replace(wanted.storage, backend=request.param)
    try:
        async with (
            running(replace(wanted, storage=storage)) as server,
            client_session() as http,
        ):
            for user in ("olga", "mia"):
                await server.app.auth.add_user(user, PHRASE)
            peer = await Peer(http, server.url, "olga").login(password=PHRASE)
            yield peer
    finally:
        if request.param.startswith("mongo-"):
            mongo.drop(tmp_path)


async def group_of(olga: Peer) -> str:
    chat: str = (await olga.ask("POST", "/v1/groups", {"title": "us", "members": ["mia"]}))["chat"]
    await olga.ask("POST", f"/v1/chats/{chat}/messages", {"id": "message-1", "text": "so it is"})
    return chat


def address(operation: Operation[Any, Any], chat: str) -> str:
    return operation.path.format(user="mia", chat=chat, device=quote("$gt"), code="$gt")


async def test_an_object_is_no_value_of_a_body(olga):
    chat = await group_of(olga)
    for operation in ALL:
        if operation.body is None:
            continue
        for field in fields(operation.body):
            for value in OBJECTS:
                body = {**examples.of(operation.body), field.encode_name: value}
                if field.encode_name in LISTS and value == ["olga"]:
                    continue
                answer = await olga.call(operation.method, address(operation, chat), body)
                told = f"{operation.name} {field.encode_name}={value}: {answer}"
                assert (answer.status, answer.body["code"]) == (400, "bad_request"), told
    # She is still there, with the same name and password.
    await olga.login(password=PHRASE)
    assert (await olga.ask("GET", "/v1/me"))["name"] == "olga"


async def test_an_object_is_no_value_of_a_frame(olga):
    await group_of(olga)
    await olga.online()
    for kind in get_args(wire.AnyClientFrame):
        if kind is wire.Hello:
            continue
        good = {"type": kind.__struct_config__.tag, **examples.of(kind)}
        for field in fields(kind):
            for value in OBJECTS:
                if field.encode_name in LISTS and value == ["olga"]:
                    continue
                bad = {**good, field.encode_name: value}
                await olga.say_text(msgspec.json.encode(bad).decode())
                assert (await olga.next("error"))["code"] == "bad_request", (good, field, value)
    await olga.leave()


async def test_an_object_is_no_part_of_a_hello(olga):
    for member in ("token", "cursors"):
        for value in OBJECTS:
            await olga.open()
            hello = {"type": "hello", "token": olga.token, member: value}
            await olga.say_text(msgspec.json.encode(hello).decode())
            assert await olga.closed() == 4002
            assert [one["type"] for one in olga.inbox] == ["error"], (member, value)
            await olga.leave()
            olga.inbox.clear()


async def test_operators_in_a_query_are_unknown_or_texts(olga):
    chat = await group_of(olga)
    for path in ("/v1/users?q[$gt]=olg", "/v1/search?q=so&from[$ne]=x", "/v1/chats?before[$gt]=1"):
        assert (await olga.call("GET", path)).status == 400, path
    for text in TEXTS:
        for path in ("/v1/users?q={}", "/v1/search?q={}", f"/v1/search?chat={chat}&q={{}}"):
            answer = await olga.call("GET", path.format(quote(text, safe="")))
            # 400: there is no word in it.
            found = {200: answer.body, 400: []}[answer.status]
            assert (found["results"] if isinstance(found, dict) else found) == [], (path, text)
        answer = await olga.call("GET", f"/v1/search?q=so&from={quote(text, safe='')}")
        assert answer.status == 400 or answer.body["results"] == [], text


async def test_operators_in_a_path_lead_nowhere(olga):
    await group_of(olga)
    for operation in ALL:
        if not operation.parameters:
            continue
        for text in TEXTS:
            where = dict.fromkeys(operation.parameters, quote(text, safe=""))
            body = None if operation.body is None else examples.of(operation.body)
            answer = await olga.call(operation.method, operation.path.format(**where), body)
            # It may be the id of nobody; to unblock nobody is no error.
            fine = {400, 404, 204} if operation.name == "unblock" else {400, 404}
            assert answer.status in fine, (operation.name, text, answer)


async def test_nobody_logs_in_as_an_operator(olga):
    token, olga.token = olga.token, ""
    for text in TEXTS:
        for user, password in ((text, PHRASE), ("olga", text)):
            body = {"user": user, "password": password}
            answer = await olga.call("POST", "/v1/login", body)
            assert answer.status in {400, 401, 429}, (body, answer)
    for text in TEXTS:
        answer = await olga.call("GET", "/v1/me", Authorization=f"Bearer {text}")
        assert answer.status == 401, text
    olga.token = token


async def test_what_looks_like_an_operator_is_kept_as_it_is(olga):
    """As a name, a title, a text, an id; also as a key, which a cursor's chat becomes."""
    chat = await group_of(olga)
    for number, text in enumerate(TEXTS):
        path = f"/v1/chats/{chat}/messages"
        await olga.ask("POST", path, {"id": f"operator-{number:02}", "text": text})
        await olga.ask("PATCH", f"/v1/groups/{chat}", {"title": text, "about": text})
        assert (await olga.ask("PATCH", "/v1/me", {"name": text, "about": text}))["name"] == text
        seen = await olga.ask("GET", f"/v1/chats/{chat}")
        assert (seen["title"], seen["about"]) == (text, text)
    page = await olga.ask("GET", f"/v1/chats/{chat}/messages?limit=200")
    assert [one["text"] for one in page["messages"] if one["kind"] == "text"][1:] == list(TEXTS)
    cursors = {"$where": 1, "a.b": 1, "g:$gt": 1, "olga:$ne": 2, "members.$": 3, "_id": 4}
    await olga.connect(cursors)
    await olga.next("synced")
    await olga.leave()
