"""Every REST call of `whatsapp.v1` as a method; the client's part that needs no WebSocket.

Errors are those of `errors.py`, made from the answer's `code`, so that a client says
`except NotFound`. A code that this version does not know becomes a plain `Refusal` or
`Trouble` with that code. What is no answer at all is `Offline` (nothing was done) or
`ConnectionLost` (the outcome is unknown).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import UNSET, Struct
from yarl import URL

from whatsapp import errors, resources
from whatsapp.model import Role, Visibility
from whatsapp.wire import Item

T = TypeVar("T")

PAGE_MESSAGES_MAX = 200


class Offline(errors.WhatsAppError):
    """The server cannot be reached; nothing was done. Trying again later is right."""


class ConnectionLost(errors.WhatsAppError):
    """The connection broke before the answer came: whether it was done is not known."""


_KINDS: dict[str, type[errors.Answer]] = {
    kind.code: kind
    for kind in (
        errors.BadRequest,
        errors.Unauthorized,
        errors.BadCredentials,
        errors.Forbidden,
        errors.NotFound,
        errors.UserExists,
        errors.WeakPassword,
        errors.NotMember,
        errors.GroupFull,
        errors.TooLarge,
        errors.IdReused,
        errors.RateLimited,
        errors.Busy,
        errors.Unavailable,
        errors.Internal,
    )
}

# What a proxy before the server means, which knows nothing of our codes.
_STATUSES: dict[int, type[errors.Answer]] = {
    HTTPStatus.UNAUTHORIZED: errors.Unauthorized,
    HTTPStatus.FORBIDDEN: errors.Forbidden,
    HTTPStatus.NOT_FOUND: errors.NotFound,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: errors.TooLarge,
    HTTPStatus.TOO_MANY_REQUESTS: errors.RateLimited,
    HTTPStatus.BAD_GATEWAY: errors.Unavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: errors.Unavailable,
    HTTPStatus.GATEWAY_TIMEOUT: errors.Unavailable,
}


def answer(
    code: str, message: str, *, retryable: bool, retry_after_ms: int | None = None
) -> errors.Answer:
    """The error of this code."""
    kind = _KINDS.get(code)
    if kind is None:
        family = errors.Trouble if retryable else errors.Refusal
        members = {"code": code, "status": 0, "retryable": retryable, "__module__": __name__}
        kind = type(family.__name__, (family,), members)
    return kind(message, retry_after_ms=retry_after_ms)


def problem(status: int, body: bytes) -> errors.Answer:
    """The error of an HTTP answer, whether the server or a proxy before it wrote it."""
    try:
        said = msgspec.json.decode(body, type=resources.Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        whose = errors.Internal if status >= HTTPStatus.INTERNAL_SERVER_ERROR else errors.BadRequest
        return _STATUSES.get(status, whose)(f"the server answered {status} without a reason")
    retryable = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    return answer(said.code, said.detail, retryable=retryable, retry_after_ms=said.retry_after_ms)


class Calls:
    """The REST interface. Usable alone, for scripts that hold no connection.

    Every call may raise an `errors.Answer` (its `code`, `message`, `retryable` and
    `retry_after_ms` are the server's), `Offline` or `ConnectionLost`; nothing is repeated
    by itself. Users, chats and messages are named as in the protocol; times are
    milliseconds since the Unix epoch. Has to be made inside of a running event loop.
    """

    def __init__(
        self, url: str, *, token: str | None = None, request_timeout_seconds: float = 30.0
    ) -> None:
        self.url = url.rstrip("/")
        self.user = ""  # who is logged in
        self.device = ""
        self._token = token
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=request_timeout_seconds)
        )

    async def close(self) -> None:
        await self._http.close()

    # --- account --------------------------------------------------------------------

    async def register(
        self, user: str, password: str, *, name: str | None = None, invite: str | None = None
    ) -> resources.Registered:
        """A new account (`UserExists`, `WeakPassword`; `Forbidden` where it takes an invite)."""
        body = resources.Register(user=user, password=password, name=name, invite=invite)
        return await self._call(resources.Registered, "POST", "/v1/users", body=body)

    async def login(
        self, user: str, password: str, *, device: str | None = None
    ) -> resources.LoggedIn:
        """A new device of this user (`BadCredentials`); later calls are made as this one.

        `device` is a name for people, such as "Ann's laptop".
        """
        body = resources.Login(user=user, password=password, device=device)
        logged_in = await self._call(resources.LoggedIn, "POST", "/v1/login", body=body)
        self._token, self.user, self.device = logged_in.token, logged_in.user, logged_in.device
        return logged_in

    async def logout(self) -> None:
        """End this device: its token is worth nothing any more."""
        await self._call(None, "POST", "/v1/logout")
        self._token = None

    async def profile(self) -> resources.Profile:
        return await self._call(resources.Profile, "GET", "/v1/me")

    async def change(
        self,
        *,
        name: str | None = None,
        about: str | None = None,
        last_seen: Visibility | None = None,
        receipts: bool | None = None,
    ) -> resources.Profile:
        """Change these of the own profile; None leaves as it is."""
        privacy = resources.PrivacyChange(last_seen=_set(last_seen), receipts=_set(receipts))
        body = resources.ProfileChange(
            name=_set(name),
            about=_set(about),
            privacy=UNSET if last_seen is None and receipts is None else privacy,
        )
        return await self._call(resources.Profile, "PATCH", "/v1/me", body=body)

    async def change_password(self, old: str, new: str) -> None:
        """All other devices are logged out."""
        body = resources.PasswordChange(old=old, new=new)
        await self._call(None, "POST", "/v1/me/password", body=body)

    async def erase(self, password: str) -> None:
        """End the account for good. Messages that it wrote stay, without its name."""
        await self._call(None, "DELETE", "/v1/me", body=resources.Erasure(password=password))

    async def devices(self) -> list[resources.DeviceInfo]:
        return await self._call(list[resources.DeviceInfo], "GET", "/v1/devices")

    async def end_device(self, device: str) -> None:
        """Log this other device out."""
        await self._call(None, "DELETE", "/v1/devices", device)

    # --- people ---------------------------------------------------------------------

    async def users(self, prefix: str, *, limit: int = 20) -> list[resources.UserName]:
        """Users whose id or name begins so. 3 characters or more; `limit` up to 50."""
        query: dict[str, str | int] = {"q": prefix, "limit": limit}
        return await self._call(list[resources.UserName], "GET", "/v1/users", query=query)

    async def user_info(self, user: str) -> resources.UserInfo:
        return await self._call(resources.UserInfo, "GET", "/v1/users", user)

    async def presence(self, user: str) -> resources.PresenceInfo:
        return await self._call(resources.PresenceInfo, "GET", "/v1/users", user, "presence")

    async def block(self, user: str) -> None:
        await self._call(None, "PUT", "/v1/blocks", user)

    async def unblock(self, user: str) -> None:
        await self._call(None, "DELETE", "/v1/blocks", user)

    async def blocks(self) -> list[str]:
        return await self._call(list[str], "GET", "/v1/blocks")

    # --- chats ----------------------------------------------------------------------

    async def chats(
        self, *, limit: int | None = None, before_ms: int | None = None
    ) -> list[resources.ChatInfo]:
        """Newest activity first; `before_ms` goes on with what was last active before then."""
        query = {"limit": limit, "before": before_ms}
        return await self._call(list[resources.ChatInfo], "GET", "/v1/chats", query=query)

    async def chat(self, chat: str) -> resources.ChatInfo:
        """One chat, with its members (`NotFound`, also where the user may not see it)."""
        return await self._call(resources.ChatInfo, "GET", "/v1/chats", chat)

    async def is_behind(self, cursors: Mapping[str, int]) -> bool:
        """Has the server less than these cursors say? Then its data began anew since.

        Looks at the latest chats. Where the server cannot be asked, it is not behind.
        """
        try:
            chats = await self.chats() if cursors else []
        except errors.WhatsAppError:
            return False
        return any(info.head < cursors.get(info.chat, 0) for info in chats)

    async def page(
        self, chat: str, *, before: int | None = None, after: int | None = None, limit: int = 50
    ) -> resources.History:
        """At most `limit` (up to 200) messages next to a seq, or the newest; in seq order."""
        query = {"before": before, "after": after, "limit": limit}
        return await self._call(
            resources.History, "GET", "/v1/chats", chat, "messages", query=query
        )

    async def history(
        self, chat: str, *, before: int | None = None, after: int | None = None
    ) -> AsyncGenerator[Item, None]:
        """Walk the log, a page at a time: upward after a seq, else downward from the newest.

        `before` starts the way down at the seq below it. Has every kind of message, `void`
        ones too. Pages are read as they are needed.
        """
        upward = after is not None
        more = True
        while more:
            read = await self.page(chat, before=before, after=after, limit=PAGE_MESSAGES_MAX)
            for message in read.messages if upward else reversed(read.messages):
                yield message
            more = read.more and bool(read.messages)
            if more and upward:
                after = read.messages[-1].seq
            elif more:
                before = read.messages[0].seq

    async def between(self, chat: str, after: int, before: int, *, most: int) -> list[Item]:
        """At most so many entries between two seqs; those of them that the user may see."""
        found: list[Item] = []
        hidden = (errors.NotFound, errors.NotMember, errors.Forbidden)
        history = self.history(chat, after=after)
        async with contextlib.aclosing(history):
            with contextlib.suppress(*hidden):
                async for item in history:
                    if item.seq >= before or len(found) >= most:
                        break
                    found.append(item)
        return found

    async def post_over_http(
        self,
        chat: str,
        id: str,  # noqa: A002
        text: str,
        *,
        reply_to: int | None = None,
    ) -> resources.Posted:
        """One message without a connection. After `ConnectionLost` repeat with the same `id`."""
        body = resources.Post(id=id, text=text, reply_to=reply_to)
        return await self._call(resources.Posted, "POST", "/v1/chats", chat, "messages", body=body)

    async def search(
        self,
        query: str,
        *,
        chat: str | None = None,
        sender: str | None = None,
        before_ms: int | None = None,
        limit: int = 20,
    ) -> resources.Found:
        """Messages with all these words; the last word as a prefix; `"a phrase"` in quotes."""
        asked = {"q": query, "chat": chat, "from": sender, "before": before_ms, "limit": limit}
        return await self._call(resources.Found, "GET", "/v1/search", query=asked)

    # --- groups ---------------------------------------------------------------------

    async def create_group(self, title: str, members: list[str]) -> resources.ChatInfo:
        """A new group that this user owns. `members` are the others."""
        body = resources.NewGroup(title=title, members=members)
        return await self._call(resources.ChatInfo, "POST", "/v1/groups", body=body)

    async def change_group(
        self,
        chat: str,
        *,
        title: str | None = None,
        about: str | None = None,
        announce: bool | None = None,
    ) -> resources.ChatInfo:
        """`announce`: only admins send. None leaves as it is."""
        body = resources.GroupChange(title=_set(title), about=_set(about), announce=_set(announce))
        return await self._call(resources.ChatInfo, "PATCH", "/v1/groups", chat, body=body)

    async def add_members(self, chat: str, users: list[str]) -> list[str]:
        """Those that were added (`GroupFull`, `Forbidden` unless admin)."""
        body = resources.Users(users=users)
        added = await self._call(resources.Added, "POST", "/v1/groups", chat, "members", body=body)
        return added.added

    async def remove_member(self, chat: str, user: str) -> None:
        await self._call(None, "DELETE", "/v1/groups", chat, "members", user)

    async def leave(self, chat: str) -> None:
        """Leave this group."""
        await self.remove_member(chat, self.user)

    async def set_role(self, chat: str, user: str, role: Role) -> None:
        """Only an owner may (`Forbidden`)."""
        path = ("/v1/groups", chat, "members", user, "role")
        await self._call(None, "PUT", *path, body=resources.NewRole(role=role))

    async def invite(self, chat: str) -> str:
        """A new code with which anybody can `join`; the one before it ends."""
        return (await self._call(resources.Invite, "POST", "/v1/groups", chat, "invite")).code

    async def revoke_invite(self, chat: str) -> None:
        await self._call(None, "DELETE", "/v1/groups", chat, "invite")

    async def join(self, code: str) -> resources.ChatInfo:
        return await self._call(resources.ChatInfo, "POST", "/v1/join", code)

    # --- the call itself ------------------------------------------------------------

    async def _call(
        self,
        kind: type[T] | None,
        method: str,
        *path: str,
        query: Mapping[str, str | int | None] | None = None,
        body: Struct | None = None,
    ) -> T:
        base, *names = path
        url = URL(self.url + "/".join((base, *(quote(n, safe=":") for n in names))), encoded=True)
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        data = None
        if body is not None:
            data = encoded(body)
            headers["Content-Type"] = "application/json"
        status, answered = await self._exchange(
            method, url.update_query(asked), headers=headers, data=data
        )
        if status >= HTTPStatus.BAD_REQUEST:
            raise problem(status, answered)
        return _decoded(answered, kind)

    async def _exchange(self, method: str, url: URL, **options: Any) -> tuple[int, bytes]:
        try:
            async with self._http.request(method, url, **options) as response:
                return response.status, await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Offline(f"{self.url} cannot be reached: {error}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(f"{self.url} did not answer: {cause(error)}") from error


def cause(error: Exception) -> str:
    """What went wrong, for people; many errors of sockets say nothing themselves."""
    return str(error) or type(error).__name__


def _set(value: T | None) -> T | msgspec.UnsetType:
    return UNSET if value is None else value


def encoded(body: Struct) -> bytes:
    """As JSON, without the members that say nothing."""
    members = {
        name: value for name, value in msgspec.to_builtins(body).items() if value is not None
    }
    return msgspec.json.encode(members)


def _decoded(body: bytes, kind: type[T] | None) -> T:
    if kind is None:
        return None  # type: ignore[return-value]
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise errors.Internal(f"the answer is not what this client knows: {error}") from error
