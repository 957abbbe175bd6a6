"""What one instance remembers does not undo, hide or outlive what another one did."""

from __future__ import annotations

import pytest

from tests.faults.core import log_in
from tests.support.fleet import Fleet
from tests.support.world import FAIL_AFTER, WAIT, WAIT_AFTER
from whatsapp import wire
from whatsapp.errors import NotFound, Unauthorized, Unavailable
from whatsapp.model import Actor, direct_chat
from whatsapp.resources import GroupChange, PrivacyChange, ProfileChange

CHAT = direct_chat("ann", "bob")
ANN, BOB = Actor("ann", "rest"), Actor("bob", "rest")


@pytest.fixture
def fleet():
    fleet = Fleet("ann", "bob", "cid")
    fleet.tick()
    return fleet


def wait(fleet, seconds=5.0):
    for _ in range(int(seconds * 10)):
        fleet.tick()


# --- accounts --------------------------------------------------------------------------


def test_two_blocks_at_once(fleet):
    a, b = fleet["a"], fleet["b"]
    a.next("block", WAIT)
    a.begin(a.core.people.block(ANN, "bob"))
    b.do(b.core.people.block(ANN, "cid"))
    fleet.run()
    a.go_on()
    fleet.run()
    assert fleet.data.blocks["ann"] == {"bob", "cid"}
    assert a.do(a.core.people.blocks(ANN)) == b.do(b.core.people.blocks(ANN)) == ["bob", "cid"]


def test_two_changes_of_a_profile_at_once(fleet):
    a, b = fleet["a"], fleet["b"]
    a.next("update", WAIT_AFTER)
    a.begin(a.core.people.change(ANN, ProfileChange(name="Ann A")))
    private = ProfileChange(about="x", privacy=PrivacyChange(receipts=False))
    b.do(b.core.people.change(ANN, private))
    fleet.run()
    a.go_on()
    fleet.run()
    me = a.do(a.core.people.me(ANN))
    assert (me.name, me.about, me.privacy.receipts) == ("Ann A", "x", False)


def test_privacy_that_was_changed_back_meanwhile(fleet):
    """The change begins anew, as the other instance was quicker; what it changes is what it was
    the second time.
    """
    a, b = fleet["a"], fleet["b"]
    off, on = (ProfileChange(privacy=PrivacyChange(receipts=each)) for each in (False, True))
    a.do(a.core.people.change(ANN, off))
    fleet.run()
    a.post("ann", "bob", "hi")
    a.next("update", WAIT, WAIT)
    a.begin(a.core.people.change(ANN, ProfileChange(name="x", privacy=off.privacy)))
    b.do(b.core.people.change(ANN, on))
    fleet.run()
    a.loop.resume(0)
    a.loop.run()
    a.do(a.core.rooms.ready(CHAT, "ann"))
    a.go_on()
    fleet.run()
    assert not fleet.data.accounts["ann"].receipts
    assert not a.do(a.core.rooms.ready(CHAT, "ann")).relations.read_receipts


# --- logins ----------------------------------------------------------------------------


def test_who_names_a_device_of_somebody_else_ends_it_nowhere(fleet):
    a, b = fleet["a"], fleet["b"]
    b.drop(b.connect("bob"))
    b.core.auth.logins.forget_all()
    with pytest.raises(NotFound):
        a.do(a.core.auth.end_device(ANN, "bob-phone"))
    fleet.run()
    assert b.connect("bob").closed is None


def test_a_login_while_the_account_is_erased(fleet):
    a, b = fleet["a"], fleet["b"]
    a.next("erase", WAIT)
    a.begin(a.core.auth.remove_user("bob"))
    log_in(fleet.data, "bob", "laptop", "new", fleet.clock.now_ms())
    b.do(b.core.auth.authenticate("new"))
    a.go_on()
    wait(fleet, 60)
    with pytest.raises(Unauthorized):
        b.do(b.core.auth.authenticate("new"))


