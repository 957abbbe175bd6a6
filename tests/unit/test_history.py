"""Reading: the list, one chat, pages, search; cut to what this user may see."""

from __future__ import annotations

import pytest

from backends.memory import _Data
from tests.support.world import WAIT, World
from whatsapp.errors import BadRequest, NotFound
from whatsapp.history import UNREAD_MAX
from whatsapp.model import Actor, Role
from whatsapp.resources import GroupChange, PrivacyChange, ProfileChange
from whatsapp.wire import Read, Received

CHAT = "ann:bob"


class Shelf(World):
    def __init__(self, *users, **more):
        super().__init__(*users, **more)
        self.histories = self.core.histories

    def lines(self, user, limit=50, before_ms=None):
        return self.do(self.histories.lines(Actor(user, "x"), limit, before_ms))

    def show(self, user, chat=CHAT):
        return self.do(self.histories.show(Actor(user, "x"), chat))

    def page(self, user, chat=CHAT, *, before=None, after=None, limit=50):
        work = self.histories.history(Actor(user, "x"), chat, before, after, limit)
        page = self.do(work)
        return [item.seq for item in page.messages], page.more

    def search(self, user, query, *, chat=None, sender=None, before_ms=None, limit=20):
        work = self.histories.search(Actor(user, "x"), query, chat, sender, before_ms, limit)
        found = self.do(work)
        return [hit.message.text for hit in found.results], found.more

    def tell(self, peer, frame):
        self.say(peer, frame)

    def write(self, user, chat, *texts):
        for text in texts:
            self.clock.pass_seconds(1)
            self.post(user, chat, text)

    def remove(self, user, chat, target):
        self.do(self.core.groups.remove(Actor(user, "x"), chat, target))

    def add(self, user, chat, target):
        self.do(self.core.groups.add(Actor(user, "x"), chat, [target]))

    def block(self, user, other):
        self.do(self.core.people.block(Actor(user, "x"), other))


@pytest.fixture
def shelf():
    return Shelf("ann", "bob", "cid", "dan")


# -------------------------------------------------------------------------------- pages


def test_pages_go_back_and_forth(shelf):
    shelf.write("ann", "bob", *(f"text {n}" for n in range(10)))
    assert shelf.page("bob", limit=3) == ([8, 9, 10], True)
    assert shelf.page("bob", before=8, limit=3) == ([5, 6, 7], True)
    assert shelf.page("bob", before=4, limit=3) == ([1, 2, 3], False)
    assert shelf.page("bob", after=0, limit=3) == ([1, 2, 3], True)
    assert shelf.page("bob", after=7, limit=3) == ([8, 9, 10], False)
    assert shelf.page("bob", after=10) == ([], False)
    assert shelf.page("bob", before=1) == ([], False)
    assert shelf.page("bob", before=99, limit=1) == ([10], True)


def test_one_direction_at_a_time(shelf):
    shelf.write("ann", "bob", "one")
    with pytest.raises(BadRequest):
        shelf.page("bob", before=1, after=1)


@pytest.mark.parametrize("chat", [CHAT, "ann:cid", "", "x" * 100, "nonsense"])
def test_strangers_find_nothing(shelf, chat):
    shelf.write("ann", "bob", "one")
    for look in (shelf.page, shelf.show):
        with pytest.raises(NotFound):
            look("dan", chat)
    with pytest.raises(NotFound):
        shelf.search("dan", "one", chat=chat)


def test_a_member_sees_what_was_said_while_it_was_one(shelf):
    group = shelf.group("ann", "bob")
    shelf.write("ann", group, "three")
    shelf.add("ann", group, "cid")
    shelf.write("ann", group, "five")
    shelf.remove("ann", group, "cid")
    shelf.write("ann", group, "seven", "eight")
    assert shelf.page("cid", group) == ([4, 5, 6], False)
    shelf.add("ann", group, "cid")
    shelf.write("ann", group, "ten")
    assert shelf.page("cid", group) == ([4, 5, 6, 9, 10], False)
    assert shelf.page("cid", group, limit=3) == ([6, 9, 10], True)
    assert shelf.page("cid", group, before=9, limit=2) == ([5, 6], True)
    assert shelf.page("cid", group, after=5, limit=2) == ([6, 9], True)
    assert shelf.page("cid", group, after=6) == ([9, 10], False)


