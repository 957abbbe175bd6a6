"""Spans: made where the environment asks for them, with nothing private in them."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest
from aiohttp import web

from tests.support.need import need_module
from tests.support.peer import Peer, client_session
from tests.support.server import Server, serving
from whatsapp.spans import exporter_wanted, open_spans
from whatsapp.watch import Over

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    "environment, wanted",
    [
        ({}, ""),
        (ENDPOINT, "otlp"),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/x"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
    ],
)
def test_the_variables_decide(environment, wanted):
    assert exporter_wanted(environment) == wanted


def test_without_them_nobody_is_told_and_nothing_is_imported():
    before = set(sys.modules)
    with open_spans({}, "1") as span:
        assert span is None
    assert not {name for name in set(sys.modules) - before if name.startswith("opentelemetry")}


def test_an_unknown_exporter_is_said_and_left(caplog):
    need_module("opentelemetry.sdk")
    caplog.set_level(logging.WARNING)
    with open_spans({"OTEL_TRACES_EXPORTER": "pigeon"}, "1") as span:
        assert span is None
    assert "pigeon" in caplog.text


def test_where_it_is_not_installed_that_is_said(caplog, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    caplog.set_level(logging.WARNING)
    with open_spans(ENDPOINT, "1") as span:
        assert span is None
    assert "not installed" in caplog.text


def test_requests_and_appends_become_spans():
    need_module("opentelemetry.sdk")
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import SpanKind, StatusCode

    exporter = InMemorySpanExporter()
    with open_spans({}, "1.2.3", exporter=exporter) as span:
        assert span is not None
        headers = {"traceparent": PARENT, "authorization": "Bearer private"}
        span(Over(name="rest.login", seconds=0.5, count=503, failed=True, headers=headers))
        span(Over(name="messages.append", seconds=0.25, count=7, failed=False))
        span(Over(name="chats.load", seconds=0.25, count=1, failed=False))
    login, append = exporter.get_finished_spans()
    assert (login.name, append.name) == ("rest.login", "messages.append")
    assert (login.kind, append.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert login.parent is not None
    assert login.parent.trace_id == int(PARENT[3:35], 16)
    assert append.parent is None
    assert login.status.status_code is StatusCode.ERROR
    assert login.attributes == {"http.response.status_code": 503}
    assert append.attributes == {"whatsapp.messages": 7}
    assert (append.end_time or 0) - (append.start_time or 0) == 250_000_000
    assert login.resource.attributes["service.name"] == "whatsapp"


async def test_a_server_sends_them_to_the_collector_and_nothing_private(tmp_path):
    need_module("opentelemetry.exporter.otlp.proto.http")
    bodies: list[bytes] = []

    async def collect(request):
        bodies.append(await request.read())
        return web.Response()

    collector = web.Application()
    collector.router.add_post("/v1/traces", collect)
    async with serving(collector) as url, client_session() as http:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_SERVICE_NAME": "our-chat",
        }
        async with Server(tmp_path / "data", environment=environment) as server:
            ann = await (await Peer(http, server.url, "annabella").register()).online()
            await ann.send("message-1", "nobody's business", to="annabella")
            await ann.next("sent")
            async with asyncio.timeout(20):
                while b"messages.append" not in b"".join(bodies):
                    await asyncio.sleep(0.1)
            assert await server.terminate() == 0
    told = b"".join(bodies)
    assert b"rest.register" in told
    assert b"our-chat" in told
    for private in (b"nobody's business", b"message-1", b"tulips", b"annabella"):
        assert private not in told
