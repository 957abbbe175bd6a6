"""Who may do what: every operation of REST and every frame, asked by every kind of actor.

The operations are the server's own tables; one that has no expectation here fails. Beside the
outcome: what is refused has changed nothing in the store, and nobody is shown what is not
theirs, in an answer or in a push (`scene.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from msgspec import Struct

from backends.memory import MemoryChats
from tests.security.scene import ACTORS, USERS, password, scene
from tests.support.peer import Frame
from whatsapp import group, history, page_routes, wire
from whatsapp.accounts import Accounts
from whatsapp.auth import Auth
from whatsapp.endpoints import OPERATIONS
from whatsapp.model import Actor, Member
from whatsapp.room import Room

ALL = {one.name: one for group in OPERATIONS.values() for one in group}

# Everybody may have these, and they say nothing about anybody.
OPEN = {
    *("/healthz", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json"),
    *("/docs", "/docs/docs.css", "/docs/docs.js", "/docs/schema.js"),
    *page_routes.addresses(),
}
SOCKET = "/v1/ws"

ID = "authorized-{me}"
POST = {"id": "authorized-1", "text": "hello"}


class Wish(Struct, frozen=True):
    """A request, and the status that each of `ACTORS` gets, in that order.

    `shows`: secrets that this answer may show to whom it succeeds for. `rule(actor, body)`: what
    else must hold of an answer that is no refusal.
    """

    operation: str
    path: str
    expected: str
    body: Any = None
    shows: tuple[str, ...] = ()
    rule: Callable[[str, Any], bool] | None = None


def only_owner_sees_olga_online(actor: str, body: Any) -> bool:
    """Shown to contacts: bert is one, and is blocked."""
    return bool(body["online"]) is (actor in {"contact", "owner"})


#  in order:    nobody ended stranger contact blocked former member admin owner
WISHES = {
    "register": Wish(
        "register",
        "/v1/users",
        "201 201 201 201 201 201 201 201 201",
        {"user": "somebody", "password": "a long password"},
    ),
    "register as another": Wish(
        "register",
        "/v1/users",
        "409 409 409 409 409 409 409 409 409",
        {"user": "olga", "password": "a long password"},
    ),
    "log in": Wish(
        "login",
        "/v1/login",
        "200 200 200 200 200 200 200 200 200",
        {"user": "zoe", "password": password("zoe")},
    ),
    "guess a password": Wish(
        "login",
        "/v1/login",
        "401 401 401 401 401 401 401 401 401",
        {"user": "olga", "password": "a long password"},
    ),
    "log out": Wish("logout", "/v1/logout", "401 401 204 204 204 204 204 204 204"),
    "own devices": Wish(
        "listDevices",
        "/v1/devices",
        "401 401 200 200 200 200 200 200 200",
        rule=lambda actor, body: len(body) == (2 if actor == "owner" else 1),
    ),
    "end the owner's tablet": Wish(
        "endDevice", "/v1/devices/{tablet}", "401 401 404 404 404 404 404 404 204"
    ),
    "change the password, by the owner's": Wish(
        "changePassword",
        "/v1/me/password",
        "401 401 401 401 401 401 401 401 204",
        {"old": password("olga"), "new": "another long one"},
    ),
    "erase, by the owner's password": Wish(
        "eraseMe",
        "/v1/me",
        "401 401 401 401 401 401 401 401 204",
        {"password": password("olga")},
    ),
    "own profile": Wish(
        "showMe",
        "/v1/me",
        "401 401 200 200 200 200 200 200 200",
        rule=lambda actor, body: body["user"] == USERS[actor],
    ),
    "change the profile": Wish(
        "changeMe",
        "/v1/me",
        "401 401 200 200 200 200 200 200 200",
        {"name": "Another"},
        rule=lambda actor, body: body["user"] == USERS[actor],
    ),
    "find people": Wish("findUsers", "/v1/users?q=olg", "401 401 200 200 200 200 200 200 200"),
    "the owner's profile": Wish(
        "showUser", "/v1/users/olga", "401 401 200 200 200 200 200 200 200"
    ),
    "is the owner online": Wish(
        "showPresence",
        "/v1/users/olga/presence",
        "401 401 200 200 200 200 200 200 200",
        rule=only_owner_sees_olga_online,
    ),
    "own blocks": Wish(
        "listBlocks",
        "/v1/blocks",
        "401 401 200 200 200 200 200 200 200",
        rule=lambda actor, body: body == (["bert"] if actor == "owner" else []),
    ),
    "block the owner": Wish("block", "/v1/blocks/olga", "401 401 204 204 204 204 204 204 400"),
    "lift the owner's block": Wish(
        "unblock", "/v1/blocks/bert", "401 401 204 204 204 204 204 204 204"
    ),
    "own chats": Wish("listChats", "/v1/chats", "401 401 200 200 200 200 200 200 200"),
    "a group": Wish("showChat", "/v1/chats/{group}", "401 401 404 404 404 200 200 200 200"),
    "a talk of two": Wish("showChat", "/v1/chats/{direct}", "401 401 404 200 404 404 404 404 200"),
    "a group's messages": Wish(
        "listMessages", "/v1/chats/{group}/messages", "401 401 404 404 404 200 200 200 200"
    ),
    "messages of two": Wish(
        "listMessages", "/v1/chats/{direct}/messages", "401 401 404 200 404 404 404 404 200"
    ),
    "messages with one who is blocked": Wish(
        "listMessages", "/v1/chats/{refused}/messages", "401 401 404 404 200 404 404 404 200"
    ),
    "post to a group": Wish(
        "postMessage", "/v1/chats/{group}/messages", "401 401 404 404 404 403 201 201 201", POST
    ),
    "post where admins announce": Wish(
        "postMessage", "/v1/chats/{notices}/messages", "401 401 404 404 404 403 403 201 201", POST
    ),
    "post to a talk of two": Wish(
        "postMessage", "/v1/chats/{direct}/messages", "401 401 404 201 404 404 404 404 201", POST
    ),
    "search all": Wish(
        "searchMessages", "/v1/search?q=secret", "401 401 200 200 200 200 200 200 200"
    ),
    "search a group": Wish(
        "searchMessages",
        "/v1/search?q=secret&chat={group}",
        "401 401 404 404 404 404 200 200 200",
    ),
    "search a talk of two": Wish(
        "searchMessages",
        "/v1/search?q=secret&chat={direct}",
        "401 401 404 200 404 404 404 404 200",
    ),
    "create a group": Wish(
        "createGroup",
        "/v1/groups",
        "401 401 201 201 201 201 201 201 201",
        {"title": "another", "members": ["{nina}"]},
    ),
    "rename a group": Wish(
        "changeGroup",
        "/v1/groups/{group}",
        "401 401 404 404 404 403 403 200 200",
        {"title": "renamed"},
    ),
    "rename a talk of two": Wish(
        "changeGroup",
        "/v1/groups/{direct}",
        "401 401 404 404 404 404 404 404 404",
        {"title": "renamed"},
    ),
    "add to a group": Wish(
        "addMembers",
        "/v1/groups/{group}/members",
        "401 401 404 404 404 403 403 200 200",
        {"users": ["{nina}"]},
    ),
    "let oneself in": Wish(
        "addMembers",
        "/v1/groups/{group}/members",
        "401 401 404 404 404 403 403 200 200",
        {"users": ["{me}"]},
    ),
    "remove a member": Wish(
        "removeMember", "/v1/groups/{group}/members/zoe", "401 401 404 404 404 403 403 204 204"
    ),
    "remove the owner": Wish(
        "removeMember", "/v1/groups/{group}/members/olga", "401 401 404 404 404 403 403 403 204"
    ),
    "leave": Wish(
        "removeMember", "/v1/groups/{group}/members/{me}", "401 401 404 404 404 403 204 204 204"
    ),
    "make another one admin": Wish(
        "setRole",
        "/v1/groups/{group}/members/zoe/role",
        "401 401 404 404 404 403 403 403 204",
        {"role": "admin"},
    ),
    "make oneself owner": Wish(
        "setRole",
        "/v1/groups/{group}/members/{me}/role",
        "401 401 404 404 404 403 403 403 204",
        {"role": "owner"},
    ),
    "invite": Wish(
        "createInvite", "/v1/groups/{group}/invite", "401 401 404 404 404 403 403 200 200"
    ),
    "end the invitation": Wish(
        "revokeInvite", "/v1/groups/{group}/invite", "401 401 404 404 404 403 403 204 204"
    ),
    "join by invitation": Wish(
        "join", "/v1/join/{code}", "401 401 200 200 200 200 200 200 200", shows=("secret-title",)
    ),
    "join by an old invitation": Wish(
        "join", "/v1/join/{old_code}", "401 401 404 404 404 404 404 404 404"
    ),
}


class Said(Struct, frozen=True):
    """A frame, and what each of `ACTORS` gets: `ok`, an error's code, or a close code."""

    frame: Frame
    expected: str


