"""The promises that backends make. Mostly prose: what a promise says, the contract suite tests.

Every method may raise `Unavailable` (nothing was changed, or the outcome is unknown and the
same call may be made again) and nothing of a driver's. Every call that takes several things
is as good as the calls one by one in that order, and cheaper. "Durable" means: survives
kill -9 of this process and, where `Stores.durable` is true, loss of power.

A backend module offers one async context manager, `open_stores(settings)`, that yields
`Stores` and closes them; there is nothing to start or to forget. A method that was cancelled
while it waited has either happened or not, and has not left the backend broken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from msgspec import Struct

from whatsapp.model import (
    Account,
    Chat,
    ChatLine,
    CursorMove,
    Device,
    Draft,
    Entry,
    Outcome,
    Page,
    Position,
    Scope,
)
from whatsapp.words import Terms


class AccountStore(Protocol):
    """Users, their profiles and whom they block."""

    async def create(self, account: Account) -> bool:
        """Store a new account, durably. False (and no change) where the id was ever taken.

        Of concurrent calls with one id exactly one gets True. Erased ids stay taken.
        """
        ...

    async def find(self, users: Collection[str]) -> dict[str, Account]:
        """The accounts of those ids that exist, erased ones (`erased=True`) included."""
        ...

    async def update(self, before: Account, after: Account) -> bool:
        """Replace an account that is as `before`, durably; when it was last seen stays.

        False, and no change, where it is otherwise (another was quicker), erased or absent.
        """
        ...

    async def saw(self, times_ms: dict[str, int]) -> None:
        """Move `last_seen_ms` of these users forward. Not durable at once: a crash may lose it."""
        ...

    async def search(self, prefix: str, limit: int) -> list[Account]:
        """Accounts, not erased, whose id or name begins with `prefix`, without regard to case.

        By id, at most `limit`. `prefix` is plain text: no character in it is special.
        An empty prefix lists all.
        """
        ...

    async def erase(self, user: str) -> None:
        """Forget profile, password, devices and blocks of and by `user`; keep the tombstone."""
        ...

    async def block(self, user: str, other: str, *, on: bool) -> None:
        """`user` blocks `other`, or no longer does; durable, repeatable."""
        ...

    async def blocks(self, user: str) -> set[str]:
        """Whom `user` blocks."""
        ...


class DeviceStore(Protocol):
    """Logins. A device exists as long as its token is good; ending one is durable."""

    async def add(self, device: Device) -> None:
        """Store a new device, durably."""
        ...

    async def by_token(self, token_hash: bytes) -> Device | None:
        """The device with this token's hash; an ended one is None at once."""
        ...

    async def of_user(self, user: str) -> list[Device]:
        """The user's devices, oldest first."""
        ...

    async def end(self, user: str, devices: Collection[str]) -> list[str]:
        """End these devices of this user, durably; their cursors go too. Those that existed."""
        ...

    async def saw(self, times_ms: dict[str, int]) -> None:
        """Move `last_seen_ms` of these devices forward. A crash may lose it."""
        ...


class MessageStore(Protocol):
    """The logs. An entry, once stored, never changes; but for its text, which may `expire`."""

    async def append(self, drafts: Sequence[Draft]) -> list[Outcome]:
        """Commit drafts; their outcomes in the same order. When it returns, all is durable.

        Order: drafts of one chat get ascending seqs in the order given, without holes, from
        1 on; no two entries ever share (chat, seq). Of one chat's drafts that are given in
        concurrent calls the order is any, the rest holds.
        Repetition: a draft whose (chat, sender, id) is stored already, or stands earlier in
        the same call, takes no seq: `Duplicate` with the first entry, whatever its content,
        and its change is not applied.
        Change: an entry's `change` is applied with it, and the chat's epoch becomes its seq.
        A draft whose `epoch` is below the chat's epoch is `Stale`, unless it is a duplicate;
        within one call the epochs that earlier drafts of this call set are forgiven (a group
        is created by a `created` and an `added` entry in one call).
        A chat comes to be with its first entry: a direct one with its users as members.
        Atomicity: when it raises, none, some or all were committed, per chat a prefix; a
        repeat with the same ids ends in the same state as one call that succeeded.
        Cancellation of the caller does not undo or tear what was begun.
        """
        ...

    async def find(self, chat: str, sender: str, message_id: str) -> Entry | None:
        """The entry that `sender` stored in `chat` with this id."""
        ...

    async def pages(self, wishes: Sequence[Page]) -> list[list[Entry]]:
        """For each wish its entries, ascending by seq, at most `limit`, without holes.

        `after=n`: n+1, n+2 …; `before=n`: the newest ones below n. An unknown chat: [].
        Sees all that was appended before the call.
        """
        ...

    async def search(
        self,
        terms: Terms,
        scopes: Sequence[Scope],
        *,
        sender: str | None,
        before_ms: int | None,
        limit: int,
    ) -> list[Entry]:
        """Text entries that match all terms, newest first, at most `limit`.

        Only in these scopes, only seqs that their member sees, never hidden entries of
        others. `sender`: only by this user. `before_ms`: only older than this time.
        What was appended before the call is found, indexed or not. Work is bounded: a query
        that matches a great many entries costs no more than reading some thousands.
        """
        ...

    async def expire(self, before_ms: int, entries_max: int) -> int:
        """Empty the texts of the oldest entries, stored before then, for good; durable.

        How many entries it came past in this call, at most `entries_max`; 0: no more are so
        old. All else of an entry stays, so that seqs have no hole and its id stays taken. No
        search finds it. Repeatable, and any number of instances may do it at once.
        """
        ...


