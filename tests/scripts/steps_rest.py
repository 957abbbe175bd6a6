"""Steps over REST: any call and its answer, and short ways to say the usual ones."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tests.scripts.language import names_of, pick, step
from tests.scripts.stage import Stage


@step("{who} is registered")
@step("{who} are registered")
@step("{who} logs in")
async def logs_in(stage: Stage, who: str) -> None:
    await stage.login(who)


@step("{who} calls {method:rest}")
async def calls(stage: Stage, who: str, method: str) -> None:
    """`GET /v1/chats`, or with a body: `POST /v1/groups {"title": …}`."""
    verb, _, rest = method.partition(" ")
    path, _, body = rest.partition(" ")
    decoded = msgspec.json.decode(body) if body else None
    stage.answer = await stage.device(who).call(verb, path, decoded)


@step("answer {number}[ {word}]")
async def answer(stage: Stage, number: int, word: str | None = None) -> None:
    got = stage.answer
    assert got.status == number, f"expected: {number}\n  got:      {got.status} {got.body}"
    if word is not None:
        assert got.body["code"] == word, f"expected: {word}\n  got:      {got.body}"
        assert got.headers["Content-Type"].startswith("application/problem+json"), got.headers
    assert "Location" not in got.headers


@step(".[{path:path}] is {value:rest}")
async def part_is(stage: Stage, value: str, path: str = "") -> None:
    """A part of the answer, as JSON."""
    got = pick(f".{path}", stage.answer.body)
    expected = json.loads(value)
    assert got == expected, f"expected: {value}\n  got:      {json.dumps(got)}"


@step("keep .{path:rest} as {name:word}")
async def keep(stage: Stage, path: str, name: str) -> None:
    stage.kept[name] = str(pick(f".{path}", stage.answer.body))


@step("{name} posts {text} in {chat} as {id}")
async def posts(stage: Stage, name: str, text: str, chat: str, id: str) -> None:
    body = {"id": id, "text": text}
    stage.answer = await stage.device(name).call("POST", f"/v1/chats/{chat}/messages", body)


# --- groups --------------------------------------------------------------------------


@step("{name} makes group {group:word} with {rest}")
async def makes_group(stage: Stage, name: str, group: str, rest: str) -> None:
    """Its title is its name in the story."""
    members = [] if rest == "nobody" else names_of(rest)
    body = {"title": group, "members": members}
    stage.kept[group] = (await stage.device(name).ask("POST", "/v1/groups", body))["chat"]


@step("{name} adds {user:who} to {chat}")
async def adds(stage: Stage, name: str, user: list[str], chat: str) -> None:
    path = f"/v1/groups/{chat}/members"
    added = await stage.device(name).ask("POST", path, {"users": user})
    assert added == {"added": user}, added


@step("{name} removes {user:name} from {chat}")
async def removes(stage: Stage, name: str, user: str, chat: str) -> None:
    await stage.device(name).ask("DELETE", f"/v1/groups/{chat}/members/{user}")


@step("{name} leaves {chat}")
async def leaves_group(stage: Stage, name: str, chat: str) -> None:
    user = stage.device(name).user
    await stage.device(name).ask("DELETE", f"/v1/groups/{chat}/members/{user}")


@step("{name} makes {user:name} {word} of {chat}")
async def makes_role(stage: Stage, name: str, user: str, word: str, chat: str) -> None:
    path = f"/v1/groups/{chat}/members/{user}/role"
    await stage.device(name).ask("PUT", path, {"role": word})


@step("{name} changes {chat} to {rest}")
async def changes(stage: Stage, name: str, chat: str, rest: str) -> None:
    await stage.device(name).ask("PATCH", f"/v1/groups/{chat}", json.loads(rest))


# --- people --------------------------------------------------------------------------


@step("{who} blocks {user:name}")
async def blocks(stage: Stage, who: str, user: str) -> None:
    await stage.device(who).ask("PUT", f"/v1/blocks/{user}")


@step("{who} unblocks {user:name}")
async def unblocks(stage: Stage, who: str, user: str) -> None:
    await stage.device(who).ask("DELETE", f"/v1/blocks/{user}")


@step("{who} sets privacy {rest}")
async def sets_privacy(stage: Stage, who: str, rest: str) -> None:
    wish: dict[str, Any] = {"privacy": json.loads(rest)}
    await stage.device(who).ask("PATCH", "/v1/me", wish)


@step("{who} logs out")
async def logs_out(stage: Stage, who: str) -> None:
    await stage.device(who).ask("POST", "/v1/logout")