def test_a_token_that_is_read_while_it_ends_maybe(fleet):
    a, b = fleet["a"], fleet["b"]
    log_in(fleet.data, "bob", "laptop", "new", fleet.clock.now_ms())
    a.next("by_token", WAIT_AFTER)
    a.begin(a.core.auth.authenticate("new"))
    b.next("end", FAIL_AFTER)
    with pytest.raises(Unavailable):
        b.do(b.core.auth.end_device(Actor("bob", "phone"), "laptop"))
    fleet.run()
    a.go_on()
    with pytest.raises(Unauthorized):
        a.do(a.core.auth.authenticate("new"))


def test_a_token_that_is_read_while_a_link_is_mended(fleet):
    """On the cut link, that the device has ended was lost."""
    a, b = fleet["a"], fleet["b"]
    log_in(fleet.data, "bob", "laptop", "new", fleet.clock.now_ms())
    a.next("by_token", WAIT_AFTER)
    a.begin(a.core.auth.authenticate("new"))
    fleet.cut("a", "b")
    b.do(b.core.auth.end_device(Actor("bob", "phone"), "laptop"))
    fleet.mend("a", "b")
    wait(fleet)
    a.go_on()
    with pytest.raises(Unauthorized):
        a.do(a.core.auth.authenticate("new"))


# --- cursors and receipts --------------------------------------------------------------


def visit(fleet, name, *, cursors=None, received=None):
    """Bob's device is on that instance for a while; what was pushed to it there."""
    bob = fleet[name].connect("bob", cursors=cursors)
    if received is not None:
        fleet[name].say(bob, wire.Received(CHAT, received))
    wait(fleet)
    fleet[name].drop(bob)
    wait(fleet)
    return bob.texts()


def test_a_device_that_went_back_elsewhere_is_pushed_again_what_it_wants(fleet):
    for text in "12345":
        fleet["c"].post("ann", "bob", text)
    visit(fleet, "a", received=5)
    visit(fleet, "b", cursors={CHAT: 2})
    assert visit(fleet, "a") == ["3", "4", "5"]


def test_a_device_that_went_back_here_and_on_elsewhere_is_pushed_nothing_twice(fleet):
    for text in "12345":
        fleet["c"].post("ann", "bob", text)
    visit(fleet, "a", received=3)
    visit(fleet, "a", cursors={CHAT: 2})
    visit(fleet, "b", received=5)
    assert visit(fleet, "a") == []


def test_a_receipt_of_a_group_never_goes_back_wherever_one_reads_it(fleet):
    """Bob's phone on b has more than the laptop on a; ann moves from c to a."""
    a, b, c = fleet["a"], fleet["b"], fleet["c"]
    group = c.group("ann", "bob", "cid")
    phone, laptop, ann = b.connect("bob", "phone"), a.connect("bob", "laptop"), c.connect("ann")
    wait(fleet)
    for text in "123":
        c.send(ann, group, text)
    wait(fleet, 1)
    b.say(phone, wire.Received(group, 5))
    wait(fleet, 2)
    assert [each.received for each in ann.take(wire.Receipt) if each.user == "bob"][-1] == 5
    c.drop(ann)
    ann = a.connect("ann")
    wait(fleet, 10)
    ann.take()
    a.say(laptop, wire.Received(group, 4))
    wait(fleet, 2)
    assert all(each.received >= 5 for each in ann.take(wire.Receipt))


# --- presence --------------------------------------------------------------------------


def test_last_seen_is_when_it_was_last_seen_anywhere(fleet):
    a, b = fleet["a"], fleet["b"]
    assert a.do(a.core.presences.show(ANN, "bob")).last_seen is None
    bob = b.connect("bob")
    wait(fleet, 60)
    b.drop(bob)
    left = fleet.clock.now_ms()
    wait(fleet, 60)
    assert a.do(a.core.presences.show(ANN, "bob")).last_seen == left