HIDDEN, GONE, NO = "not_found", "not_member", "forbidden"
STRANGERS = f"4002 4001 {HIDDEN} {HIDDEN} {HIDDEN}"
OF_TWO = f"4002 4001 {HIDDEN} ok {HIDDEN} {HIDDEN} {HIDDEN} {HIDDEN} ok"
ANYBODY = "4002 4001 ok ok ok ok ok ok ok"

#  in order:    nobody ended stranger contact blocked former member admin owner
FRAMES = {
    "hello": Said({"type": "hello"}, "4001 4001 ok ok ok ok ok ok ok"),
    "send to a group": Said(
        {"type": "send", "id": ID, "chat": "{group}", "text": "hello"},
        f"{STRANGERS} {GONE} ok ok ok",
    ),
    "send where admins announce": Said(
        {"type": "send", "id": ID, "chat": "{notices}", "text": "hello"},
        f"{STRANGERS} {GONE} {NO} ok ok",
    ),
    "send to a talk of two": Said(
        {"type": "send", "id": ID, "chat": "{direct}", "text": "hello"}, OF_TWO
    ),
    "send to the owner": Said({"type": "send", "id": ID, "to": "olga", "text": "hello"}, ANYBODY),
    "received, of a group": Said(
        {"type": "received", "chat": "{group}", "seq": 6}, f"{STRANGERS} {GONE} ok ok ok"
    ),
    "received, of a talk of two": Said({"type": "received", "chat": "{direct}", "seq": 2}, OF_TWO),
    "read, of a group": Said(
        {"type": "read", "chat": "{group}", "seq": 6}, f"{STRANGERS} {GONE} ok ok ok"
    ),
    "read, of a talk of two": Said({"type": "read", "chat": "{direct}", "seq": 2}, OF_TWO),
    "read, beyond the end": Said(
        {"type": "read", "chat": "{direct}", "seq": 99},
        OF_TWO.replace("ok", "bad_request"),
    ),
    "typing, in a group": Said(
        {"type": "typing", "chat": "{group}", "on": True}, f"{STRANGERS} {HIDDEN} ok ok ok"
    ),
    "typing, in a talk of two": Said({"type": "typing", "chat": "{direct}", "on": True}, OF_TWO),
    "watch": Said({"type": "watch", "users": ["olga"]}, ANYBODY),
    "ping": Said({"type": "ping", "n": 1}, ANYBODY),
}
CONTACTS_OF_OLGA = {"contact", "owner"}


