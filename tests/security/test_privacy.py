"""What is kept of passwords and tokens; one who is blocked cannot tell, not by time either."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.security.scene import Scene, scene
from tests.support.peer import PASSWORD, Peer, client_session
from tests.support.server import running, settings


async def test_the_store_keeps_neither_password_nor_token(tmp_path: Path) -> None:
    async with running(settings("sqlite", tmp_path)) as server, client_session() as http:
        olga = await Peer(http, server.url, "olga").register()
        await olga.ask(
            "POST", "/v1/chats/olga:olga/messages", {"id": "message-1", "text": "a note"}
        )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    kept = b"".join(path.read_bytes() for path in files)
    assert b"a note" in kept, "texts are not encrypted: SECURITY.md says so"
    assert b"$argon2id$" in kept
    for secret in (PASSWORD, olga.token):
        assert secret.encode() not in kept
    assert [oct(path.stat().st_mode & 0o077) for path in files if path.stat().st_mode & 0o077] == []


async def test_a_token_is_256_random_bits(tmp_path: Path) -> None:
    async with running(settings("memory", tmp_path)) as server, client_session() as http:
        olga = await Peer(http, server.url, "olga").register()
        tokens = {olga.token}
        for _ in range(3):
            tokens.add((await olga.login()).token)
        assert len(tokens) == 4
        assert {len(base64.urlsafe_b64decode(token + "=")) for token in tokens} == {32}


class Work:
    """Every call of a store, by name: where two requests make the same ones, they take as long."""

    def __init__(self, stage: Scene) -> None:
        self.calls: list[str] = []
        stores = stage.server.app.stores
        for store in (stores.accounts, stores.devices, stores.messages, stores.chats):
            for name in [name for name in dir(store) if not name.startswith("_")]:
                setattr(store, name, self._counted(name, getattr(store, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            return call(*arguments, **named)

        return counted


SAME = {
    "profile": ("GET", "/v1/users/olga", None),
    "presence": ("GET", "/v1/users/olga/presence", None),
    "find": ("GET", "/v1/users?q=olg", None),
    "chat": ("GET", "/v1/chats/{me}:olga", None),
    "chats": ("GET", "/v1/chats", None),
    "messages": ("GET", "/v1/chats/{me}:olga/messages", None),
    "search": ("GET", "/v1/search?q=secret", None),
    "post": ("POST", "/v1/chats/{me}:olga/messages", {"id": "message-1", "text": "hello"}),
    "group": ("POST", "/v1/groups", {"title": "us", "members": ["olga"]}),
}


@pytest.mark.parametrize("name", SAME)
async def test_one_who_is_blocked_gets_the_same_answer_by_the_same_work(name, tmp_path):
    """carl and bert have both talked with olga; bert is blocked since."""
    method, path, body = SAME[name]
    done = {}
    for kind in ("contact", "blocked"):
        async with scene(tmp_path) as stage:
            await stage.call(kind, "GET", path if method == "GET" else "/v1/me", None)
            work = Work(stage)
            answer = await stage.call(kind, method, path, body)
            done[kind] = (answer.status, shape(answer.body), work.calls)
    assert done["contact"] == done["blocked"]


def shape(body: Any) -> Any:
    """Which members there are, not their values; of a list: of its first."""
    if isinstance(body, dict):
        return {name: shape(part) for name, part in sorted(body.items())}
    return [shape(part) for part in body[:1]] if isinstance(body, list) else ...
