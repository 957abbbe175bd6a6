"""Groups: who may do what, and that every change is an entry in its order."""

from __future__ import annotations

import pytest

from tests.faults.faulty import GOOD
from tests.support.world import FAIL_AFTER, FAIL_BEFORE, WAIT, WAIT_AFTER, World
from whatsapp.errors import (
    BadRequest,
    Forbidden,
    GroupFull,
    NotFound,
    NotMember,
    Unavailable,
)
from whatsapp.model import Actor, Event, Role
from whatsapp.resources import GroupChange
from whatsapp.wire import Message

NO_GROUP = "g:01890a5d-ac96-774b-bcce-b302099a8057"
USERS = ("ann", "bob", "cid", "dan", "eve")


class Tea(World):
    """Ann owns a group, bob is an admin, cid a member; dan and eve are not in it."""

    def __init__(self, **settings):
        super().__init__(*USERS, **settings)
        self.groups = self.core.groups
        self.chat = self.group("ann", "bob", "cid")
        self.role("ann", "bob", Role.ADMIN)

    def by(self, user):
        return Actor(user, "rest")

    def role(self, user, target, role):
        self.do(self.groups.set_role(self.by(user), self.chat, target, role))

    def add(self, user, *users):
        return self.do(self.groups.add(self.by(user), self.chat, users)).added

    def remove(self, user, target):
        self.do(self.groups.remove(self.by(user), self.chat, target))

    def change(self, user, **wish):
        self.do(self.groups.change(self.by(user), self.chat, GroupChange(**wish)))

    def invite(self, user):
        return self.do(self.groups.invite(self.by(user), self.chat)).code

    def join(self, user, code):
        return self.do(self.groups.join(self.by(user), code))

    @property
    def room(self):
        return self.core.rooms.get(self.chat)

    def members(self):
        return {user: str(self.room.members[user].role) for user in self.room.active()}

    def log(self):
        return [(entry.kind, entry.sender) for entry in self.data.logs[self.chat].entries]

    def last(self):
        return self.data.logs[self.chat].entries[-1]


@pytest.fixture
def tea():
    return Tea()


# ------------------------------------------------------------------------------ creating


def test_the_creator_owns_it_and_everybody_sees_it_from_its_beginning():
    world = World(*USERS)
    bob = world.connect("bob")
    chat = world.group("ann", "Bob", "cid", "bob", "ann")
    entries = world.data.logs[chat].entries
    assert [(entry.seq, entry.kind, entry.sender) for entry in entries] == [
        (1, "created", "ann"),
        (2, "added", "ann"),
    ]
    assert entries[1].event == Event(users=("bob", "cid"))
    assert [item.kind for item in bob.items()] == ["created", "added"]
    members = world.data.logs[chat].members
    assert {user: member.role for user, member in members.items()} == {
        "ann": Role.OWNER,
        "bob": Role.MEMBER,
        "cid": Role.MEMBER,
    }
    assert {member.joined for member in members.values()} == {1}


def test_a_group_of_one():
    world = World("ann")
    chat = world.group("ann")
    assert len(world.data.logs[chat].entries) == 1


@pytest.mark.parametrize(
    "title, members, error",
    [
        ("", ["bob"], BadRequest),
        ("x" * 101, ["bob"], BadRequest),
        ("Tea", ["nobody"], NotFound),
        ("Tea", ["b"], BadRequest),
        ("Tea", ["bob", "cid", "dan"], GroupFull),
        ("Tea", ["bob"] * 7, GroupFull),
    ],
)
def test_what_cannot_be_created(title, members, error):
    world = World(*USERS, members_max=3)
    with pytest.raises(error):
        world.do(world.core.groups.create(Actor("ann", "x"), title, members))
    assert world.data.logs == {}


def test_nobody_is_added_who_was_erased(tea):
    tea.do(tea.core.accounts.erase("dan"))
    with pytest.raises(NotFound):
        tea.add("ann", "dan")


# -------------------------------------------------------------------------------- roles


@pytest.mark.parametrize(
    "act",
    [
        lambda tea, user: tea.add(user, "dan"),
        lambda tea, user: tea.remove(user, "bob" if user != "bob" else "cid"),
        lambda tea, user: tea.change(user, title="Other"),
        lambda tea, user: tea.change(user, about="leaves"),
        lambda tea, user: tea.change(user, announce=True),
        lambda tea, user: tea.invite(user),
        lambda tea, user: tea.do(tea.groups.revoke_invite(tea.by(user), tea.chat)),
    ],
)
def test_owners_and_admins_manage_and_members_do_not(act):
    for user in ("ann", "bob"):
        act(Tea(), user)
    with pytest.raises(Forbidden):
        act(Tea(), "cid")
    with pytest.raises(NotFound):
        act(Tea(), "dan")
    left = Tea()
    left.remove("cid", "cid")
    with pytest.raises(NotMember):
        act(left, "cid")


@pytest.mark.parametrize("user", ["bob", "cid"])
def test_only_owners_change_roles(tea, user):
    with pytest.raises(Forbidden):
        tea.role(user, "cid", Role.ADMIN)


