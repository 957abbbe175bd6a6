"""Schemathesis reads our openapi.json and tries to prove the server wrong.

Real server, real sockets, memory store. What must hold for whatever it thinks of: no 5xx;
statuses, content types and bodies as published; requests that the document forbids refused;
no answer without a token; only the published methods.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import quote

import pytest
import requests
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.core.failures import FailureGroup

from whatsapp import contract, examples
from whatsapp.app import open_app
from whatsapp.config import Auth, Config, Rates, Storage

PASSWORD = "a long sentence nobody guesses"
# What ends the token or the account that asks: asked by a user of its own each time.
FATAL = {"logout", "eraseMe", "changePassword"}
REQUEST_TIMEOUT_SECONDS = 10.0
EXAMPLES_MAX = 50


class Server:
    """The whole server in a thread, and somebody who knows its users."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._run()])
        self._numbers = itertools.count()
        self.session = requests.Session()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(REQUEST_TIMEOUT_SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        self.session.close()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        config = Config(
            storage=Storage(backend="memory"),
            rates=Rates(enabled=False),
            auth=Auth(password_memory_kib=64, failures_free=1_000_000),
        )
        async with open_app(config) as app:
            runner = web.AppRunner(app.web)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._end.wait()
            await runner.cleanup()

    def call(self, method: str, path: str, token: str = "", body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = self.session.request(
            method, self.url + path, json=body, headers=headers, timeout=REQUEST_TIMEOUT_SECONDS
        )
        response.raise_for_status()
        return response.json() if response.content else None

    def login(self, user: str) -> Any:
        """A new device of a user who exists."""
        return self.call("POST", "/v1/login", body={"user": user, "password": PASSWORD})

    def newcomer(self) -> Any:
        """The only device of a new user."""
        user = f"newcomer-{next(self._numbers)}"
        self.call("POST", "/v1/users", body={"user": user, "password": PASSWORD})
        return self.login(user)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def world(server: Server) -> dict[str, str]:
    """Users, a direct chat and a group; the real ids of what the document has examples of."""
    for user in ("alice", "bob", "carol", "dave"):
        server.call("POST", "/v1/users", body={"user": user, "password": PASSWORD})
    alice, bob = server.login("alice")["token"], server.login("bob")["token"]
    for token, number in itertools.product((alice, bob), range(5)):
        message = {"id": f"message-{number}", "text": f"See you at the station, {number}"}
        server.call("POST", "/v1/chats/alice:bob/messages", token, message)
    group = {"title": "Sunday football", "members": ["bob", "carol"]}
    chat = server.call("POST", "/v1/groups", alice, group)["chat"]
    code = server.call("POST", f"/v1/groups/{chat}/invite", alice)["code"]
    return {
        "token": alice,
        examples.PATH_OF_GROUPS["chat"]: chat,
        examples.PATH["code"]: code,
        examples.PATH["device"]: server.login("alice")["device"],
    }


class Truthful(requests.Session):
    """Puts the real ids where the document has examples; what Schemathesis invents stays."""

    def __init__(self, real: dict[str, str]) -> None:
        super().__init__()
        self.real = real

    def request(self, method: Any, url: Any, *arguments: Any, **named: Any) -> requests.Response:
        for example, real in self.real.items():
            url = url.replace(quote(example, safe=""), real).replace(example, real)
        return super().request(method, url, *arguments, **named)


@pytest.fixture(scope="module")
def session(world: dict[str, str]) -> Iterator[Truthful]:
    with Truthful({example: real for example, real in world.items() if example != "token"}) as it:
        yield it


CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {
            # No schema can say all that makes a title, a password, a search or a text a good
            # one (what is left without spaces, the size in UTF-8, before or after).
            "positive_data_acceptance": {"enabled": False},
            "negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 409, 413]},
        },
        # Every request has a good token; that none is answered without one is `ignored_auth`'s
        # business here, and test_rest's for every operation.
        "generation": {"with-security-parameters": False},
        "phases": {"coverage": {"generate-duplicate-query-parameters": True}},
    }
)
published = schemathesis.openapi.from_dict(contract.openapi_document(), config=CONFIG)


def test_the_server_publishes_this_document(server: Server):
    assert server.call("GET", "/openapi.json") == contract.openapi_document()


@pytest.mark.slow
@published.parametrize()
@settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_the_server_keeps_to_its_document(
    case: Case[Any], server: Server, session: Truthful, world: dict[str, str]
):
    token = world["token"]
    operation = case.operation.definition.raw["operationId"]
    if operation in FATAL:
        token = server.newcomer()["token"]
    if operation == "join":
        # Other operations end invitations.
        chat = world[examples.PATH_OF_GROUPS["chat"]]
        invite = server.call("POST", f"/v1/groups/{chat}/invite", token)
        session.real[examples.PATH["code"]] = invite["code"]
    if operation == "endDevice":
        session.real[examples.PATH["device"]] = server.login("alice")["device"]
    case.call_and_validate(
        base_url=server.url,
        session=session,
        headers={"Authorization": f"Bearer {token}"},
        timeout=REQUEST_TIMEOUT_SECONDS,
    )


@pytest.mark.slow
def test_a_document_that_is_not_true_is_found_out(server: Server, world: dict[str, str]):
    document = contract.openapi_document()
    document["components"]["schemas"]["Profile"]["properties"]["name"] = {"type": "integer"}
    untrue = schemathesis.openapi.from_dict(document, config=CONFIG)
    with pytest.raises(FailureGroup, match="name"):
        untrue["/v1/me"]["GET"].Case().call_and_validate(
            base_url=server.url, headers={"Authorization": f"Bearer {world['token']}"}
        )
