"""A server that does what a test tells it: real sockets, no rules of its own.

    async def story(line: Line) -> None:      # one connection
        await line.welcome()
        frame = await line.hear("send")
        await line.say(type="sent", id=frame["id"], chat="ann:bob", seq=1, time=1)

    async with scripted(story, next_story) as server: ...

Each connection plays the next story; the last one is played for all that follow. The
connection ends (abruptly) when its story returns, so most end with `line.stay()`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from whatsapp.client import Client, Options

QUICK = Options(retry_first_seconds=0.01, received_delay_seconds=0.01, close_timeout_seconds=0.5)
LIMIT_SECONDS = 20.0

Story = Callable[["Line"], Awaitable[None]]


class Gone(Exception):
    """The client has closed the connection."""


class Line:
    """One connection, as the server sees it."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket = socket
        self.request = request
        self.hello: dict[str, Any] = {}

    async def say(self, **frame: Any) -> None:
        await self.socket.send_str(json.dumps(frame))

    async def welcome(self, *, heartbeat_s: int = 30, **limits: int) -> None:
        self.hello = await self.hear("hello")
        given = {"frame_bytes": 65536, "text_bytes": 16384, "window": 512} | limits
        await self.say(
            type="welcome",
            user="ann",
            device="d1",
            instance="i",
            time=1,
            durable=True,
            limits={**given, "heartbeat_s": heartbeat_s},
        )

    async def text(self, seq: int, text: str = "", sender: str = "bob", **more: Any) -> None:
        await self.say(type="message", **item(seq, text, sender), **more)

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next frame of this kind; others before it are passed over."""
        while True:
            message = await self.socket.receive()
            if message.type is not WSMsgType.TEXT:
                raise Gone
            frame: dict[str, Any] = json.loads(message.data)
            if frame["type"] == kind:
                return frame

    async def answer(self, seq: int, **more: Any) -> dict[str, Any]:
        """Hear a `send`, and say `sent`."""
        frame = await self.hear("send")
        await self.say(type="sent", id=frame["id"], chat="ann:bob", seq=seq, time=1, **more)
        return frame

    async def refuse(self, code: str, **more: Any) -> dict[str, Any]:
        frame = await self.hear("send")
        given = {"retryable": False, "message": f"because {code}"} | more
        await self.say(type="error", re=frame["id"], code=code, **given)
        return frame

    async def close(self, code: int, reason: str = "") -> None:
        await self.socket.close(code=code, message=reason.encode())

    async def cut(self) -> None:
        """End as a broken cable does, nothing said."""
        assert self.request.transport is not None
        self.request.transport.abort()

    async def stay(self) -> None:
        await self.hear("never")


class Server:
    def __init__(self, stories: tuple[Story, ...]) -> None:
        self.url = ""
        self.lines: list[Line] = []
        self.asked: list[tuple[str, str, Any]] = []  # method, path with query, body
        self.answers: dict[str, tuple[int, Any]] = {}  # "GET /v1/me" → status, body
        self.failures: list[BaseException] = []
        self._stories = stories

    async def socket(self, request: web.Request) -> web.StreamResponse:
        if "GET /v1/ws" in self.answers:
            return await self.rest(request)
        socket = web.WebSocketResponse(protocols=("whatsapp.v1.json",), timeout=0.2)
        await socket.prepare(request)
        line = Line(socket, request)
        story = self._stories[min(len(self.lines), len(self._stories) - 1)]
        self.lines.append(line)
        try:
            await story(line)
        except (Gone, ConnectionError):
            pass
        except AssertionError as error:
            self.failures.append(error)
        return socket

    async def rest(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.asked.append((request.method, request.path_qs, json.loads(body) if body else None))
        default = DEFAULTS.get(f"{request.method} {request.path}", (204, None))
        status, answer = self.answers.get(f"{request.method} {request.path}", default)
        if status == 204:
            return web.Response(status=204)
        if isinstance(answer, bytes):
            return web.Response(status=status, body=answer)
        kind = "application/problem+json" if status >= 400 else "application/json"
        return web.json_response(answer, status=status, content_type=kind)


DEFAULTS: dict[str, tuple[int, Any]] = {
    "POST /v1/users": (201, {"user": "ann", "name": "Ann"}),
    "POST /v1/login": (200, {"token": "t1", "user": "ann", "device": "d1"}),
    "GET /v1/me": (
        200,
        {
            "user": "ann",
            "name": "Ann",
            "about": "",
            "privacy": {"last_seen": "everyone", "receipts": True},
        },
    ),
}


def item(seq: int, text: str = "", sender: str = "bob") -> dict[str, Any]:
    return {
        "chat": "ann:bob",
        "seq": seq,
        "id": f"{sender}-message-{seq}",
        "from": sender,
        "time": 1,
        "kind": "text",
        "text": text or f"text {seq}",
    }


def problem(status: int, code: str, **more: Any) -> tuple[int, dict[str, Any]]:
    given = {"type": "about:blank", "title": code, "status": status, "detail": f"because {code}"}
    return status, {**given, "code": code, **more}


async def silence(line: Line) -> None:
    """The story of a server that welcomes and then only listens."""
    await line.welcome()
    await line.stay()


@asynccontextmanager
async def scripted(*stories: Story) -> AsyncIterator[Server]:
    """The server, on a port of its own. A failed assertion of a story fails the test."""
    server = Server(stories or (silence,))
    app = web.Application()
    app.router.add_get("/v1/ws", server.socket)
    app.router.add_route("*", "/{path:.*}", server.rest)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()
    if server.failures:
        raise server.failures[0]


@asynccontextmanager
async def logged_in(server: Server, **options: Any) -> AsyncIterator[Client]:
    """A client of it. Whatever happens inside, no task of the client is left."""
    options.setdefault("options", QUICK)
    before = asyncio.all_tasks()
    try:
        async with asyncio.timeout(LIMIT_SECONDS), Client(server.url, **options) as me:
            await me.login("ann", "password 1")
            yield me
    finally:
        await _no_task_of_the_client_is_left(before)


async def _no_task_of_the_client_is_left(before: set[asyncio.Task[Any]]) -> None:
    left: set[asyncio.Task[Any]] = set()
    for _ in range(50):
        started = asyncio.all_tasks() - before
        left = {task for task in started if "/whatsapp/" in _file(task)}
        if not left:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"tasks left: {left}")


def _file(task: asyncio.Task[Any]) -> str:
    code = getattr(task.get_coro(), "cr_code", None)
    return code.co_filename if code is not None else ""


async def first(iterator: Any, count: int) -> list[Any]:
    return [await anext(iterator) for _ in range(count)]


async def take_until(iterator: Any, kind: type) -> AsyncIterator[Any]:
    async for thing in iterator:
        yield thing
        if isinstance(thing, kind):
            return


async def collect(iterator: Any) -> list[Any]:
    return [thing async for thing in iterator]
