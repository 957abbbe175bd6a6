"""`MessageStore.append` and `find`: order, repetition, atomicity."""

from __future__ import annotations

import asyncio
import contextlib

from msgspec.structs import replace

from tests.support.backends import GROUP, PAIR, append, change, founded, log_of, say
from whatsapp.model import Change, Draft, Duplicate, Event, Role, Stale, Stored


async def test_nothing_to_append(stores):
    assert await stores.messages.append([]) == []


async def test_an_entry_is_the_draft_with_a_seq(stores):
    event = Event(users=("bob", "zoë"), title="ü", on=True)
    drafts = [
        say("first \x00 ✓ 漢字 '\"%_", hidden=True, reply_to=0),
        say("", kind="joined", event=event, reply_to=1),
    ]
    entries = await append(stores, *drafts)
    assert entries == [drafts[0].entry(1), drafts[1].entry(2)]
    assert await log_of(stores) == entries


async def test_seqs_of_a_chat_follow_the_order_given(stores):
    drafts = [say(str(n), chat=chat) for n in range(50) for chat in (PAIR, "ann:eve", "ann:zoe")]
    outcomes = await stores.messages.append(drafts)
    assert [outcome.entry.text for outcome in outcomes] == [draft.text for draft in drafts]
    for chat in (PAIR, "ann:eve", "ann:zoe"):
        assert [entry.text for entry in await log_of(stores, chat)] == [str(n) for n in range(50)]


async def test_seqs_go_on_across_calls(stores):
    seqs = [(await append(stores, say()))[0].seq for _ in range(5)]
    assert seqs == [1, 2, 3, 4, 5]


async def test_concurrent_calls_leave_no_hole_and_keep_their_own_order(stores):
    calls = [[say(f"{call}-{n}") for n in range(10)] for call in range(20)]
    await asyncio.gather(*(stores.messages.append(drafts) for drafts in calls))
    texts = [entry.text for entry in await log_of(stores)]
    assert len(texts) == 200
    for call in range(20):
        own = [text for text in texts if text.startswith(f"{call}-")]
        assert own == [f"{call}-{n}" for n in range(10)]


async def test_a_repetition_is_answered_with_the_first_entry(stores):
    draft = say("once")
    (first,) = await append(stores, draft)
    await append(stores, say("between"))
    assert await stores.messages.append([draft]) == [Duplicate(first)]
    assert len(await log_of(stores)) == 2


async def test_a_repetition_takes_no_seq_in_the_middle_of_a_call(stores):
    old = say("old")
    (first,) = await append(stores, old)
    a, b = say("a"), say("b")
    outcomes = await stores.messages.append([a, old, b, a])
    assert outcomes == [
        Stored(a.entry(2)),
        Duplicate(first),
        Stored(b.entry(3)),
        Duplicate(a.entry(2)),
    ]
    assert [entry.text for entry in await log_of(stores)] == ["old", "a", "b"]


async def test_a_repeated_id_with_other_content_is_a_duplicate_too(stores):
    draft = say("one")
    (first,) = await append(stores, draft)
    other = replace(draft, text="two", kind="other", reply_to=1, hidden=True)
    assert await stores.messages.append([other, other]) == [Duplicate(first)] * 2
    assert await log_of(stores) == [first]


async def test_an_id_belongs_to_its_sender_and_chat(stores):
    one = say(id="same-id-0")
    drafts = [one, replace(one, sender="bob"), replace(one, chat="ann:eve")]
    assert [entry.seq for entry in await append(stores, *drafts)] == [1, 2, 1]


async def test_of_concurrent_repetitions_one_is_stored(stores):
    draft = say("race")
    outcomes = await asyncio.gather(
        *(stores.messages.append([say(), draft, say()]) for _ in range(20))
    )
    answers = [outcome[1] for outcome in outcomes]
    assert sum(isinstance(answer, Stored) for answer in answers) == 1
    assert len({answer.entry.seq for answer in answers}) == 1
    assert len(await log_of(stores)) == 41


async def test_many_repetitions_among_many_chats(stores):
    chats = [f"ann:u{n:03}" for n in range(30)]
    drafts = [say(str(n), chat=chat) for n in range(4) for chat in chats]
    await append(stores, *drafts[::2])
    outcomes = await stores.messages.append(drafts + drafts)
    expected = [Duplicate, Stored] * 60 + [Duplicate] * 120
    assert [type(outcome) for outcome in outcomes] == expected
    for chat in chats:
        assert len(await log_of(stores, chat)) == 4


