"""Who is who: registration, login, tokens, devices, passwords, the end of an account.

A login makes a device with a token of its own: 256 random bits of which only the SHA-256 is
kept, here and in the store. A token dies with its device: by logout, by another device or
the operator, by age, by a change of the password, or because the user logs in on more than
`devices_per_user_max` devices (then the device that was longest unused goes).

To log in says the same, after the same work, whether the user does not exist or the password
is wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from whatsapp import config
from whatsapp.accounts import Accounts
from whatsapp.clock import Clock, Scheduler
from whatsapp.errors import (
    Answer,
    BadCredentials,
    Forbidden,
    NotFound,
    Unauthorized,
    Unavailable,
    UserExists,
    WeakPassword,
)
from whatsapp.interfaces import DeviceStore
from whatsapp.logins import Logins
from whatsapp.model import NAME_CHARACTERS_MAX, Account, Actor, Device, plain, user_id
from whatsapp.rates import Delays, Rates, address_key
from whatsapp.resources import DeviceInfo, LoggedIn

log = logging.getLogger(__name__)

PASSWORD_BYTES_MAX = 1024
TOKEN_CHARACTERS_MAX = 128
UNNAMED_DEVICE = "unnamed device"


class Hasher(Protocol):
    """What `passwords.py` does. Each may raise `Busy`."""

    async def hash(self, password: str) -> str: ...
    # An empty hash is nobody's: False, after the same time.
    async def verify(self, hashed: str, password: str) -> bool: ...
    def needs_rehash(self, hashed: str) -> bool: ...


class Outside(Struct, frozen=True, kw_only=True):
    """All that comes in from outside.

    `new_token`: 256 random bits, URL-safe. `revoke(user, devices)` closes the sockets of
    these devices with 4010; `ended(user, devices, sure)` tells other instances (not `sure`: the
    store did not say). `erased(user)` takes a user out of its groups, while it still exists;
    `gone(user)` is called once it does not.
    """

    clock: Clock
    scheduler: Scheduler
    accounts: Accounts
    devices: DeviceStore
    passwords: Hasher
    common_passwords: Collection[str]
    rates: Rates
    new_token: Callable[[], str]
    new_id: Callable[[], str]
    revoke: Callable[[str, Collection[str]], None]
    erased: Callable[[str], Awaitable[None]]
    gone: Callable[[str], None]
    ended: Callable[[str, Collection[str], bool], None] = lambda *_: None


class Auth:
    """All of it may raise `Unavailable`; what hashes a password, `Busy` too."""

    def __init__(self, settings: config.Auth, outside: Outside) -> None:
        self._settings = settings
        self._out = outside
        self._clock = outside.clock
        self._accounts = outside.accounts
        self._devices = outside.devices
        self._passwords = outside.passwords
        self.delays = Delays(settings, outside.clock)
        self.logins = Logins(settings, outside.clock)
        self._flushing = False

    async def register(
        self, user: str, password: str, name: str | None, invite: str | None, address: str
    ) -> Account:
        """A new account. `user` as it was typed: without a name it is shown so."""
        self._out.rates.take("registrations", address_key(address))
        self._admit(invite)
        return await self.add_user(user, password, name)

    async def add_user(self, user: str, password: str, name: str | None = None) -> Account:
        """By the operator: needs no invitation, but a good password too."""
        canonical = user_id(user)
        shown = _cleaned(user if name is None else name, "the name")
        self._check_strength(canonical, password)
        taken = UserExists(f"the user id {canonical} is taken; choose another one")
        if canonical in await self._accounts.find([canonical]):
            raise taken
        account = Account(
            user=canonical,
            name=shown,
            password_hash=await self._passwords.hash(password),
            created_ms=self._clock.now_ms(),
        )
        if not await self._accounts.create(account):
            raise taken
        return account

    def _admit(self, invite: str | None) -> None:
        if self._settings.registration == "closed":
            raise Forbidden("this server takes no registrations; ask its operator for an account")
        if self._settings.registration == "open":
            return
        if invite is None:
            raise Forbidden("registration needs an invitation code; ask the server's operator")
        given = _bytes(invite)  # compared with each, in constant time
        same = [hmac.compare_digest(given, _bytes(code)) for code in self._settings.invite_codes]
        if not any(same):
            raise Forbidden("this invitation code is not valid; ask the server's operator")

    def _check_strength(self, user: str, password: str) -> None:
        """Long, and not what everybody tries first. No rules of composition: they do not help."""
        shortest = self._settings.password_characters_min
        if len(password) < shortest:
            raise WeakPassword(f"choose a password of at least {shortest} characters")
        if len(_bytes(password)) > PASSWORD_BYTES_MAX:
            raise WeakPassword(f"choose a password of at most {PASSWORD_BYTES_MAX} bytes")
        if password.lower() == user:
            raise WeakPassword("choose a password that is not your user id")
        if password.lower() in self._out.common_passwords:
            raise WeakPassword("this password is one that everybody tries first; choose another")

    async def login(
        self, user: str, password: str, device_name: str | None, address: str
    ) -> LoggedIn:
        """A new device. `BadCredentials`; `RateLimited` by address, or after wrong passwords."""
        self._out.rates.take("logins", address_key(address))
        user = user_id(user)
        name = _cleaned((device_name or "").strip() or UNNAMED_DEVICE, "the device's name")
        account = await self._verified(user, password, key=user)
        token = self._out.new_token()
        now_ms = self._clock.now_ms()
        device = Device(
            device=self._out.new_id(),
            user=user,
            name=name,
            token_hash=_hash_of(token),
            created_ms=now_ms,
            last_seen_ms=now_ms,
        )
        ticket = self.logins.ticket()
        await self._devices.add(device)
        await self._confirm(account, password, device)
        self.logins.keep(device, ticket)
        await self._trim(device)
        self._renew_hash(account, password)
        return LoggedIn(token=token, user=user, device=device.device)

    def known(self, token: object) -> Actor | None:
        """Whose token this is, if that is in memory; None says nothing: `authenticate`."""
        return None if _malformed(token) else self.logins.get(_hash_of(token))

    async def authenticate(self, token: object) -> Actor:
        """Whose token this is, or `Unauthorized`."""
        refusal = Unauthorized("this token is not valid or no longer; log in again")
        if _malformed(token):
            raise refusal
        token_hash = _hash_of(token)
        if (actor := self.logins.get(token_hash)) is not None:
            return actor
        ticket = self.logins.ticket()
        device = await self._devices.by_token(token_hash)
        if device is None:
            raise refusal
        if self.logins.expired(device):
            await self._end(device.user, [device.device])
            raise refusal
        if (actor := self.logins.keep(device, ticket)) is None:
            raise refusal
        return actor

    def alive(self, actor: Actor) -> bool:
        """False if this device was ended here; for who waited since it knew the actor."""
        return not self.logins.ended(actor.device)

    def saw(self, actor: Actor) -> None:
        """The device is in use, also where it does not show its token again and again."""
        self.logins.saw(actor)

    async def logout(self, actor: Actor) -> None:
        await self._end(actor.user, [actor.device])

    def drop(self, user: str, devices: Collection[str]) -> None:
        """These devices of this user have ended, maybe on another instance."""
        self.logins.end(user, devices)
        self._out.revoke(user, devices)

    async def devices(self, actor: Actor) -> list[DeviceInfo]:
        """The user's devices, oldest first."""
        return [
            DeviceInfo(
                device=device.device,
                name=device.name,
                created=device.created_ms,
                last_seen=self.logins.last_seen_ms(device),
                current=device.device == actor.device,
            )
            for device in await self._devices.of_user(actor.user)
            if not self.logins.expired(device)
        ]

    async def end_device(self, actor: Actor, device: str) -> None:
        if not await self._end(actor.user, [device]):
            raise NotFound("you have no such device")

    async def change_password(self, actor: Actor, old: str, new: str) -> None:
        """The user's other devices are ended."""
        self._check_strength(actor.user, new)
        account = await self._verified(actor.user, old, key=_key(actor))
        hashed = await self._passwords.hash(new)

        def change(current: Account) -> Account:
            if current.password_hash != account.password_hash:
                raise BadCredentials("the password has just been changed; try again with that one")
            return replace(current, password_hash=hashed)

        await self._accounts.edit(actor.user, change)
        await self._end_all(actor.user, but=actor.device)

    async def set_password(self, user: str, password: str) -> None:
        """By the operator. All of the user's devices are ended. `NotFound`."""
        self._check_strength(user, password)
        hashed = await self._passwords.hash(password)
        await self._accounts.edit(user, lambda account: replace(account, password_hash=hashed))
        self.delays.succeeded(user)
        await self._end_all(user)

    async def erase(self, actor: Actor, password: str) -> None:
        """If it fails on the way, it may be repeated: the account goes last."""
        await self._verified(actor.user, password, key=_key(actor))
        await self._remove(actor.user)

    async def remove_user(self, user: str) -> None:
        """By the operator. `NotFound`."""
        if await self._accounts.fresh(user) is None:
            raise NotFound("there is no such user")
        await self._remove(user)

    async def _remove(self, user: str) -> None:
        await self._out.erased(user)
        await self._end_all(user)
        await self._accounts.erase(user)
        if latecomers := self.logins.of_user(user):
            self.drop(user, latecomers)
        self._out.gone(user)

    def tick(self) -> None:
        """Now and then: write when devices were last seen, each at most once a minute."""
        if not self._flushing and self.logins.anything_seen:
            self._flushing = True
            self._out.scheduler.spawn(self._flush())

    async def flush(self) -> None:
        """Write when devices were last seen. Raises `Unavailable`; then it is kept for later."""
        seen = self.logins.take_seen()
        if not seen:
            return
        try:
            await self._devices.saw(seen)
        except Unavailable:
            self.logins.give_back(seen)
            raise

    async def _flush(self) -> None:
        try:
            await self.flush()
        except Unavailable:
            log.debug("last seen of devices not written, kept for later")
        finally:
            self._flushing = False

    async def _verified(self, user: str, password: str, *, key: str) -> Account:
        """The account, or `BadCredentials`. `key`: whose wrong passwords are counted together.

        Why the delay is looked at twice: of many guesses at the same time the first wrong
        ones start it, and the others then learn nothing.
        """
        self.delays.check(key)
        account = await self._accounts.fresh(user)
        hashed = "" if account is None else account.password_hash
        right = await self._passwords.verify(hashed, password)
        self.delays.check(key)
        if account is None or not right:
            self.delays.failed(key)
            raise BadCredentials("the user id or the password is wrong")
        self.delays.succeeded(key)
        return account

    async def _confirm(self, account: Account, password: str, device: Device) -> None:
        """The password was right a moment ago; is it still?

        Who changes a password ends the devices that there are. One that comes just then
        with the old password sees the new one here.
        """
        now = await self._accounts.fresh(account.user)
        if now is not None and now.password_hash == account.password_hash:
            return
        if now is None or not await self._passwords.verify(now.password_hash, password):
            await self._end(account.user, [device.device])
            raise BadCredentials("the password has just been changed; try again with that one")

    async def _trim(self, newest: Device) -> None:
        """End what is expired, and the longest unused devices above the limit."""
        others = [
            device
            for device in await self._devices.of_user(newest.user)
            if device.device != newest.device
        ]
        expired = [device.device for device in others if self.logins.expired(device)]
        living = [device for device in others if device.device not in expired]
        living.sort(key=self.logins.last_seen_ms)
        surplus = max(0, len(living) + 1 - self._settings.devices_per_user_max)
        if gone := expired + [device.device for device in living[:surplus]]:
            await self._end(newest.user, gone)

    def _renew_hash(self, account: Account, password: str) -> None:
        """The settings want other parameters now, and now the password is at hand."""
        if self._passwords.needs_rehash(account.password_hash):
            self._out.scheduler.spawn(self._rehash(account, password))

    async def _rehash(self, account: Account, password: str) -> None:
        try:
            hashed = await self._passwords.hash(password)
            await self._accounts.edit(
                account.user,
                lambda now: (
                    replace(now, password_hash=hashed)
                    if now.password_hash == account.password_hash
                    else now
                ),
            )
        except Answer:
            log.debug("password hash not renewed, the next login tries again")

    async def _end_all(self, user: str, *, but: str = "") -> None:
        devices = await self._devices.of_user(user)
        await self._end(user, [device.device for device in devices if device.device != but])

    async def _end(self, user: str, devices: Collection[str]) -> list[str]:
        """End them in the store, in memory and on the wire. Those that there were.

        If the store fails, they may have ended or not. Their sockets close all the same, and
        their tokens are asked for anew: that is nearer to what was wanted.
        """
        if not devices:
            return []
        ended = None
        try:
            ended = await self._devices.end(user, devices)
        finally:
            self.logins.forget(user, devices)
            self._out.revoke(user, devices)
            if ended != []:  # these may be somebody else's
                self._out.ended(user, ended or devices, ended is not None)
        self.logins.end(user, ended)
        return ended


def _key(actor: Actor) -> str:
    """Guesses from outside must not keep the owner, on a device, from changing the password."""
    return f"{actor.user}/{actor.device}"


def _cleaned(name: str, what: str) -> str:
    return plain(name, what=what, characters_max=NAME_CHARACTERS_MAX)


def _malformed(token: object) -> bool:
    return not isinstance(token, str) or not 0 < len(token) <= TOKEN_CHARACTERS_MAX


def _hash_of(token: object) -> bytes:
    return hashlib.sha256(_bytes(str(token))).digest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