def test_a_change_of_role_is_an_entry(tea):
    tea.role("ann", "cid", Role.OWNER)
    assert tea.members()["cid"] == "owner"
    assert (tea.last().kind, tea.last().event.user, tea.last().event.role) == (
        "role",
        "cid",
        Role.OWNER,
    )


def test_the_last_owner_stays_one(tea):
    with pytest.raises(Forbidden):
        tea.role("ann", "ann", Role.MEMBER)
    tea.role("ann", "bob", Role.OWNER)
    tea.role("ann", "ann", Role.MEMBER)
    assert tea.members() == {"ann": "member", "bob": "owner", "cid": "member"}


def test_roles_are_for_members(tea):
    with pytest.raises(NotFound):
        tea.role("ann", "dan", Role.ADMIN)
    with pytest.raises(NotFound):
        tea.remove("ann", "dan")


def test_what_is_so_already_is_no_entry(tea):
    before = tea.log()
    tea.role("ann", "bob", Role.ADMIN)
    tea.change("ann", title="Tea", about="", announce=False)
    assert tea.add("ann", "bob") == []
    assert tea.log() == before


def test_an_admin_does_not_remove_an_owner(tea):
    with pytest.raises(Forbidden):
        tea.remove("bob", "ann")
    tea.role("ann", "bob", Role.OWNER)
    tea.remove("bob", "ann")
    assert "ann" not in tea.members()


# ----------------------------------------------------------------- adding and removing


def test_those_who_are_added_are_told(tea):
    assert tea.add("bob", "cid", "Dan", "eve") == ["dan", "eve"]
    assert (tea.last().kind, tea.last().event.users) == ("added", ("dan", "eve"))
    with pytest.raises(BadRequest):
        tea.add("bob")
    with pytest.raises(NotFound):
        tea.add("bob", "nobody")


def test_a_new_member_sees_from_its_joining(tea):
    tea.post("ann", tea.chat, "before")
    dan = tea.connect("dan")
    tea.add("ann", "dan")
    tea.post("ann", tea.chat, "after")
    assert dan.texts() == ["added", "after"]


def test_all_that_are_added_fit_or_none():
    tea = Tea(members_max=4)
    with pytest.raises(GroupFull):
        tea.add("ann", "dan", "eve")
    assert tea.add("ann", "dan") == ["dan"]
    with pytest.raises(GroupFull):
        tea.add("ann", "eve")
    tea.remove("ann", "dan")
    assert tea.add("ann", "eve") == ["eve"]


def test_a_removed_member_hears_of_it_and_nothing_more(tea):
    cid = tea.connect("cid")
    cid.take()
    tea.remove("ann", "cid")
    tea.post("ann", tea.chat, "without cid")
    [frame] = cid.take(Message)
    assert (frame.kind, frame.users) == ("removed", ("cid",))
    with pytest.raises(NotMember):
        tea.post("cid", tea.chat, "let me in")


def test_what_waits_behind_a_removal_is_refused(tea):
    tea.next("append", WAIT)
    tea.begin(tea.core.conversations.post(tea.by("ann"), tea.chat, "id-0000-a", "zero", None))
    removal = tea.begin(tea.groups.remove(tea.by("ann"), tea.chat, "cid"))
    late = tea.begin(
        tea.core.conversations.post(tea.by("cid"), tea.chat, "id-0000-b", "late", None)
    )
    tea.go_on()
    assert removal == [None]
    assert isinstance(late[0], NotMember)
    assert tea.last().kind == "removed"


def test_what_was_said_in_between_stays_hidden(tea):
    cid = tea.connect("cid")
    tea.remove("ann", "cid")
    tea.post("ann", tea.chat, "in between")
    cid.take()
    tea.add("ann", "cid")
    tea.post("ann", tea.chat, "back again")
    assert cid.texts() == ["added", "back again"]
    laptop = tea.connect("cid", "laptop")
    assert "in between" not in laptop.texts()


# ------------------------------------------------------------------------------ leaving


def test_a_member_leaves(tea):
    cid = tea.connect("cid")
    cid.take()
    tea.remove("cid", "CID")
    assert tea.log()[-1] == ("left", "cid")
    assert [frame.kind for frame in cid.take(Message)] == ["left"]
    with pytest.raises(NotMember):
        tea.remove("cid", "cid")


def test_ownership_passes_to_the_longest_standing_admin(tea):
    tea.add("ann", "dan")
    tea.role("ann", "dan", Role.ADMIN)
    tea.remove("ann", "ann")
    assert tea.members() == {"bob": "owner", "cid": "member", "dan": "admin"}
    assert [kind for kind, _ in tea.log()[-2:]] == ["left", "role"]
    assert (tea.last().event.user, tea.last().event.role) == ("bob", Role.OWNER)


def test_who_has_left_has_left_though_the_heir_could_not_be_told(tea):
    tea.next("append", GOOD, FAIL_BEFORE)
    tea.remove("ann", "ann")
    assert tea.log()[-1][0] == "left"
    assert tea.members() == {"bob": "owner", "cid": "member"}