def test_of_a_hidden_entry_its_reader_sees_that_it_is_there(shelf):
    shelf.block("bob", "ann")
    shelf.write("ann", "bob", "hidden")
    for user, kind, text in (("bob", "void", None), ("ann", "text", "hidden")):
        page = shelf.do(shelf.histories.history(Actor(user, "x"), CHAT, None, None, 5))
        assert [(item.kind, item.text) for item in page.messages] == [(kind, text)]


def test_a_blocked_one_does_not_see_cursors_pass_what_it_wrote_since(shelf):
    shelf.write("ann", "bob", "before")
    bob = shelf.connect("bob")
    shelf.tell(bob, Received(CHAT, 1))
    shelf.block("bob", "ann")
    shelf.write("ann", "bob", "hidden")
    shelf.write("bob", "ann", "mine")
    shelf.tell(bob, Read(CHAT, 3))
    cursors = {one.user: (one.received, one.read) for one in shelf.show("ann").members}
    assert cursors["bob"] == (1, 1)
    cursors = {one.user: (one.received, one.read) for one in shelf.show("bob").members}
    assert cursors["bob"] == (3, 3)


# -------------------------------------------------------------------------------- lines


def test_chats_are_listed_by_their_newest_activity(shelf):
    shelf.write("ann", "bob", "one")
    shelf.write("cid", "bob", "two")
    shelf.write("bob", "bob", "note")
    shelf.write("ann", "bob", "three")
    lines = shelf.lines("bob")
    assert [(line.chat, line.last.text) for line in lines] == [
        (CHAT, "three"),
        ("bob:bob", "note"),
        ("bob:cid", "two"),
    ]
    assert [line.with_ for line in lines] == ["ann", "bob", "cid"]
    assert [line.title for line in lines] == ["Ann", "Bob", "Cid"]
    assert [line.chat for line in shelf.lines("bob", limit=1)] == [CHAT]
    older = shelf.lines("bob", before_ms=lines[1].last.time)
    assert [line.chat for line in older] == ["bob:cid"]
    assert shelf.lines("dan") == []


def test_what_is_unread_counts_as_soon_as_it_is_read(shelf):
    shelf.write("ann", "bob", "one", "two")
    shelf.write("bob", "ann", "mine")
    assert (shelf.lines("bob")[0].unread, shelf.show("bob").unread) == (2, 2)
    bob = shelf.connect("bob")
    shelf.tell(bob, Read(CHAT, 1))
    assert (shelf.lines("bob")[0].unread, shelf.show("bob").unread) == (1, 1)
    assert shelf.show("bob").read == 1


def test_what_other_instances_stored_counts():
    data = _Data()
    here, there = Shelf("ann", "bob", data=data), Shelf(data=data, ids="other")
    here.write("ann", "bob", *"123")
    here.tell(here.connect("bob"), Read(CHAT, 1))  # no store knows it yet
    there.write("ann", "bob", *(f"text {number}" for number in range(500)))
    assert here.lines("bob")[0].unread == 2 + 500
    bob = there.connect("bob")
    there.tell(bob, Read(CHAT, 300))
    there.tick(2.0)
    line = here.lines("bob")[0]
    assert (line.received, line.read, line.unread) == (300, 300, 203)


def test_hidden_entries_are_neither_last_nor_unread(shelf):
    shelf.write("ann", "bob", "seen")
    shelf.block("bob", "ann")
    shelf.write("ann", "bob", *["hidden"] * 25)
    for info in (shelf.lines("bob")[0], shelf.show("bob")):
        assert (info.last.text, info.unread, info.head) == ("seen", 1, 26)
    assert shelf.show("ann").last.text == "hidden"


def test_a_chat_with_nothing_to_see_is_not_listed(shelf):
    shelf.block("bob", "ann")
    shelf.write("ann", "bob", "hidden")
    assert shelf.lines("bob") == []
    assert shelf.show("bob").last is None
    assert len(shelf.lines("ann")) == 1


def test_unread_ends_somewhere():
    shelf = Shelf("ann", "bob")
    shelf.write("ann", "bob", *(f"text {number}" for number in range(UNREAD_MAX + 5)))
    assert (shelf.lines("bob")[0].unread, shelf.show("bob").unread) == (UNREAD_MAX, UNREAD_MAX)


def test_a_former_group_is_listed_as_it_was(shelf):
    group = shelf.group("ann", "bob", "cid")
    shelf.remove("ann", group, "cid")
    shelf.write("ann", group, "without cid")
    for info in (shelf.lines("cid")[0], shelf.show("cid", group)):
        assert (info.head, info.left, info.unread, info.last.kind) == (3, 3, 0, "removed")
    assert not isinstance(shelf.show("cid", group).members, list)


