"""Online, last seen, typing: to whom it is shown, and when."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet
from tests.support.world import FAIL_BEFORE, WAIT, WAIT_AFTER, World
from whatsapp.errors import BadRequest, NotFound
from whatsapp.model import Actor, Visibility
from whatsapp.presence import TYPING_REPEAT_SECONDS, TYPING_SECONDS
from whatsapp.resources import PrivacyChange, ProfileChange
from whatsapp.wire import WATCHED_USERS_MAX, Error, Presence, Typing, TypingShown, Watch

CHAT = "ann:bob"


class Scene(World):
    def __init__(self):
        super().__init__("ann", "bob", "cid")

    def watch(self, peer, *users):
        self.say(peer, Watch(list(users)))
        return self.seen(peer)

    def seen(self, peer):
        """What was told since the last look: user → online."""
        return {frame.user: frame.online for frame in peer.take(Presence)}

    def show(self, viewer, user):
        return self.do(self.core.presences.show(Actor(viewer, "x"), user))

    def visible(self, user, to):
        change = ProfileChange(privacy=PrivacyChange(last_seen=to))
        self.do(self.core.people.change(Actor(user, "x"), change))

    def block(self, user, other, *, on=True):
        people = self.core.people
        self.do((people.block if on else people.unblock)(Actor(user, "x"), other))


@pytest.fixture
def scene():
    return Scene()


# ----------------------------------------------------------------------------- watching


def test_watching_tells_at_once_and_at_every_change(scene):
    ann = scene.connect("ann")
    assert scene.watch(ann, "Bob") == {"bob": False}
    bob = scene.connect("bob")
    assert scene.seen(ann) == {}
    scene.tick()
    assert scene.seen(ann) == {"bob": True}
    scene.drop(bob)
    scene.tick()
    [gone] = ann.take(Presence)
    assert (gone.online, gone.last_seen) == (False, scene.clock.now_ms() - 100)


def test_a_flapping_connection_is_no_change(scene):
    ann, bob = scene.connect("ann"), scene.connect("bob")
    scene.watch(ann, "bob")
    scene.drop(bob)
    scene.connect("bob", "laptop")
    scene.tick()
    assert [frame.online for frame in ann.take(Presence)] in ([], [True])


def test_a_second_device_is_no_change(scene):
    ann, phone = scene.connect("ann"), scene.connect("bob")
    scene.watch(ann, "bob")
    scene.connect("bob", "laptop")
    scene.drop(phone)
    scene.tick()
    assert scene.seen(ann) == {}


def test_another_set_replaces_the_first(scene):
    ann = scene.connect("ann")
    scene.watch(ann, "bob")
    assert scene.watch(ann, "cid", "nobody") == {"cid": False, "nobody": False}
    scene.connect("bob")
    scene.tick()
    assert scene.seen(ann) == {}
    assert scene.watch(ann) == {}


def test_a_session_that_ended_is_not_told(scene):
    ann = scene.connect("ann")
    scene.watch(ann, "bob")
    scene.drop(ann)
    scene.connect("bob")
    scene.tick()
    assert scene.seen(ann) == {}
    assert scene.core.presences._watchers == {}


def test_too_many_cannot_be_watched(scene):
    ann = scene.connect("ann")
    scene.say(ann, Watch([f"user{number}" for number in range(WATCHED_USERS_MAX + 1)]))
    assert ann.error() == "bad_request"
    scene.say(ann, Watch(["no user"]))
    assert ann.error() == "bad_request"


def test_what_could_not_be_looked_up_is_told_later(scene):
    ann = scene.connect("ann")
    scene.connect("bob")
    scene.next("blocks", FAIL_BEFORE)
    assert scene.watch(ann, "bob") == {}
    scene.tick()
    assert scene.seen(ann) == {"bob": True}


def test_who_hides_itself_while_it_is_looked_up_is_not_shown(scene):
    ann = scene.connect("ann")
    scene.connect("bob")
    scene.next("blocks", WAIT_AFTER)
    scene.watch(ann, "bob")
    scene.visible("bob", Visibility.NOBODY)
    scene.go_on()
    assert scene.seen(ann) == {"bob": False}


# ------------------------------------------------------------------------------ privacy


@pytest.mark.parametrize("who", ["ann", "bob"])
def test_who_hides_itself_is_hidden_and_sees_nobody(scene, who):
    ann = scene.connect("ann")
    scene.connect("bob")
    assert scene.watch(ann, "bob") == {"bob": True}
    scene.visible(who, Visibility.NOBODY)
    scene.tick()
    assert [(f.online, f.last_seen) for f in ann.take(Presence)] == [(False, None)]
    scene.visible(who, Visibility.EVERYONE)
    scene.tick()
    assert scene.seen(ann) == {"bob": True}


@pytest.mark.parametrize("blocker, blocked", [("ann", "bob"), ("bob", "ann")])
def test_a_block_hides_both_ways(scene, blocker, blocked):
    ann = scene.connect("ann")
    scene.connect("bob")
    scene.watch(ann, "bob")
    scene.block(blocker, blocked)
    scene.tick()
    assert scene.seen(ann) == {"bob": False}
    scene.block(blocker, blocked, on=False)
    scene.tick()
    assert scene.seen(ann) == {"bob": True}


def test_contacts_are_those_who_talked_both_ways(scene):
    scene.connect("bob")
    scene.visible("bob", Visibility.CONTACTS)
    assert scene.show("ann", "bob").online is False
    scene.post("ann", "bob", "hello")
    assert scene.show("ann", "bob").online is False
    scene.post("bob", "ann", "hello")
    assert scene.show("ann", "bob").online is True
    assert scene.show("cid", "bob").online is False


def test_a_user_sees_itself_whatever_it_hides(scene):
    scene.connect("ann")
    scene.visible("ann", Visibility.NOBODY)
    assert scene.show("ann", "ann").online is True


def test_one_presence_by_name(scene):
    assert scene.show("ann", "BOB").last_seen is None
    bob = scene.connect("bob")
    assert scene.show("ann", "bob").online
    scene.drop(bob)
    shown = scene.show("ann", "bob")
    assert (shown.online, shown.last_seen) == (False, scene.clock.now_ms())
    with pytest.raises(NotFound):
        scene.show("ann", "nobody")
    with pytest.raises(BadRequest):
        scene.show("ann", "x")
    scene.do(scene.core.accounts.erase("bob"))
    with pytest.raises(NotFound):
        scene.show("ann", "bob")


# ---------------------------------------------------------------------------- last seen


def test_last_seen_is_written_and_kept_where_it_cannot_be(scene):
    scene.drop(scene.connect("bob"))
    seen_ms = scene.clock.now_ms()
    scene.next("saw", FAIL_BEFORE)
    scene.do(scene.core.presences.flush())
    assert scene.data.accounts["bob"].last_seen_ms == 0
    scene.do(scene.core.presences.flush())
    assert scene.data.accounts["bob"].last_seen_ms == seen_ms


def test_the_directory_knows_who_is_here(scene):
    def located():
        return scene.do(scene.core.directory.locate(["bob"]))

    bob = scene.connect("bob")
    assert located() == {"bob": ["here"]}
    scene.drop(bob)
    scene.next("withdraw", FAIL_BEFORE)
    scene.tick()
    assert located() == {"bob": ["here"]}
    scene.tick()
    assert located() == {}


# ------------------------------------------------------------------------------- typing


@pytest.fixture
def talk(scene):
    scene.post("ann", "bob", "hello")
    scene.ann, scene.bob = scene.connect("ann"), scene.connect("bob")
    return scene


def typed(peer):
    return [frame.on for frame in peer.take(TypingShown)]


def test_typing_is_shown_to_the_others_and_stops(talk):
    laptop = talk.connect("ann", "laptop")
    talk.say(talk.ann, Typing(CHAT, on=True))
    assert talk.bob.take(TypingShown) == [TypingShown(CHAT, "ann", on=True)]
    assert typed(talk.ann) == typed(laptop) == []
    talk.say(talk.ann, Typing(CHAT, on=False))
    talk.say(talk.ann, Typing(CHAT, on=False))
    assert typed(talk.bob) == [False]


def test_typing_stops_by_itself(talk):
    talk.say(talk.ann, Typing(CHAT, on=True))
    talk.tick(TYPING_SECONDS - 0.1)
    assert typed(talk.bob) == [True]
    talk.tick(0.2)
    assert typed(talk.bob) == [False]


def test_typing_is_passed_on_now_and_then_while_it_lasts(talk):
    for _ in range(3):
        talk.say(talk.ann, Typing(CHAT, on=True))
        talk.tick(TYPING_REPEAT_SECONDS / 2)
    assert typed(talk.bob) == [True, True]
    talk.tick(TYPING_SECONDS - TYPING_REPEAT_SECONDS / 2 - 0.1)
    assert typed(talk.bob) == []


def test_strangers_type_nowhere(talk):
    cid = talk.connect("cid")
    for chat in (CHAT, "cid:dan", "nonsense"):
        talk.say(cid, Typing(chat, on=True))
        assert cid.error() == "not_found"
    assert typed(talk.bob) == []


@pytest.mark.parametrize("blocker, blocked", [("ann", "bob"), ("bob", "ann")])
def test_where_one_blocks_the_other_nobody_is_seen_typing(talk, blocker, blocked):
    talk.block(blocker, blocked)
    talk.say(talk.ann, Typing(CHAT, on=True))
    assert typed(talk.bob) == []
    assert talk.ann.take(Error) == []


def test_typing_in_a_group_reaches_its_members(talk):
    group = talk.group("ann", "bob")
    cid = talk.connect("cid")
    talk.core.rooms._rooms.clear()
    talk.say(talk.bob, Typing(group, on=True))
    assert talk.ann.take(TypingShown) == [TypingShown(group, "bob", on=True)]
    assert typed(cid) == []


def test_no_more_typers_than_the_limit(talk, monkeypatch):
    monkeypatch.setattr("whatsapp.presence.TYPERS_MAX", 1)
    talk.say(talk.ann, Typing(CHAT, on=True))
    talk.say(talk.bob, Typing(CHAT, on=True))
    assert typed(talk.bob) == [True]
    assert typed(talk.ann) == []


def test_typing_ends_quietly_where_the_chat_is_forgotten(talk):
    talk.say(talk.ann, Typing(CHAT, on=True))
    typed(talk.bob)
    talk.core.rooms._rooms.clear()
    talk.say(talk.ann, Typing(CHAT, on=False))
    talk.core.rooms._rooms.clear()
    talk.tick(TYPING_SECONDS + 1)
    assert len(talk.core.presences._typing) == 0


def test_a_session_that_ended_while_it_was_looked_up_is_not_told(scene):
    ann = scene.connect("ann")
    scene.next("blocks", WAIT_AFTER)
    scene.watch(ann, "bob")
    ann.session.close(1000, "over")
    scene.go_on()
    assert scene.seen(ann) == {}


def test_who_comes_back_while_its_going_is_written_stays_in_the_directory():
    fleet = Fleet("ann", names="ab")
    fleet.tick()
    first = fleet["a"].connect("ann")
    for _ in range(20):
        fleet.tick()
    fleet["a"].drop(first)
    fleet["a"].next("saw", WAIT)
    fleet.tick()
    fleet["a"].connect("ann")
    fleet["a"].go_on()
    fleet.run()
    assert fleet["b"].do(fleet["b"].core.directory.locate(["ann"])) == {"ann": ["a"]}
