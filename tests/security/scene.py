"""Nine people who differ in what they may do, and a few secrets that each may see or not.

Everything that is answered or pushed to one of them is searched for what is not theirs.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientSession
from msgspec.structs import replace

from tests.support.peer import Answer, Closed, Frame, Peer, client_session
from tests.support.server import Running, running, settings
from whatsapp.model import Actor, Role, Visibility
from whatsapp.resources import GroupChange, PrivacyChange, ProfileChange

# Who asks, in the order of the tables. The owner is olga: most of what is asked for is hers.
# `nobody` has no token, the token of `ended` is one of hers that was logged out.
ACTORS = (
    *("nobody", "ended", "stranger", "contact", "blocked"),
    *("former", "member", "admin", "owner"),
)
USERS = {
    "stranger": "sven",
    "contact": "carl",
    "blocked": "bert",
    "former": "fred",
    "member": "mia",
    "admin": "adam",
    "owner": "olga",
}
# Two more, to be added and removed.
ZOE, NINA = "zoe", "nina"
HELLO_REFUSED = "4001"

# What only these may ever be shown.
INSIDE = {"member", "admin", "owner"}
SECRETS: dict[str, set[str]] = {
    "secret-title": INSIDE | {"former"},
    "secret-early": INSIDE | {"former"},
    "secret-late": INSIDE,
    "secret-direct": {"contact", "owner"},
    "secret-hidden": {"blocked"},
    "secret-about-me": {"stranger", "contact", "blocked", "former", *INSIDE},
    "$argon2": set(),
}


def password(user: str) -> str:
    """No two are the same, and none has the id in it."""
    return f"a long road, {user[::-1]}"


class Scene:
    """See the head of this file. `names`: what a path or a frame may stand for, by name."""

    def __init__(self, server: Running, http: ClientSession) -> None:
        self.server = server
        self.http = http
        self.names: dict[str, str] = {"zoe": ZOE, "nina": NINA}
        self.tokens: dict[str, str] = {"nobody": "", "ended": ""}
        self.secrets = dict(SECRETS)
        self._count = 0

    async def build(self) -> Scene:
        app = self.server.app
        for user in (*USERS.values(), ZOE, NINA):
            await app.auth.add_user(user, password(user))
            self.names[user] = user
        for kind, user in USERS.items():
            login = await app.auth.login(user, password(user), "phone", "")
            self.tokens[kind] = login.token
            self._only(kind, login.token, login.device)
        for name in ("tablet", "ended"):
            login = await app.auth.login("olga", password("olga"), name, "")
            self.names[name], self.tokens[name] = login.device, login.token
            self._only("owner", login.token, login.device)
        await app.auth.end_device(_actor("olga"), self.names["ended"])
        await self._talk()
        shown_to = PrivacyChange(last_seen=Visibility.CONTACTS)
        change = ProfileChange(about="secret-about-me", privacy=shown_to)
        await app.people.change(_actor("olga"), change)
        return self

    def _only(self, kind: str, *texts: str) -> None:
        for text in texts:
            self.secrets[text] = {kind}

    async def _talk(self) -> None:
        app, olga = self.server.app, _actor("olga")
        members = ["adam", "mia", "fred", ZOE]
        for name, title in (("group", "secret-title"), ("notices", "secret-title")):
            chat = await app.groups.create(olga, title, members)
            self.names[name] = chat
            await app.groups.set_role(olga, chat, "adam", Role.ADMIN)
            await self._post("olga", chat, "secret-early")
            await app.groups.remove(olga, chat, "fred")
            await self._post("olga", chat, "secret-late")
        await app.groups.change(olga, self.names["notices"], GroupChange(announce=True))
        self.names["old_code"] = (await app.groups.invite(olga, self.names["group"])).code
        self.names["code"] = (await app.groups.invite(olga, self.names["group"])).code
        self.secrets[self.names["code"]] = self.secrets[self.names["old_code"]] = set()
        self.names["direct"], self.names["refused"] = "carl:olga", "bert:olga"
        for other, text in (("carl", "secret-direct"), ("bert", "before the quarrel")):
            await self._post("olga", f"{other}:olga", text)
            await self._post(other, f"{other}:olga", text)
        await app.people.block(olga, "bert")
        await self._post("bert", "bert:olga", "secret-hidden")

    async def _post(self, user: str, chat: str, text: str) -> None:
        self._count += 1
        name = f"scene-{self._count:06}"
        await self.server.app.conversations.post(_actor(user), chat, name, text, None)

    # --- asking ----------------------------------------------------------------------

    def fill(self, what: Any, kind: str) -> Any:
        """With names put in; `{me}` is who asks."""
        mine = {**self.names, "me": USERS.get(kind, "sven")}
        if isinstance(what, str):
            return what.format(**mine) if "{" in what else what
        if isinstance(what, Mapping):
            return {name: self.fill(part, kind) for name, part in what.items()}
        if isinstance(what, list):
            return [self.fill(part, kind) for part in what]
        return what

    async def call(self, kind: str, method: str, path: str, body: Any) -> Answer:
        peer = Peer(self.http, self.server.url, USERS.get(kind, ""))
        peer.token = self.tokens[kind]
        answer = await peer.call(method, self.fill(path, kind), self.fill(body, kind))
        shown = msgspec.json.encode(answer.body).decode()
        self.must_not_show(kind, shown)
        return answer

    async def say(self, kind: str, frame: Frame) -> tuple[str, list[Frame]]:
        """What becomes of a frame: `ok`, the code of its error, or of the close."""
        peer = Peer(self.http, self.server.url, USERS.get(kind, ""))
        peer.token = self.tokens[kind]
        await peer.open()
        try:
            return await self._said(peer, kind, frame), peer.inbox
        except Closed:
            return str(peer.close_code), peer.inbox
        finally:
            self.must_not_show(kind, msgspec.json.encode(peer.inbox).decode())
            await peer.leave()

    async def _said(self, peer: Peer, kind: str, frame: Frame) -> str:
        if frame["type"] == "hello" or kind != "nobody":
            await peer.say({"type": "hello", **({"token": peer.token} if peer.token else {})})
            await peer.next("synced")
        if frame != {"type": "hello"}:
            await peer.say(self.fill(frame, kind))
            if frame["type"] == "send":
                answer = await peer.next("sent", "error")
                peer.inbox.append(answer)
        await peer.say({"type": "ping", "n": 999_999_999})
        await peer.take(lambda one: one.get("n") == 999_999_999)
        errors = [one["code"] for one in peer.inbox if one["type"] == "error"]
        return errors[0] if errors else "ok"

    @contextlib.asynccontextmanager
    async def online(self, kind: str) -> AsyncIterator[None]:
        """This one is connected meanwhile, and sees nothing that is not its own."""
        peer = Peer(self.http, self.server.url, USERS[kind])
        peer.token = self.tokens[kind]
        await peer.online()
        try:
            yield
        finally:
            self.must_not_show(kind, msgspec.json.encode(peer.inbox).decode())
            await peer.leave()

    def must_not_show(self, kind: str, shown: str) -> None:
        leaked = [text for text, to in self.secrets.items() if text in shown and kind not in to]
        assert not leaked, f"{kind} was shown {leaked}"

    # --- what is stored --------------------------------------------------------------

    def stored(self) -> Any:
        """A copy of all data, but for when somebody was seen last."""
        accounts: Any = self.server.app.stores.accounts
        data = copy.deepcopy(accounts._data)
        data.accounts = {u: replace(a, last_seen_ms=0) for u, a in data.accounts.items()}
        data.devices = {t: replace(d, last_seen_ms=0) for t, d in data.devices.items()}
        return data


def _actor(user: str) -> Actor:
    return Actor(user, "")


@contextlib.asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """A server in this process, with everybody on it."""
    options = {"rates": {"enabled": False}}
    async with (
        running(settings("memory", folder, options)) as server,
        client_session() as http,
    ):
        yield await Scene(server, http).build()