def test_what_was_not_read_before_a_removal_counts_after_coming_back(shelf):
    group = shelf.group("ann", "cid")
    shelf.write("ann", group, "three")
    shelf.remove("ann", group, "cid")
    shelf.write("ann", group, "five")
    shelf.add("ann", group, "cid")
    assert shelf.lines("cid")[0].unread == shelf.show("cid", group).unread == 5


# --------------------------------------------------------------------------------- show


def test_a_group_is_shown_with_its_members(shelf):
    group = shelf.group("ann", "bob")
    wish = GroupChange(about="at five", announce=True)
    shelf.do(shelf.core.groups.change(Actor("ann", "x"), group, wish))
    bob = shelf.connect("bob")
    shelf.tell(bob, Received(group, 3))
    shelf.tell(bob, Read(group, 2))
    shelf.tick()
    info = shelf.show("ann", group)
    assert (info.kind, info.title, info.about, info.announce, info.role) == (
        "group",
        "Tea",
        "at five",
        True,
        Role.OWNER,
    )
    members = {one.user: (one.role, one.received, one.read) for one in info.members}
    assert members["bob"] == (Role.MEMBER, 3, 2)
    assert set(members) == {"ann", "bob"}


def test_ticks_of_a_direct_chat_and_who_hides_them(shelf):
    shelf.write("ann", "bob", "one")
    bob = shelf.connect("bob")
    shelf.tell(bob, Read(CHAT, 1))

    def ticks():
        return next((m.received, m.read) for m in shelf.show("ann").members if m.user == "bob")

    assert ticks() == (1, 1)
    hidden = ProfileChange(privacy=PrivacyChange(receipts=False))
    shelf.do(shelf.core.people.change(Actor("bob", "x"), hidden))
    assert ticks() == (1, 0)
    assert shelf.show("bob").read == 1


def test_an_erased_user_has_no_name_any_more(shelf):
    shelf.write("ann", "bob", "one")
    shelf.do(shelf.core.accounts.erase("ann"))
    assert shelf.lines("bob")[0].title == "Deleted account"


def test_a_chat_is_found_in_any_case(shelf):
    shelf.write("ann", "bob", "one")
    assert shelf.show("bob", "ANN:bob").chat == CHAT


# ------------------------------------------------------------------------------- search


def test_the_newest_hits_come_first(shelf):
    shelf.write("ann", "bob", "tea at four", "coffee", "tea at five")
    shelf.write("cid", "bob", "Tea again")
    assert shelf.search("bob", "tea") == (["Tea again", "tea at five", "tea at four"], False)
    assert shelf.search("bob", "tea", limit=2) == (["Tea again", "tea at five"], True)
    assert shelf.search("bob", "tea", chat=CHAT)[0] == ["tea at five", "tea at four"]
    assert shelf.search("bob", "tea", sender="Cid")[0] == ["Tea again"]
    at = shelf.data.logs[CHAT].entries[2].time_ms
    assert shelf.search("bob", "tea", before_ms=at)[0] == ["tea at four"]
    assert shelf.search("dan", "tea") == ([], False)


def test_only_what_may_be_seen_is_found(shelf):
    group = shelf.group("ann", "bob")
    shelf.write("ann", group, "secret tea")
    shelf.add("ann", group, "cid")
    shelf.write("ann", group, "tea for cid")
    assert shelf.search("cid", "tea")[0] == ["tea for cid"]
    shelf.remove("ann", group, "cid")
    assert shelf.search("cid", "tea")[0] == []
    with pytest.raises(NotFound):
        shelf.search("cid", "tea", chat=group)
    shelf.block("bob", "ann")
    shelf.write("ann", "bob", "hidden tea")
    assert "hidden tea" not in shelf.search("bob", "tea")[0]
    assert "hidden tea" in shelf.search("ann", "tea")[0]


@pytest.mark.parametrize("everywhere", [True, False])
def test_who_is_removed_during_a_search_does_not_find_what_was_said_after(shelf, everywhere):
    group = shelf.group("ann", "bob", "cid")
    shelf.next("search", WAIT)
    chat = None if everywhere else group
    work = shelf.histories.search(Actor("bob", "x"), "secret", chat, None, None, 20)
    found = shelf.begin(work)
    shelf.remove("ann", group, "bob")
    shelf.write("ann", group, "a secret")
    shelf.go_on()
    assert found[0].results == []


def test_a_search_needs_words(shelf):
    with pytest.raises(BadRequest):
        shelf.search("ann", "...")
