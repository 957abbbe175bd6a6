"""What an entry's change does to a chat's members: one answer for rooms and every backend."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from whatsapp.model import Change, Member, Role


def changed_members(members: Mapping[str, Member], change: Change, seq: int) -> dict[str, Member]:
    """The members that are new or different after `change` in the entry `seq`.

    `members` need only have those that the change names. Who is active already does not join
    again, who is not does not leave and gets no role. Who comes back keeps, as a span, what
    it could see, and its cursors. Who leaves has no role any more.
    """
    result: dict[str, Member] = {}
    for user, role in change.joins:
        member = result.get(user) or members.get(user)
        if member is None:
            result[user] = Member(user=user, role=role, joined=seq)
        elif not member.active:
            spans = (*member.spans, (member.joined, member.left))
            result[user] = replace(member, role=role, joined=seq, left=0, spans=spans)
    for user in change.leaves:
        member = result.get(user) or members.get(user)
        if member is not None and member.active:
            result[user] = replace(member, left=seq, role=Role.MEMBER)
    for user, role in change.roles:
        member = result.get(user) or members.get(user)
        if member is not None and member.active:
            result[user] = replace(member, role=role)
    return result


def named(change: Change) -> set[str]:
    """The users whom the change names."""
    joins, roles = (user for user, _ in change.joins), (user for user, _ in change.roles)
    return {*joins, *change.leaves, *roles}
