"""Senders that never stop, what they saw, and the judge of it.

The judge knows nothing of a server: it compares what was acknowledged and what was pushed with
logs, wherever they were read. A send without an answer is unknown, never a failure: it is sent
again, with the same id, until it is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType
from msgspec import Struct, field

from tests.support.peer import SUBPROTOCOL, Frame, Peer

IN_FLIGHT_MAX = 24
RECEIVED_EVERY = 40
PAGE = 200


class Record(Struct, frozen=True):
    """A text of a log, or the acknowledgement of one."""

    chat: str
    seq: int
    sender: str
    id: str
    text: str


class History(Struct):
    """What the clients saw.

    `pushed`: per reader, chat and connection the seqs, as they came. `ends`: of each connection,
    whether it was told `draining` before, and its close code (0: there was none).
    """

    sent: dict[tuple[str, str], list[str]] = field(
        default_factory=dict
    )  # (sender, chat) → ids, as first sent
    acknowledged: list[Record] = field(default_factory=list)
    pushed: dict[tuple[str, str], list[list[int]]] = field(default_factory=dict)
    refused: list[Frame] = field(default_factory=list)
    ends: list[tuple[bool, int]] = field(default_factory=list)


class Sender:
    """One user's device that sends to several chats in turn, over many connections."""

    def __init__(
        self, http: ClientSession, peer: Peer, chats: Sequence[str], history: History
    ) -> None:
        self.pending: dict[str, Frame] = {}
        self._http = http
        self._peer = peer
        self._chats = chats
        self._history = history
        self._count = 0
        self._moved = asyncio.Event()
        self._received: dict[str, int] = {}

    async def run(self, url: str, *, forever: bool) -> None:
        """Send again what is not answered; then, `forever`, new ones until the connection ends."""
        with contextlib.suppress(ConnectionError):
            ws = await self._http.ws_connect(
                f"{url}/v1/ws", protocols=(SUBPROTOCOL,), autoclose=False
            )
            reader = asyncio.create_task(self._read(ws))
            try:
                await self._say(ws, {"type": "hello", "token": self._peer.token})
                for frame in list(self.pending.values()):
                    await self._say(ws, frame)
                while not reader.done() and (forever or self.pending):
                    await self._one(ws, forever=forever)
            finally:
                await ws.close()
                await reader

    async def _one(self, ws: ClientWebSocketResponse[bool], *, forever: bool) -> None:
        if forever and len(self.pending) < IN_FLIGHT_MAX:
            frame = self._new()
            self.pending[frame["id"]] = frame
            await self._say(ws, frame)
            return
        self._moved.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._moved.wait(), 0.2)

    def _new(self) -> Frame:
        self._count += 1
        user = self._peer.user
        chat = self._chats[self._count % len(self._chats)]
        name = f"{user}-{self._count:08}"
        self._history.sent.setdefault((user, chat), []).append(name)
        return {"type": "send", "id": name, "chat": chat, "text": f"text {self._count} of {user}"}

    async def _say(self, ws: ClientWebSocketResponse[bool], frame: Frame) -> None:
        await ws.send_str(msgspec.json.encode(frame).decode())

    async def _read(self, ws: ClientWebSocketResponse[bool]) -> None:
        pushed: dict[str, list[int]] = {}
        drained, code = False, 0
        try:
            while (message := await ws.receive()).type is WSMsgType.TEXT:
                frame = msgspec.json.decode(message.data)
                drained = drained or frame["type"] == "draining"
                items = frame["items"] if frame["type"] == "messages" else [frame]
                for item in items:
                    await self._take(ws, item, frame["type"], pushed)
            code = message.data if message.type is WSMsgType.CLOSE else 0
        except ConnectionError:
            pass
        finally:
            self._history.ends.append((drained, code))
            for chat, seqs in pushed.items():
                self._history.pushed.setdefault((self._peer.user, chat), []).append(seqs)
            self._moved.set()

    async def _take(
        self,
        ws: ClientWebSocketResponse[bool],
        item: Frame,
        kind: str,
        pushed: dict[str, list[int]],
    ) -> None:
        if kind == "sent":
            frame = self.pending.pop(item["id"], None)
            if frame is not None:
                one = item["chat"], item["seq"], self._peer.user, item["id"], frame["text"]
                self._history.acknowledged.append(Record(*one))
            self._moved.set()
        elif kind == "error":
            self._history.refused.append(item)
        elif kind in {"message", "messages"}:
            chat, seq = item["chat"], item["seq"]
            pushed.setdefault(chat, []).append(seq)
            if seq - self._received.get(chat, 0) >= RECEIVED_EVERY:
                self._received[chat] = seq
                await self._say(ws, {"type": "received", "chat": chat, "seq": seq})