def test_who_begins_to_watch_sees_that_too(fleet):
    a, b = fleet["a"], fleet["b"]
    a.do(a.core.people.show(ANN, "bob"))
    bob = b.connect("bob")
    wait(fleet, 60)
    b.drop(bob)
    left = fleet.clock.now_ms()
    wait(fleet, 60)
    ann = a.connect("ann")
    wait(fleet)
    ann.take()
    a.say(ann, wire.Watch(["bob"]))
    fleet.run()
    [shown] = ann.take(wire.Presence)
    assert (shown.online, shown.last_seen) == (False, left)


# --- groups ----------------------------------------------------------------------------


@pytest.fixture
def removed(fleet):
    """Bob was removed on b; a knows the group as it was. Cid is on b, bob on a."""
    a, b = fleet["a"], fleet["b"]
    group = a.group("ann", "bob", "cid")
    a.post("cid", group, "one")
    b.do(b.core.groups.remove(ANN, group, "bob"))
    wait(fleet)
    cid, bob = b.connect("cid"), a.connect("bob")
    wait(fleet)
    cid.take()
    bob.take()
    return group, cid, bob


def test_a_former_member_does_not_type(fleet, removed):
    group, cid, bob = removed
    fleet["a"].say(bob, wire.Typing(group, True))
    fleet.run()
    assert cid.take(wire.TypingShown) == []
    assert bob.error() == "not_found"


@pytest.mark.parametrize("kind", [wire.Read, wire.Received])
def test_a_former_member_s_cursor_is_nobody_s_receipt(fleet, removed, kind):
    group, cid, bob = removed
    fleet["a"].say(bob, kind(group, 3))
    wait(fleet)
    assert cid.take(wire.Receipt) == []


def test_a_former_member_does_not_see_who_types(fleet):
    a, b = fleet["a"], fleet["b"]
    group = a.group("ann", "bob", "cid")
    cid = b.connect("cid")
    b.say(cid, wire.Received(group, 2))
    b.do(b.core.groups.remove(ANN, group, "bob"))
    b.say(cid, wire.Received(group, 3))
    wait(fleet)
    b.drop(cid)
    wait(fleet)
    ann, bob, _ = b.connect("ann"), a.connect("bob"), a.connect("cid", "cid-phone")
    fleet.run()
    bob.take()
    b.say(ann, wire.Typing(group, True))
    fleet.run()
    assert bob.take(wire.TypingShown) == []


def test_a_new_member_types_at_once(fleet):
    a, b = fleet["a"], fleet["b"]
    group = a.group("ann", "cid")
    b.do(b.core.groups.add(ANN, group, ["bob"]))
    bob = b.connect("bob")
    b.say(bob, wire.Received(group, 3))
    wait(fleet)
    b.drop(bob)
    wait(fleet)
    bob = a.connect("bob")
    fleet.run()
    bob.take()
    a.say(bob, wire.Typing(group, True))
    assert bob.take(wire.Error) == []


def test_the_list_of_chats_tells_nothing_of_before(fleet):
    a, b = fleet["a"], fleet["b"]
    group = a.group("ann", "bob")
    b.do(b.core.groups.change(ANN, group, GroupChange(about="new", announce=True)))
    wait(fleet)
    [line] = a.do(a.core.histories.lines(BOB, 50, None))
    assert line.about != ""
    assert line.announce is not False


def test_of_two_readings_the_newer_one_is_kept(fleet):
    """The older one comes back first, while the newer one is under way."""
    a, b = fleet["a"], fleet["b"]
    b.post("ann", "bob", "one")
    a.next("load", WAIT_AFTER, WAIT_AFTER)
    a.begin(a.core.histories.history(BOB, CHAT, None, None, 50))
    b.post("ann", "bob", "two")
    later = a.begin(a.core.histories.history(BOB, CHAT, None, None, 50))
    a.go_on()
    [page] = later
    assert [message.seq for message in page.messages] == [1, 2]
