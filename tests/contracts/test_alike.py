"""Two backends, the same calls, the same answers: a run of random calls from a seed."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from tests.support.backends import GROUP, opened
from whatsapp.model import Change, CursorMove, Draft, Event, Page, Role, Scope
from whatsapp.words import parse

USERS = ("ann", "bob", "eve", "joe")
CHATS = ("ann:bob", "ann:eve", "bob:joe", "ann:ann", GROUP, GROUP[:-1] + "8")
WORDS = ("hello", "help", "Ärger", "北京", "next week", "week next")
CALLS = 60


class Script:
    """What is called, drawn from a seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.drafts = []

    def some(self, of):
        return self.random.sample(of, self.random.randrange(1, 3))

    def change(self):
        pick = self.random
        roles = [(user, pick.choice(list(Role))) for user in self.some(USERS)]
        return Change(
            title=pick.choice([None, "", "Title"]),
            announce=pick.choice([None, True, False]),
            joins=tuple(roles) if pick.random() < 0.6 else (),
            leaves=tuple(self.some(USERS)) if pick.random() < 0.4 else (),
            roles=tuple(roles) if pick.random() < 0.3 else (),
        )

    def draft(self, number):
        pick = self.random
        if self.drafts and pick.random() < 0.15:
            return replace(pick.choice(self.drafts), text="again")
        chat = pick.choice(CHATS)
        group = chat.startswith("g:")
        changes = group and (pick.random() < 0.4 or not any(d.chat == chat for d in self.drafts))
        sender = pick.choice(USERS if group else chat.split(":"))
        draft = Draft(
            chat=chat,
            sender=sender,
            id=f"id-{number:08}",
            time_ms=pick.randrange(1000),
            kind="text" if pick.random() < 0.8 else "note",
            text=" ".join(self.some(WORDS)),
            hidden=not group and pick.random() < 0.3,
            event=Event(user=sender) if changes else None,
            change=self.change() if changes else None,
            epoch=pick.choice([0, 2, 1 << 40, 1 << 40]),
        )
        self.drafts.append(draft)
        return draft

    def moves(self):
        pick = self.random
        return [
            CursorMove(
                chat=pick.choice(CHATS),
                user=pick.choice(USERS),
                device=pick.choice(["", "d1", "d2"]),
                device_received=pick.randrange(20),
                received=pick.randrange(20),
                read=pick.randrange(20),
                rewind=pick.random() < 0.3,
                time_ms=pick.randrange(100),
            )
            for _ in range(pick.randrange(1, 4))
        ]

    async def call(self, number, both):
        """One call to each; their answers."""
        if self.random.random() < 0.3:
            moves = self.moves()
            return [await stores.chats.advance(moves) for stores in both]
        drafts = [self.draft(number * 10 + n) for n in range(self.random.randrange(1, 6))]
        return [await stores.messages.append(drafts) for stores in both]


async def seen(stores):
    """All that can be asked."""
    chats = await stores.chats.load(CHATS)
    pages = [Page(chat=chat, after=2, limit=7) for chat in CHATS]
    pages += [Page(chat=chat, before=9, limit=3) for chat in CHATS]
    found: dict[object, object] = {"chats": chats, "pages": await stores.messages.pages(pages)}
    for user in USERS:
        for device in ("d1", "d2"):
            positions = await stores.chats.of_user(user, device)
            found[user, device] = sorted(positions, key=lambda position: position.chat)
        found[user, "contacts"] = await stores.chats.contacts(user, USERS)
        for limit, before_ms in ((9, None), (2, None), (9, 500)):
            found[user, limit, before_ms] = await stores.chats.lines(
                user, limit=limit, before_ms=before_ms
            )
        scopes = [
            Scope(chat=chat.chat, member=chat.members[user])
            for chat in chats.values()
            if user in chat.members
        ]
        for query in ("hel", "arger", "京", '"next week"', "week hello"):
            for sender, before_ms in ((None, None), ("ann", 600)):
                found[user, query, sender] = await stores.messages.search(
                    parse(query), scopes, sender=sender, before_ms=before_ms, limit=10
                )
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_memory_and_sqlite_answer_alike(tmp_path, seed):
    script = Script(seed)
    async with opened("memory", tmp_path) as one, opened("sqlite", tmp_path) as other:
        for number in range(CALLS):
            first, second = await script.call(number, (one, other))
            assert first == second, number
            if number % 10 == 9:
                expected, answered = await seen(one), await seen(other)
                for question, answer in expected.items():
                    assert answered[question] == answer, (number, question)
