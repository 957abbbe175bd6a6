"""`[storage] keep_days` on a running server: what is old is `void` for all, and nothing else is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.peer import Peer, client_session
from tests.support.server import STORES, ShiftedClock, running, settings
from whatsapp import check

DAY_SECONDS = 24 * 60 * 60
CHAT = "ann:bob"


async def history(peer: Peer) -> list[tuple[int, str, str | None]]:
    answer = await peer.ask("GET", f"/v1/chats/{CHAT}/messages")
    return [(item["seq"], item["kind"], item.get("text")) for item in answer["messages"]]


async def until(peer: Peer, wanted: list[tuple[int, str, str | None]]) -> None:
    async with asyncio.timeout(10):
        while sorted(await history(peer)) != wanted:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("store", STORES)
async def test_old_texts_are_void_and_the_rest_goes_on(store, tmp_path):
    clock = ShiftedClock()
    wanted = settings(store, tmp_path, {"storage": {"keep_days": 7}})
    async with running(wanted, clock=clock) as server, client_session() as http:
        ann = await Peer(http, server.url, "ann").register()
        bob = await Peer(http, server.url, "bob").register()
        await ann.online()
        for number in range(3):
            await ann.send(f"id-0000000{number}", f"old {number}", to="bob")
            await ann.next("sent")
        clock.shift_seconds += 8 * DAY_SECONDS
        await ann.send("id-00000009", "young", to="bob")
        await ann.next("sent")
        void = [(seq, "void", None) for seq in (1, 2, 3)]
        await until(ann, [*void, (4, "text", "young")])
        # A device that comes now catches up past them, in order, and may acknowledge them.
        await bob.connect()
        items: list[dict[str, Any]] = []
        while len(items) < 4:
            frame = await bob.next("message", "messages")
            items += frame.get("items", [frame])
        assert [(item["seq"], item["kind"]) for item in items] == [
            *((seq, "void") for seq in (1, 2, 3)),
            (4, "text"),
        ]
        await bob.received(CHAT, 4)
        # A repetition is still known for one, whatever it says now.
        await ann.send("id-00000001", "old 1", to="bob")
        again = await ann.next("sent", "error")
        assert (again["type"], again["seq"], again["dup"]) == ("sent", 2, True)
        found = await ann.ask("GET", "/v1/search?q=old")
        assert found["results"] == []
        metrics = (await ann.call("GET", "/metrics")).body
        assert b"whatsapp_entries_expired_total 3" in metrics
    if store == "sqlite":
        report = await asyncio.to_thread(check.run, wanted, lambda *_: None)
        assert report.problems == []


async def test_kept_for_ever_by_default(tmp_path):
    clock = ShiftedClock()
    async with (
        running(settings("memory", tmp_path), clock=clock) as server,
        client_session() as http,
    ):
        ann = await (await Peer(http, server.url, "ann").register()).online()
        await Peer(http, server.url, "bob").register()
        await ann.send("id-00000001", "hello", to="bob")
        await ann.next("sent")
        clock.shift_seconds += 20 * DAY_SECONDS
        await asyncio.sleep(1.0)
        assert await history(ann) == [(1, "text", "hello")]