# --- the judge -----------------------------------------------------------------------


def problems(history: History, logs: Mapping[str, Sequence[Record | None]]) -> list[str]:
    """Everything that must not be. A log is by position: None is an entry that is no text."""
    return [
        *_lost(history.acknowledged, logs),
        *_doubled(logs),
        *_holes(logs),
        *_reordered(history.sent, logs),
        *_pushed_badly(history.pushed, logs),
    ]


def _lost(acknowledged: Iterable[Record], logs: Mapping[str, Sequence[Record | None]]) -> list[str]:
    found = []
    first: dict[tuple[str, str, str], int] = {}
    for one in acknowledged:
        log = logs.get(one.chat, ())
        there = log[one.seq - 1] if one.seq <= len(log) else None
        if there != one:
            found.append(f"lost: acknowledged was {one}, there is {there}")
        if first.setdefault((one.chat, one.sender, one.id), one.seq) != one.seq:
            found.append(f"moved: {one} was acknowledged with another seq")
    return found


def _doubled(logs: Mapping[str, Sequence[Record | None]]) -> list[str]:
    found = []
    for log in logs.values():
        seen: set[tuple[str, str]] = set()
        for one in filter(None, log):
            if (one.sender, one.id) in seen:
                found.append(f"doubled: {one}")
            seen.add((one.sender, one.id))
    return found


def _holes(logs: Mapping[str, Sequence[Record | None]]) -> list[str]:
    return [
        f"hole: {one} is entry {position}"
        for log in logs.values()
        for position, one in enumerate(log, start=1)
        if one is not None and one.seq != position
    ]


def _reordered(
    sent: Mapping[tuple[str, str], Sequence[str]], logs: Mapping[str, Sequence[Record | None]]
) -> list[str]:
    """One sender's texts stand in a chat as they were sent, for it sends again in order."""
    found = []
    for (sender, chat), ids in sent.items():
        place = {name: position for position, name in enumerate(ids)}
        own = [one for one in logs.get(chat, ()) if one is not None and one.sender == sender]
        for before, after in pairwise(own):
            if place.get(before.id, -1) > place.get(after.id, -1):
                found.append(f"reordered: {before} stands before {after}")
    return found


def _pushed_badly(
    pushed: Mapping[tuple[str, str], Sequence[Sequence[int]]],
    logs: Mapping[str, Sequence[Record | None]],
) -> list[str]:
    """In a connection each seq once, in order, none skipped but the reader's own."""
    found = []
    for (reader, chat), connections in pushed.items():
        log = logs.get(chat, ())
        for seqs in connections:
            for before, after in pairwise(seqs):
                skipped = log[before : after - 1]
                own = all(one is not None and one.sender == reader for one in skipped)
                if after <= before or not own:
                    found.append(f"pushed badly: {reader} got {chat} {after} after {before}")
    return found


# --- where logs are read -------------------------------------------------------------


async def log_by_rest(peer: Peer, chat: str) -> list[Record | None]:
    records: list[Record | None] = []
    more, after = True, 0
    while more:
        path = f"/v1/chats/{chat}/messages?after={after}&limit={PAGE}"
        page = await peer.ask("GET", path)
        records += [_record(item) for item in page["messages"]]
        more, after = page["more"], after + len(page["messages"])
    return records


def _record(item: dict[str, Any]) -> Record | None:
    if item["kind"] != "text":
        return None
    return Record(item["chat"], item["seq"], item["from"], item["id"], item["text"])


def log_in_file(data: Path, chat: str) -> list[Record | None]:
    """From the file itself, by another reader of SQLite than the server."""
    query = """
        SELECT chats.chat, seq, sender, id, text, kind FROM messages
        JOIN chats ON chats.number = messages.chat WHERE chats.chat = ? ORDER BY seq
    """
    with contextlib.closing(sqlite3.connect(f"file:{data}/messages.db?mode=ro", uri=True)) as db:
        rows = db.execute(query, (chat,)).fetchall()
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return [Record(*row[:5]) if row[5] == "text" else None for row in rows]
