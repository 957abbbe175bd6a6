"""One device without its socket: what is pushed, what waits, what was acknowledged."""

from __future__ import annotations

import pytest

from tests.support.world import Peer
from whatsapp import wire
from whatsapp.session import Flusher, Session, State

CHAT = "ann:bob"
OTHER = "ann:cid"
PONG = wire.encode(wire.Pong(1))


class Turn:
    """The end of the loop's turn, by hand."""

    def __init__(self):
        self.calls = []

    def end(self):
        calls, self.calls = self.calls, []
        for call in calls:
            call()


@pytest.fixture
def turn():
    return Turn()


@pytest.fixture
def session(turn):
    return live(turn)


def live(turn, window=3, outbox_bytes_max=1_000):
    peer = Peer()
    session = Session(
        peer,
        Flusher(turn.calls.append),
        number=1,
        opened_at=0.0,
        window=window,
        outbox_bytes_max=outbox_bytes_max,
    )
    session.state = State.LIVE
    return session


def offer(session, *seqs, chat=CHAT):
    for seq in seqs:
        session.offer(chat, seq, PONG)


# ------------------------------------------------------------------------ frames out


def test_a_turn_of_the_loop_is_one_write(session, turn):
    session.push(PONG)
    session.push(PONG)
    assert session.sink.frames == []
    turn.end()
    assert (len(session.sink.frames), session.sink.writes) == (2, 1)
    turn.end()
    assert session.sink.writes == 1


def test_several_sessions_are_flushed_by_one_call(turn):
    flusher = Flusher(turn.calls.append)
    for number in range(3):
        session = Session(
            Peer(), flusher, number=number, opened_at=0.0, window=1, outbox_bytes_max=100
        )
        session.push(PONG)
    assert len(turn.calls) == 1


def test_a_close_writes_what_waits_and_then_nothing_more(session, turn):
    session.push(PONG)
    session.close(1000, "over")
    session.close(1001, "again")
    session.push(PONG)
    turn.end()
    assert session.sink.closed == (1000, "over")
    assert len(session.sink.frames) == 1
    assert session.state is State.CLOSED


def test_a_peer_that_takes_nothing_is_closed_beyond_twice_the_limit(turn):
    session = live(turn, outbox_bytes_max=100)
    session.sink.buffered = 201
    for _ in range(20):
        session.push(PONG)
    assert session.sink.closed is not None
    assert session.sink.closed[0] == wire.CLOSE_TOO_SLOW


def test_much_at_once_is_no_reason_to_close_a_peer_that_takes_it(turn):
    session = live(turn, outbox_bytes_max=100)
    for _ in range(20):
        session.push(PONG)
    assert session.sink.closed is None
    assert session.sink.frames


# ------------------------------------------------------------------------- positions


def test_the_next_entry_is_pushed(session, turn):
    offer(session, 1, 2)
    turn.end()
    assert len(session.sink.frames) == 2
    assert (session.position(CHAT), session.outstanding, session.pushed_count) == (2, 2, 2)


def test_the_same_entry_is_pushed_once(session, turn):
    offer(session, 1, 1)
    turn.end()
    assert len(session.sink.frames) == 1
    assert session.behind == set()


def test_after_a_gap_the_chat_is_behind_and_stays_so(session, turn):
    offer(session, 1, 3, 2)
    turn.end()
    assert len(session.sink.frames) == 1
    assert session.behind == {CHAT}


def test_nothing_is_pushed_before_the_positions_are_known(session, turn):
    session.state = State.WELCOMED
    offer(session, 1)
    turn.end()
    assert session.sink.frames == []
    assert session.behind == {CHAT}


def test_a_full_window_makes_the_chat_behind(session):
    offer(session, 1, 2, 3, 4)
    assert session.room_left == 0
    assert session.behind == {CHAT}


def test_the_window_is_one_for_all_chats(session):
    offer(session, 1, 2)
    offer(session, 1, 2, chat=OTHER)
    assert session.behind == {OTHER}
    assert session.outstanding == 3


def test_received_makes_room(session):
    offer(session, 1, 2, 3)
    assert session.received(CHAT, 2) == 2
    assert (session.outstanding, session.room_left) == (1, 2)
    assert session.received(CHAT, 3) == 3
    assert session.outstanding == 0


def test_what_was_received_already_moves_nothing(session):
    offer(session, 1, 2)
    session.received(CHAT, 2)
    assert session.received(CHAT, 2) is None
    assert session.received(CHAT, 1) is None
    assert session.outstanding == 0


def test_a_device_may_have_more_than_was_pushed(session):
    offer(session, 1)
    assert session.received(CHAT, 5) == 5
    assert (session.position(CHAT), session.outstanding) == (5, 0)


def test_a_stalled_socket_has_no_room(turn):
    session = live(turn, outbox_bytes_max=100)
    session.sink.buffered = 101
    assert (session.stalled, session.room_left) == (True, 0)
    offer(session, 1)
    assert session.behind == {CHAT}


def test_what_waits_to_be_written_counts_as_unread(turn):
    session = live(turn, window=100, outbox_bytes_max=3 * len(PONG))
    offer(session, 1, 2, 3, 4, 5)
    assert session.position(CHAT) == 4
    assert session.behind == {CHAT}


# ------------------------------------------------------------------ its own messages


def test_its_own_message_is_passed_over(session):
    assert session.sent(CHAT, 1) == 1
    offer(session, 2)
    assert session.position(CHAT) == 2
    assert session.outstanding == 1


def test_its_own_message_after_unreceived_ones_counts_until_those_are_received(session):
    offer(session, 1)
    assert session.sent(CHAT, 2) is None
    assert session.outstanding == 2
    assert session.received(CHAT, 1) == 2
    assert session.outstanding == 0


def test_its_own_messages_between_others(session):
    offer(session, 1)
    session.sent(CHAT, 2)
    offer(session, 3)
    session.sent(CHAT, 4)
    assert session.received(CHAT, 1) == 2
    assert session.outstanding == 2
    assert session.received(CHAT, 3) == 4
    assert session.outstanding == 0


def test_its_own_message_beyond_a_gap_is_read_from_the_log(session):
    assert session.sent(CHAT, 3) is None
    assert session.behind == {CHAT}
    assert session.position(CHAT) == 0


# -------------------------------------------------------------------- coming and going


def test_who_joins_begins_there(session):
    session.begin(CHAT, 7)
    offer(session, 7, 8)
    assert (session.position(CHAT), session.outstanding) == (8, 1)


def test_beginning_anew_forgets_what_was_outstanding(session):
    offer(session, 1, 2)
    offer(session, 1, chat=OTHER)
    session.begin(CHAT, 7)
    assert session.outstanding == 1


def test_who_leaves_is_done_with_the_chat(session):
    offer(session, 1, 3)
    session.leave(CHAT)
    assert (session.outstanding, session.behind, session.position(CHAT)) == (0, set(), 0)
    session.leave(CHAT)
    assert session.outstanding == 0