def test_ownership_passes_to_the_longest_standing_member_where_there_is_no_admin(tea):
    tea.remove("bob", "bob")
    tea.add("ann", "dan")
    tea.remove("ann", "ann")
    assert tea.members() == {"cid": "owner", "dan": "member"}


def test_ownership_does_not_pass_while_there_is_another_owner(tea):
    tea.role("ann", "cid", Role.OWNER)
    tea.remove("ann", "ann")
    assert tea.members() == {"bob": "admin", "cid": "owner"}
    assert tea.log()[-1] == ("left", "ann")


def test_the_last_one_leaves(tea):
    for user in ("cid", "bob", "ann"):
        tea.remove(user, user)
    assert tea.members() == {}


def test_an_erased_user_leaves_all_groups(tea):
    other = tea.group("dan", "ann")
    tea.post("ann", "bob", "hello")
    tea.do(tea.groups.leave_all("ann"))
    assert tea.members() == {"bob": "owner", "cid": "member"}
    assert list(tea.core.rooms.get(other).active()) == ["dan"]
    assert list(tea.core.rooms.get("ann:bob").active()) == ["ann", "bob"]


# ----------------------------------------------------------------------------- settings


def test_title_and_about_change(tea):
    tea.change("bob", title=" Teatime ", about="at five")
    assert (tea.room.title, tea.room.about) == ("Teatime", "at five")
    assert [kind for kind, _ in tea.log()[-2:]] == ["title", "about"]
    tea.change("bob", about="")
    assert tea.room.about == ""
    for wish in ({"title": " "}, {"title": "x" * 101}, {"about": "x" * 513}):
        with pytest.raises(BadRequest):
            tea.change("bob", **wish)


def test_only_admins_send_where_it_is_announced(tea):
    tea.change("ann", announce=True)
    with pytest.raises(Forbidden):
        tea.post("cid", tea.chat, "may I")
    assert tea.post("bob", tea.chat, "five o'clock").seq
    tea.change("ann", announce=False)
    assert tea.post("cid", tea.chat, "thank you").seq


# -------------------------------------------------------------------------- invitations


def test_who_has_the_code_joins(tea):
    dan = tea.connect("dan")
    assert tea.join("dan", tea.invite("bob")) == tea.chat
    assert tea.members()["dan"] == "member"
    assert tea.log()[-1] == ("joined", "dan")
    tea.post("ann", tea.chat, "welcome")
    assert dan.texts() == ["joined", "welcome"]


def test_who_is_a_member_stays_one(tea):
    before = tea.log()
    code = tea.invite("ann")
    assert tea.join("bob", code) == tea.chat
    assert tea.log() == before
    assert tea.members()["bob"] == "admin"


def test_a_new_code_makes_the_old_one_void(tea):
    old, new = tea.invite("ann"), tea.invite("ann")
    with pytest.raises(NotFound):
        tea.join("dan", old)
    tea.join("dan", new)


def test_a_revoked_code_is_void(tea):
    code = tea.invite("ann")
    tea.do(tea.groups.revoke_invite(tea.by("ann"), tea.chat))
    with pytest.raises(NotFound):
        tea.join("dan", code)


@pytest.mark.parametrize("code", ["", "nonsense", "x" * 200])
def test_a_code_that_is_none(tea, code):
    with pytest.raises(NotFound):
        tea.join("dan", code)


def test_a_full_group_takes_nobody():
    tea = Tea(members_max=3)
    code = tea.invite("ann")
    with pytest.raises(GroupFull):
        tea.join("dan", code)


# ------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("chat", [NO_GROUP, "ann:bob", "nonsense"])
def test_what_is_no_group_of_theirs_is_not_found(tea, chat):
    tea.post("ann", "bob", "hello")
    with pytest.raises(NotFound):
        tea.do(tea.groups.remove(tea.by("ann"), chat, "bob"))


def test_a_change_that_was_not_stored_did_not_happen(tea):
    tea.next("append", FAIL_BEFORE)
    with pytest.raises(Unavailable):
        tea.remove("ann", "cid")
    tea.tick()
    assert "cid" in tea.members()
    assert tea.post("cid", tea.chat, "still here").seq


def test_a_change_that_was_stored_without_our_knowing_holds(tea):
    cid = tea.connect("cid")
    cid.take()
    tea.next("append", FAIL_AFTER)
    with pytest.raises(Unavailable):
        tea.remove("ann", "cid")
    tea.tick()
    assert "cid" not in tea.members()
    tea.post("ann", tea.chat, "without cid")
    assert cid.texts() == []


def test_a_group_that_was_created_without_our_knowing_is_there():
    world = World(*USERS)
    bob = world.connect("bob")
    world.next("append", FAIL_AFTER)
    with pytest.raises(Unavailable):
        world.group("ann", "bob")
    world.tick()
    assert bob.texts() == ["created"]


def test_two_changes_at_once_are_one_after_the_other(tea):
    tea.next("append", WAIT_AFTER)
    first = tea.begin(tea.groups.remove(tea.by("ann"), tea.chat, "cid"))
    second = tea.begin(tea.groups.remove(tea.by("bob"), tea.chat, "cid"))
    tea.go_on()
    assert first == [None]
    assert isinstance(second[0], NotFound)
