"""Group commit: one append at a time, in order, checked when its batch is formed."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from tests.faults.core import METRICS
from tests.faults.loop import Loop
from tests.support.clocks import ManualClock
from whatsapp.errors import Busy, Forbidden, Internal, Unavailable
from whatsapp.journal import LOOKS_MAX, WAIT_SECONDS_MAX, Journal, Unready
from whatsapp.model import Change, Draft, Duplicate, Stale, Stored

GROUP = "g:01890a5d-ac96-774b-bcce-b302099a8057"


class Store:
    """`append` gives what the test has put into `outcomes`, or stores all; `open` lets it end."""

    def __init__(self, loop):
        self.loop = loop
        self.batches = []
        self.outcomes = []
        self.heads = {}

    async def append(self, drafts):
        self.batches.append([draft.id for draft in drafts])
        await self.loop.stall("append")
        if self.outcomes:
            outcome = self.outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return [outcome(draft) for draft in drafts]
        return [self.stored(draft) for draft in drafts]

    def stored(self, draft):
        seq = self.heads[draft.chat] = self.heads.get(draft.chat, 0) + 1
        return Stored(draft.entry(seq))


class Wish:
    """A `Pending` that notes what happens to it."""

    def __init__(self, told, name, chat="ann:bob", admits=(), change=None):
        self.told = told
        self.name = name
        self.chat = chat
        self.admits = list(admits)
        self.change = change

    def admit(self):
        self.told.append(f"admit {self.name}")
        if self.admits:
            answer = self.admits.pop(0)
            if answer is None:
                return None
            raise answer
        return Draft(chat=self.chat, sender="ann", id=self.name, time_ms=1, change=self.change)

    def settle(self, outcome):
        kind = "again" if isinstance(outcome, Duplicate) else "stored"
        self.told.append(f"{kind} {self.name} {outcome.entry.seq}")

    def fail(self, error):
        self.told.append(f"{error.code} {self.name}")


class Broken(Wish):
    """Cannot even hear of it."""

    def settle(self, outcome):
        raise ZeroDivisionError

    def fail(self, error):
        raise ZeroDivisionError


class Desk:
    def __init__(self, **limits):
        self.loop = Loop()
        self.clock = ManualClock()
        self.store = Store(self.loop)
        self.told = []
        self.looks = []
        self.look_fails = []
        limits = {"drafts_max": 100, "batch_max": 10} | limits
        self.journal = Journal(
            cast("Any", self.store),
            self.loop,
            self.clock,
            METRICS,
            look_again=self.look,
            **limits,
        )

    async def look(self, chat):
        self.looks.append(chat)
        if self.look_fails:
            raise self.look_fails.pop(0)

    def submit(self, *names, **more):
        for name in names:
            self.journal.submit(Wish(self.told, name, **more))
        self.loop.run()

    def go_on(self):
        while self.loop.stalled:
            self.loop.resume(0)
            self.loop.run()

    def ends(self):
        return [line for line in self.told if not line.startswith("admit")]


@pytest.fixture
def desk():
    return Desk()


def test_a_lone_draft_waits_for_nobody(desk):
    assert desk.journal.quiet
    desk.submit("one")
    assert desk.store.batches == [["one"]]
    assert not desk.journal.quiet
    desk.go_on()
    assert desk.ends() == ["stored one 1"]
    assert desk.journal.quiet


def test_what_comes_meanwhile_is_the_next_batch(desk):
    desk.submit("one")
    desk.submit("two", "three")
    assert len(desk.journal) == 2
    assert desk.store.batches == [["one"]]
    desk.go_on()
    assert desk.store.batches == [["one"], ["two", "three"]]
    assert desk.ends() == ["stored one 1", "stored two 2", "stored three 3"]


def test_a_batch_has_a_limit():
    desk = Desk(batch_max=2)
    desk.submit("one", "two", "three", "four", "five")
    desk.go_on()
    assert [len(batch) for batch in desk.store.batches] == [2, 2, 1]


def test_it_is_checked_when_the_batch_is_formed(desk):
    desk.submit("one")
    desk.submit("two")
    assert desk.told == ["admit one"]
    desk.go_on()
    assert desk.told[-2:] == ["admit two", "stored two 2"]


def test_a_change_is_the_last_of_its_chat_in_a_batch(desk):
    desk.submit("zero")
    desk.submit("one", chat=GROUP)
    desk.submit("change", chat=GROUP, change=Change(title="Tea"))
    desk.submit("two", chat=GROUP)
    desk.submit("other")
    desk.submit("three", chat=GROUP)
    desk.go_on()
    assert desk.store.batches == [["zero"], ["one", "change", "other"], ["two", "three"]]


def test_what_is_not_admitted_hears_of_it_and_the_others_go_on(desk):
    desk.submit("zero")
    desk.submit("bad", admits=[Forbidden("no")])
    desk.submit("nothing", admits=[None])
    desk.submit("good")
    desk.go_on()
    assert desk.ends() == ["stored zero 1", "forbidden bad", "stored good 2"]


def test_a_bug_in_a_check_is_told_and_logged(desk, caplog):
    with caplog.at_level(logging.ERROR):
        desk.submit("bad", admits=[ZeroDivisionError()])
        desk.go_on()
    assert desk.ends() == ["internal bad"]
    assert "storing failed" in caplog.text


def test_what_is_not_ready_waits_for_a_look_in_its_order(desk):
    desk.submit("zero")
    desk.submit("one", admits=[Unready()])
    desk.submit("two")
    desk.submit("other", chat=GROUP)
    desk.go_on()
    assert desk.looks == ["ann:bob"]
    assert desk.store.batches == [["zero"], ["other"], ["one", "two"]]


def test_where_a_look_fails_all_that_waits_for_it_fails(desk):
    desk.look_fails = [Unavailable("away")]
    desk.submit("zero")
    desk.submit("one", admits=[Unready()])
    desk.submit("two")
    desk.submit("other", chat=GROUP)
    desk.go_on()
    assert desk.ends() == [
        "stored zero 1",
        "unavailable one",
        "unavailable two",
        "stored other 1",
    ]


def test_a_stale_draft_is_tried_again_before_what_came_later(desk):
    desk.store.outcomes = [lambda draft: Stale()]
    desk.submit("one")
    desk.submit("two")
    desk.go_on()
    assert desk.looks == ["ann:bob"]
    assert desk.ends() == ["stored one 1", "stored two 2"]


def test_a_chat_that_always_changes_is_given_up(desk):
    desk.store.outcomes = [lambda draft: Stale()] * (LOOKS_MAX + 5)
    desk.submit("one")
    desk.go_on()
    assert desk.ends() == ["unavailable one"]
    desk.store.outcomes = []
    desk.submit("two")
    desk.go_on()
    assert desk.ends()[-1] == "stored two 1"


def test_a_duplicate_is_told_with_the_first_entry(desk):
    first = desk.store.stored(Draft(chat="ann:bob", sender="ann", id="one", time_ms=1)).entry
    desk.store.outcomes = [lambda draft: Duplicate(first)]
    desk.submit("one")
    desk.go_on()
    assert desk.ends() == ["again one 1"]


@pytest.mark.parametrize("error", [Unavailable("away"), ZeroDivisionError()])
def test_a_failed_append_is_told_to_everybody_in_it(desk, error):
    desk.submit("zero")
    desk.store.outcomes = [desk.store.stored, error]
    desk.submit("one", "two")
    desk.go_on()
    code = "unavailable" if isinstance(error, Unavailable) else Internal.code
    assert desk.ends() == ["stored zero 1", f"{code} one", f"{code} two"]


def test_what_became_of_a_failed_append_is_looked_at_before_the_chat_goes_on(desk):
    desk.store.outcomes = [Unavailable("away")]
    desk.submit("one")
    desk.go_on()
    assert desk.looks == []
    desk.submit("two")
    assert desk.looks == ["ann:bob"]
    desk.go_on()
    desk.journal.tick()
    desk.loop.run()
    assert desk.looks == ["ann:bob"]


def test_what_became_of_a_failed_append_is_looked_at_until_it_is_known(desk):
    desk.store.outcomes = [Unavailable("away")]
    desk.look_fails = [Unavailable("away")]
    desk.submit("one")
    desk.go_on()
    for _ in range(3):
        desk.journal.tick()
        desk.loop.run()
    assert desk.looks == ["ann:bob", "ann:bob"]
    assert desk.journal.quiet


def test_a_settling_that_fails_is_logged_and_the_others_go_on(desk, caplog):
    broken = Broken(desk.told, "broken")
    desk.submit("zero")
    desk.journal.submit(broken)
    desk.submit("good")
    with caplog.at_level(logging.ERROR):
        desk.go_on()
    assert desk.ends() == ["stored zero 1", "stored good 3"]
    assert "settling failed" in caplog.text


def test_a_telling_that_fails_is_logged(desk, caplog):
    broken = Broken(desk.told, "broken", admits=[Forbidden("no")])
    with caplog.at_level(logging.ERROR):
        desk.journal.submit(broken)
        desk.loop.run()
    assert "telling a failure failed" in caplog.text


def test_too_many_are_busy():
    desk = Desk(drafts_max=2)
    desk.submit("zero")
    desk.submit("one", "two")
    with pytest.raises(Busy):
        desk.submit("three")
    desk.go_on()
    assert len(desk.ends()) == 3


def test_more_than_a_slow_store_takes_in_time_is_busy():
    desk = Desk(batch_max=2)
    desk.submit("one")

    def full_batch(seconds):
        desk.clock.pass_seconds(seconds)
        desk.loop.resume(0)
        desk.loop.run()

    desk.submit("two", "three", "four", "five", "six")
    full_batch(9.0)  # not full: says nothing of how fast it can be
    assert desk.store.batches[-1] == ["two", "three"]
    desk.submit(*"abcdefg")
    full_batch(WAIT_SECONDS_MAX / 2)
    # Two batches fit the time: four wait already, and more.
    with pytest.raises(Busy):
        desk.submit("late")
    full_batch(10 * WAIT_SECONDS_MAX)
    full_batch(0.0)
    # It is quick again: so is what may wait.
    desk.submit(*(f"more-{n}" for n in range(90)))
    desk.go_on()
    assert "stored more-89 103" in desk.told


def test_a_slow_store_still_gets_full_batches():
    desk = Desk(batch_max=2)
    desk.submit(*"abcde")
    for _ in range(3):
        desk.clock.pass_seconds(50.0)
        desk.loop.resume(0)
        desk.loop.run()
    desk.submit("f")
    desk.submit("g", "h")
    with pytest.raises(Busy):
        desk.submit("i")
    desk.go_on()
    assert desk.told[-1] == "stored h 8"


def test_a_closed_journal_ends_what_it_has_and_takes_nothing_more(desk):
    desk.submit("one", "two")
    desk.journal.close()
    with pytest.raises(Unavailable):
        desk.submit("three")
    desk.go_on()
    assert desk.ends() == ["stored one 1", "stored two 2"]


def test_a_look_that_fails_spares_the_other_chats(desk):
    desk.look_fails = [Unavailable("away")]
    desk.submit("zero")
    desk.submit("one", admits=[Unready()])
    desk.submit("change", chat=GROUP, change=Change(title="Tea"))
    desk.submit("two", chat=GROUP)
    desk.go_on()
    assert desk.ends() == ["stored zero 1", "unavailable one", "stored change 1", "stored two 2"]
