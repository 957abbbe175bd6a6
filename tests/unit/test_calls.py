"""REST: what is asked, what is made of the answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.scripted import Server, collect, item, problem, scripted
from whatsapp import errors
from whatsapp.calls import Calls, ConnectionLost, Offline
from whatsapp.model import Role, Visibility

PROFILE = {
    "user": "ann",
    "name": "Ann",
    "about": "",
    "privacy": {"last_seen": "everyone", "receipts": True},
}
CHAT = {
    "chat": "g:1",
    "kind": "group",
    "title": "T",
    "last": None,
    "head": 1,
    "received": 1,
    "read": 1,
    "unread": 0,
}
POSTED = {"chat": "ann:bob", "seq": 1, "time": 1, "dup": False}

CALLS: list[tuple[Any, ...]] = [
    ("register", ("ann", "pw"), {"name": "A"}, "POST /v1/users",
     {"user": "ann", "password": "pw", "name": "A"}, {"user": "ann", "name": "A"}),
    ("login", ("ann", "pw"), {"device": "mine"}, "POST /v1/login",
     {"user": "ann", "password": "pw", "device": "mine"},
     {"token": "t", "user": "ann", "device": "d"}),
    ("logout", (), {}, "POST /v1/logout", None, None),
    ("profile", (), {}, "GET /v1/me", None, PROFILE),
    ("change", (), {"name": "A", "receipts": False}, "PATCH /v1/me",
     {"name": "A", "privacy": {"receipts": False}}, PROFILE),
    ("change", (), {"about": "", "last_seen": Visibility.NOBODY}, "PATCH /v1/me",
     {"about": "", "privacy": {"last_seen": "nobody"}}, PROFILE),
    ("change", (), {"name": "A"}, "PATCH /v1/me", {"name": "A"}, PROFILE),
    ("change_password", ("a", "b"), {}, "POST /v1/me/password", {"old": "a", "new": "b"}, None),
    ("erase", ("pw",), {}, "DELETE /v1/me", {"password": "pw"}, None),
    ("devices", (), {}, "GET /v1/devices", None, []),
    ("end_device", ("d/1",), {}, "DELETE /v1/devices/d%2F1", None, None),
    ("users", ("ann",), {}, "GET /v1/users?q=ann&limit=20", None, []),
    ("user_info", ("+4912345678",), {}, "GET /v1/users/%2B4912345678", None,
     {"user": "+4912345678", "name": "", "about": ""}),
    ("presence", ("bob",), {}, "GET /v1/users/bob/presence", None,
     {"user": "bob", "online": False, "last_seen": None}),
    ("block", ("bob",), {}, "PUT /v1/blocks/bob", None, None),
    ("unblock", ("bob",), {}, "DELETE /v1/blocks/bob", None, None),
    ("blocks", (), {}, "GET /v1/blocks", None, ["bob"]),
    ("chats", (), {"limit": 3, "before_ms": 9}, "GET /v1/chats?limit=3&before=9", None, [CHAT]),
    ("chats", (), {}, "GET /v1/chats", None, []),
    ("chat", ("g:1",), {}, "GET /v1/chats/g:1", None, CHAT),
    ("post_over_http", ("ann:bob", "12345678", "hi"), {}, "POST /v1/chats/ann:bob/messages",
     {"id": "12345678", "text": "hi"}, POSTED),
    ("search", ('"a b" ä+',), {"sender": "bob"},
     "GET /v1/search?q=%22a+b%22+%C3%A4%2B&from=bob&limit=20", None,
     {"results": [], "more": False}),
    ("create_group", ("T", ["bob"]), {}, "POST /v1/groups",
     {"title": "T", "members": ["bob"]}, CHAT),
    ("change_group", ("g:1",), {"announce": True}, "PATCH /v1/groups/g:1",
     {"announce": True}, CHAT),
    ("add_members", ("g:1", ["cid"]), {}, "POST /v1/groups/g:1/members", {"users": ["cid"]},
     {"added": ["cid"]}),
    ("remove_member", ("g:1", "cid"), {}, "DELETE /v1/groups/g:1/members/cid", None, None),
    ("set_role", ("g:1", "cid", Role.ADMIN), {}, "PUT /v1/groups/g:1/members/cid/role",
     {"role": "admin"}, None),
    ("invite", ("g:1",), {}, "POST /v1/groups/g:1/invite", None, {"code": "c"}),
    ("revoke_invite", ("g:1",), {}, "DELETE /v1/groups/g:1/invite", None, None),
    ("join", ("c",), {}, "POST /v1/join/c", None, CHAT),
]  # fmt: skip


@pytest.fixture
async def server():
    async with scripted() as server:
        yield server


@pytest.fixture
async def calls(server: Server):
    calls = Calls(server.url + "/", token="t")
    yield calls
    await calls.close()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0])
async def test_every_call(call, server: Server, calls: Calls):
    name, given, named, asked, body, answer = call
    bare = asked.split("?")[0].replace("%2F", "/").replace("%2B", "+")
    server.answers[bare] = (204, None) if answer is None else (200, answer)
    result = await getattr(calls, name)(*given, **named)
    method, path, sent = server.asked[-1]
    assert (f"{method} {path}", sent) == (asked, body)
    assert (result is None) == (answer is None)


async def test_leaving_is_removing_oneself(server: Server, calls: Calls):
    calls.user = "ann"
    await calls.leave("g:1")
    assert server.asked[-1][:2] == ("DELETE", "/v1/groups/g:1/members/ann")


async def test_history_walks_down_and_up(server: Server, calls: Calls, monkeypatch):
    monkeypatch.setattr("whatsapp.calls.PAGE_MESSAGES_MAX", 2)
    pages = {
        None: ([4, 5], True),
        "before=4": ([2, 3], True),
        "before=2": ([1], False),
        "after=0": ([1, 2], True),
        "after=2": ([3, 4], True),
        "after=4": ([5], False),
    }
    real = calls.page

    async def page(chat, *, before=None, after=None, limit):
        key = f"before={before}" if before else f"after={after}" if after is not None else None
        seqs, more = pages[key]
        answer = {"messages": [item(s) for s in seqs], "more": more}
        server.answers["GET /v1/chats/ann:bob/messages"] = (200, answer)
        return await real(chat, before=before, after=after, limit=limit)

    monkeypatch.setattr(calls, "page", page)
    assert [m.seq for m in await collect(calls.history("ann:bob"))] == [5, 4, 3, 2, 1]
    assert [m.seq for m in await collect(calls.history("ann:bob", after=0))] == [1, 2, 3, 4, 5]
    assert [m.seq for m in await collect(calls.history("ann:bob", before=2))] == [1]
    assert [m.seq for m in await calls.between("ann:bob", 0, 4, most=9)] == [1, 2, 3]
    assert [m.seq for m in await calls.between("ann:bob", 0, 9, most=2)] == [1, 2]


@pytest.mark.parametrize(
    "answer, kind, code, retryable",
    [
        (problem(404, "not_found"), errors.NotFound, "not_found", False),
        (problem(429, "rate_limited", retry_after_ms=7), errors.RateLimited, "rate_limited", True),
        (problem(503, "busy"), errors.Busy, "busy", True),
        (problem(409, "of_later"), errors.Refusal, "of_later", False),
        (problem(503, "of_later_too"), errors.Trouble, "of_later_too", True),
        ((502, b"<h1>a proxy</h1>"), errors.Unavailable, "unavailable", True),
        ((418, b"\xff"), errors.BadRequest, "bad_request", False),
        ((500, b""), errors.Internal, "internal", True),
        ((200, {"who": "knows"}), errors.Internal, "internal", True),
    ],
)
async def test_errors_by_code(answer, kind, code, retryable, server: Server, calls: Calls):
    server.answers["GET /v1/me"] = answer
    with pytest.raises(kind) as caught:
        await calls.profile()
    assert caught.value.code == code
    assert caught.value.retryable is retryable
    assert caught.value.message
    if code == "rate_limited":
        assert caught.value.retry_after_ms == 7


async def test_a_server_that_is_not_there_is_offline_and_one_that_cuts_is_lost(server: Server):
    async with scripted() as gone:
        pass
    nowhere = Calls(gone.url)
    with pytest.raises(Offline, match="cannot be reached"):
        await nowhere.profile()
    await nowhere.close()

    async def cut(reader, writer):
        writer.close()

    cutting = await asyncio.start_server(cut, "127.0.0.1", 0)
    calls = Calls(f"http://127.0.0.1:{cutting.sockets[0].getsockname()[1]}")
    with pytest.raises(ConnectionLost, match="did not answer"):
        await calls.profile()
    await calls.close()
    cutting.close()
    await cutting.wait_closed()