def test_every_operation_has_an_expectation():
    assert {wish.operation for wish in WISHES.values()} == set(ALL)
    tags = {kind.__struct_config__.tag for kind in get_args(wire.AnyClientFrame)}
    assert {said.frame["type"] for said in FRAMES.values()} == tags
    rows = [one.expected for one in WISHES.values()] + [one.expected for one in FRAMES.values()]
    assert all(len(row.split()) == len(ACTORS) for row in rows)


async def test_every_other_address_is_open_to_all_and_says_nothing_of_anybody(tmp_path):
    async with scene(tmp_path) as stage:
        served = {resource.canonical for resource in stage.server.app.web.router.resources()}
        assert served == {*OPEN, SOCKET, *(one.path for one in ALL.values())}
        for address in OPEN:
            answer = await stage.call("nobody", "GET", address, None)
            assert answer.status == 200, address
            text = str(answer.body)
            assert not any(name in text for name in ("olga", "carl:", stage.names["group"]))


@pytest.mark.parametrize("name", WISHES)
async def test_who_may_do_it(name, tmp_path):
    wish = WISHES[name]
    operation, got = ALL[wish.operation], []
    assert wish.path.partition("?")[0].count("/") == operation.path.count("/")
    for actor in ACTORS:
        async with scene(tmp_path) as stage:
            before = stage.stored()
            for text in wish.shows:
                stage.secrets[text] = set(ACTORS)
            async with stage.online("owner"):
                answer = await stage.call(actor, operation.method, wish.path, wish.body)
            got.append(str(answer.status))
            if answer.status >= 400:
                assert stage.stored() == before, f"refused to {actor}, and changed something"
            elif wish.rule is not None:
                assert wish.rule(actor, answer.body), (actor, answer.body)
            if actor != "owner":
                assert stage.stored().blocks["olga"] == {"bert"}
    assert " ".join(got) == wish.expected


