"""`send`, `tail`, `login`, `logout` as scripts use them: processes against a real server."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.scripted import problem, scripted
from tests.support.server import Running
from tests.support.terminal import PASSWORD, ChatList, Home, people, someone
from whatsapp import scripting
from whatsapp.access import EXIT_CREDENTIALS, EXIT_TEMPORARY, EXIT_TERMINATED, Failed, Who
from whatsapp.errors import Busy

LINE_SECONDS_MAX = 15.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with people(tmp_path, "ann", "ben", "cem") as there:
        yield there


@pytest.fixture
def home(tmp_path: Path, server: Running) -> Home:
    return Home(tmp_path, server.url)


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), LINE_SECONDS_MAX)
    return line.decode().rstrip("\n")


async def texts_of(server: Running, user: str, chat: str) -> list[str | None]:
    async with someone(server.url, user) as client:
        return [message.text for message in (await client.page(chat)).messages]


# --- send ----------------------------------------------------------------------------


async def test_a_password_is_enough_to_send_and_leaves_no_device(server, home):
    done = await home.run("send", "--as", "ann", "ben", "hi", password=PASSWORD)
    assert (done.code, done.out, done.err) == (0, "", "")
    done = await home.run(
        "send", "--as", "ann", "ben", "-", typed="two\nlines\n", password=PASSWORD
    )
    assert done.code == 0
    assert await texts_of(server, "ben", "ann:ben") == ["hi", "two\nlines"]
    async with someone(server.url, "ann") as client:
        assert len(await client.devices()) == 1  # this one


async def test_a_saved_login_is_used_until_it_is_ended(server, home):
    done = await home.run("login", "--as", "Ann", "--password-stdin", typed=PASSWORD + "\n")
    assert (done.code, done.out) == (0, "")
    assert "logged in as ann" in done.err
    assert (await home.run("send", "ben", "hi")).code == 0
    done = await home.run("logout")
    assert (done.code, done.err) == (0, "logged out\n")
    done = await home.run("send", "ben", "hi")
    assert done.code == EXIT_CREDENTIALS
    assert len(done.err.splitlines()) == 2
    assert await texts_of(server, "ben", "ann:ben") == ["hi"]
    assert not list(home.folder.rglob("*.jsonl*"))


async def test_a_repeat_with_the_same_id_is_stored_once(server, home):
    arguments = ("send", "--json", "--id", "nightly-2026-01-01", "--as", "ann", "ben", "hi")
    first = json.loads((await home.run(*arguments, password=PASSWORD)).out)
    again = json.loads((await home.run(*arguments, password=PASSWORD)).out)
    assert (first["chat"], first["seq"], first["dup"]) == ("ann:ben", 1, False)
    assert (again["seq"], again["dup"]) == (1, True)
    changed = await home.run(*arguments[:-1], "other", password=PASSWORD)
    assert (changed.code, changed.out) == (1, "")


async def test_a_group_is_named_by_its_title_or_id(server, home):
    async with someone(server.url, "ben") as ben:
        group = await ben.create_group("Night shift", ["ann"])
    options = ("--as", "ann", "--chat")
    by_title = await home.run("send", *options, "Night shift", "a", password=PASSWORD)
    by_id = await home.run("send", *options, group.chat, "b", "--reply-to", "3", password=PASSWORD)
    assert (by_title.code, by_id.code) == (0, 0)
    assert (await texts_of(server, "ben", group.chat))[-2:] == ["a", "b"]
    unknown = await home.run("send", *options, "Day shift", "c", password=PASSWORD)
    assert unknown.code == 1
    assert "there is no chat 'Day shift'" in unknown.err


@pytest.mark.parametrize(
    "answer",
    [
        (502, b"<html>Bad Gateway</html>"),
        (504, b"<html>Gateway Timeout</html>"),
        problem(503, "unavailable"),
        problem(500, "internal"),
        (200, b"<html>stored, who knows</html>"),
    ],
)
async def test_an_unknown_outcome_is_told_with_the_id_for_a_repeat(tmp_path, monkeypatch, answer):
    monkeypatch.setenv("WHATSAPP_PASSWORD", PASSWORD)
    async with scripted() as server:
        who = Who(server.url, "ann", tmp_path)
        server.answers["POST /v1/chats/ann:ben/messages"] = answer
        letter = scripting.Letter(to="ben", text="hi", id="nightly-2026-01-01")
        with pytest.raises(Failed, match="is not known") as told:
            await scripting.send(who, letter, timeout_seconds=0)
        assert told.value.exit_code == EXIT_TEMPORARY
        assert "--id nightly-2026-01-01" in told.value.cure
        # This one is known: nothing was stored.
        server.answers["POST /v1/chats/ann:ben/messages"] = problem(503, "busy")
        with pytest.raises(Busy):
            await scripting.send(who, letter, timeout_seconds=0)


async def test_chats_of_the_same_time_are_all_found():
    found = await scripting._chats(ChatList(number // 7 for number in range(250)))
    assert len(found) == len({info.chat for info in found}) == 250
    # More than a page at one time: there is no way to the rest of those, but to what is older.
    found = await scripting._chats(ChatList([2] * (scripting.CHATS_PAGE + 20) + [1] * 50))
    assert [info.last.time for info in found if info.last] == [2] * scripting.CHATS_PAGE + [1] * 50


@pytest.mark.parametrize(
    "arguments,code",
    [
        (("send", "--as", "ann", "ben"), 2),
        (("send", "--as", "ann", "ben", "two", "words"), 2),
        (("send", "--as", "ann", "nobody-there", "hi"), 1),
        (("send", "--as", "ann", "ben", ""), 1),
        (("send", "--as", "nobody", "ben", "hi"), EXIT_CREDENTIALS),
        (("send", "ben", "hi"), EXIT_CREDENTIALS),
        (("send", "--server", "http://127.0.0.1:1", "--as", "ann", "ben", "hi"), EXIT_TEMPORARY),
        (("tail", "--since", "yesterday", "--as", "ann"), 2),
        (("tail", "nowhere", "--as", "ann"), 1),
        (("login", "--as", "ann", "--server", "ftp://x"), 1),
        (("chat",), 1),
    ],
)
async def test_what_goes_wrong_has_a_cause_a_cure_and_a_code(home, arguments, code):
    done = await home.run(*arguments, password=PASSWORD)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("Error: ")
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 2


async def test_a_server_that_is_busy_is_waited_for(server, home, monkeypatch):
    post, refusals = server.app.conversations.post, 2

    async def busy_at_first(*arguments):
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise Busy("try again")
        return await post(*arguments)

    monkeypatch.setattr(server.app.conversations, "post", busy_at_first)
    assert (await home.run("send", "--as", "ann", "ben", "hi", password=PASSWORD)).code == 0
    refusals = 1_000
    options = ("--timeout", "0.5", "--as", "ann")
    done = await home.run("send", *options, "ben", "hi", password=PASSWORD)
    assert done.code == EXIT_TEMPORARY
    assert await texts_of(server, "ben", "ann:ben") == ["hi"]


# --- tail ----------------------------------------------------------------------------


async def test_past_messages_come_first_then_new_ones_once(server, home):
    async with someone(server.url, "ben") as ben:
        for text in ("one", "two", "three"):
            await ben.send("ann", text)
        process = await home.start("tail", "-n", "2", "--as", "ann", password=PASSWORD)
        try:
            assert (await line_of(process)).endswith("ben: two")
            assert (await line_of(process)).endswith("ben: three")
            await ben.send("ann", "four\nlines \x1b[31m")
            assert (await line_of(process)).endswith("ben: four")
            assert await line_of(process) == "    lines \u241b[31m"
            group = await ben.create_group("Us", ["ann"])
            assert (await line_of(process)).endswith("[Us] * ben created the group \u201cUs\u201d")
            assert (await line_of(process)).endswith("[Us] * ben added ann")
            async with someone(server.url, "ann") as ann:
                await ann.send("ben", "from my phone")
                assert (await line_of(process)).endswith("ann \u2192 ben: from my phone")
                await ann.send(group.chat, "all")
                assert (await line_of(process)).endswith("[Us] ann: all")
        finally:
            process.send_signal(signal.SIGTERM)
        assert await process.wait() == EXIT_TERMINATED
        async with someone(server.url, "ann") as ann:
            assert len(await ann.devices()) == 2  # the phone's and this one: tail has logged out


async def test_json_lines_are_those_of_the_protocol(server, home):
    async with someone(server.url, "ben") as ben:
        await ben.send("ann", "past")
        process = await home.start("tail", "--json", "ben", "--as", "ann", password=PASSWORD)
        try:
            first = json.loads(await line_of(process))
            await ben.send("ann", "new \x9b31m")
            second = json.loads(await line_of(process))
        finally:
            process.kill()
            await process.wait()
    assert set(first) == set(second) == {"chat", "seq", "time", "kind", "id", "from", "text"}
    assert (first["seq"], second["text"], second["from"]) == (1, "new \x9b31m", "ben")


async def test_only_the_chat_that_was_asked_for(server, home):
    async with someone(server.url, "ben") as ben, someone(server.url, "cem") as cem:
        await cem.send("ann", "not this")
        await ben.send("ann", "this")
        process = await home.start("tail", "ben", "--as", "ann", password=PASSWORD)
        try:
            assert (await line_of(process)).endswith(" ben: this")
            await cem.send("ann", "nor this")
            await ben.send("ann", "and this")
            assert (await line_of(process)).endswith(" ben: and this")
        finally:
            process.kill()
            await process.wait()


async def test_without_following_it_ends_and_since_limits(server, home):
    async with someone(server.url, "ben") as ben, someone(server.url, "cem") as cem:
        for number in range(15):
            await (ben if number % 2 else cem).send("ann", str(number))
            await asyncio.sleep(0.003)  # times are in milliseconds
    options = ("--no-follow", "--as", "ann")
    done = await home.run("tail", *options, password=PASSWORD)
    assert [line.rsplit(" ", 1)[1] for line in done.out.splitlines()] == [*map(str, range(5, 15))]
    done = await home.run("tail", *options, "--since", "1h", password=PASSWORD)
    assert len(done.out.splitlines()) == 15
    done = await home.run("tail", *options, "--since", "2999-01-01", password=PASSWORD)
    assert (done.code, done.out) == (0, "")


async def test_a_saved_login_goes_on_where_it_was_and_two_tails_need_two(server, home):
    await home.run("login", "--as", "ann", password=PASSWORD)
    tail = await home.start("tail", "-n", "0")
    async with someone(server.url, "ben") as ben:
        for number in range(100):  # until it follows
            await ben.send("ann", str(number))
            try:
                await asyncio.wait_for(line_of(tail), 0.3)
                break
            except TimeoutError:
                continue
        second = await home.run("tail")
        assert second.code == EXIT_CREDENTIALS
        tail.send_signal(signal.SIGINT)
        assert await tail.wait() == 130
        assert tail.stderr is not None
        assert b"Traceback" not in await tail.stderr.read()


async def test_a_reader_that_is_gone_ends_it_quietly(server, home):
    async with someone(server.url, "ben") as ben:
        await ben.send("ann", "one")
        process = await home.start("tail", "--as", "ann", password=PASSWORD)
        await line_of(process)
        process._transport.get_pipe_transport(1).close()
        await ben.send("ann", "two")
        assert await asyncio.wait_for(process.wait(), LINE_SECONDS_MAX) == 1
        assert process.stderr is not None
        assert await process.stderr.read() == b""


def test_moments():
    now = 1_000_000_000_000
    assert scripting.since("10m", now) == now - 600_000
    assert scripting.since(" 2 d", now) == now - 2 * 86_400_000
    assert scripting.since("1970-01-02T00:00:00+00:00", now) == 86_400_000
    for wrong in ("", "10", "m", "-1h", "soon", "2026-13-01"):
        with pytest.raises(Failed):
            scripting.since(wrong, now)
