"""What a change does to members; what the stores make of it is in `tests/contracts/`."""

from __future__ import annotations

from whatsapp.changes import changed_members, named
from whatsapp.model import Change, Member, Role

ANN = Member(user="ann", role=Role.OWNER, joined=1, received=4, read=3)
GONE = Member(user="bob", joined=2, left=5, received=5)


def test_who_joins_sees_from_that_entry_on():
    members = changed_members({}, Change(joins=(("ann", Role.OWNER),)), 7)
    assert members == {"ann": Member(user="ann", role=Role.OWNER, joined=7)}


def test_who_is_there_does_not_join_again():
    assert changed_members({"ann": ANN}, Change(joins=(("ann", Role.MEMBER),)), 7) == {}


def test_who_comes_back_keeps_what_it_could_see_and_its_cursors():
    bob = changed_members({"bob": GONE}, Change(joins=(("bob", Role.ADMIN),)), 9)["bob"]
    assert (bob.joined, bob.left, bob.spans) == (9, 0, ((2, 5),))
    assert (bob.role, bob.received) == (Role.ADMIN, 5)


def test_who_leaves_has_no_role_any_more():
    ann = changed_members({"ann": ANN}, Change(leaves=("ann",)), 8)["ann"]
    assert (ann.left, ann.role, ann.read) == (8, Role.MEMBER, 3)


def test_who_is_gone_neither_leaves_nor_gets_a_role():
    change = Change(leaves=("bob", "nobody"), roles=(("bob", Role.OWNER), ("nobody", Role.OWNER)))
    assert changed_members({"bob": GONE}, change, 8) == {}


def test_one_change_does_all_its_parts_in_their_order():
    cid = Member(user="cid", joined=3)
    change = Change(leaves=("ann",), roles=(("cid", Role.OWNER),))
    members = changed_members({"ann": ANN, "cid": cid}, change, 8)
    assert (members["ann"].left, members["cid"].role) == (8, Role.OWNER)
    assert named(change) == {"ann", "cid"}
