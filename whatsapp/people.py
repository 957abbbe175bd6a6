"""Profiles, looking people up, blocking. Plain rules; accounts are kept by `accounts.py`.

Looking up is counted (30 a minute, 500 a day, see `rates.py`), so that nobody copies the
list of users. Free are oneself and contacts: users with whom one has talked both ways. To
block counts too, since its answer tells whether a user exists.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from msgspec import UNSET, Struct
from msgspec.structs import replace

from whatsapp.accounts import Accounts
from whatsapp.errors import BadRequest, NotFound, Unauthorized, Unavailable
from whatsapp.model import (
    ABOUT_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    Account,
    Actor,
    plain,
)
from whatsapp.rates import Rates
from whatsapp.resources import (
    PEOPLE_MAX,
    PREFIX_CHARACTERS_MIN,
    Privacy,
    PrivacyChange,
    Profile,
    ProfileChange,
    UserInfo,
    UserName,
)

BLOCKS_MAX = 10_000


class Hooks(Struct, frozen=True, kw_only=True):
    """Whom to tell, once a change is durable."""

    privacy_changed: Callable[[str], None]
    blocks_changed: Callable[[str, str], None]


class People:
    """`contacts(user, others)`: those of `others` that are contacts of `user`."""

    def __init__(
        self,
        accounts: Accounts,
        rates: Rates,
        contacts: Callable[[str, Collection[str]], Awaitable[set[str]]],
        hooks: Hooks,
    ) -> None:
        self._accounts = accounts
        self._rates = rates
        self._contacts = contacts
        self._hooks = hooks

    async def me(self, actor: Actor) -> Profile:
        account = (await self._accounts.find([actor.user])).get(actor.user)
        if account is None or account.erased:
            raise Unauthorized("this account is gone; register a new one")
        return _profile(account)

    async def change(self, actor: Actor, change: ProfileChange) -> Profile:
        """Change what is given. `BadRequest` if any of it cannot be: then nothing is changed."""
        wanted = _wanted(change)
        privacy_before: list[tuple[object, object]] = []

        def apply(account: Account) -> Account:
            privacy_before.append(_privacy_of(account))
            return replace(account, **wanted)

        try:
            account = await self._accounts.edit(actor.user, apply)
        except Unavailable:
            self._hooks.privacy_changed(actor.user)  # it may have happened
            raise
        if privacy_before[-1] != _privacy_of(account):
            self._hooks.privacy_changed(actor.user)
        return _profile(account)

    async def search(self, actor: Actor, q: str, limit: int) -> list[UserName]:
        """Users whose id or name begins with `q`, by id."""
        prefix = q.strip()
        if len(prefix) < PREFIX_CHARACTERS_MIN:
            raise BadRequest(f"give at least {PREFIX_CHARACTERS_MIN} characters to search for")
        if len(prefix) > NAME_CHARACTERS_MAX:
            raise BadRequest(f"search for at most {NAME_CHARACTERS_MAX} characters")
        if not 1 <= limit <= PEOPLE_MAX:
            raise BadRequest(f"the limit is 1 to {PEOPLE_MAX}")
        self._rates.take("lookups", actor.user)
        found = await self._accounts.search(prefix, limit)
        return [UserName(user=account.user, name=account.name) for account in found]

    async def show(self, actor: Actor, user: str) -> UserInfo:
        """`NotFound` where there is no such user, or no more."""
        account = await self._look_up(actor, user)
        return UserInfo(user=account.user, name=account.name, about=account.about)

    async def block(self, actor: Actor, user: str) -> None:
        """Repeatable. From now on `user` sees nothing of this and `actor` nothing of `user`."""
        if user == actor.user:
            raise BadRequest("you cannot block yourself")
        await self._look_up(actor, user)
        if len(await self._accounts.blocks(actor.user)) >= BLOCKS_MAX:
            raise BadRequest(f"you block {BLOCKS_MAX} users already; unblock some first")
        await self._block(actor.user, user, on=True)

    async def unblock(self, actor: Actor, user: str) -> None:
        """Repeatable. Somebody who is not blocked, or does not exist: no effect."""
        await self._block(actor.user, user, on=False)

    async def _block(self, user: str, other: str, *, on: bool) -> None:
        try:
            changed = await self._accounts.block(user, other, on=on)
        except Unavailable:
            self._hooks.blocks_changed(user, other)  # it may have happened
            raise
        if changed:
            self._hooks.blocks_changed(user, other)

    async def blocks(self, actor: Actor) -> list[str]:
        return sorted(await self._accounts.blocks(actor.user))

    async def _look_up(self, actor: Actor, user: str) -> Account:
        if user != actor.user and not await self._contacts(actor.user, [user]):
            self._rates.take("lookups", actor.user)
        account = (await self._accounts.find([user])).get(user)
        if account is None or account.erased:
            raise NotFound("there is no such user")
        return account


def _wanted(change: ProfileChange) -> dict[str, object]:
    """The members of `Account` to replace, checked."""
    wanted: dict[str, object] = {}
    if change.name is not UNSET:
        wanted["name"] = plain(change.name, what="the name", characters_max=NAME_CHARACTERS_MAX)
    if change.about is not UNSET:
        wanted["about"] = plain(
            change.about, what="the about text", characters_max=ABOUT_CHARACTERS_MAX, empty=True
        )
    privacy = PrivacyChange() if change.privacy is UNSET else change.privacy
    if privacy.last_seen is not UNSET:
        wanted["last_seen_visible"] = privacy.last_seen
    if privacy.receipts is not UNSET:
        wanted["receipts"] = privacy.receipts
    return wanted


def _privacy_of(account: Account) -> tuple[object, object]:
    return account.last_seen_visible, account.receipts


def _profile(account: Account) -> Profile:
    return Profile(
        user=account.user,
        name=account.name,
        about=account.about,
        privacy=Privacy(last_seen=account.last_seen_visible, receipts=account.receipts),
    )
