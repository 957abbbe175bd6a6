"""Each message once, in order, whatever comes in which order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whatsapp.inbox import HELD_MESSAGES_MAX, OWN_SEQS_MAX, Gap, Inbox
from whatsapp.wire import Item


def entry(seq: int, chat: str = "ann:bob") -> Item:
    return Item(chat=chat, seq=seq, time=1, kind="text", id=f"id-{seq:06}", sender="bob", text="x")


def drain(inbox: Inbox) -> list[int]:
    taken = []
    while (item := inbox.take()) is not None:
        taken.append(item.seq)
    return taken


def test_the_first_push_of_a_chat_may_begin_anywhere():
    inbox = Inbox({})
    assert inbox.arrived(entry(41)) is None
    assert drain(inbox) == [41]
    assert inbox.moved == {"ann:bob": 41}


def test_cursors_are_where_it_goes_on():
    inbox = Inbox({"ann:bob": 5})
    assert inbox.arrived(entry(5)) is None
    assert inbox.moved == {"ann:bob": 5}  # said again: the server seems not to know
    assert inbox.arrived(entry(7)) == Gap("ann:bob", 5, 7)
    assert inbox.cursors() == {"ann:bob": 5}


def test_the_chat_that_changed_last_is_the_last_of_the_cursors():
    inbox = Inbox({"a": 1, "b": 1, "c": 1})
    inbox.done("a", 2)
    assert list(inbox.cursors()) == ["b", "c", "a"]


def test_done_goes_forward_only():
    inbox = Inbox({"ann:bob": 5})
    inbox.done("ann:bob", 4)
    assert inbox.moved == {}


def test_what_is_seen_beyond_what_was_queued_hides_nothing():
    inbox = Inbox({"ann:bob": 5})
    inbox.arrived(entry(6))
    inbox.seen("ann:bob", 50)
    inbox.seen("new:chat", 50)
    assert inbox.moved == {"ann:bob": 6}
    inbox.arrived(entry(7))
    assert drain(inbox) == [6, 7]


def test_own_seqs_are_applied_once_all_before_them_are():
    inbox = Inbox({"ann:bob": 1})
    inbox.sent("ann:bob", 3)
    inbox.arrived(entry(2))
    assert inbox.moved == {}
    assert drain(inbox) == [2]
    assert inbox.moved == {"ann:bob": 3}
    inbox.sent("ann:bob", 4)
    assert inbox.moved == {"ann:bob": 4}
    inbox.sent("ann:bob", 2)
    inbox.sent("new:chat", 1)
    assert inbox.moved == {"ann:bob": 4, "new:chat": 1}


def test_own_seqs_of_a_chat_that_was_never_pushed_have_a_limit():
    inbox = Inbox({})
    for seq in range(2, OWN_SEQS_MAX + 5):
        inbox.sent("ann:bob", seq)
    assert inbox.moved == {}
    assert inbox.arrived(entry(OWN_SEQS_MAX + 5)) is None
    assert drain(inbox) == [OWN_SEQS_MAX + 5]


def test_two_holes_in_a_row():
    inbox = Inbox({"ann:bob": 1})
    gap = inbox.arrived(entry(3))
    assert gap == Gap("ann:bob", 1, 3)
    assert inbox.arrived(entry(4)) is None
    assert inbox.arrived(entry(6)) is None
    assert inbox.arrived(entry(7)) is None
    gap = inbox.filled(gap, [entry(2), entry(3)])
    assert gap == Gap("ann:bob", 4, 6)
    assert inbox.filled(gap, [entry(5)]) is None
    assert drain(inbox) == [2, 3, 4, 5, 6, 7]


def test_what_is_held_has_a_limit_and_the_rest_is_a_hole():
    inbox = Inbox({"ann:bob": 1})
    gap = inbox.arrived(entry(3))
    assert gap is not None
    for seq in range(4, HELD_MESSAGES_MAX + 10):
        inbox.arrived(entry(seq))
    assert inbox.filled(gap, [entry(2)]) is None
    assert inbox.arrived(entry(HELD_MESSAGES_MAX + 10)) == Gap(
        "ann:bob", HELD_MESSAGES_MAX + 2, HELD_MESSAGES_MAX + 10
    )


def test_a_lost_connection_forgets_what_was_held():
    inbox = Inbox({"ann:bob": 1})
    inbox.arrived(entry(3))
    inbox.lost()
    for seq in (2, 3):
        inbox.arrived(entry(seq))
    assert drain(inbox) == [2, 3]


def test_by_hand_taking_acknowledges_nothing():
    inbox = Inbox({}, automatic=False)
    inbox.arrived(entry(1))
    assert drain(inbox) == [1]
    assert inbox.moved == {}


@given(
    st.lists(st.integers(1, 12), max_size=60),
    st.sets(st.integers(1, 12)),
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_whatever_is_pushed_comes_once_and_in_order(pushed, own, sent_before):
    """With every hole filled at once, and own messages told before or after their push."""
    inbox = Inbox({"ann:bob": 0})
    for seq, before in zip(pushed, sent_before, strict=False):
        if seq in own and before:
            inbox.sent("ann:bob", seq)
        gap = inbox.arrived(entry(seq))
        while gap is not None:
            gap = inbox.filled(gap, [entry(s) for s in range(gap.after + 1, gap.before)])
    taken = drain(inbox)
    assert taken == sorted(set(taken))
    top = max(pushed, default=0)
    assert set(range(1, top + 1)) - own <= set(taken)
