"""A text on its way: admitted, stored, answered; or refused, unless it was stored before."""

from __future__ import annotations

import pytest

from tests.support.world import FAIL_BEFORE, WAIT_AFTER, World
from whatsapp.errors import Forbidden, NotFound, NotMember, Unavailable
from whatsapp.journal import Unready
from whatsapp.model import Actor
from whatsapp.resources import GroupChange
from whatsapp.sending import Sending
from whatsapp.wire import Error, Send, Sent

CHAT = "ann:bob"


@pytest.fixture
def world():
    world = World("ann", "bob", "cid")
    world.post("ann", "bob", "first")
    return world


def sending(world, user="ann", chat=CHAT, **more):
    frame = Send(id="id-of-a-client", text="hello", chat=chat, **more)
    made = Sending(world.core.conversations._desk, user, chat, frame)
    made.room = world.core.rooms.get(chat)
    return made


def test_a_draft_says_all_that_is_stored(world):
    draft = sending(world, reply_to=1).admit()
    assert (draft.chat, draft.sender, draft.id, draft.text) == (
        CHAT,
        "ann",
        "id-of-a-client",
        "hello",
    )
    assert (draft.reply_to, draft.hidden, draft.epoch) == (1, False, 0)
    assert draft.time_ms == world.clock.now_ms()


def test_relations_must_be_known(world):
    world.core.rooms.unrelate("ann")
    with pytest.raises(Unready):
        sending(world).admit()


def test_it_is_hidden_from_who_blocks_its_author(world):
    world.do(world.core.people.block(Actor("bob", "x"), "ann"))
    world.do(world.core.rooms.ready(CHAT, "ann"))
    assert sending(world).admit().hidden
    assert not sending(world, user="bob").admit().hidden


def test_it_is_not_admitted_from_whom_it_may_not_come(world):
    group = world.group("ann", "bob")
    with pytest.raises(NotFound):
        sending(world, user="cid").admit()
    with pytest.raises(NotFound):
        sending(world, user="cid", chat=group).admit()
    change = GroupChange(announce=True)
    world.do(world.core.groups.change(Actor("ann", "x"), group, change))
    with pytest.raises(Forbidden):
        sending(world, user="bob", chat=group).admit()
    assert sending(world, chat=group).admit().epoch == 3
    world.do(world.core.groups.remove(Actor("bob", "x"), group, "bob"))
    with pytest.raises(NotMember):
        sending(world, user="bob", chat=group).admit()


def test_a_sender_that_is_gone_needs_no_answer(world):
    ann, bob = world.connect("ann"), world.connect("bob")
    bob.take()
    world.next("append", WAIT_AFTER)
    world.send(ann, CHAT, "last words")
    ann.session.close(1000, "over")
    world.drop(ann)
    world.go_on()
    assert ann.take(Sent) == []
    assert bob.texts() == ["last words"]


def test_its_author_gets_it_in_order_too_where_it_was_behind(world):
    ann = world.connect("ann")
    ann.take()
    world.next("append", WAIT_AFTER)
    world.begin(world.core.conversations.post(Actor("bob", "x"), CHAT, "id-0000-b", "before", None))
    world.send(ann, CHAT, "after")
    world.go_on()
    assert [type(frame).__name__ for frame in ann.frames] == ["Message", "Sent"]
    assert ann.session.position(CHAT) == 3


def test_what_is_refused_is_looked_for_in_the_log_first(world):
    group = world.group("ann", "bob")
    bob = world.connect("bob")
    world.do(world.core.groups.remove(Actor("ann", "x"), group, "bob"))
    bob.take()
    world.send(bob, group, "never stored")
    assert [frame.code for frame in bob.take(Error)] == ["not_member"]
    world.next("find", FAIL_BEFORE)
    with pytest.raises(Unavailable):
        world.post("bob", group, "is it stored?")
