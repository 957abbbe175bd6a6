"""The devices that this instance knows by their token's hash, when they were last seen, and
which of them have ended.

A token is looked up here at each request and each opening of a socket, so it costs a hash
and a look into a table. The lives of tokens are days and survive a restart: they go by the
clock that may jump.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from whatsapp import config
from whatsapp.clock import Clock
from whatsapp.model import Actor, Device

CACHED_MAX = 100_000
ENDED_MAX = 100_000
SEEN_MAX = 100_000
SEEN_EVERY_MS = 60_000
DAY_MS = 86_400_000


class _Login:
    """`noted_ms`: the time of use that was written, or is to be written next.

    `before_ms`: when it was last seen before this instance knew it.
    """

    __slots__ = ("actor", "before_ms", "created_ms", "noted_ms", "seen_ms", "token_hash")

    def __init__(self, device: Device) -> None:
        self.actor = Actor(device.user, device.device)
        self.token_hash = device.token_hash
        self.created_ms = device.created_ms
        self.seen_ms = device.last_seen_ms
        self.noted_ms = device.last_seen_ms
        self.before_ms = device.last_seen_ms


class Logins:
    """At most `cached_max`; the longest unused go first, and are read from the store again."""

    def __init__(
        self, settings: config.Auth, clock: Clock, *, cached_max: int = CACHED_MAX
    ) -> None:
        self._idle_ms = int(settings.token_idle_days * DAY_MS)
        self._absolute_ms = int(settings.token_absolute_days * DAY_MS)
        self._clock = clock
        self._cached_max = cached_max
        self._by_hash: OrderedDict[bytes, _Login] = OrderedDict()
        self._by_user: dict[str, dict[str, _Login]] = {}
        self._seen: dict[str, int] = {}
        # Ids of devices are never used twice, so an ended one stays ended. Why it is kept: a
        # reading of the store that began before the end must not bring the device back.
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._forgotten = 0

    def get(self, token_hash: bytes) -> Actor | None:
        """The device with this token, now seen; None if unknown here or expired."""
        login = self._by_hash.get(token_hash)
        if login is None:
            return None
        now_ms = self._clock.now_ms()
        if self._too_old(login.created_ms, login.seen_ms, now_ms):
            self._remove(login)
            return None
        self._by_hash.move_to_end(token_hash)
        self._note(login, now_ms)
        return login.actor

    def ticket(self) -> int:
        """Take one before reading a device, and give it to `keep`."""
        return self._forgotten

    def keep(self, device: Device, ticket: int) -> Actor | None:
        """Know this device, as the store had it, now seen. None: it has ended since.

        Where others were to be asked for again meanwhile, so is this one: it is not kept.
        """
        if device.device in self._ended:
            return None
        login = self._by_hash.get(device.token_hash)
        if login is None and ticket != self._forgotten:
            return Actor(device.user, device.device)
        if login is None:
            login = self._by_hash[device.token_hash] = _Login(device)
            self._by_user.setdefault(device.user, {})[device.device] = login
            if len(self._by_hash) > self._cached_max:
                self._remove(next(iter(self._by_hash.values())))
        self._note(login, self._clock.now_ms())
        return login.actor

    def forget(self, user: str, devices: Collection[str]) -> None:
        """Ask the store about these again."""
        self._forgotten += 1
        known = self._by_user.get(user, {})
        for login in [known[device] for device in devices if device in known]:
            self._remove(login)

    def forget_all(self) -> None:
        """Ask the store about all of them again."""
        self._forgotten += 1
        self._by_hash.clear()
        self._by_user.clear()

    def end(self, user: str, devices: Collection[str]) -> None:
        """These devices of this user have ended."""
        self.forget(user, devices)
        for device in devices:
            self._ended[device] = None
            self._seen.pop(device, None)
        while len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)

    def ended(self, device: str) -> bool:
        return device in self._ended

    def of_user(self, user: str) -> list[str]:
        """The ids of the user's devices that are known here."""
        return list(self._by_user.get(user, ()))

    def expired(self, device: Device) -> bool:
        last_seen_ms = self.last_seen_ms(device)
        return self._too_old(device.created_ms, last_seen_ms, self._clock.now_ms())

    def last_seen_ms(self, device: Device) -> int:
        """When the device was last seen, here or as the store says."""
        login = self._by_user.get(device.user, {}).get(device.device)
        here = self._seen.get(device.device, 0) if login is None else login.seen_ms
        return max(device.last_seen_ms, here)

    def seen_before_ms(self, actor: Actor) -> int:
        """When the device was last seen before this instance knew it; now if it is unknown."""
        login = self._by_user.get(actor.user, {}).get(actor.device)
        return self._clock.now_ms() if login is None else login.before_ms

    def left(self, actor: Actor) -> None:
        """The device's connection has ended: that time is written, to the millisecond."""
        self.saw(actor)
        if actor.device not in self._ended:
            self._write_later(actor.device, self._clock.now_ms())

    def saw(self, actor: Actor) -> None:
        now_ms = self._clock.now_ms()
        login = self._by_user.get(actor.user, {}).get(actor.device)
        if login is not None:
            self._note(login, now_ms)
        elif actor.device not in self._ended:
            self._write_later(actor.device, now_ms)

    @property
    def anything_seen(self) -> bool:
        return bool(self._seen)

    def take_seen(self) -> dict[str, int]:
        """What is to be written; it is the caller's now."""
        seen, self._seen = self._seen, {}
        return seen

    def give_back(self, seen: dict[str, int]) -> None:
        """It could not be written."""
        for device, time_ms in seen.items():
            if device not in self._ended:
                self._write_later(device, max(time_ms, self._seen.get(device, 0)))

    def _note(self, login: _Login, now_ms: int) -> None:
        login.seen_ms = max(login.seen_ms, now_ms)
        if now_ms - login.noted_ms >= SEEN_EVERY_MS:
            login.noted_ms = now_ms
            self._write_later(login.actor.device, now_ms)

    def _write_later(self, device: str, time_ms: int) -> None:
        # Above the limit (the store was away for long) it is not written: it is seen again.
        if device in self._seen or len(self._seen) < SEEN_MAX:
            self._seen[device] = time_ms

    def _too_old(self, created_ms: int, last_seen_ms: int, now_ms: int) -> bool:
        return now_ms - created_ms > self._absolute_ms or now_ms - last_seen_ms > self._idle_ms

    def _remove(self, login: _Login) -> None:
        del self._by_hash[login.token_hash]
        mine = self._by_user[login.actor.user]
        del mine[login.actor.device]
        if not mine:
            del self._by_user[login.actor.user]
