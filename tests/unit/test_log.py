"""Lines that can be read by people and by machines, and that give nobody away."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from tests.support.server import serving
from whatsapp import log


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in ("asyncio", "aiohttp.access")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in quiet.items():
        logging.getLogger(name).setLevel(before)
    logging.getLogger("aiohttp.server").removeFilter(log.unquoted)
    logging.captureWarnings(capture=False)


class Written:
    def __init__(self, form: str, level: str = "info") -> None:
        self.stream = io.StringIO()
        log.setup(level, form, self.stream)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def objects(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines()]


logger = logging.getLogger("whatsapp.connection")


def test_a_text_line_has_time_level_module_event_and_pairs():
    written = Written("text")
    logger.info("connection closed code=%d seconds=%.2f", 4008, 1.234)
    (line,) = written.lines()
    time, rest = line.split(" ", 1)
    assert time.endswith("Z")
    assert rest == "INFO    connection connection closed code=4008 seconds=1.23"


def test_a_json_line_is_one_object_with_typed_pairs():
    written = Written("json")
    logger.warning("slow what=%s ms=%d share=%.1f gone=%s", "a b", 7, 0.25, None)
    (line,) = written.objects()
    assert line.pop("time")
    assert line == {
        "level": "warning",
        "logger": "whatsapp.connection",
        "event": "slow",
        "what": "a b",
        "ms": 7,
        "share": 0.2,
        "gone": None,
    }


def test_a_pair_does_not_take_the_place_of_ours():
    written = Written("json")
    logger.info("odd level=%s", "high")
    (line,) = written.objects()
    assert (line["level"], line["level_"]) == ("info", "high")


def test_the_level_is_kept():
    written = Written("text", "warning")
    logger.info("not this")
    logger.warning("this")
    assert len(written.lines()) == 1


def test_a_session_says_conn_and_once_it_is_known_user():
    written = Written("json")
    session = log.SessionLog(logger, 17)
    session.info("connection opened")
    session.known("u3")
    session.info("connection closed code=%d", 1000)
    opened, closed = written.objects()
    assert (opened["conn"], opened.get("user")) == (17, None)
    assert (closed["conn"], closed["user"], closed["code"]) == (17, "u3", 1000)


@pytest.mark.parametrize(
    "text,shown",
    [
        ("+4917012345678", "+49…78"),
        ("+4917012345678:alice", "+49…78:alice"),
        ("alice:bob", "alice:bob"),
        ("203.0.113.9", "203.0.…"),
        ("('203.0.113.9', 44)", "('203.0.…', 44)"),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("2001:db8::17", "2001:0db8:…"),
        ("::ffff:203.0.113.9", "203.0.…"),
        ("::1", "::1"),
        ("12:34:56", "12:34:56"),
        ("abc:def", "abc:def"),
        ("3.40.1", "3.40.1"),
        ("1+2", "1+2"),
        ("", ""),
    ],
)
def test_phone_numbers_and_addresses_are_shortened(text: str, shown: str):
    assert log.masked(text) == shown


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_identifies_a_person_gets_out(form: str):
    written = Written(form)
    session = log.SessionLog(logger, 1)
    session.known("+4917012345678")
    session.info("opened address=%s", "203.0.113.9")
    logger.info("plain +4917012345678 %s", "from 203.0.113.9")
    logger.info("a mapping %(who)s", {"who": "+4917012345678"})
    logger.info("an object peer=%s", ("203.0.113.9", 5))
    try:
        int("+4917012345678 at 203.0.113.9")
    except ValueError:
        logger.exception("failed")
    out = written.stream.getvalue()
    assert "failed" in out
    assert "ValueError" in out
    assert "7012345" not in out
    assert "113.9" not in out


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_value_cannot_fake_a_line_of_its_own(form: str):
    written = Written(form)
    logger.info("closed reason=%s", 'x"\n2026 ERROR fake line=1\r\x1b[31m\u2028')
    (line,) = written.stream.getvalue().split("\n")[:-1]
    assert not set(line) & set("\x1b\r")


def test_half_a_surrogate_pair_does_not_break_the_line():
    written = Written("json")
    logger.info("got what=%s", "\ud83d")
    assert written.objects()[0]["what"] == "\\ud83d"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_wrong_call_is_still_a_line(form: str):
    written = Written(form)
    logger.info("wrong %d k=%s", "x", 3)
    logger.info("wrong k=%d", "x")
    logger.info("fine %s words", "two")
    assert len(written.lines()) == 3


def test_a_traceback_stands_below_its_text_line_and_inside_its_object():
    written = Written("text")
    logger.info("with a stack", stack_info=True)
    assert "Stack (most recent call last)" in written.lines()[1]
    written = Written("json")
    logger.info("with a stack", stack_info=True)
    assert "Stack" in str(written.objects()[0]["traceback"])


def test_there_is_no_line_for_each_request():
    written = Written("text", "info")
    logging.getLogger("aiohttp.access").info("GET / 200")
    assert written.lines() == []


async def test_broken_http_is_one_line_and_quotes_nobody():
    app = web.Application()
    async with serving(app) as url:
        written = Written("text")
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-1\x7f\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.0 400")
        writer.close()
        await writer.wait_closed()
    assert [line.partition(" INFO ")[2].split() for line in written.lines()] == [
        ["aiohttp.server", "request", "refused", "error=BadHttpMessage"]
    ]
    # Where such lines are not wanted, this one is not either.
    written = Written("text", "warning")
    error = BadHttpMessage("secret-2")
    logging.getLogger("aiohttp.server").error("failed", exc_info=error)
    assert written.lines() == []
