"""`MessageStore.search`: the right entries, the newest first, and nobody else's.

Each search runs twice: at once, and after a backend with an index says that it is complete.
"""

# ruff: noqa: RUF001 - letters that look like others are what these tests are about

from __future__ import annotations

import pytest

from backends import sqlite_search
from tests.support.backends import GROUP, PAIR, append, change, founded, indexed, member, say, scope
from whatsapp.model import Member, Role, Scope
from whatsapp.words import parse


@pytest.fixture(autouse=True)
def soon_indexed(monkeypatch):
    monkeypatch.setattr(sqlite_search, "LINGER_SECONDS", 0.02)


async def texts(stores, query, *scopes, **filters):
    filters = {"sender": None, "before_ms": None, "limit": 99} | filters
    found = await stores.messages.search(parse(query), scopes, **filters)
    if await indexed(stores):
        assert await stores.messages.search(parse(query), scopes, **filters) == found
    return [entry.text for entry in found]


@pytest.mark.parametrize(
    "text,query",
    [
        ("The quick brown fox", "quick"),
        ("The quick brown fox", "QUICK"),
        ("The quick brown fox", "fox the"),
        ("The quick brown fox", "bro"),
        ("The quick brown fox", "b"),
        ("The quick brown fox", '"quick brown"'),
        ("The quick brown fox", 'fox "the quick"'),
        ("Großer Ärger im Café", "arger"),
        ("Großer Ärger im Café", "cafe gross"),
        ("arger", "Ärger"),
        ("Straße", "strasse"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("İstanbul", "istanbul"),
        ("我明天去北京开会", "北京"),
        ("我明天去北京开会", "京"),
        ("我明天去北京开会", "明天 开会"),
        ("今日は会議です", "会議"),
        ("ガラス", "ガラス"),
        ("안녕하세요 여러분", "안녕"),
        ("see you at 10:30, room 4a", "10:30"),
        ("see you at 10:30, room 4a", "room-4"),
        ("x_y", "x y"),
        ("e-mail ann@example.org", "ann@example.org"),
        ("AND OR NOT NEAR", "and or not near"),
        ('say "hi" to words : c1', "words : c1"),
        ("привет мир", "ПРИВ"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
        ("naïve café\nsecond line", '"cafe second"'),
        ("¹²³ ½", "123"),
        ("𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "unicode"),
        ("🎉 party", "party"),
        ("nul\x00byte", "byte"),
    ],
)
async def test_found(stores, text, query):
    await append(stores, say("☕"), say(text), say("☂"))
    assert await texts(stores, query, await scope(stores, "bob")) == [text]


@pytest.mark.parametrize(
    "text,query",
    [
        ("The quick brown fox", "slow"),
        ("The quick brown fox", "quick cat"),
        ("The quick brown fox", '"brown quick"'),
        ("The quick brown fox", '"quick fox"'),
        ("The quick brown fox", '"bro"'),
        ("The quick brown fox", "bro fox"),
        ("The quick brown fox", "ox"),
        ("我明天去北京开会", "京北"),
        ("カラス", "ガラス"),
        ("hello", "c1"),
        ("hello", "u616e6e"),
    ],
)
async def test_not_found(stores, text, query):
    await append(stores, say(text))
    assert await texts(stores, query, await scope(stores, "bob")) == []


async def test_nowhere_to_look(stores):
    await append(stores, say())
    assert await texts(stores, "hello") == []
    assert await texts(stores, "hello", Scope(chat="ann:eve", member=Member(user="ann"))) == []
    assert await texts(stores, "hello", await scope(stores, "ann"), limit=0) == []


async def test_newest_first_and_at_most_limit(stores):
    for n in range(30):
        chat = PAIR if n % 2 else "ann:eve"
        await append(stores, say(f"hello {n}", chat=chat))
    scopes = [await scope(stores, "ann"), await scope(stores, "ann", "ann:eve")]
    expected = [f"hello {n}" for n in reversed(range(30))]
    assert await texts(stores, "hello", *scopes) == expected
    assert await texts(stores, "hello", *scopes, limit=7) == expected[:7]
    assert await texts(stores, "hello", scopes[0], limit=7) == expected[0:14:2]


async def test_entries_come_whole(stores):
    (entry,) = await append(stores, say("hello", hidden=True, reply_to=0))
    found = await stores.messages.search(
        parse("hello"), [await scope(stores, "ann")], sender=None, before_ms=None, limit=1
    )
    assert found == [entry]


async def test_only_in_these_scopes(stores):
    await append(stores, say("hello bob"), say("hello eve", chat="ann:eve"))
    await append(stores, say("hello joe", chat="bob:joe", sender="bob"))
    assert await texts(stores, "hello", await scope(stores, "ann")) == ["hello bob"]


async def test_only_text(stores):
    await append(stores, say("hello", kind="note"), say("hello text"))
    assert await texts(stores, "hello", await scope(stores, "ann")) == ["hello text"]


async def test_hidden_entries_are_found_by_their_author_alone(stores):
    await append(stores, say("hello", hidden=True), say("hello too"))
    assert await texts(stores, "hello", await scope(stores, "ann")) == ["hello too", "hello"]
    assert await texts(stores, "hello", await scope(stores, "bob")) == ["hello too"]


async def test_only_what_the_member_saw(stores):
    await append(
        stores,
        founded("ann"),
        say("hello 2", chat=GROUP),
        change(joins=(("bob", Role.MEMBER),)),
        say("hello 4", chat=GROUP),
        change(leaves=("bob",)),
        say("hello 6", chat=GROUP),
        change(joins=(("bob", Role.MEMBER),)),
        say("hello 8", chat=GROUP),
        change(leaves=("bob",)),
        say("hello 10", chat=GROUP),
    )
    assert await texts(stores, "hello", await scope(stores, "bob", GROUP)) == ["hello 8", "hello 4"]
    assert len(await texts(stores, "hello", await scope(stores, "ann", GROUP))) == 5


async def test_by_sender(stores):
    await append(stores, say("hello ann"), say("hello bob", sender="bob"), say("bob ann"))
    ann = await scope(stores, "ann")
    assert await texts(stores, "hello", ann, sender="bob") == ["hello bob"]
    assert await texts(stores, "bob", ann, sender="ann") == ["bob ann"]
    assert await texts(stores, "hello", ann, sender="b") == []


async def test_before_a_time(stores):
    await append(stores, *(say(f"hello {n}", time_ms=1000 + n) for n in range(10)))
    ann = await scope(stores, "ann")
    assert await texts(stores, "hello", ann, before_ms=1003) == ["hello 2", "hello 1", "hello 0"]
    assert await texts(stores, "hello", ann, before_ms=1000) == []
    assert len(await texts(stores, "hello", ann, before_ms=9999)) == 10


async def test_what_was_just_appended_is_found(stores):
    for n in range(20):
        await append(stores, say(f"hello {n}"))
        assert len(await texts(stores, "hello", await scope(stores, "bob"))) == n + 1


async def test_many_scopes(stores):
    chats = [f"ann:u{n:04}" for n in range(1200)]
    await append(stores, *(say(f"hello {n}", chat=chat) for n, chat in enumerate(chats)))
    scopes = [Scope(chat=chat, member=Member(user="ann")) for chat in chats]
    assert await texts(stores, "hello", *scopes, limit=3) == [
        f"hello {n}" for n in (1199, 1198, 1197)
    ]
    assert await texts(stores, "7", *scopes[:100], limit=2) == ["hello 79", "hello 78"]
    assert await texts(stores, '"hello 700" "700"', *scopes) == ["hello 700"]


@pytest.mark.parametrize(
    "query",
    [
        'hello" OR "x',
        "hello*",
        "hello AND NOT world",
        "NEAR(hello world, 5)",
        "words : hello",
        "hello'; DROP TABLE messages; --",
        "^hello",
        "(((((hello",
        "-hello",
        '"""hello"""',
        "%hello_",
        "{words} : hello",
        "hello \x00 world",
        "\ue000c1 hello",
        "a* b* c* d* e* f*",
        "h" * 256,
        " ".join("abcdefghijklmnop"),
        '"' + " ".join("aaaaaaaaaaaaaaaa") + '"',
        "的" * 16,
    ],
)
async def test_hostile_queries_are_plain_words(stores, query):
    await append(stores, say("hello"), say("drop table messages"))
    found = await texts(stores, query, await scope(stores, "ann"))
    terms = parse(query)
    assert found == [text for text in ("drop table messages", "hello") if terms.match(text)]
    assert await texts(stores, "hello", await scope(stores, "ann")) == ["hello"]


async def test_a_member_value_decides_not_the_name(stores):
    """The scope is taken as given: who may see what was decided by the caller."""
    await append(stores, say("hello 1"), say("hello 2"))
    past = Scope(chat=PAIR, member=Member(user="bob", joined=1, left=1))
    assert await texts(stores, "hello", past) == ["hello 1"]
    assert (await member(stores, "bob")).active