async def test_a_duplicate_does_not_change_the_chat(stores):
    await append(stores, founded("ann", "bob"))
    draft = change(epoch=1, title="Second")
    await append(stores, draft)
    third = Change(title="Third", leaves=("bob",))
    (outcome,) = await stores.messages.append([replace(draft, change=third)])
    chat = (await stores.chats.load([GROUP]))[GROUP]
    assert isinstance(outcome, Duplicate)
    assert chat.members["bob"].active
    assert (chat.title, chat.epoch, chat.head) == ("Second", 2, 2)


async def test_a_draft_below_the_epoch_is_stale(stores):
    await append(stores, founded("ann", "bob"), change(leaves=("bob",)))
    outcomes = await stores.messages.append(
        [
            say(chat=GROUP, epoch=1),
            say("known", chat=GROUP, epoch=2),
            say(chat=GROUP, epoch=0),
            say("ahead", chat=GROUP, epoch=9),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [Stale, Stored, Stale, Stored]
    assert [entry.text for entry in await log_of(stores, GROUP)] == ["", "", "known", "ahead"]


async def test_a_stale_change_is_not_applied(stores):
    await append(stores, founded("ann", "bob"), change(title="Two"))
    (outcome,) = await stores.messages.append([change(epoch=1, title="Three", leaves=("bob",))])
    chat = (await stores.chats.load([GROUP]))[GROUP]
    assert isinstance(outcome, Stale)
    assert (chat.title, chat.epoch, chat.members["bob"].active) == ("Two", 2, True)


async def test_a_duplicate_is_never_stale(stores):
    draft = say(chat=GROUP, epoch=1)
    await append(stores, founded("ann", "bob"), draft, change(epoch=1, title="Two"))
    (outcome,) = await stores.messages.append([draft])
    assert outcome == Duplicate(draft.entry(2))


async def test_epochs_set_within_the_call_are_forgiven(stores):
    drafts = [founded("ann"), change(joins=(("bob", Role.MEMBER),)), say(chat=GROUP)]
    assert [entry.seq for entry in await append(stores, *drafts)] == [1, 2, 3]
    assert (await stores.chats.load([GROUP]))[GROUP].epoch == 2


async def test_only_epochs_of_the_same_call_are_forgiven(stores):
    await append(stores, founded("ann"))
    outcomes = await stores.messages.append(
        [change(epoch=1, title="Two"), say(chat=GROUP, epoch=1), say(chat=GROUP, epoch=0)]
    )
    assert [type(outcome) for outcome in outcomes] == [Stored, Stored, Stale]


async def test_a_failed_call_may_be_repeated(stores):
    """Whatever came of a call, a repetition ends in the same state."""
    drafts = [founded("ann", "bob"), *(say(str(n), chat=GROUP) for n in range(20))]
    call = asyncio.ensure_future(stores.messages.append(drafts))
    await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    outcomes = await stores.messages.append(drafts)
    assert [outcome.entry for outcome in outcomes] == await log_of(stores, GROUP)
    assert len(outcomes) == 21


async def test_cancelled_callers_tear_nothing(stores):
    calls = [
        asyncio.ensure_future(stores.messages.append([say(f"{n}-{k}") for k in range(5)]))
        for n in range(30)
    ]
    await asyncio.sleep(0.001)
    for call in calls[::2]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    texts = [entry.text for entry in await log_of(stores)]
    for n in range(30):
        own = [text for text in texts if text.startswith(f"{n}-")]
        assert own in ([], [f"{n}-{k}" for k in range(5)])
        assert own or n % 2 == 0


async def test_what_was_appended_is_there_when_the_call_returns(stores):
    for n in range(20):
        draft = say(str(n))
        await append(stores, draft)
        assert await stores.messages.find(PAIR, "ann", draft.id) == draft.entry(n + 1)
        assert len(await log_of(stores)) == n + 1


async def test_find_looks_for_chat_sender_and_id(stores):
    (entry,) = await append(stores, draft := say())
    find = stores.messages.find
    assert await find(PAIR, "ann", draft.id) == entry
    assert await find(PAIR, "bob", draft.id) is None
    assert await find("ann:eve", "ann", draft.id) is None
    assert await find(PAIR, "ann", "another-id") is None


async def test_many_chats_in_one_call(stores):
    drafts = [
        Draft(chat=f"ann:u{n:04}", sender="ann", id="id-00000", time_ms=n) for n in range(999)
    ]
    assert {entry.seq for entry in await append(stores, *drafts)} == {1}
    assert len(await stores.chats.of_user("ann", "d")) == 999
