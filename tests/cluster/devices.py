"""Devices that write and read for ever over real sockets, and move to the next instance alone.

One message of a device is under way in a chat at a time; one without an answer is sent again,
with the same id, over whatever connection there is. What they saw is judged at the end, by
the judge of `tests/faults/flood.py` and by `backward` here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec
from aiohttp import ClientSession, ClientWebSocketResponse, ClientWSTimeout, WSMsgType
from msgspec import field

from tests.faults.flood import History, Record
from tests.support.peer import SUBPROTOCOL, Frame, Peer

CONNECT_SECONDS = 2.0
COME_SECONDS = 20.0
PING_SECONDS = 0.5
# An instance that says nothing for so long, pings unanswered, is left for the next one.
SILENCE_SECONDS = 3.0
AGAIN_SECONDS = 0.2


class Seen(History):
    """`History`, and when things happened (seconds of the monotonic clock)."""

    acked_at: dict[tuple[str, int], float] = field(default_factory=dict)
    came_at: dict[tuple[str, str, int], float] = field(default_factory=dict)
    backward: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


class Device:
    """A user's one device. `urls` is shared and may change: instances come back elsewhere."""

    def __init__(
        self,
        http: ClientSession,
        peer: Peer,
        urls: list[str],
        chats: Sequence[str],
        seen: Seen,
        *,
        at: int = 0,
        pause_seconds: float = 0.03,
    ) -> None:
        self.user = peer.user
        self.peer = peer
        self.at = at
        self.writing = True
        self.chats = chats
        self.pending: dict[str, Frame] = {}
        self.connections = 0
        self.welcomed_at = 0.0
        self.codes: list[int] = []
        self.presences: list[tuple[float, Frame]] = []
        self.has: dict[str, set[int]] = {chat: set() for chat in chats}
        self.watch: list[str] = []
        self._http = http
        self._urls = urls
        self._seen = seen
        self._pause = pause_seconds
        self._count = 0
        self._again: dict[str, float] = {}
        self._received: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None

    async def come(self, at: int | None = None) -> None:
        """Connect, to this instance where one is named; return once it is known there."""
        self.at = self.at if at is None else at
        before = self.connections
        self._task = asyncio.create_task(self._run())
        async with asyncio.timeout(COME_SECONDS):
            while self.connections == before:
                await asyncio.sleep(0.01)

    async def leave(self) -> None:
        """Be away, without a word."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            url = self._urls[self.at % len(self._urls)]
            with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
                await self._connected(url)
            self.at += 1
            await asyncio.sleep(0.1)

    async def _connected(self, url: str) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            ws = await self._http.ws_connect(
                f"{url}/v1/ws",
                protocols=(SUBPROTOCOL,),
                autoclose=False,
                timeout=ClientWSTimeout(ws_close=0.5),
            )
        self._heard_at = time.monotonic()
        self._told = {}
        writer = asyncio.create_task(self._write(ws))
        reader = asyncio.create_task(self._read(ws))
        try:
            await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)
            _abort(ws)
            await ws.close()
        for task in (writer, reader):
            if not task.cancelled() and (error := task.exception()):
                raise error

    # --- writing ---------------------------------------------------------------------

    async def _write(self, ws: ClientWebSocketResponse[bool]) -> None:
        """Ends where the other side says nothing any more."""
        await _say(ws, {"type": "hello", "token": self.peer.token})
        if self.watch:
            await _say(ws, {"type": "watch", "users": self.watch})
        self._again = dict.fromkeys(self.pending, 0.0)
        pinged_at = 0.0
        while (now := time.monotonic()) - self._heard_at < SILENCE_SECONDS:
            for chat in self.chats:
                if self._again.get(chat, now + 1) <= now:
                    del self._again[chat]
                    await _say(ws, self.pending[chat])
                elif self.writing and chat not in self.pending:
                    self.pending[chat] = self._new(chat)
                    await _say(ws, self.pending[chat])
            for chat, seq in self._received.items():
                if self._told.get(chat, 0) < seq:
                    self._told[chat] = seq
                    kind = "read" if len(self.user) % 2 else "received"
                    await _say(ws, {"type": kind, "chat": chat, "seq": seq})
            if now - pinged_at > PING_SECONDS:
                pinged_at = now
                await _say(ws, {"type": "ping"})
            await asyncio.sleep(self._pause)

    def _new(self, chat: str) -> Frame:
        self._count += 1
        name = f"{self.user}-{self._count:08}"
        self._seen.sent.setdefault((self.user, chat), []).append(name)
        return {"type": "send", "id": name, "chat": chat, "text": f"text {self._count}"}

    # --- reading ---------------------------------------------------------------------

    async def _read(self, ws: ClientWebSocketResponse[bool]) -> None:
        pushed: dict[str, list[int]] = {}
        receipts: dict[tuple[str, str], tuple[int, int]] = {}
        drained, code = False, 0
        try:
            while (message := await ws.receive()).type is WSMsgType.TEXT:
                self._heard_at = time.monotonic()
                frame = msgspec.json.decode(message.data)
                drained = drained or frame["type"] == "draining"
                for item in frame["items"] if frame["type"] == "messages" else [frame]:
                    self._take(item, frame["type"], pushed, receipts)
            code = message.data if message.type is WSMsgType.CLOSE else 0
        finally:
            self.codes.append(code or 0)
            self._seen.ends.append((drained, code or 0))

    def _take(
        self,
        item: Frame,
        kind: str,
        pushed: dict[str, list[int]],
        receipts: dict[tuple[str, str], tuple[int, int]],
    ) -> None:
        now, seen = time.monotonic(), self._seen
        match kind:
            case "welcome":
                self.connections += 1
                self.welcomed_at = now
            case "message" | "messages":
                chat, seq = item["chat"], item["seq"]
                if chat not in pushed:
                    pushed[chat] = []
                    seen.pushed.setdefault((self.user, chat), []).append(pushed[chat])
                pushed[chat].append(seq)
                self._has(chat, seq)
                seen.came_at.setdefault((self.user, chat, seq), now)
            case "sent":
                frame = self.pending.get(item["chat"])
                if frame is not None and frame["id"] == item["id"]:
                    del self.pending[item["chat"]]
                    one = item["chat"], item["seq"], self.user, item["id"], frame["text"]
                    seen.acknowledged.append(Record(*one))
                    seen.acked_at[item["chat"], item["seq"]] = now
                self._has(item["chat"], item["seq"])
            case "error":
                self._failed(item, now)
            case "receipt":
                key, is_now = (item["chat"], item["user"]), (item["received"], item["read"])
                before = receipts.get(key, (0, 0))
                if is_now[0] < before[0] or is_now[1] < before[1]:
                    seen.backward.append(f"{self.user}: {key} {before} → {is_now}")
                receipts[key] = is_now
            case "presence":
                self.presences.append((now, item))
            case _:
                pass

    def _failed(self, item: Frame, now: float) -> None:
        self._seen.errors[item["code"]] += 1
        for chat, frame in self.pending.items():
            if frame["id"] == item.get("re"):
                self._again[chat] = now + AGAIN_SECONDS
                return
        self._seen.refused.append(item)

    def _has(self, chat: str, seq: int) -> None:
        if chat in self.has:
            has = self.has[chat]
            has.add(seq)
            upto = self._received.get(chat, 0)
            while upto + 1 in has:
                upto += 1
            self._received[chat] = upto


async def _say(ws: ClientWebSocketResponse[bool], frame: dict[str, Any]) -> None:
    await ws.send_str(msgspec.json.encode(frame).decode())


def _abort(ws: ClientWebSocketResponse[bool]) -> None:
    connection = ws._response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
