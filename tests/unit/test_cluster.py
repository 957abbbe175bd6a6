"""Several instances over one store: what each tells the others, and what happens when it cannot."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet
from tests.support.world import FAIL_AFTER, FAIL_BEFORE, Peer
from whatsapp import wire
from whatsapp.hints import Came, Grown, Here, Receipted, Said, Typed, pack, unpack
from whatsapp.model import Actor, Visibility, direct_chat
from whatsapp.resources import PrivacyChange, ProfileChange

CHAT = direct_chat("ann", "bob")


@pytest.fixture
def fleet():
    fleet = Fleet("ann", "bob", "cid")
    fleet.tick()
    return fleet


def quiet(fleet: Fleet, *peers: Peer) -> None:
    """All has settled, and second looks are over."""
    for _ in range(50):
        fleet.tick()
    for peer in peers:
        peer.take()


def code_of(peer: Peer) -> int:
    """With which it was closed; 0: it is open."""
    return peer.closed[0] if peer.closed else 0


def said(fleet: Fleet, kind: type) -> list[tuple[str, str]]:
    """Who told whom a hint of this kind."""
    return [
        (sender, name) for sender, name, data in fleet.net.sent if isinstance(unpack(data), kind)
    ]


def test_a_message_goes_from_one_instance_to_the_other_and_its_receipt_back(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    fleet["a"].send(ann, CHAT, "hello")
    fleet.run()
    assert bob.texts() == ["hello"]
    ann.take()
    fleet["b"].say(bob, wire.Received(CHAT, 1))
    fleet.run()
    [receipt] = ann.take(wire.Receipt)
    assert (receipt.user, receipt.received, receipt.read) == ("bob", 1, 0)
    assert said(fleet, Said) == [("a", "b")]
    for number in range(3):
        fleet["b" if number % 2 else "a"].send(bob if number % 2 else ann, CHAT, f"{number}")
        fleet.run()
    assert bob.texts() == ["0", "2"]
    assert ann.texts() == ["1"]


def test_a_group_costs_one_hint_for_each_instance(fleet):
    peers = {
        user: fleet[at].connect(user) for user, at in zip(("ann", "bob", "cid"), "abb", strict=True)
    }
    chat = fleet["a"].group("ann", "bob", "cid")
    quiet(fleet, *peers.values())
    fleet.net.sent.clear()
    fleet["a"].send(peers["ann"], chat, "tea?")
    fleet.run()
    assert peers["bob"].texts() == peers["cid"].texts() == ["tea?"]
    assert said(fleet, Said) == [("a", "b")]


def test_a_hint_that_was_lost_is_healed_by_the_next_one(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    fleet["a"].send(ann, CHAT, "one")
    fleet.run()
    fleet["a"].send(ann, CHAT, "two")
    fleet.run(drop=lambda data: isinstance(unpack(data), Said))
    assert bob.texts() == ["one"]
    fleet["a"].send(ann, CHAT, "three")
    fleet.run()
    assert bob.texts() == ["two", "three"]


def test_what_was_lost_with_a_link_is_looked_for(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    fleet["a"].send(ann, CHAT, "one")
    fleet.cut("a", "b")
    assert bob.texts() == []
    for _ in range(10):
        fleet.tick()
    assert bob.texts() == ["one"]
    fleet["a"].send(ann, CHAT, "two")
    fleet.tick()
    assert bob.texts() == []
    fleet.mend("a", "b")
    assert bob.texts() == ["two"]


def test_what_does_not_fit_is_told_as_chats_once_it_fits(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    fleet.net.full.add("b")
    fleet["a"].send(ann, CHAT, "one")
    fleet.tick()
    assert bob.texts() == []
    fleet.net.full.clear()
    fleet.tick()
    assert bob.texts() == ["one"]
    assert ("a", "b") in said(fleet, Grown)


def test_who_connects_just_after_it_was_asked_for_gets_it_by_a_second_look(fleet):
    ann = fleet["a"].connect("ann")
    quiet(fleet, ann)
    fleet["a"].send(ann, CHAT, "one")
    fleet.run()
    bob = fleet["b"].connect("bob")
    fleet.run(drop=lambda data: isinstance(unpack(data), Came))
    assert bob.texts() == ["one"]
    fleet["a"].send(ann, CHAT, "two")
    fleet.run()  # a still believes that bob is nowhere
    assert bob.texts() == []
    for _ in range(45):
        fleet.tick()
    assert bob.texts() == ["two"]


def test_who_comes_is_written_to_at_once(fleet):
    ann = fleet["a"].connect("ann")
    quiet(fleet, ann)
    fleet["a"].send(ann, CHAT, "one")
    fleet.run()
    bob = fleet["b"].connect("bob")
    fleet.tick()
    bob.take()
    fleet["a"].send(ann, CHAT, "two")
    fleet.run()
    assert bob.texts() == ["two"]


def test_not_here_makes_the_sender_look_again(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    fleet["a"].send(ann, CHAT, "one")
    fleet.run()
    fleet["b"].drop(bob)
    fleet.tick()
    bob = fleet["c"].connect("bob")
    fleet.run()
    bob.take()
    fleet["a"].send(ann, CHAT, "two")
    fleet.run()
    assert bob.texts() == ["two"]


def test_the_same_device_on_another_instance_ends_the_first_connection(fleet):
    first = fleet["a"].connect("ann")
    fleet.tick()
    second = fleet["b"].connect("ann")
    fleet.tick()
    assert first.closed
    assert first.closed[0] == wire.CLOSE_REPLACED
    assert second.closed is None
    other = fleet["c"].connect("ann", "laptop")
    fleet.tick()
    assert (second.closed, other.closed) == (None, None)


def test_devices_of_one_user_on_two_instances(fleet):
    phone, laptop = fleet["a"].connect("ann"), fleet["b"].connect("ann", "laptop")
    bob = fleet["b"].connect("bob")
    quiet(fleet, phone, laptop, bob)
    fleet["a"].send(phone, CHAT, "hello")
    fleet.run()
    assert (laptop.texts(), bob.texts()) == (["hello"], ["hello"])
    fleet["b"].send(bob, CHAT, "hi")
    fleet.run()
    phone.take()
    fleet["b"].say(laptop, wire.Read(CHAT, 2))
    fleet.run()
    [cursor] = phone.take(wire.Cursor)
    assert cursor.read == 2


def test_logging_out_closes_on_every_instance(fleet):
    phone, laptop = fleet["a"].connect("ann"), fleet["b"].connect("ann", "laptop")
    quiet(fleet, phone, laptop)
    fleet["c"].do(fleet["c"].core.auth.end_device(Actor("ann", "ann-phone"), "laptop"))
    fleet.run()
    assert laptop.closed
    assert laptop.closed[0] == wire.CLOSE_REVOKED
    assert phone.closed is None


def test_a_logout_that_was_not_heard_is_found_by_looking(fleet):
    phone, laptop = fleet["a"].connect("ann"), fleet["b"].connect("ann", "laptop")
    quiet(fleet, phone, laptop)
    fleet.cut("a", "b")
    fleet["a"].do(fleet["a"].core.auth.end_device(Actor("ann", "ann-phone"), "laptop"))
    fleet.mend("a", "b")
    assert laptop.closed
    assert laptop.closed[0] == wire.CLOSE_REVOKED


def test_a_block_counts_on_all_instances(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    fleet["a"].send(ann, CHAT, "hello")
    quiet(fleet, ann, bob)
    fleet["c"].do(fleet["c"].core.people.block(Actor("bob", "x"), "ann"))
    fleet.run()
    fleet["a"].send(ann, CHAT, "are you there?")
    fleet.run()
    assert bob.texts() in ([], ["void"])


def test_who_was_removed_elsewhere_gets_nothing_after_it(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    chat = fleet["a"].group("ann", "bob", "cid")
    quiet(fleet, ann, bob)
    fleet["a"].do(fleet["a"].core.groups.remove(Actor("ann", "x"), chat, "bob"))
    fleet.run(drop=lambda data: isinstance(unpack(data), Said))  # b does not hear of it
    fleet["a"].send(ann, chat, "he is gone")
    fleet.run()
    for _ in range(50):
        fleet.tick()
    assert "he is gone" not in bob.texts()
    fleet["b"].send(bob, chat, "am I?")
    fleet.run()
    assert bob.error() == "not_member"


def test_a_member_added_elsewhere_may_write_at_once(fleet):
    cid = fleet["c"].connect("cid")
    chat = fleet["a"].group("ann", "bob")
    fleet["c"].core.rooms  # noqa: B018
    quiet(fleet, cid)
    fleet["c"].send(cid, chat, "may I?")
    assert cid.error() == "not_found"
    fleet["a"].do(fleet["a"].core.groups.add(Actor("ann", "x"), chat, ["cid"]))
    fleet.net.under_way.clear()  # c hears nothing
    fleet["c"].send(cid, chat, "and now?")
    fleet.run()
    assert [sent.seq for sent in cid.take(wire.Sent)] == [4]


def test_presence_and_typing_cross_instances(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    fleet["a"].send(ann, CHAT, "hello")
    quiet(fleet, ann, bob)
    fleet["a"].say(ann, wire.Watch(["bob"]))
    fleet.tick()
    assert [frame.online for frame in ann.take(wire.Presence)] == [True]
    fleet["b"].say(bob, wire.Typing(CHAT, True))
    fleet.run()
    assert [frame.on for frame in ann.take(wire.TypingShown)] == [True]
    assert said(fleet, Typed)[-1] == ("b", "a")
    fleet["b"].drop(bob)
    left_ms = fleet.clock.now_ms()
    for _ in range(3):
        fleet.tick()
    [gone] = ann.take(wire.Presence)
    assert (gone.online, gone.last_seen) == (False, left_ms)


def test_the_users_of_a_dead_instance_are_offline_and_their_messages_found(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    fleet["a"].send(ann, CHAT, "hello")
    quiet(fleet, ann, bob)
    fleet["a"].say(ann, wire.Watch(["bob"]))
    fleet.tick()
    ann.take()
    fleet["b"].send(bob, CHAT, "my last words")
    fleet.net.under_way.clear()
    fleet.kill("b")
    for _ in range(20):
        fleet.tick()
    frames = ann.take()
    assert [f.text for f in frames if isinstance(f, wire.Message)] or any(
        isinstance(f, wire.Messages) for f in frames
    )
    assert [f.online for f in frames if isinstance(f, wire.Presence)] == [False]


def test_while_the_directory_is_away_hints_go_to_all_who_are_linked(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    fleet["a"].next("locate", FAIL_BEFORE)
    fleet["a"].send(ann, CHAT, "hello")
    fleet.run()
    assert bob.texts() == ["hello"]
    assert sorted(said(fleet, Said)) == [("a", "b"), ("a", "c")]


def test_a_changed_profile_is_read_anew_on_other_instances(fleet):
    look = fleet["b"].core.accounts
    assert fleet["b"].do(look.find(["ann"]))["ann"].name == "Ann"
    fleet["a"].do(fleet["a"].core.people.change(Actor("ann", "x"), ProfileChange(name="Anna")))
    fleet.run()
    assert fleet["b"].do(look.find(["ann"]))["ann"].name == "Anna"
    hidden = ProfileChange(privacy=PrivacyChange(receipts=False))
    fleet["a"].do(fleet["a"].core.people.change(Actor("ann", "x"), hidden))
    fleet.run()
    assert not fleet["b"].do(look.find(["ann"]))["ann"].receipts


def test_two_instances_write_into_one_chat_at_once(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    for number in range(20):
        fleet["a"].send(ann, CHAT, f"a{number}")
        fleet["b"].send(bob, CHAT, f"b{number}")
    fleet.run()
    for _ in range(20):
        fleet.tick()
    mine = [f"a{number}" for number in range(20)]
    yours = [f"b{number}" for number in range(20)]
    assert [text for text in bob.texts() if text and text.startswith("a")] == mine
    assert [text for text in ann.texts() if text and text.startswith("b")] == yours


@pytest.mark.parametrize("offset, told", [(1000, False), (5000, True), (-5000, True)])
def test_clocks_that_are_apart_are_told_with_the_cure(fleet, caplog, offset, told):
    fleet.net.ends["a"].offset = offset
    fleet.cut("a", "b")
    fleet.mend("a", "b")
    assert any(f"clocks differ peer=b offset_ms={offset}" in line for line in caplog.messages) == (
        told
    )


def test_a_receipt_for_a_chat_that_is_not_loaded_tells_no_less_than_the_store(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    for text in ("one", "two", "three"):
        fleet["a"].send(ann, CHAT, text)
        fleet.run()
    fleet["b"].say(bob, wire.Received(CHAT, 3))
    quiet(fleet, ann, bob)
    fleet["a"].core.rooms._rooms.clear()
    old = pack(Receipted(CHAT, "bob", 1, 0, ("ann",)))
    fleet["a"].core.cluster.heard("b", [old])
    fleet.run()
    assert [receipt.received for receipt in ann.take(wire.Receipt)] == [3]


def test_who_cannot_be_heard_is_looked_after_within_five_seconds(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    fleet.cut("a", "b")
    for _ in range(10):
        fleet.tick()
    fleet["a"].send(ann, CHAT, "one")
    for _ in range(40):
        fleet.tick()
    assert bob.texts() == ["one"]


def test_a_renewed_link_makes_both_sides_look(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    fleet.cut("a", "b")
    fleet.net.sent.clear()
    fleet.mend("a", "b")
    assert {("a", "b"), ("b", "a")} <= set(said(fleet, Grown))


def test_a_logout_that_did_not_fit_is_found_once_it_fits(fleet):
    phone, laptop = fleet["a"].connect("ann"), fleet["b"].connect("ann", "laptop")
    quiet(fleet, phone, laptop)
    fleet.net.full.add("b")
    fleet["a"].do(fleet["a"].core.auth.end_device(Actor("ann", "ann-phone"), "laptop"))
    fleet.tick()
    assert code_of(laptop) == 0
    fleet.net.full.clear()
    fleet.tick()
    assert code_of(laptop) == wire.CLOSE_REVOKED


def test_that_a_device_is_elsewhere_now_is_said_again(fleet):
    first = fleet["a"].connect("ann")
    fleet.tick()
    fleet["b"].connect("ann")
    fleet.run(drop=lambda data: isinstance(unpack(data), Here))
    assert code_of(first) == 0
    for _ in range(50):
        fleet.tick()
    assert code_of(first) == wire.CLOSE_REPLACED


def test_once_the_directory_is_back_all_are_looked_at_now_and_once_more(fleet, monkeypatch):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    directory = fleet["b"].core.directory
    monkeypatch.setattr(directory, "healthy", lambda: False)
    fleet.tick()
    monkeypatch.setattr(directory, "healthy", lambda: True)
    fleet.tick()
    fleet["a"].send(ann, CHAT, "one")
    fleet.run(drop=lambda data: isinstance(unpack(data), Said))  # a has an old answer
    assert bob.texts() == []
    for _ in range(45):
        fleet.tick()
    assert bob.texts() == ["one"]


def test_an_append_of_unknown_outcome_is_told_once_it_is_known(fleet):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    fleet["a"].next("append", FAIL_AFTER)
    fleet["a"].send(ann, CHAT, "stored all the same")
    fleet.run()
    assert ann.error() == "unavailable"
    assert bob.texts() == []
    fleet.tick()
    assert bob.texts() == ["stored all the same"]


def test_what_nobody_could_be_asked_for_reaches_an_instance_that_is_linked_later():
    fleet = Fleet("ann", "bob", names="ab")
    fleet.tick()
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    cluster = fleet["a"].core.cluster
    assert cluster is not None
    cluster._post.routes.clear()
    fleet.net.cut.add(frozenset("ab"))
    fleet["a"].next("locate", FAIL_BEFORE)
    fleet["a"].send(ann, CHAT, "one")
    fleet.run()
    fleet.net.cut.clear()
    fleet["a"].core.tick()
    fleet.run()
    assert bob.texts() == ["one"]


def test_which_instances_live_is_asked_for_also_where_nobody_told(fleet):
    fleet.board.listeners.clear()
    fleet.start("d")
    known = fleet.net.ends["a"]
    for _ in range(60):
        fleet.tick()
    assert "d" in [instance.name for instance in known.known]


def test_two_that_are_linked_late_say_which_devices_they_have(fleet):
    first = fleet["a"].connect("ann")
    fleet.net.cut.add(frozenset("ab"))  # not yet linked: nothing is lost that anybody noticed
    fleet["b"].connect("ann")
    for _ in range(100):
        fleet.tick()
    assert code_of(first) == 0
    fleet.net.cut.clear()
    fleet.tick()
    assert code_of(first) == wire.CLOSE_REPLACED


def test_who_hides_itself_unheard_is_hidden_once_it_was_missed(fleet):
    ann = fleet["b"].connect("ann")
    fleet["b"].connect("bob")
    fleet["b"].say(ann, wire.Watch(["bob"]))
    fleet.tick()
    assert [shown.online for shown in ann.take(wire.Presence)] == [True]
    fleet.net.full.add("b")
    nobody = ProfileChange(privacy=PrivacyChange(last_seen=Visibility.NOBODY))
    fleet["a"].do(fleet["a"].core.people.change(Actor("bob", "x"), nobody))
    fleet.tick()
    assert ann.take(wire.Presence) == []
    fleet.net.full.clear()
    quiet(fleet)
    assert [shown.online for shown in ann.take(wire.Presence)] == [False]


def test_a_directory_that_is_back_before_anybody_looked_was_away_all_the_same(fleet, monkeypatch):
    ann, bob = fleet["a"].connect("ann"), fleet["b"].connect("bob")
    quiet(fleet, ann, bob)
    directory = fleet["b"].core.directory
    with monkeypatch.context() as patch:
        patch.setattr(directory, "healthy", lambda: False)
        fleet.board.tell_of_instances()
    fleet["a"].send(ann, CHAT, "one")
    fleet.run(drop=lambda data: isinstance(unpack(data), Said))  # a has an old answer
    for _ in range(3):
        fleet.tick()
    assert bob.texts() == ["one"]


def test_what_a_lost_instance_did_before_its_end_is_looked_for_when_its_next_run_is_there(fleet):
    bob = fleet["b"].connect("bob")
    quiet(fleet, bob)
    fleet.cut("a", "b")
    fleet.board.instances.pop("a")  # nor does the directory know of it
    fleet.board.tell_of_instances()
    for _ in range(20):
        fleet.tick()
    fleet["a"].post("ann", "bob", "one")
    fleet["a"].loop.run()
    fleet.worlds.pop("a").loop.kill()
    for _ in range(50):
        fleet.tick()
    assert bob.texts() == []
    fleet.net.cut.clear()
    fleet.start("a", epoch=2)
    fleet.tick()
    assert bob.texts() == ["one"]


def test_what_changes_while_two_are_being_linked_is_read_anew_once_they_are(fleet):
    fleet["b"].connect("ann")
    fleet["b"].do(fleet["b"].core.accounts.blocks("bob"))
    fleet.net.cut.add(frozenset("ab"))
    fleet["a"].do(fleet["a"].core.people.block(Actor("bob", "x"), "ann"))
    fleet.net.cut.clear()
    fleet.tick()
    assert fleet["b"].do(fleet["b"].core.accounts.blocks("bob")) == {"ann"}


def test_who_came_is_told_in_the_order_of_coming(fleet):
    names = ("cid", "ann", "bob")
    sessions = [fleet["b"].connect(name).session for name in names]
    fleet.net.sent.clear()
    fleet["b"].do(fleet["b"].core.cluster._announce(sessions))
    told = [hint.users for _, _, data in fleet.net.sent if isinstance(hint := unpack(data), Came)]
    assert told == [names, names]
