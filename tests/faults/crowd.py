"""People whose clients never give up, and all that they saw, written down for the judge.

A person sends, acknowledges, reads, types and watches, through connections that may end at
any moment and to any of several addresses. What has no answer is *unknown*: it is sent again,
with the same id and in the same order, until it is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType
from msgspec import Struct, field

from tests.support.peer import SUBPROTOCOL, Frame, Peer

# A connection on which nothing comes for so long is given up; pings make something come.
SILENCE_SECONDS = 2.5
PING_SECONDS = 0.5
CONNECT_SECONDS = 3.0
IN_FLIGHT_MAX = 16
BURST, BURST_CHANCE = 4, 0.1


class Attempt(Struct):
    """A send. `outcome`: "unknown", "ok" or "failed" (refused for good)."""

    user: str
    chat: str
    id: str
    text: str
    outcome: str = "unknown"
    seq: int = 0
    code: str = ""
    latency_ms: float = 0.0


class Push(Struct):
    """A message as it came."""

    chat: str
    seq: int
    kind: str
    sender: str
    id: str
    text: str


class Told(Struct):
    """A receipt, and what its reader had said when it came."""

    chat: str
    user: str
    received: int
    read: int
    said_received: int
    said_read: int


class Life(Struct):
    """One connection of a device, from its hello to its end."""

    user: str
    device: str
    address: str
    pushes: list[Push] = field(default_factory=list)
    receipts: list[Told] = field(default_factory=list)
    errors: list[Frame] = field(default_factory=list)
    synced: bool = False
    draining: bool = False
    close_code: int = 0


class History(Struct):
    """What all of them did and saw. `said` and `read`: per chat and user the most that any of
    its devices acknowledged; `applied`: per device and chat, up to where it has everything.
    """

    attempts: list[Attempt] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    said: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    applied: dict[str, dict[str, int]] = field(default_factory=dict)
    shown: dict[str, dict[str, bool]] = field(default_factory=dict)


class Person:
    """One device of one user. `addresses`: where it may connect; one is chosen each time."""

    def __init__(
        self,
        http: ClientSession,
        peer: Peer,
        addresses: Sequence[str],
        chats: Sequence[str],
        history: History,
        chance: random.Random,
    ) -> None:
        self.user, self.device = peer.user, peer.device
        self.pending: dict[str, Attempt] = {}
        self.sending = True
        self.pause_seconds = 0.01
        self.life: Life | None = None
        self.shown: dict[str, bool] = {}
        self.watching: Sequence[str] = ()
        self.applied: dict[str, int] = history.applied.setdefault(peer.device, {})
        self._own: dict[str, set[int]] = {}
        self._acked: dict[str, int] = {}
        self._http = http
        self._token = peer.token
        self._addresses = addresses
        self._chats = chats
        self._history = history
        self._chance = chance
        self._began: dict[str, float] = {}
        self._count = 0
        self._ws: ClientWebSocketResponse[bool] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._live())

    async def stop(self) -> None:
        """Go offline for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def drop(self) -> None:
        """Lose the connection; it comes back by itself."""
        if self._ws is not None and self._ws._response.connection is not None:
            transport = self._ws._response.connection.transport
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)

    def unfinished(self, heads: dict[str, int]) -> str:
        """What has still to come until it is up to date with these heads; empty: nothing."""
        if self._task is not None and self._task.done():
            return f"{self.user}: its client failed: {self._task.exception()!r}"
        if self.life is None or not self.life.synced:
            return f"{self.user}: not synced"
        if self.pending:
            return f"{self.user}: no answer to {next(iter(self.pending))}"
        for chat, head in heads.items():
            if self.applied.get(chat, 0) < head:
                return f"{self.user}: has {chat} up to {self.applied.get(chat, 0)} of {head}"
        return ""

    # --- connections -----------------------------------------------------------------

    async def _live(self) -> None:
        while True:
            address = self._chance.choice(self._addresses)
            with contextlib.suppress(ClientError, OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    ws = await self._http.ws_connect(
                        f"{address}/v1/ws", protocols=(SUBPROTOCOL,), autoclose=False
                    )
                await self._one_life(ws, address)
            await asyncio.sleep(self._chance.uniform(0.02, 0.15))

    async def _one_life(self, ws: ClientWebSocketResponse[bool], address: str) -> None:
        life = Life(self.user, self.device, address)
        self._history.lives.append(life)
        self._ws, self.life = ws, life
        acting = asyncio.create_task(self._act(ws))
        try:
            await self._read(ws, life)
        finally:
            self._ws = self.life = None
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)
            connection = ws._response.connection
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
            with contextlib.suppress(ClientError, OSError):
                await ws.close()

    async def _act(self, ws: ClientWebSocketResponse[bool]) -> None:
        hello: Frame = {"type": "hello", "token": self._token}
        if self._chance.random() < 0.5:
            hello["cursors"] = dict(self.applied)
            for chat, seq in self.applied.items():
                self._note(self._history.said, chat, seq)
        await self._say(ws, hello)
        await self._say(ws, {"type": "watch", "users": list(self.watching)})
        for attempt in list(self.pending.values()):
            await self._say(ws, _frame(attempt))
        pinged = 0.0
        while True:
            if time.monotonic() - pinged > PING_SECONDS:
                pinged = time.monotonic()
                await self._say(ws, {"type": "ping"})
            await self._something(ws)
            await asyncio.sleep(self.pause_seconds * self._chance.uniform(0.2, 2.0))

    async def _something(self, ws: ClientWebSocketResponse[bool]) -> None:
        draw = self._chance.random()
        chat = self._chance.choice(self._chats)
        if draw < 0.7 and self.sending and len(self.pending) < IN_FLIGHT_MAX:
            # Several at a stroke get into one commit: what becomes of their order is seen.
            for _ in range(BURST if draw < BURST_CHANCE else 1):
                await self._say(ws, _frame(self._attempt(chat)))
        elif draw < 0.9 or not self.sending:
            await self._acknowledge(ws, chat, read=draw > 0.8)
        elif draw < 0.92:
            await self._say(ws, {"type": "typing", "chat": chat, "on": draw < 0.91})

    async def _acknowledge(
        self, ws: ClientWebSocketResponse[bool], chat: str, *, read: bool
    ) -> None:
        seq = self.applied.get(chat, 0)
        if not seq or (self._acked.get(chat) == seq and not read):
            return
        self._acked[chat] = seq
        self._note(self._history.said, chat, seq)
        if read:
            self._note(self._history.read, chat, seq)
        await self._say(ws, {"type": "read" if read else "received", "chat": chat, "seq": seq})

    def _note(self, where: dict[str, int], chat: str, seq: int) -> None:
        key = f"{chat} {self.user}"
        where[key] = max(seq, where.get(key, 0))

    def _attempt(self, chat: str) -> Attempt:
        self._count += 1
        name = f"{self.device[-12:]}-{self._count:06}"
        attempt = Attempt(self.user, chat, name, f"text {self._count} of {self.user}")
        self._history.attempts.append(attempt)
        self.pending[name] = attempt
        self._began[name] = time.monotonic()
        return attempt

    async def _say(self, ws: ClientWebSocketResponse[bool], frame: Frame) -> None:
        with contextlib.suppress(ConnectionError):
            await ws.send_str(msgspec.json.encode(frame).decode())

    # --- what comes ------------------------------------------------------------------

    async def _read(self, ws: ClientWebSocketResponse[bool], life: Life) -> None:
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await ws.receive()
            if message.type is not WSMsgType.TEXT:
                life.close_code = message.data if message.type is WSMsgType.CLOSE else 0
                return
            frame = msgspec.json.decode(message.data)
            items = frame["items"] if frame["type"] == "messages" else [frame]
            for item in items:
                self._take(life, frame["type"], item)

    def _take(self, life: Life, kind: str, item: dict[str, Any]) -> None:
        if kind in {"message", "messages"}:
            self._pushed(life, item)
        elif kind == "sent":
            self._sent(item)
        elif kind == "receipt":
            life.receipts.append(self._told(item))
        elif kind == "presence":
            self.shown[item["user"]] = item["online"]
        elif kind == "error":
            self._refused(life, item)
        elif kind == "synced":
            life.synced = True
        elif kind == "draining":
            life.draining = True

    def _told(self, item: dict[str, Any]) -> Told:
        key, history = f"{item['chat']} {item['user']}", self._history
        most = history.said.get(key, 0), history.read.get(key, 0)
        return Told(item["chat"], item["user"], item["received"], item["read"], *most)

    def _pushed(self, life: Life, item: dict[str, Any]) -> None:
        chat, seq = item["chat"], item["seq"]
        push = Push(
            chat,
            seq,
            item["kind"],
            item.get("from", ""),
            item.get("id", ""),
            item.get("text", ""),
        )
        life.pushes.append(push)
        self._has(chat, max(seq, self.applied.get(chat, 0)))

    def _sent(self, item: dict[str, Any]) -> None:
        attempt = self.pending.pop(item["id"], None)
        if attempt is not None:
            attempt.outcome, attempt.seq = "ok", item["seq"]
            attempt.latency_ms = (time.monotonic() - self._began.pop(attempt.id)) * 1000
        self._own.setdefault(item["chat"], set()).add(item["seq"])
        self._has(item["chat"], self.applied.get(item["chat"], 0))

    def _has(self, chat: str, seq: int) -> None:
        own = self._own.get(chat, set())
        while seq + 1 in own:
            seq += 1
            own.discard(seq)
        self.applied[chat] = seq

    def _refused(self, life: Life, item: dict[str, Any]) -> None:
        life.errors.append(item)
        attempt = self.pending.pop(item.get("re", ""), None)
        if attempt is not None:
            # What may be tried again is left alone, and stays unknown.
            attempt.outcome = "unknown" if item["retryable"] else "failed"
            attempt.code = item["code"]


def _frame(attempt: Attempt) -> Frame:
    return {"type": "send", "id": attempt.id, "chat": attempt.chat, "text": attempt.text}