@pytest.mark.parametrize("name", FRAMES)
async def test_who_may_say_it(name, tmp_path):
    said, got = FRAMES[name], []
    for actor in ACTORS:
        async with scene(tmp_path) as stage:
            before = stage.stored()
            outcome, inbox = await stage.say(actor, said.frame)
            got.append(outcome)
            if outcome != "ok":
                assert stage.stored() == before, f"refused to {actor}, and changed something"
            seen = {one["user"] for one in inbox if one["type"] == "presence" and one["online"]}
            assert seen <= ({"olga"} if actor in CONTACTS_OF_OLGA else set())
    assert " ".join(got) == said.expected


async def test_one_says_hello_once(tmp_path):
    async with scene(tmp_path) as stage:
        outcome, _ = await stage.say("member", {"type": "hello", "token": stage.tokens["owner"]})
        assert outcome == "bad_request"


def test_who_asks_is_not_said_by_a_frame_or_a_body():
    """There is no member to say it with: it comes from the token alone."""
    for kind in get_args(wire.AnyClientFrame):
        assert {"from", "sender", "user", "device"}.isdisjoint(kind.__struct_fields__)
    bodies = [one.body for one in ALL.values() if one.body is not None and not one.public]
    for body in bodies:
        assert {"from", "sender", "user", "device"}.isdisjoint(body.__struct_fields__)


# --- a table that cannot fail proves nothing -----------------------------------------


def anybody_manages(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(group, "_managing", group._active)


def members_are_not_looked_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Room, "ever", lambda room, user: Member(user=user, joined=1))


def former_members_read_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(history, "_spans", lambda room, member: [(1, room.head)])


def blocked_texts_are_shown(patch: pytest.MonkeyPatch) -> None:
    item = wire.item
    patch.setattr(history, "item", lambda entry, viewer: item(entry, entry.sender))


def blocks_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    async def nobody(accounts: Accounts, user: str) -> set[str]:
        return set()

    patch.setattr(Accounts, "blocks", nobody)


def old_invitations_stay_good(patch: pytest.MonkeyPatch) -> None:
    by_invite = MemoryChats.by_invite

    async def any_code(chats: MemoryChats, code: str) -> str | None:
        logs = chats._data.logs
        return await by_invite(chats, code) or next((c for c in logs if logs[c].invite), None)

    patch.setattr(MemoryChats, "by_invite", any_code)


def devices_of_anybody_end(patch: pytest.MonkeyPatch) -> None:
    async def end(auth: Auth, actor: Actor, device: str) -> None:
        store: Any = auth._devices
        owners = {one.device: one.user for one in store._data.devices.values()}
        await auth._end(owners[device], [device])

    patch.setattr(Auth, "end_device", end)


def changed_before_it_is_refused(patch: pytest.MonkeyPatch) -> None:
    revoke = group.Groups.revoke_invite

    async def eager(groups: group.Groups, actor: Actor, chat: str) -> None:
        await groups._chats.set_invite(chat, "")
        await revoke(groups, actor, chat)

    patch.setattr(group.Groups, "revoke_invite", eager)


PLANTS = {
    anybody_manages: ("rename a group", "3 200 200 200' == "),
    members_are_not_looked_up: ("a group's messages", "stranger was shown"),
    former_members_read_on: ("a group's messages", "former was shown"),
    blocked_texts_are_shown: ("messages with one who is blocked", "owner was shown"),
    blocks_are_not_looked_at: ("is the owner online", "owner was shown"),
    old_invitations_stay_good: ("join by an old invitation", "stranger was shown"),
    devices_of_anybody_end: ("end the owner's tablet", "204 204 204 204"),
    changed_before_it_is_refused: ("end the invitation", "refused to stranger, and changed"),
}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
async def test_a_planted_hole_is_found(plant, tmp_path, monkeypatch):
    name, told = PLANTS[plant]
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=told):
        await test_who_may_do_it(name, tmp_path)
