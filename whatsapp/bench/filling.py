"""A store full of messages, made before the server starts: straight into its data folder.

What it is like: one user with `chats` chats, among them groups, holding a fifth of all
messages; the rest belongs to others. Words come as in real languages: the n-th most frequent
one is n times as rare as the first.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from whatsapp.app import open_app
from whatsapp.bench.people import Person, Tell
from whatsapp.bench.scene import Plan
from whatsapp.config import Config, Storage
from whatsapp.errors import StartupError
from whatsapp.model import Account, Actor, Device, Draft, direct_chat
from whatsapp.server import App

TEXT_BYTES = 200
BATCH = 2000
WORDS = 30_000
GROUPS_SHARE = 20  # one chat of so many is a group
GROUP_MEMBERS = 8
MINE_SHARE = 0.2
OTHERS = 1000
NOTE = "bench.json"
SEED = 7
USER = "searcher"
DAY_MS = 86_400_000
SPAN_MS = 365 * DAY_MS


class Wish(Struct, frozen=True, kw_only=True):
    """What the store shall have in it."""

    messages: int
    chats: int
    text_bytes: int

    @classmethod
    def of(cls, plan: Plan) -> Wish:
        size = plan.text_bytes or TEXT_BYTES
        return cls(messages=plan.messages, chats=plan.chats, text_bytes=size)


class Filled(Struct, frozen=True, kw_only=True):
    """A note in the folder: what it has, and how to be the user whose chats they are."""

    wish: Wish
    user: str
    token: str
    chats: list[str]
    friends: list[str]

    @property
    def person(self) -> Person:
        return Person(self.user, self.token)


def word(rank: int) -> str:
    """The word of this rank of frequency; no two are alike, and none is another's beginning."""
    letters = "bcdfghjklmnprstvw"
    text = ""
    while True:
        rank, digit = divmod(rank, len(letters) * 5)
        text += letters[digit // 5] + "aeiou"[digit % 5]
        if not rank:
            return text + "x"


def read(folder: Path) -> Filled:
    return msgspec.json.decode((folder / NOTE).read_bytes(), type=Filled)


def fill(folder: Path, wish: Wish, tell: Tell) -> None:
    """Fill the folder, unless it is filled so already."""
    note = folder / NOTE
    if note.exists():
        if read(folder).wish == wish:
            return
        raise StartupError(f"{folder} is filled in another way", "Name another folder with --data.")
    if folder.exists() and any(folder.iterdir()):
        raise StartupError(f"{folder} has something else in it", "Name an empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    filled = asyncio.run(_fill(folder, wish, tell))
    # Written last: a folder without it is not complete.
    note.write_bytes(msgspec.json.encode(filled))


async def _fill(folder: Path, wish: Wish, tell: Tell) -> Filled:
    config = Config(storage=Storage(backend="sqlite", data=str(folder)))
    async with open_app(config) as app:
        token = secrets.token_urlsafe(32)
        friends = [f"friend{n:05d}" for n in range(wish.chats)]
        await _people(app, [USER, *friends], token)
        chats = [direct_chat(USER, friend) for friend in friends]
        for n in range(0, len(chats), GROUPS_SHARE):
            members = friends[n : n + GROUP_MEMBERS]
            chats[n] = await app.groups.create(Actor(USER, "fill"), f"group {n}", members)
        others = [f"other{n:05d}:other{n + 1:05d}" for n in range(0, OTHERS, 2)]
        began = time.monotonic()
        drafts = _drafts(wish, chats, friends, others, app.clock.now_ms())
        for done in itertools.count(0, BATCH):
            batch = list(itertools.islice(drafts, BATCH))
            if not batch:
                break
            await app.stores.messages.append(batch)
            tell(_estimate("messages", done, wish.messages, began), done, wish.messages)
    return Filled(wish=wish, user=USER, token=token, chats=chats, friends=friends)


async def _people(app: App, users: list[str], token: str) -> None:
    for user in users:
        await app.stores.accounts.create(Account(user=user, name=user))
    now_ms = app.clock.now_ms()
    await app.stores.devices.add(
        Device(
            device="bench",
            user=USER,
            name="bench",
            token_hash=hashlib.sha256(token.encode()).digest(),
            created_ms=now_ms,
            last_seen_ms=now_ms,
        )
    )


def _drafts(
    wish: Wish, chats: list[str], friends: list[str], others: list[str], now_ms: int
) -> Iterator[Draft]:
    chance = random.Random(SEED)  # noqa: S311 — the same store every time
    words = [word(rank) for rank in range(WORDS)]
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(WORDS)))
    # With the space after it a word has some six letters.
    count = max(1, round(wish.text_bytes / 6))
    for number in range(wish.messages):
        mine = chance.random() < MINE_SHARE
        place = chance.randrange(len(chats) if mine else len(others))
        chat = chats[place] if mine else others[place]
        sender = friends[place] if mine else chat.partition(":")[0]
        text = " ".join(chance.choices(words, cum_weights=weights, k=count))
        yield Draft(
            chat=chat,
            sender=sender,
            id=f"fill-{number:010d}",
            time_ms=now_ms - SPAN_MS + SPAN_MS * number // wish.messages,
            text=text[: wish.text_bytes],
            epoch=2 if chat.startswith("g:") else 0,
        )


def _estimate(what: str, done: int, whole: int, began: float) -> str:
    if not done:
        return what
    left = (time.monotonic() - began) * (whole - done) / done
    return f"{what}, {left / 60:.0f} min left," if left > 60 else f"{what}, {left:.0f} s left,"  # noqa: PLR2004
