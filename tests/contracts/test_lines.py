"""`ChatStore.lines`: the list of chats, and what is unread."""

from __future__ import annotations

import pytest

from tests.support.backends import GROUP, PAIR, append, change, founded, say
from whatsapp.model import CursorMove, Role


async def lines(stores, user="ann", limit=99, before_ms=None):
    return await stores.chats.lines(user, limit=limit, before_ms=before_ms)


async def unread(stores, user="ann"):
    return [line.unread for line in await lines(stores, user)]


async def read(stores, seq, user="ann", chat=PAIR):
    await stores.chats.advance([CursorMove(chat=chat, user=user, read=seq)])


@pytest.fixture
async def four(stores):
    """Four chats of ann; their activity is at 40, 30, 20 and 10."""
    await append(
        stores,
        say("oldest", chat="ann:eve", time_ms=10),
        say("newest", chat="ann:joe", time_ms=40),
        say("second", chat="ann:kim", time_ms=30),
        say("earlier", time_ms=5),
        say("third", time_ms=20),
    )


async def test_newest_activity_first(stores, four):
    found = await lines(stores)
    assert [line.last.text for line in found] == ["newest", "second", "third", "oldest"]
    assert [line.chat for line in found] == ["ann:joe", "ann:kim", PAIR, "ann:eve"]
    assert found[2].head == 2


async def test_at_most_limit(stores, four):
    assert [line.chat for line in await lines(stores, limit=2)] == ["ann:joe", "ann:kim"]


async def test_only_activity_before_a_time(stores, four):
    found = await lines(stores, before_ms=30, limit=1)
    assert [line.chat for line in found] == [PAIR]
    assert [line.chat for line in await lines(stores, before_ms=20)] == ["ann:eve"]
    assert await lines(stores, before_ms=10) == []


async def test_nobody_has_no_lines(stores, four):
    assert await lines(stores, "zoe") == []


async def test_a_line_has_title_member_and_entry(stores):
    entries = await append(stores, founded("ann", "bob", title="Chess"), say(chat=GROUP))
    (line,) = await lines(stores, "bob")
    assert (line.chat, line.title, line.head, line.last) == (GROUP, "Chess", 2, entries[1])
    assert line.member.role is Role.MEMBER


async def test_unread_counts_entries_of_others_above_the_read_cursor(stores):
    await append(stores, *(say(sender=sender) for sender in ("bob", "ann", "bob", "bob", "ann")))
    assert await unread(stores) == [3]
    assert await unread(stores, "bob") == [2]
    await read(stores, 3)
    assert await unread(stores) == [1]
    await read(stores, 5)
    assert await unread(stores) == [0]


async def test_unread_counts_events_too(stores):
    await append(stores, founded("ann", "bob"), change(title="New"))
    assert await unread(stores, "bob") == [2]


async def test_unread_stops_at_999(stores):
    await append(stores, *(say() for _ in range(998)))
    assert await unread(stores, "bob") == [998]
    await append(stores, *(say() for _ in range(5)))
    assert await unread(stores, "bob") == [999]
    await read(stores, 3, "bob")
    assert await unread(stores, "bob") == [999]
    await read(stores, 503, "bob")
    assert await unread(stores, "bob") == [500]


async def test_hidden_entries_are_their_authors_alone(stores):
    await append(
        stores,
        say("one", time_ms=1),
        say("two", sender="bob", time_ms=2),
        say("hidden", time_ms=3, hidden=True),
        say("hidden too", time_ms=4, hidden=True),
    )
    (anns,) = await lines(stores, "ann")
    (bobs,) = await lines(stores, "bob")
    assert (anns.last.text, anns.unread) == ("hidden too", 1)
    assert (bobs.last.text, bobs.unread, bobs.head) == ("two", 1, 4)
    assert [line.chat for line in await lines(stores, "bob", before_ms=3)] == [PAIR]


async def test_after_hidden_entries_others_are_seen_again(stores):
    await append(stores, say("one"), say("no", hidden=True), say("no", hidden=True))
    await append(stores, say("no", hidden=True), say("back"))
    (line,) = await lines(stores, "bob")
    assert (line.last.text, line.unread) == ("back", 2)
    await append(stores, say("no", hidden=True), say("mine", sender="bob"))
    (line,) = await lines(stores, "bob")
    assert (line.last.text, line.unread) == ("mine", 2)


async def test_both_may_be_hidden_from_each_other(stores):
    await append(
        stores,
        say("seen by both"),
        say("ann's", hidden=True),
        say("bob's", sender="bob", hidden=True),
        say("ann's second", hidden=True),
    )
    assert [line.last.text for line in await lines(stores, "ann")] == ["ann's second"]
    assert [line.last.text for line in await lines(stores, "bob")] == ["bob's"]
    assert (await unread(stores, "ann"), await unread(stores, "bob")) == ([0], [1])


async def test_a_chat_in_which_nothing_may_be_seen_is_left_out(stores):
    await append(stores, say(hidden=True), say(hidden=True))
    assert await lines(stores, "bob") == []
    assert len(await lines(stores, "ann")) == 1


async def test_a_note_to_self(stores):
    await append(stores, say("buy milk", chat="ann:ann"))
    (line,) = await lines(stores)
    assert (line.chat, line.last.text, line.unread) == ("ann:ann", "buy milk", 0)


async def test_former_groups_end_where_they_were_left(stores):
    await append(
        stores,
        founded("ann", "bob"),
        say("for both", chat=GROUP),
        change(leaves=("bob",)),
        say("for ann", chat=GROUP),
    )
    (line,) = await lines(stores, "bob")
    assert (line.last.seq, line.unread, line.member.left, line.head) == (3, 0, 3, 4)
    (line,) = await lines(stores, "ann")
    assert line.last.text == "for ann"


async def test_unread_spans_a_gap(stores):
    await append(
        stores,
        founded("ann", "bob"),
        say("seen", chat=GROUP),
        change(leaves=("bob",)),
        say("not seen", chat=GROUP),
        say("not seen", chat=GROUP),
        change(joins=(("bob", Role.MEMBER),)),
        say("seen", chat=GROUP),
    )
    assert await unread(stores, "bob") == [5]
    await read(stores, 1, "bob", GROUP)
    assert await unread(stores, "bob") == [4]
    await read(stores, 6, "bob", GROUP)
    assert await unread(stores, "bob") == [1]


async def test_who_joins_late_has_read_nothing_before(stores):
    await append(stores, founded("ann"), *(say(chat=GROUP) for _ in range(5)))
    await append(stores, change(epoch=1, joins=(("bob", Role.MEMBER),)), say(chat=GROUP, epoch=7))
    assert await unread(stores, "bob") == [2]
