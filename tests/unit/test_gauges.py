"""What `/metrics` shows of a running server, against its documentation; and who is not ready."""

from __future__ import annotations

import asyncio
import gc
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp

from backends import sqlite
from tests.support.clocks import ManualClock
from tests.support.peer import Peer, client_session
from tests.support.server import running, settings
from whatsapp import watch
from whatsapp.gauges import collector_pauses, install
from whatsapp.metrics import Metrics

TABLE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(
    r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \| [^|]+ \|(?P<labels>[^|]*)\| [^|]+ \|[^|]*\|$"
)
LABELS = re.compile(r'(\w+)="')


def documented() -> dict[str, re.Match[str]]:
    rows = filter(None, map(ROW.match, TABLE.read_text("utf-8").splitlines()))
    return {row["name"]: row for row in rows}


async def scraped(url: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def readiness(url: str) -> tuple[int, list[str]]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/readyz") as answer:
        return answer.status, (await answer.json())["missing"]


async def test_every_number_is_in_the_documentation_and_no_other(tmp_path):
    async with running(settings("sqlite", tmp_path)) as server:
        served = dict(re.findall(r"^# TYPE (\w+) (\w+)$", await scraped(server.url), re.MULTILINE))
    rows = documented()
    assert {name: row["kind"] for name, row in rows.items()} == served
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert len([line for line in lines if re.match(r"\| `(whatsapp|process)_", line)]) == len(rows)


async def test_the_labels_are_those_of_the_documentation(tmp_path):
    async with running(settings("sqlite", tmp_path)) as server, client_session() as http:
        ann = await (await Peer(http, server.url, "ann").register()).online()
        await ann.send("12345678", "hello", to="ann")
        await ann.next("sent")
        await ann.leave()
        text = await scraped(server.url)
    for name, row in documented().items():
        lines = re.findall(rf"^{name}(?:_bucket)?(?:{{(.*)}})? \S+$", text, re.MULTILINE)
        found = {label for line in lines for label in LABELS.findall(line)} - {"le"}
        expected = {part.strip() for part in row["labels"].split(",") if part.strip()}
        assert not lines or found == expected, name
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert numbers['whatsapp_store_seconds_count{call="messages.append"}'] == "1"
    assert numbers['whatsapp_http_requests_total{operation="register",status="201"}'] == "1"
    assert numbers['whatsapp_limit{limit="journal_drafts_max"}'] == "20000"
    assert int(numbers["whatsapp_disk_free_bytes"]) > 0
    assert int(numbers["whatsapp_sqlite_bytes"]) > 0
    assert numbers["whatsapp_ready"] == "1"


async def test_sessions_are_counted_by_state(tmp_path):
    async with running(settings("memory", tmp_path)) as server, client_session() as http:
        await (await Peer(http, server.url, "ann").register()).online()
        ben = await Peer(http, server.url, "ben").register()
        await ben.open()
        text = await scraped(server.url)
    assert 'whatsapp_sessions{state="live"} 1' in text
    assert 'whatsapp_sessions{state="opening"} 1' in text
    assert "whatsapp_users_online 1" in text
    assert "whatsapp_outbox_bytes 0" in text


async def test_what_comes_too_often_is_counted_by_rule(tmp_path):
    rates = {"rates": {"lookups_per_minute": 2}, "auth": {"failures_free": 1}}
    standing = ManualClock()
    async with (
        running(settings("memory", tmp_path, rates), clock=standing) as server,
        client_session() as http,
    ):
        ann = await Peer(http, server.url, "ann").register()
        answers = [await ann.call("GET", "/v1/users?q=abc") for _ in range(4)]
        wrong = {"user": "ann", "password": "not this one"}
        answers += [await ann.call("POST", "/v1/login", wrong) for _ in range(3)]
        text = await scraped(server.url)
    assert [answer.status for answer in answers] == [200, 200, 429, 429, 401, 429, 429]
    assert 'whatsapp_rate_refusals_total{rule="lookups"} 2' in text
    assert 'whatsapp_rate_refusals_total{rule="passwords"} 2' in text
    assert 'whatsapp_rate_refusals_total{rule="sends"} 0' in text
    assert 'whatsapp_http_requests_total{operation="findUsers",status="429"} 2' in text
    assert 'whatsapp_logins_total{result="rate_limited"} 2' in text


async def test_the_queues_to_other_instances_are_shown(tmp_path):
    async with running(settings("memory", tmp_path)) as server:
        assert "whatsapp_link_queue_bytes{" not in await scraped(server.url)
        parts: Any = SimpleNamespace(**vars(server.app), missing=list)
        parts.metrics = metrics = Metrics()
        parts.links = SimpleNamespace(depth_bytes=lambda: {"b": 7})
        parts.cluster = SimpleNamespace(waiting=lambda: {"hints": 1, "looks": 2})
        install(parts)
        text = metrics.render().decode()
    assert 'whatsapp_link_queue_bytes{to="b"} 7' in text
    assert 'whatsapp_cluster_pending{queue="looks"} 2' in text


async def test_a_store_that_cannot_write_is_not_ready_until_it_can(tmp_path, monkeypatch):
    async with running(settings("sqlite", tmp_path)) as server, client_session() as http:
        ann = await Peer(http, server.url, "ann").register()
        note = {"id": "12345678", "text": "x" * 10_000}
        path = "/v1/chats/ann:ann/messages"
        messages: Any = server.app.stores.messages
        writer = messages._writer
        await writer.run(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall())
        assert (await ann.call("POST", path, note)).status == 503
        assert await readiness(server.url) == (503, ["store"])
        assert "whatsapp_ready 0" in await scraped(server.url)
        await writer.run(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchall())
        monkeypatch.setattr(watch, "PROBE_BELIEVED_AFTER_SECONDS", 0.0)
        async with asyncio.timeout(20):  # nobody writes: it must find out by itself
            while await readiness(server.url) != (200, []):
                await asyncio.sleep(0.1)
        assert (await ann.call("POST", path, note)).status == 201
        text = await scraped(server.url)
    assert re.search(r'failures_total{call="messages.append"} [1-9]', text)


async def test_a_disk_without_room_is_not_ready(tmp_path, monkeypatch):
    async with running(settings("sqlite", tmp_path)) as server:
        assert await readiness(server.url) == (200, [])
        monkeypatch.setattr(sqlite, "FREE_BYTES_MIN", 1 << 62)
        assert await readiness(server.url) == (503, ["disk"])


def test_pauses_of_the_collector_are_measured_meanwhile():
    metrics = Metrics()
    with collector_pauses(metrics):
        gc.collect()
    count = sum(metrics.gc_pause_seconds.counts)
    assert count >= 1
    assert 0 < metrics.gc_pause_seconds_max.value <= metrics.gc_pause_seconds.sum
    gc.collect()
    assert sum(metrics.gc_pause_seconds.counts) == count
