"""`whatsapp serve --demo`: alice, bob, carol, some history, and a bob who answers.

One person alone at one browser sees everything at work: log in as alice, write to bob, and
he comes online, reads, types, answers. Bob is an ordinary client over the loopback
(`client.py`); nothing in the server knows of him.

The passwords are known to everybody, so this never touches a folder with users in it that
the demo did not make: a file named `demo` marks the folders that are its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from whatsapp.client import Client, Text
from whatsapp.config import Config, data_folder
from whatsapp.errors import StartupError, WhatsAppError
from whatsapp.listen import Listening
from whatsapp.model import Actor, direct_chat, is_group
from whatsapp.server import App

log = logging.getLogger(__name__)

MARKER = "demo"
MARKER_TEXT = "Made by `whatsapp serve --demo`. Everybody knows the passwords of these users.\n"
# Bob's login and what he has read, so that the next start is the same device of his.
OUTBOX = "demo-bob.json"

BOT = "bob"
USERS = {"alice": "Alice", "bob": "Bob", "carol": "Carol"}
GROUP = "Weekend"

READ_AFTER_SECONDS = 1.0
TYPE_FOR_SECONDS = 1.5
CLOSE_TIMEOUT_SECONDS = 1.0
QUOTED_CHARACTERS = 100
# Answers under way; what comes meanwhile is only read.
ANSWERS_MAX = 100

DIRECT_HISTORY = (
    ("bob", "alice", "Hi Alice! Write to me: I read, type and answer by myself."),
    ("alice", "bob", "So I can try everything alone?"),
    ("bob", "alice", "You can. Watch the ticks: one is stored, two are delivered, then read."),
    ("carol", "alice", "Are you coming on Saturday?"),
    ("alice", "carol", "Yes! I bring the salad."),
    ("carol", "alice", "And I have the tickets. Search for \u201ctickets\u201d and you find this."),
)
GROUP_HISTORY = (
    ("carol", "Saturday at ten, at the station?"),
    ("alice", "Ten is fine."),
    ("bob", "I am there. Name me in a message here and I answer."),
)


def password(user: str) -> str:
    """Known to everybody, on purpose."""
    return f"correct horse {user}"


@contextlib.asynccontextmanager
async def open_scene(app: App, config: Config, listening: Listening) -> AsyncIterator[list[str]]:
    """Make the users where they are not yet, and have bob there; what to tell about it.

    `StartupError` where the folder is somebody's.
    """
    folder = None if config.storage.backend == "memory" else data_folder(config.storage)
    await _claim(app, folder)
    await _people(app)
    bob = asyncio.create_task(_bob(listening.url, folder and folder / OUTBOX))
    try:
        yield _lines(listening)
    finally:
        bob.cancel()
        await asyncio.wait([bob], timeout=CLOSE_TIMEOUT_SECONDS)


def _lines(listening: Listening) -> list[str]:
    lines = [f'  demo      log in as alice with the password "{password("alice")}"']
    lines += [
        f'            {user} has "{password(user)}"' + (" and answers" if user == BOT else "")
        for user in USERS
        if user != "alice"
    ]
    if not listening.loopback:
        lines.append("  warning   others who can connect know these passwords too")
    return lines


async def _claim(app: App, folder: Path | None) -> None:
    if folder is None:
        return
    marker = folder / MARKER
    if not marker.exists():
        if await app.stores.accounts.search("", 1):
            raise StartupError(
                f"{folder} has users of its own, and --demo adds some with known passwords",
                "Leave out --data, or name an empty folder: the demo then has its own.",
            )
        marker.write_text(MARKER_TEXT, encoding="utf-8")


async def _people(app: App) -> None:
    """The users, and, where all of them are new, what they said to each other."""
    known = await app.stores.accounts.find(list(USERS))
    new = [user for user in USERS if user not in known]
    await asyncio.gather(*(app.auth.add_user(user, password(user), USERS[user]) for user in new))
    if len(new) < len(USERS):
        return
    for sender, other, text in DIRECT_HISTORY:
        await _said(app, sender, direct_chat(sender, other), text)
    owner, *members = "carol", "alice", "bob"
    group = await app.groups.create(_actor(owner), GROUP, members)
    for sender, text in GROUP_HISTORY:
        await _said(app, sender, group, text)


async def _said(app: App, sender: str, chat: str, text: str) -> None:
    await app.conversations.post(_actor(sender), chat, str(uuid.uuid4()), text, None)


def _actor(user: str) -> Actor:
    return Actor(user, "demo")


async def _bob(url: str, outbox: Path | None) -> None:
    """Be bob until the server ends; a demo without him is still a demo."""
    began_ms = time.time_ns() // 1_000_000
    answers: set[asyncio.Task[None]] = set()
    try:
        async with Client(url, outbox=outbox, automatic=False) as client:
            await client.login(BOT, password(BOT), device="demo")
            async for message in client.messages():
                await client.received(message.chat, message.seq)
                if message.sender == BOT:
                    continue
                # What was said before the start is history, or has its answer already.
                if message.time < began_ms or len(answers) >= ANSWERS_MAX:
                    await client.read(message.chat, message.seq)
                    continue
                task = asyncio.create_task(_answer(client, message))
                answers.add(task)
                task.add_done_callback(answers.discard)
    except WhatsAppError as error:
        log.warning("demo bob is gone reason=%s", error)
    except Exception:
        log.exception("demo bob failed")
    finally:
        for task in answers:
            task.cancel()


async def _answer(client: Client, message: Text) -> None:
    try:
        await asyncio.sleep(READ_AFTER_SECONDS)
        await client.read(message.chat, message.seq)
        if is_group(message.chat) and BOT not in message.text.lower():
            return
        await client.typing(message.chat)
        await asyncio.sleep(TYPE_FOR_SECONDS)
        await client.typing(message.chat, on=False)
        await client.send(message.chat, answer(message.text), reply_to=message.seq)
    except WhatsAppError as error:
        log.info("demo bob does not answer reason=%s", error)


def answer(text: str) -> str:
    """What bob has to say to that."""
    lowered = text.lower()
    if any(word in lowered.split() for word in ("hi", "hello", "hey", "hallo")):
        return "Hello! Nice to read you."
    if text.rstrip().endswith("?"):
        return "Good question. I am a bot and do not know, but I did read it."
    if len(text) > QUOTED_CHARACTERS:
        return f"That was {len(text)} characters. All of them arrived."
    return f"You wrote: {text}"