class ChatStore(Protocol):
    """What belongs to chats beside their entries: members, cursors, invitations."""

    async def load(self, chats: Collection[str]) -> dict[str, Chat]:
        """Those of these chats that have an entry, as of one moment each."""
        ...

    async def of_user(self, user: str, device: str) -> list[Position]:
        """Every chat that `user` is an active member of, with the device's own cursor.

        A device that has none there stands at 0. `peer` is the other one of a direct chat
        (None in a note to self and in groups).
        """
        ...

    async def lines(self, user: str, *, limit: int, before_ms: int | None) -> list[ChatLine]:
        """The user's list of chats (former groups too), newest activity first.

        Activity is the time of `last`, the newest entry that the user may see; a chat in
        which it may see none is left out. `before_ms`: only activity before this time.
        `unread`: entries of others that the user may see with a seq above its read cursor,
        counted up to 999; 0 in a chat that the user has left.
        """
        ...

    async def advance(self, moves: Sequence[CursorMove]) -> None:
        """Move cursors (see `CursorMove`), durable within a second.

        A move for a chat or member that does not exist has no effect.
        """
        ...

    async def set_invite(self, chat: str, code: str) -> None:
        """The group's one invitation, durable; an empty code revokes it."""
        ...

    async def by_invite(self, code: str) -> str | None:
        """The group that this code invites to."""
        ...

    async def contacts(self, user: str, others: Collection[str]) -> set[str]:
        """Those of `others` with whom `user` has a direct chat with text both ways, unhidden."""
        ...


class Figure(Struct, frozen=True):
    """A number that a backend wants to be seen: on `/metrics`, as a gauge named `whatsapp_…`.

    `read` does not wait. None, or an `OSError`: there is nothing to say at this moment.
    """

    name: str
    about: str
    read: Callable[[], float | None]


def _nothing() -> list[str]:
    return []


class Stores(Struct, frozen=True, kw_only=True):
    """A backend's stores, and what it cannot do, as values.

    `missing` names what keeps the backend from storing, as far as it knows without waiting
    ("disk"); `/readyz` shows it. That its calls fail is seen without its help.
    """

    accounts: AccountStore
    devices: DeviceStore
    messages: MessageStore
    chats: ChatStore
    durable: bool
    figures: tuple[Figure, ...] = ()
    missing: Callable[[], list[str]] = _nothing


class Instance(Struct, frozen=True, kw_only=True):
    """One running server: its name, where the others reach it, and which start of it this is."""

    name: str
    address: str
    epoch: int


class Directory(Protocol):
    """The user detector: who is on which instance. Its answers may be seconds old.

    One `Directory` speaks for one instance. It is opened by `open_directory(settings,
    instance)`; closing it withdraws everything that the instance announced.

    `announce` and `withdraw` state a wish, and the wish is kept: where one raises
    `Unavailable` (after a second and a millisecond for each user, at most), the directory
    makes it so by itself as soon as it can, and again whenever it was lost. Nobody repeats it.

    An instance that crashed or whose event loop hangs is gone after a while, and with it all
    that it announced; one that is back is back with its users, without being asked.
    """

    async def announce(self, users: Collection[str]) -> None:
        """These users are on this instance (now too: a user may be on several). Repeatable."""
        ...

    async def withdraw(self, users: Collection[str]) -> None:
        """These users are no longer on this instance. Absent ones: no effect."""
        ...

    async def locate(self, users: Collection[str]) -> dict[str, list[str]]:
        """For each user that is somewhere the names of the live instances it is on.

        Sees what this `Directory` has announced. While it is away it raises at once.
        """
        ...

    async def instances(self) -> list[Instance]:
        """The live instances, this one included, by name."""
        ...

    def watch(self, users: Collection[str], changed: Callable[[str], None]) -> Callable[[], None]:
        """Call `changed(user)` soon after one of these comes or goes, until the result is called.

        Who calls `locate` after this misses nothing: what changes after that answer is told.
        A call tells to look, no more: it may come once for several changes, and for none.
        After the directory was away it comes for all.
        """
        ...

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed()` soon after instances came or went, or this directory was lost or
        regained; what was to be told in between may have been missed.
        """
        ...

    def healthy(self) -> bool:
        """Can it be asked now?"""
        ...
