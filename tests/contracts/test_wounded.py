"""The suite itself, tried on backends that break a promise: each wound is noticed."""

from __future__ import annotations

import pytest

from tests.contracts import (
    test_accounts,
    test_append,
    test_changes,
    test_chats,
    test_pages,
    test_search,
)
from tests.support.backends import append, say
from tests.support.wounded import WOUNDS, wounded


async def accounts_stay_taken(stores):
    await test_accounts.test_an_erased_account_is_a_tombstone(stores)


async def pages_go_up(stores):
    twenty = await append(stores, *(say(str(n)) for n in range(1, 21)))
    await test_pages.test_after_goes_up(stores, twenty, 0, 5, [1, 2, 3, 4, 5])


async def cursors_by_max(stores):
    await append(stores, *(say(str(n)) for n in range(10)))
    await test_chats.test_cursors_move_by_max_each_for_itself(stores, None)


NOTICED_BY = {
    "reversed batch": [
        test_append.test_seqs_of_a_chat_follow_the_order_given,
        test_append.test_concurrent_calls_leave_no_hole_and_keep_their_own_order,
    ],
    "early answer": [
        test_append.test_what_was_appended_is_there_when_the_call_returns,
        test_append.test_a_repetition_is_answered_with_the_first_entry,
    ],
    "no epochs": [
        test_append.test_a_draft_below_the_epoch_is_stale,
        test_changes.test_of_concurrent_changes_from_one_epoch_one_wins,
    ],
    "one by one": [test_append.test_epochs_set_within_the_call_are_forgiven],
    "lost change": [
        test_changes.test_joins_begin_and_leaves_end_at_the_entry,
        test_changes.test_who_comes_back_sees_both_spans_and_not_between,
    ],
    "short pages": [pages_go_up],
    "leaky search": [test_search.test_only_what_the_member_saw],
    "hidden shown": [test_search.test_hidden_entries_are_found_by_their_author_alone],
    "forgetful cursors": [cursors_by_max],
    "revived accounts": [accounts_stay_taken],
    "no unique id": [
        test_append.test_a_repetition_is_answered_with_the_first_entry,
        test_append.test_of_concurrent_repetitions_one_is_stored,
    ],
    "no unique seq": [test_append.test_seqs_go_on_across_calls],
}


def test_every_wound_has_a_test_that_notices():
    assert set(NOTICED_BY) == set(WOUNDS)


@pytest.mark.parametrize(
    "wound,check",
    [
        pytest.param(wound, check, id=f"{wound}-{check.__name__}")
        for wound, checks in NOTICED_BY.items()
        for check in checks
    ],
)
async def test_it_is_noticed(tmp_path, wound, check):
    async with wounded(wound, tmp_path) as stores:
        with pytest.raises((AssertionError, KeyError, IndexError)):
            await check(stores)
