"""`rest.py` over real sockets, with modules that only remember what they were asked."""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from contextlib import asynccontextmanager
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from whatsapp import examples, rest
from whatsapp import resources as r
from whatsapp.endpoints import OPERATIONS
from whatsapp.errors import Answer, Busy, Forbidden, NotFound, RateLimited, StartupError
from whatsapp.errors import Unauthorized as NoToken
from whatsapp.metrics import Metrics
from whatsapp.model import Account, Actor
from whatsapp.operations import Modules, Operation

ALL = [operation for group in OPERATIONS.values() for operation in group]
GOOD = {"Authorization": "Bearer good"}
ALICE = Actor("alice", "phone")
POST = {"id": "message-1", "text": "hi"}


class Asked:
    """Every module at once: answers from `answers` by method, and remembers the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        async def asked(*arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            answer = self.answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return asked

    def known(self, token: str) -> Actor | None:
        return ALICE if token == "good" else None

    async def authenticate(self, token: str) -> Actor:
        if token == "cold":
            return ALICE
        raise NoToken("this token is not good; log in again")


@pytest.fixture
def asked() -> Asked:
    return Asked()


def modules(asked: Asked) -> Modules:
    names = ("auth", "people", "conversations", "histories", "groups", "presences")
    parts = dict.fromkeys(names, asked)
    return cast("Modules", SimpleNamespace(**parts, metrics=Metrics()))


@asynccontextmanager
async def served(asked: Asked):
    app = web.Application(middlewares=[rest.problems])
    app.add_routes(rest.routes(modules(asked)))
    app.add_routes(rest.documents())
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield client


@pytest.fixture
async def client(asked):
    async with served(asked) as client:
        yield client


async def refused(response, status: int, code: str) -> Any:
    problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["status"], problem["code"]) == (status, status, code), problem
    assert problem["type"] == f"/docs#{code}"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    return problem


def url(operation: Operation[Any, Any]) -> str:
    return operation.path.format(**examples.path(operation))


def request_of(operation: Operation[Any, Any]) -> Any:
    """What makes a good request of an operation."""
    wanted: dict[str, Any] = {"headers": GOOD}
    if operation.body is not None:
        wanted["json"] = examples.of(operation.body)
    if operation.query is not None:
        wanted["params"] = {name: str(v) for name, v in examples.of(operation.query).items()}
        if "after" in wanted["params"]:
            del wanted["params"]["before"]
    return wanted


# ------------------------------------------------------------------- every operation


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
async def test_the_example_of_an_operation_is_served(client, asked, operation):
    answers = "login devices me change search show blocks lines history post create add invite join"
    asked.answers = {name: {"asked": True} for name in answers.split()}
    asked.answers["register"] = Account(user="alice", name="Alice")
    response = await client.request(operation.method, url(operation), **request_of(operation))
    assert response.status == operation.success, await response.text()
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert asked.calls
    if operation.answer is None:
        assert await response.read() == b""
    else:
        assert response.content_type == "application/json"
        assert await response.json()


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
async def test_only_public_operations_go_without_a_token(client, asked, operation):
    response = await client.request(operation.method, url(operation), json={})
    if operation.public:
        await refused(response, 400, "bad_request")
    else:
        await refused(response, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert asked.calls == []


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
async def test_unknown_query_parameters_are_named(client, asked, operation):
    wanted = request_of(operation)
    wanted["params"] = {**wanted.get("params", {}), "colour": "red"}
    response = await client.request(operation.method, url(operation), **wanted)
    problem = await refused(response, 400, "bad_request")
    assert "colour" in problem["detail"]
    assert asked.calls == []


@pytest.mark.parametrize("operation", [o for o in ALL if o.body], ids=lambda o: o.name)
async def test_unknown_members_are_named(client, asked, operation):
    wanted = request_of(operation)
    wanted["json"]["colour"] = "red"
    response = await client.request(operation.method, url(operation), **wanted)
    problem = await refused(response, 400, "bad_request")
    assert "colour" in problem["detail"]
    assert asked.calls == []


# ------------------------------------------------------------------- tokens


async def test_a_token_that_is_not_in_memory_is_looked_up(client):
    headers = {"Authorization": "bearer cold"}
    assert (await client.post("/v1/logout", headers=headers)).status == 204


@pytest.mark.parametrize("header", ["Bearer bad", "Bearer", "Basic good", "good", "Bearer a b"])
async def test_other_tokens_are_refused(client, header):
    response = await client.get("/v1/me", headers={"Authorization": header})
    await refused(response, 401, "unauthorized")


async def test_the_token_comes_before_everything_else(client):
    response = await client.post("/v1/groups?colour=red", data=b"{")
    await refused(response, 401, "unauthorized")


# ------------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nothing", b"\xff", b"[" * 100_000, b'{"user":"\\ud800"}', b"\x00"]
)
async def test_what_is_not_json_is_refused(client, asked, body):
    response = await client.post(
        "/v1/login", data=body, headers={"Content-Type": "application/json"}
    )
    await refused(response, 400, "bad_request")
    assert asked.calls == []


@pytest.mark.parametrize(
    "body, said",
    [
        ({"text": "hi"}, "missing required field id"),
        ({**POST, "id": 5}, "id: expected str, got int"),
        ({**POST, "text": {"$gt": ""}}, "text: expected str, got object"),
        ({**POST, "reply_to": -1}, "reply_to: expected int >= 0"),
        ({**POST, "reply_to": 1.5}, "reply_to: expected int"),
        ([], "expected object, got array"),
    ],
)
async def test_a_body_must_be_as_described(client, body, said):
    response = await client.post("/v1/chats/alice:bob/messages", json=body, headers=GOOD)
    problem = await refused(response, 400, "bad_request")
    assert said in problem["detail"]


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", ""]
)
async def test_json_is_taken(client, asked, content_type):
    asked.answers["post"] = r.Posted(chat="alice:bob", seq=1, time=2, dup=False)
    response = await client.post(
        "/v1/chats/alice:bob/messages",
        data=json.dumps(POST).encode(),
        headers={**GOOD, **({"Content-Type": content_type} if content_type else {})},
        skip_auto_headers=("Content-Type",),
    )
    assert response.status == 201
    assert await response.json() == {"chat": "alice:bob", "seq": 1, "time": 2, "dup": False}
    assert asked.calls == [("post", ALICE, "alice:bob", "message-1", "hi", None)]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
async def test_other_content_types_are_refused(client, content_type):
    headers = {**GOOD, "Content-Type": content_type}
    response = await client.post("/v1/groups", data=b"{}", headers=headers)
    await refused(response, 400, "bad_request")


async def test_a_body_of_the_largest_size_is_read(client):
    exact = {**POST, "text": ""}
    exact["text"] = "x" * (rest.BODY_BYTES_MAX - len(json.dumps(exact).encode()))
    response = await client.post("/v1/chats/alice:bob/messages", json=exact, headers=GOOD)
    assert response.status == 201


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_larger_body_is_refused(client, asked, chunked):
    async def pieces():
        for _ in range(rest.BODY_BYTES_MAX // 4096 + 1):
            yield b" " * 4096

    body: Any = pieces() if chunked else b" " * (rest.BODY_BYTES_MAX + 1)
    headers = {**GOOD, "Content-Type": "application/json"}
    response = await client.post("/v1/groups", data=body, headers=headers)
    await refused(response, 413, "too_large")
    assert asked.calls == []


async def test_a_packed_body_does_not_grow_without_limit(client):
    headers = {**GOOD, "Content-Type": "application/json", "Content-Encoding": "deflate"}
    bomb = zlib.compress(b" " * 50_000_000)
    response = await client.post("/v1/groups", data=bomb, headers=headers)
    await refused(response, 413, "too_large")


async def test_a_body_that_is_not_packed_as_it_says_is_refused(client):
    headers = {**GOOD, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    response = await client.post("/v1/groups", data=b'{"title": "x"}', headers=headers)
    assert response.status == 400


async def test_a_body_that_does_not_come_is_not_waited_for(client, monkeypatch):
    monkeypatch.setattr(rest, "BODY_TIMEOUT_SECONDS", 0.01)
    host, port = client.server.host, client.server.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_goes_away_is_no_fault(client, caplog):
    _, writer = await asyncio.open_connection(client.server.host, client.server.port)
    writer.write(b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.02)
    assert caplog.records == []


@pytest.mark.parametrize("body, status", [(b"", 204), (b"{}", 204), (b'{"a":1}', 400)])
async def test_where_no_body_belongs_only_an_empty_one_is_taken(client, body, status):
    assert (await client.post("/v1/logout", data=body, headers=GOOD)).status == status


# ------------------------------------------------------------------- queries and paths


@pytest.mark.parametrize(
    "query, said",
    [
        ("limit=0", "limit is a whole number from 1 to 200"),
        ("limit=201", "limit is a whole number from 1 to 200"),
        ("limit=-1", "limit is a whole number from 1 to 200"),
        ("limit=", "limit is a whole number from 1 to 200"),
        ("limit=1.0", "limit is a whole number from 1 to 200"),
        ("limit=%D9%A1", "limit is a whole number from 1 to 200"),
        ("limit=1&limit=2", "limit is given twice"),
        ("before=null", "before is a whole number from 0"),
        ("before=99999999999999999999", "before is a whole number from 0"),
        ("before=1&after=1", "not both"),
        ("Limit=1", "unknown query parameter Limit; there are before, after, limit"),
    ],
)
async def test_parameters_are_strict(client, asked, query, said):
    response = await client.get(f"/v1/chats/alice:bob/messages?{query}", headers=GOOD)
    problem = await refused(response, 400, "bad_request")
    assert said in problem["detail"]
    assert asked.calls == []


@pytest.mark.parametrize(
    "path, said",
    [
        ("/v1/users", "q is missing"),
        ("/v1/users?q=al", "q is a text of 3 to 64 characters"),
        ("/v1/search?q=", "q is a text of 1 to 256 characters"),
        ("/v1/search?q=" + "x" * 257, "q is a text of 1 to 256 characters"),
        ("/v1/search?q=a&from=a%20b", "a user id is"),
    ],
)
async def test_texts_are_bounded(client, path, said):
    problem = await refused(await client.get(path, headers=GOOD), 400, "bad_request")
    assert said in problem["detail"]


async def test_what_is_left_out_has_its_default(client, asked):
    await client.get("/v1/chats/alice:bob/messages", headers=GOOD)
    await client.get("/v1/search?q=%22two+words%22&from=BOB&chat=Alice:Bob", headers=GOOD)
    assert asked.calls == [
        ("history", ALICE, "alice:bob", None, None, 50),
        ("search", ALICE, '"two words"', "alice:bob", "bob", None, 20),
    ]


async def test_ids_are_put_into_canonical_form(client, asked):
    await client.get("/v1/users/BOB", headers=GOOD)
    await client.get("/v1/users/+4912345678", headers=GOOD)
    await client.get("/v1/chats/Alice%3ABob", headers=GOOD)
    body = {"users": ["Bob", "carol", "BOB"]}
    await client.post("/v1/groups/g:1/members", json=body, headers=GOOD)
    assert asked.calls == [
        ("show", ALICE, "bob"),
        ("show", ALICE, "+4912345678"),
        ("show", ALICE, "alice:bob"),
        ("add", ALICE, "g:1", ["bob", "carol"]),
    ]


@pytest.mark.parametrize("user", ["ab", "a%00bc", "%FF%FE%FD", "-abc", "a" * 33])
async def test_what_is_no_user_id_is_refused(client, user):
    await refused(await client.get(f"/v1/users/{user}", headers=GOOD), 400, "bad_request")


async def test_a_path_that_is_too_long_is_nowhere(client):
    await refused(await client.get("/v1/chats/" + "x" * 129, headers=GOOD), 404, "not_found")


async def test_broken_text_in_a_request_line_reaches_no_store(client, asked):
    for target in (b"/v1/chats/a\xff\xfe", b"/v1/search?q=\xff"):
        reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
        writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n")
        writer.write(b"Connection: close\r\n\r\n")
        assert b" 4" in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert asked.calls == []


# ------------------------------------------------------------------- errors


async def test_a_refusal_of_a_module_is_a_problem(client, asked):
    asked.answers["show"] = NotFound("there is no such user")
    problem = await refused(await client.get("/v1/users/bob", headers=GOOD), 404, "not_found")
    assert problem == {
        "type": "/docs#not_found",
        "title": "Not found",
        "status": 404,
        "detail": "there is no such user",
        "code": "not_found",
    }


@pytest.mark.parametrize(
    "error, seconds",
    [
        (RateLimited("wait", retry_after_ms=1500), "2"),
        (RateLimited("wait", retry_after_ms=1), "1"),
        (Busy("wait", retry_after_ms=3000), "3"),
        (Busy("wait"), None),
    ],
)
async def test_when_to_try_again_is_said_twice(client, asked, error: Answer, seconds):
    asked.answers["me"] = error
    response = await client.get("/v1/me", headers=GOOD)
    problem = await refused(response, error.status, error.code)
    assert problem.get("retry_after_ms") == error.retry_after_ms
    assert response.headers.get("Retry-After") == seconds


async def test_what_we_did_not_expect_is_logged_once_and_not_told(client, asked, caplog):
    asked.answers["show"] = ZeroDivisionError("secret")
    response = await client.get("/v1/users/bob", headers=GOOD)
    problem = await refused(response, 500, "internal")
    assert "secret" not in json.dumps(problem)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "request failed method=GET route=/v1/users/{user}"
    assert record.exc_info is not None


async def test_an_address_that_does_not_exist(client):
    await refused(await client.get("/v1/nothing", headers=GOOD), 404, "not_found")


async def test_a_method_that_is_not_known(client):
    response = await client.delete("/v1/users", headers=GOOD)
    await refused(response, 405, "bad_request")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


async def test_options_says_what_is_allowed(client):
    response = await client.options("/v1/me")
    assert response.status == 204
    assert response.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


async def test_head_is_get_without_the_body(client, asked):
    asked.answers["blocks"] = ["mallory"]
    response = await client.head("/v1/blocks", headers=GOOD)
    assert (response.status, response.content_length) == (200, 11)
    assert await response.read() == b""


@pytest.mark.parametrize(
    "error, status, code",
    [
        (web.HTTPRequestEntityTooLarge(1, 2), 413, "too_large"),
        (web.HTTPBadRequest(), 400, "bad_request"),
        (web.HTTPUpgradeRequired(), 426, "bad_request"),
        (web.HTTPServiceUnavailable(), 503, "internal"),
    ],
)
async def test_what_aiohttp_refuses_is_a_problem_too(error, status, code):
    async def refusing(request):
        raise error

    response = await rest.problems(make_mocked_request("GET", "/"), refusing)
    assert isinstance(response, web.Response)
    assert response.status == status
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["code"] == code


async def test_a_redirection_is_no_error():
    async def moved(request):
        raise web.HTTPFound("/docs")

    with pytest.raises(web.HTTPFound):
        await rest.problems(make_mocked_request("GET", "/"), moved)


def test_a_refusal_need_not_say_when():
    assert "Retry-After" not in rest.problem(Forbidden("no")).headers


# ------------------------------------------------------------------- where a request comes from


@pytest.mark.parametrize(
    "remote, forwarded, address",
    [
        ("198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["192.0.2.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["192.0.2.1", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["rubbish, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("", ["203.0.113.9"], "local"),
    ],
)
def test_only_a_trusted_proxy_says_where_a_request_comes_from(remote, forwarded, address):
    request = make_mocked_request(
        "GET", "/", headers=cast("Any", [("X-Forwarded-For", value) for value in forwarded])
    )
    request = request.clone(remote=remote)
    assert rest.client_address(request, [ip_network("10.0.0.0/8")]) == address


def test_without_proxies_the_peer_counts():
    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": "203.0.113.9"})
    assert rest.client_address(request.clone(remote="10.0.0.1"), []) == "10.0.0.1"


def test_proxies_are_addresses_or_networks():
    assert rest.proxies(["10.0.0.0/8", "::1"]) == [ip_network("10.0.0.0/8"), ip_network("::1")]
    with pytest.raises(StartupError, match="trusted_proxies"):
        rest.proxies(["proxy.example"])


async def test_the_address_is_given_to_those_who_count(client, asked):
    await client.post("/v1/login", json={"user": "alice", "password": "x"})
    assert asked.calls == [("login", "alice", "x", None, "127.0.0.1")]


# ------------------------------------------------------------------- the documents


@pytest.mark.parametrize(
    "path, content_type",
    [
        ("/openapi.json", "application/json"),
        ("/asyncapi.json", "application/json"),
        ("/docs", "text/html"),
        ("/docs/docs.css", "text/css"),
        ("/docs/docs.js", "text/javascript"),
        ("/docs/schema.js", "text/javascript"),
    ],
)
async def test_the_documents_are_served_to_everybody(client, path, content_type):
    response = await client.get(path)
    assert (response.status, response.content_type) == (200, content_type)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert await response.read()


async def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(client):
    page = await (await client.get("/docs")).text()
    assert "<style" not in page
    assert "style=" not in page
    assert "://" not in page
    assert page.count("<script") == page.count('<script type="module" src=')
    for script in ("docs.js", "schema.js"):
        code = await (await client.get(f"/docs/{script}")).text()
        assert "innerHTML" not in code
        assert "insertAdjacent" not in code
        assert "https://" not in code
