"""The demo: people to talk to, and never among somebody's own users."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.support.command import run, serving
from whatsapp import demo
from whatsapp.app import open_app
from whatsapp.client import Client
from whatsapp.config import Auth, Config, Storage
from whatsapp.errors import StartupError
from whatsapp.listen import Listening
from whatsapp.wire import Presence, Receipt, TypingShown

WHERE = Listening(sockets=(), host="127.0.0.1", port=9, loopback=True)


def config(folder: Path) -> Config:
    return Config(storage=Storage(data=str(folder)), auth=Auth(password_memory_kib=1024))


async def open_demo(chosen: Config) -> list[str]:
    async with open_app(chosen) as app, demo.open_scene(app, chosen, WHERE) as lines:
        return lines


async def test_alone_one_sees_presence_ticks_typing_and_an_answer(tmp_path: Path):
    with serving("--demo", "--port", "0", home=tmp_path) as server:
        said = "\n".join(server.banner)
        assert str(Path("whatsapp", "demo")) in said
        assert demo.password("alice") in said
        async with asyncio.timeout(20), Client(server.url) as alice:
            await alice.login("alice", demo.password("alice"))
            assert {chat.title for chat in await alice.chats()} == {"Bob", "Carol", demo.GROUP}
            events = alice.events()
            await alice.watch(["bob"])
            sent = await alice.send("bob", "hello bob")
            async for message in alice.messages():
                if message.reply_to == sent.seq:
                    assert message.sender == "bob"
                    break
            seen: set[str] = set()
            async for event in events:
                match event:
                    case Presence(user="bob", online=True):
                        seen.add("online")
                    case TypingShown(user="bob", on=True):
                        seen.add("typing")
                    case Receipt(user="bob", read=sent.seq):
                        seen.add("read")
                    case _:
                        pass
                if seen == {"online", "typing", "read"}:
                    break
        server.signal(signal.SIGTERM)
        began = time.monotonic()
        assert server.ended() == 0
        assert time.monotonic() - began < 10
    assert not any("Traceback" in line for line in server.log)


async def test_it_goes_on_in_its_own_folder(tmp_path: Path):
    first = await open_demo(config(tmp_path))
    assert (tmp_path / demo.MARKER).exists()
    assert await open_demo(config(tmp_path)) == first
    async with open_app(config(tmp_path)) as app:
        assert len(await app.stores.accounts.search("", 10)) == len(demo.USERS)


async def test_it_refuses_a_folder_with_users(tmp_path: Path):
    async with open_app(config(tmp_path)) as app:
        await app.auth.add_user("dora", "correct horse x")
    with pytest.raises(StartupError, match="users of its own"):
        await open_demo(config(tmp_path))
    async with open_app(config(tmp_path)) as app:
        assert [found.user for found in await app.stores.accounts.search("", 10)] == ["dora"]


async def test_it_works_in_memory():
    chosen = Config(storage=Storage(backend="memory"), auth=Auth(password_memory_kib=1024))
    assert await open_demo(chosen)


def test_others_who_can_connect_are_warned_of():
    open_to_all = Listening(sockets=(), host="0.0.0.0", port=9, loopback=False)
    assert "warning" in demo._lines(open_to_all)[-1]
    assert "warning" not in "".join(demo._lines(WHERE))


@pytest.mark.parametrize(
    "text,word",
    [("Hi bob", "Hello"), ("why?", "question"), ("x" * 200, "200"), ("fine", "You wrote: fine")],
)
def test_bob_has_something_to_say(text: str, word: str):
    assert word in demo.answer(text)


def test_a_server_with_users_refuses_on_the_command_line(tmp_path: Path, home: Path):
    run("user", "add", "dora", "--password-stdin", typed="correct horse x")
    with serving("--demo", "--port", "0", "--data", str(home), home=tmp_path) as server:
        assert server.ended() == 1
    assert "users of its own" in server.log[0]
