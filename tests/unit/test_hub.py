"""Who is here, and what is handed to whom."""

from __future__ import annotations

import pytest

from tests.support.clocks import ManualClock
from tests.support.world import Peer
from whatsapp import wire
from whatsapp.hub import Hub
from whatsapp.model import Change, Chat, Entry, Member, Role
from whatsapp.room import Room
from whatsapp.session import Flusher, Session, State

CHAT = "ann:bob"
ENTRY = Entry(chat=CHAT, seq=1, id="id-00000001", sender="ann", time_ms=5, text="hello")
HIDDEN = Entry(chat=CHAT, seq=1, id="id-00000001", sender="ann", time_ms=5, text="x", hidden=True)


class Told:
    def __init__(self):
        self.said: list[str] = []
        self.woken: list[Session] = []
        self.soon: list[object] = []
        self.clock = ManualClock()
        self.hub = Hub(
            self.clock,
            came=lambda user: self.said.append(f"{user} came"),
            went=lambda user: self.said.append(f"{user} went"),
            wake=self.woken.append,
        )
        self.flusher = Flusher(self.soon.append)

    def join(self, user, device="phone"):
        session = Session(
            Peer(), self.flusher, number=1, opened_at=0.0, window=10, outbox_bytes_max=10_000
        )
        session.user, session.device, session.state = user, device, State.LIVE
        self.hub.add(session)
        return session

    def frames(self, session):
        self.flusher.flush()
        return session.sink.take()


@pytest.fixture
def told():
    return Told()


def test_a_user_is_here_from_its_first_session_to_its_last(told):
    phone, laptop = told.join("ann"), told.join("ann", "laptop")
    assert told.said == ["ann came"]
    assert told.hub.online("ann")
    assert set(told.hub.users()) == {"ann"}
    assert (told.hub.of("ann"), told.hub.count) == ((phone, laptop), 2)
    told.hub.remove(phone)
    assert told.said == ["ann came"]
    told.hub.remove(laptop)
    assert told.said == ["ann came", "ann went"]
    assert (told.hub.online("ann"), told.hub.count, told.hub.of("ann")) == (False, 0, ())


def test_a_newer_connection_of_a_device_replaces_the_older(told):
    old, new = told.join("ann"), told.join("ann")
    assert old.sink.closed[0] == wire.CLOSE_REPLACED
    assert (told.hub.of("ann"), told.hub.count) == ((new,), 1)
    assert told.said == ["ann came"]


def test_the_end_of_a_replaced_connection_changes_nothing(told):
    old, new = told.join("ann"), told.join("ann")
    told.hub.remove(old)
    assert (told.hub.of("ann"), told.hub.count) == ((new,), 1)
    assert told.said == ["ann came"]


def test_a_device_that_is_logged_out_is_closed(told):
    phone, laptop = told.join("ann"), told.join("ann", "laptop")
    told.hub.revoke("ann", ["phone", "watch"])
    told.hub.revoke("bob", ["phone"])
    assert phone.sink.closed[0] == wire.CLOSE_REVOKED
    assert laptop.sink.closed is None


def test_it_is_remembered_when_a_device_went(told):
    told.clock.pass_seconds(1)
    told.hub.remove(told.join("ann", "watch"))
    assert told.hub.away_since_ms("watch") == told.clock.now_ms()


def test_not_every_device_that_ever_went_is_remembered(told, monkeypatch):
    monkeypatch.setattr("whatsapp.hub.AWAY_DEVICES_MAX", 2)
    for device in ("phone", "laptop", "watch"):
        told.hub.remove(told.join("ann", device))
    assert list(told.hub._away_since_ms) == ["laptop", "watch"]


def test_an_entry_goes_to_its_readers_and_not_to_where_it_came_from(told):
    phone, laptop, bob, cid = (
        told.join("ann"),
        told.join("ann", "laptop"),
        told.join("bob"),
        told.join("cid"),
    )
    told.hub.deliver(ENTRY, ["ann", "bob", "dan"], origin=phone)
    assert told.frames(phone) == told.frames(cid) == []
    [shown] = told.frames(bob)
    assert (shown.text, shown.seq, shown.sender) == ("hello", 1, "ann")
    assert told.frames(laptop) == [shown]


def test_a_hidden_entry_is_void_for_everybody_but_its_author(told):
    ann, bob = told.join("ann"), told.join("bob")
    told.hub.deliver(HIDDEN, ["ann", "bob"], origin=None)
    assert told.frames(ann)[0].text == "x"
    assert told.frames(bob) == [wire.Message(chat=CHAT, seq=1, time=5, kind="void")]


def test_a_session_that_cannot_take_it_is_woken(told):
    bob = told.join("bob")
    late = Entry(chat=CHAT, seq=3, id="id-00000003", sender="ann", time_ms=5, text="late")
    told.hub.deliver(late, ["bob"], origin=None)
    assert told.woken == [bob]
    assert told.frames(bob) == []


def test_what_was_not_delivered_is_read_from_the_log(told):
    ann, bob, cid = told.join("ann"), told.join("bob"), told.join("cid")
    cid.begin(CHAT, 2)
    members = {
        "ann": Member(user="ann"),
        "bob": Member(user="bob"),
        "cid": Member(user="cid", left=3),
    }
    told.hub.grown(Room(Chat(chat=CHAT, head=4, members=members)))
    assert told.woken == [ann, bob]
    assert ann.behind == {CHAT}
    assert cid.position(CHAT) == 0


def test_a_change_that_a_look_at_the_store_has_overtaken_is_read_there(told):
    ann, bob = told.join("ann"), told.join("bob")
    members = {"ann": Member(user="ann", joined=1), "bob": Member(user="bob", joined=1, left=2)}
    room = Room(Chat(chat="g:tea", head=2, epoch=2, members=members))
    bob.behind.add("g:tea")
    created = Entry(chat="g:tea", seq=1, id="id-00000001", sender="ann", time_ms=5, kind="created")
    joined = Change(joins=(("ann", Role.OWNER), ("bob", Role.MEMBER)))
    assert set(told.hub.follow(room, created, joined)) == {"ann", "bob"}
    left = Entry(chat="g:tea", seq=2, id="id-00000002", sender="bob", time_ms=5, kind="left")
    assert set(told.hub.follow(room, left, Change(leaves=("bob",)))) == {"ann", "bob"}
    assert (ann.behind, bob.behind, bob.position("g:tea")) == ({"g:tea"}, set(), 0)
    assert told.frames(bob) == []


def test_a_frame_is_told_to_all_sessions_of_a_user_but_one(told):
    phone, laptop = told.join("ann"), told.join("ann", "laptop")
    gone = told.join("ann", "watch")
    gone.close(1000, "over")
    told.hub.tell("ann", wire.encode(wire.Pong(1)), but=phone)
    told.hub.tell_all(["ann", "bob"], wire.encode(wire.Pong(2)))
    assert told.frames(laptop) == [wire.Pong(1), wire.Pong(2)]
    assert told.frames(phone) == [wire.Pong(2)]
    assert told.frames(gone) == []
    assert len(list(told.hub.all())) == 3
