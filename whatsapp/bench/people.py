"""Accounts, logins and groups for a run, made over REST on one connection that is kept open."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from whatsapp.bench.server import Target
from whatsapp.errors import StartupError
from whatsapp.model import direct_chat

TIMEOUT_SECONDS = 60.0
FAILED = 400

Tell = Callable[[str, int, int], None]


class Person(Struct, frozen=True):
    """A user and one login of it."""

    user: str
    token: str


class Rest:
    """A connection that is kept open."""

    def __init__(self, target: Target) -> None:
        self._connection = http.client.HTTPConnection(
            target.host, target.port, timeout=TIMEOUT_SECONDS
        )

    def close(self) -> None:
        self._connection.close()

    def __call__(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """Ask; the decoded answer. `StartupError` where it is no success."""
        status, text = self.ask(method, path, body, token)
        if status >= FAILED:
            said = text[:200].decode(errors="replace")
            raise StartupError(
                f"{method} {path.partition('?')[0]} was answered with {status}: {said}",
                "Start the server that is measured with --no-rate-limits and open registration.",
            )
        return msgspec.json.decode(text) if text else None

    def ask(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, bytes]:
        """The status and the body, whatever they are."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else msgspec.json.encode(body)
        try:
            self._connection.request(method, path, data, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except OSError as error:
            raise StartupError(f"{method} {path}: {error}", "Is a server there?") from None


class People:
    """The users of one run; their names begin with the run's."""

    def __init__(self, rest: Rest, run: str, tell: Tell) -> None:
        self.rest = rest
        self._run = run
        self._tell = tell
        self._password = secrets.token_urlsafe(18)
        self._count = 0

    def make(self, count: int) -> list[Person]:
        """Register so many users and log each in once."""
        made: list[Person] = []
        for done in range(count):
            self._tell("users", done, count)
            user = f"b{self._run}{self._count:05d}"
            self._count += 1
            self.rest("POST", "/v1/users", {"user": user, "password": self._password})
            made.append(self.login(user))
        return made

    def login(self, user: str) -> Person:
        """One more device of a user."""
        body = {"user": user, "password": self._password}
        return Person(user, self.rest("POST", "/v1/login", body)["token"])

    def group(self, owner: Person, members: list[Person]) -> str:
        """A group of all of these; its chat id."""
        body = {"title": "bench", "members": [member.user for member in members]}
        made: str = self.rest("POST", "/v1/groups", body, owner.token)["chat"]
        return made


def chat_of(one: Person, other: Person) -> str:
    return direct_chat(one.user, other.user)
