"""Sending, received, read, connecting: the rules of a conversation."""

from __future__ import annotations

import pytest

from tests.support.world import FAIL_AFTER, FAIL_BEFORE, WAIT_AFTER, World
from whatsapp import config
from whatsapp.chat import chat_id
from whatsapp.errors import (
    BadRequest,
    Busy,
    IdReused,
    NotFound,
    NotMember,
    RateLimited,
    TooLarge,
    Unavailable,
)
from whatsapp.model import TEXT_BYTES_MAX, Actor
from whatsapp.wire import Cursor, Error, Message, Read, Receipt, Received, Send, Sent, Synced

CHAT = "ann:bob"
ID = "id-of-a-client"


@pytest.fixture
def world():
    return World("ann", "bob", "cid")


# ------------------------------------------------------------------------------ sending


def test_a_text_is_answered_and_delivered(world):
    ann, laptop, bob = world.connect("ann"), world.connect("ann", "laptop"), world.connect("bob")
    world.say(ann, Send(id=ID, text="hello", to="Bob"))
    [sent] = ann.take(Sent)
    assert (sent.id, sent.chat, sent.seq, sent.dup) == (ID, CHAT, 1, False)
    assert bob.texts() == laptop.texts() == ["hello"]
    assert ann.texts() == []


def test_a_note_to_oneself(world):
    ann, laptop = world.connect("ann"), world.connect("ann", "laptop")
    world.say(ann, Send(id=ID, text="milk", to="ann"))
    assert ann.take(Sent)[0].chat == "ann:ann"
    assert laptop.texts() == ["milk"]


