"""What a chat's log says of its members, title and epoch: told again, entry by entry.

A store keeps those beside the log; `check.py` compares. Two things the log alone does not
tell, where a server died between two entries of one act, are taken from the store: who was
there from the first entry on, and who inherited the group from its last owner.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from whatsapp.changes import changed_members
from whatsapp.model import Change, Chat, Entry, Event, Member, Role, pair

NOTHING = Event()


class Replay:
    """Give it the entries in order, then ask what the store has otherwise."""

    def __init__(self, stored: Chat) -> None:
        self._stored = stored
        self._direct = pair(stored.chat)
        self._heirs_unsaid = 0
        self.members: dict[str, Member] = {}
        self.title = ""
        self.about = ""
        self.announce = False
        self.epoch = 0
        for user in self._direct or ():
            self.members[user] = Member(user=user)

    def take(self, entry: Entry) -> None:
        """The next entry."""
        change = None if self._direct else self._change(entry)
        if change is None:
            return
        self.epoch = entry.seq
        self.title = self.title if change.title is None else change.title
        self.about = self.about if change.about is None else change.about
        self.announce = self.announce if change.announce is None else change.announce
        self.members |= changed_members(self.members, change, entry.seq)

    def differences(self) -> Iterator[str]:
        """In plain words, what the store says otherwise than the log."""
        stored = self._stored
        for what in ("title", "about", "announce", "epoch"):
            said, kept = getattr(self, what), getattr(stored, what)
            if said != kept:
                yield f"its {what} is {kept!r}, and by its log {said!r}"
        for user in sorted(self.members.keys() - stored.members.keys()):
            yield f"{user} is no member, and by its log is or was one"
        for user in sorted(stored.members.keys() - self.members.keys()):
            yield f"{user} is a member, and its log knows nothing of that"
        for user in sorted(stored.members.keys() & self.members.keys()):
            yield from self._member(self.members[user], stored.members[user])

    def _member(self, said: Member, kept: Member) -> Iterator[str]:
        for what in ("joined", "left", "spans"):
            if getattr(said, what) != getattr(kept, what):
                yield (
                    f"{kept.user}'s {what} is {getattr(kept, what)!r},"
                    f" and by its log {getattr(said, what)!r}"
                )
        if said.role is not kept.role:
            if kept.role is Role.OWNER and self._heirs_unsaid:
                self._heirs_unsaid -= 1
                return
            yield f"{kept.user} is {kept.role}, and by its log {said.role}"

    def _change(self, entry: Entry) -> Change | None:
        """What the entry changed when it was stored; None where it only tells."""
        event, sender = entry.event or NOTHING, entry.sender
        change: Change | None = None
        match entry.kind:
            case "created":
                change = Change(title=event.title, joins=self._founders(sender))
            case "added" if not all(self._active(user) for user in event.users):
                change = Change(joins=tuple((user, Role.MEMBER) for user in event.users))
            case "joined":
                change = Change(joins=((sender, Role.MEMBER),))
            case "removed":
                change = Change(leaves=event.users)
            case "left":
                change = self._left(sender)
            case "title" | "about" | "announce":
                change = Change(title=event.title, about=event.about, announce=event.on)
            case "role" if event.user is not None and event.role is not None:
                change = self._role(sender, event.user, event.role)
        return change

    def _founders(self, creator: str) -> tuple[tuple[str, Role], ...]:
        """The creator, and whom the store has from the first entry on; `added` names them after."""
        first = (
            member.user
            for member in self._stored.members.values()
            if (member.spans[0][0] if member.spans else member.joined) == 1
        )
        others = ((user, Role.MEMBER) for user in first if user != creator)
        return ((creator, Role.OWNER), *others)

    def _left(self, user: str) -> Change:
        """The last owner's heir is said by an entry after this one, unless the server died."""
        owners = [m.user for m in self.members.values() if m.active and m.role is Role.OWNER]
        others = any(m.active and m.user != user for m in self.members.values())
        self._heirs_unsaid += others and owners == [user]
        return Change(leaves=(user,))

    def _role(self, sender: str, user: str, role: Role) -> Change | None:
        if self._active(sender):
            return Change(roles=((user, role),))
        # Said by one who has left: whom it left the group to. That was changed with `left`.
        self._heirs_unsaid = max(0, self._heirs_unsaid - 1)
        if self._active(user):
            self.members[user] = replace(self.members[user], role=role)
        return None

    def _active(self, user: str) -> bool:
        member = self.members.get(user)
        return member is not None and member.active