def test_a_repeat_is_answered_with_the_first(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    first = world.post("ann", "bob", "hello", message=ID)
    world.send(ann, CHAT, "hello", id=ID)
    [sent] = ann.take(Sent)
    assert (sent.seq, sent.time, sent.dup) == (first.seq, first.time, True)
    again = world.post("ann", "bob", "hello", message=ID)
    assert (again.seq, again.dup) == (1, True)
    assert bob.texts() == ["hello"]


def test_an_id_is_bound_to_its_content(world):
    ann = world.connect("ann")
    world.post("ann", "bob", "hello", message=ID)
    world.send(ann, CHAT, "something else", id=ID)
    assert ann.error() == "id_reused"
    with pytest.raises(IdReused):
        world.post("ann", "bob", "hello", message=ID, reply_to=1)
    assert world.post("ann", "cid", "another chat", message=ID).dup is False
    assert world.post("bob", "ann", "another user", message=ID).dup is False


@pytest.mark.parametrize(
    "frame, code",
    [
        (Send(id=ID, text="x"), "bad_request"),
        (Send(id=ID, text="x", chat=CHAT, to="bob"), "bad_request"),
        (Send(id="short", text="x", chat=CHAT), "bad_request"),
        (Send(id=ID, text="", chat=CHAT), "bad_request"),
        (Send(id=ID, text="a\0b", chat=CHAT), "bad_request"),
        (Send(id=ID, text="x", to="no"), "bad_request"),
        (Send(id=ID, text="x", chat=CHAT, reply_to=1), "bad_request"),
        (Send(id=ID, text="x" * (TEXT_BYTES_MAX + 1), chat=CHAT), "too_large"),
        (Send(id=ID, text="é" * (TEXT_BYTES_MAX // 2 + 1), chat=CHAT), "too_large"),
        (Send(id=ID, text="\1" * 12_000, chat=CHAT), "too_large"),
        (Send(id=ID, text="x", to="nobody"), "not_found"),
        (Send(id=ID, text="x", chat="bob:cid"), "not_found"),
        (Send(id=ID, text="x", chat="bob:ann"), "not_found"),
        (Send(id=ID, text="x", chat="nonsense"), "not_found"),
        (Send(id=ID, text="x", chat="g:01890a5d-ac96-774b-bcce-b302099a8057"), "not_found"),
    ],
)
def test_what_cannot_be_sent(world, frame, code):
    ann = world.connect("ann")
    world.say(ann, frame)
    [error] = ann.take(Error)
    assert (error.code, error.re) == (code, frame.id)
    assert world.data.logs == {}


def test_the_longest_text_fits(world):
    assert world.post("ann", "bob", "x" * TEXT_BYTES_MAX).seq == 1


def test_a_reply_names_what_its_author_may_see(world):
    world.post("ann", "bob", "one")
    assert world.post("bob", "ann", "two", reply_to=1).seq == 2
    with pytest.raises(BadRequest):
        world.post("bob", "ann", "three", reply_to=3)
    group = world.group("ann")
    world.post("ann", group, "before")
    world.do(world.core.groups.add(Actor("ann", "x"), group, ["bob"]))
    with pytest.raises(BadRequest):
        world.post("bob", group, "to what I have not seen", reply_to=2)
    assert world.post("bob", group, "to my joining", reply_to=3).seq == 4


def test_nobody_else_writes_in_a_direct_chat(world):
    world.post("ann", "bob", "one")
    with pytest.raises(NotFound):
        world.post("cid", CHAT, "let me in")


def test_an_erased_user_gets_nothing_more(world):
    world.post("ann", "bob", "one")
    world.do(world.core.accounts.erase("bob"))
    world.core.rooms.unrelate("bob")
    with pytest.raises(NotFound):
        world.post("ann", "bob", "two")


def test_a_blocked_sender_notices_nothing_and_is_not_heard(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    world.do(world.core.people.block(Actor("bob", "x"), "ann"))
    world.send(ann, CHAT, "let me in")
    assert [type(frame) for frame in ann.take(Sent, Error)] == [Sent]
    [void] = bob.take(Message)
    assert (void.kind, void.text, void.sender, void.id) == ("void", None, None, None)
    world.do(world.core.people.unblock(Actor("bob", "x"), "ann"))
    world.send(ann, CHAT, "thank you")
    assert bob.texts() == ["thank you"]


def test_a_block_that_comes_while_a_text_waits_is_looked_at_first(world):
    world.post("ann", "bob", "one")
    world.next("append", WAIT_AFTER)
    world.begin(world.core.conversations.post(Actor("ann", "x"), CHAT, "id-000-a", "two", None))
    world.begin(world.core.conversations.post(Actor("ann", "x"), CHAT, "id-000-b", "three", None))
    world.do(world.core.people.block(Actor("bob", "x"), "ann"))
    world.go_on()
    assert [entry.hidden for entry in world.data.logs[CHAT].entries] == [False, False, True]


def test_too_much_is_refused_with_the_time_to_wait():
    world = World("ann", "bob", rates=config.Rates(sends_burst=2, sends_per_second=1.0))
    world.post("ann", "bob", "one")
    world.post("ann", "bob", "two")
    with pytest.raises(RateLimited) as caught:
        world.post("ann", "bob", "three")
    assert caught.value.retry_after_ms == 1000


def test_an_overloaded_server_says_so():
    world = World("ann", "bob", drafts_max=1)
    world.post("ann", "bob", "zero")
    world.next("append", WAIT_AFTER)
    ann = world.connect("ann")
    for text in ("one", "two", "three"):
        world.send(ann, CHAT, text)
    assert ann.error() == Busy.code
    world.go_on()
    assert len(ann.take(Sent)) == 2


def test_a_failed_append_is_told_and_the_repeat_is_one_message(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    for fate in (FAIL_BEFORE, FAIL_AFTER):
        world.next("append", fate)
        text = f"fails {fate.fails}"
        name = world.send(ann, CHAT, text)
        [error] = ann.take(Error)
        assert (error.code, error.re, error.retryable) == ("unavailable", name, True)
        world.send(ann, CHAT, text, id=name)
    assert [sent.seq for sent in ann.take(Sent)] == [2]
    assert bob.texts() == ["fails before", "fails after"]


def test_what_was_stored_after_all_arrives_without_a_repeat(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    world.send(ann, CHAT, "one")
    world.next("append", FAIL_AFTER)
    world.send(ann, CHAT, "two")
    assert bob.texts() == ["one"]
    world.tick()
    assert bob.texts() == ["two"]


def test_the_repeat_of_what_was_allowed_then_is_answered_still(world):
    group = world.group("ann", "bob")
    bob = world.connect("bob")
    name = world.send(bob, group, "still here")
    world.do(world.core.groups.remove(Actor("ann", "x"), group, "bob"))
    bob.take()
    world.send(bob, group, "still here", id=name)
    [sent] = bob.take(Sent)
    assert sent.dup
    world.send(bob, group, "and now")
    assert bob.error() == "not_member"
    world.next("find", FAIL_BEFORE)
    world.send(bob, group, "or now")
    assert bob.error() == "unavailable"


def test_a_chat_that_cannot_be_read_is_told(world):
    ann = world.connect("ann")
    world.next("load", FAIL_BEFORE)
    world.send(ann, CHAT, "hello")
    assert ann.error() == "unavailable"
    world.next("load", FAIL_BEFORE)
    with pytest.raises(Unavailable):
        world.post("ann", "bob", "hello")


# ------------------------------------------------------------------------------ cursors


def test_what_was_received_does_not_come_again(world):
    world.post("ann", "bob", "one")
    bob = world.connect("bob")
    world.say(bob, Received(CHAT, 1))
    world.drop(bob)
    world.post("ann", "bob", "two")
    assert world.connect("bob").texts() == ["two"]
    world.tick()
    assert world.data.cursors["bob", "bob-phone"] == {CHAT: 1}


def test_what_was_not_received_comes_again(world):
    world.post("ann", "bob", "one")
    world.drop(world.connect("bob"))
    assert world.connect("bob").texts() == ["one"]


def test_each_device_has_its_own_cursor(world):
    world.post("ann", "bob", "one")
    phone = world.connect("bob")
    world.say(phone, Received(CHAT, 1))
    assert world.connect("bob", "laptop").texts() == ["one"]


@pytest.mark.parametrize("frame", [Received, Read])
def test_beyond_the_head_is_refused(world, frame):
    world.post("ann", "bob", "one")
    bob = world.connect("bob")
    world.say(bob, frame(CHAT, 2))
    assert bob.error() == "bad_request"
    world.core.rooms._rooms.clear()
    world.say(bob, frame(CHAT, 2))
    assert bob.error() == "bad_request"


@pytest.mark.parametrize("chat", ["ann:cid", CHAT, "nonsense"])
def test_strangers_acknowledge_nothing(world, chat):
    world.post("ann", "cid", "one")
    bob = world.connect("bob")
    world.say(bob, Received(chat, 1))
    assert bob.error() == "not_found"


def test_a_former_member_acknowledges_its_last_entries(world):
    group = world.group("ann", "bob")
    bob = world.connect("bob")
    world.do(world.core.groups.remove(Actor("ann", "x"), group, "bob"))
    bob.take()
    world.say(bob, Received(group, 3))
    assert bob.take(Error) == []
    world.post("ann", group, "without bob")
    world.say(bob, Received(group, 4))
    assert bob.error() == NotMember.code


def test_reading_is_told_to_the_users_other_devices(world):
    world.post("ann", "bob", "one")
    phone, laptop = world.connect("bob"), world.connect("bob", "laptop")
    world.say(phone, Read(CHAT, 1))
    assert laptop.take(Cursor) == [Cursor(CHAT, 1, 1)]
    assert phone.take(Cursor) == []
    world.say(phone, Read(CHAT, 1))
    assert laptop.take(Cursor) == []


def test_a_cursor_far_back_finds_its_authors_in_the_log(world):
    for number in range(250):
        world.post("ann" if number % 2 else "cid", world_group(world), f"text {number}")
    group = world_group(world)
    world.core.rooms._rooms.clear()
    ann, bob = world.connect("ann"), world.connect("bob")
    world.say(bob, Read(group, 252))
    world.tick()
    assert ann.take(Receipt) == [Receipt(group, "bob", 252, 252)]


def world_group(world):
    groups = [chat for chat in world.data.logs if chat.startswith("g:")]
    return groups[0] if groups else world.group("ann", "bob", "cid")


def test_where_the_log_cannot_be_read_the_next_move_tells_it(world):
    world.post("ann", "bob", "one")
    world.post("ann", "bob", "two")
    world.core.rooms._rooms.clear()
    ann, bob = world.connect("ann"), world.connect("bob")
    world.core.rooms._rooms.clear()
    world.next("pages", FAIL_BEFORE)
    world.say(bob, Received(CHAT, 1))
    assert ann.take(Receipt) == []
    world.say(bob, Received(CHAT, 2))
    assert ann.take(Receipt) == [Receipt(CHAT, "bob", 2, 0)]


def test_who_leaves_while_the_log_is_read_tells_nothing(world):
    group = world.group("ann", "bob")
    world.post("ann", group, "three")
    world.core.rooms._rooms.clear()
    ann, bob = world.connect("ann"), world.connect("bob")
    world.core.rooms.get(group).tail.clear()
    world.next("pages", WAIT_AFTER, WAIT_AFTER)
    world.say(bob, Read(group, 3))
    world.do(world.core.groups.remove(Actor("bob", "x"), group, "bob"))
    world.go_on()
    world.tick()
    assert ann.take(Receipt) == []


def test_a_cursor_that_moved_very_far_is_believed(world, monkeypatch):
    monkeypatch.setattr("whatsapp.acks.COVERED_ENTRIES_MAX", 200)
    group = world.group("ann", "bob")
    for number in range(300):
        world.post("ann", group, f"text {number}")
    world.core.rooms._rooms.clear()
    ann, bob = world.connect("ann"), world.connect("bob")
    world.say(bob, Read(group, 302))
    world.tick()
    assert ann.take(Receipt) == [Receipt(group, "bob", 302, 302)]


# --------------------------------------------------------------------------- connecting


def test_what_it_has_of_a_chat_that_cannot_be_read_is_told_later(world):
    world.post("ann", "bob", "one")
    world.core.rooms._rooms.clear()
    world.next("load", FAIL_BEFORE)
    bob = world.connect("bob", cursors={CHAT: 1})
    assert bob.session.position(CHAT) == 1


def test_a_client_says_what_it_has(world):
    for text in ("one", "two", "three"):
        world.post("ann", "bob", text)
    bob = world.connect("bob", cursors={CHAT: 2})
    assert bob.texts() == ["three"]
    world.say(bob, Received(CHAT, 3))
    world.drop(bob)
    assert world.connect("bob", cursors={CHAT: 1}).texts() == ["two", "three"]
    world.tick()
    assert world.data.cursors["bob", "bob-phone"] == {CHAT: 1}


def test_what_it_has_is_as_good_as_received(world):
    world.post("ann", "bob", "one")
    ann = world.connect("ann")
    world.connect("bob", cursors={CHAT: 1})
    assert ann.take(Receipt) == [Receipt(CHAT, "bob", 1, 0)]


def test_cursors_beyond_the_head_and_of_strangers_are_refused_and_the_rest_holds(world):
    world.post("ann", "bob", "one")
    bob = world.connect("bob", cursors={CHAT: 5, "ann:cid": 1})
    frames = bob.take()
    assert [frame.code for frame in frames if isinstance(frame, Error)] == [
        "bad_request",
        "not_found",
    ]
    assert any(isinstance(frame, Synced) for frame in frames)
    assert bob.session.position(CHAT) == 1


def test_what_is_committed_while_it_connects_comes_once(world):
    world.post("ann", "bob", "one")
    world.next("of_user", WAIT_AFTER)
    bob = world.connect("bob")
    world.post("ann", "bob", "two")
    world.post("cid", "bob", "new chat")
    assert bob.texts() == []
    world.go_on()
    assert sorted(bob.texts()) == ["new chat", "one", "two"]


def test_receipts_that_were_missed_are_told(world):
    ann = world.connect("ann")
    world.send(ann, CHAT, "one")
    world.tick()
    world.drop(ann)
    world.tick(5)
    bob = world.connect("bob")
    world.say(bob, Read(CHAT, 1))
    world.tick()
    assert world.connect("ann").take(Receipt) == [Receipt(CHAT, "bob", 1, 1)]


def test_a_connection_that_was_replaced_while_it_connects_gets_nothing(world):
    world.post("ann", "bob", "one")
    world.next("of_user", WAIT_AFTER)
    old = world.connect("bob")
    new = world.connect("bob")
    world.go_on()
    assert old.closed is not None
    assert (old.texts(), new.texts()) == ([], ["one"])


@pytest.mark.parametrize("text", ["nonsense", "a:b", "bob:ann", "g:1", ""])
def test_what_cannot_be_a_chat_is_not_found(text):
    with pytest.raises(NotFound):
        chat_id(text)


def test_a_chat_is_known_in_any_case():
    assert chat_id("Ann:BOB") == "ann:bob"


def test_too_large_is_not_read():
    world = World("ann", "bob")
    with pytest.raises(TooLarge):
        world.post("ann", "bob", "x" * (TEXT_BYTES_MAX + 1))
    assert world.calls == []
