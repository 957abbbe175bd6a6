"""What another instance's hints do here beyond rooms and sessions: logins, accounts, presence."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from whatsapp.accounts import Accounts
from whatsapp.auth import Auth
from whatsapp.hub import Hub
from whatsapp.interfaces import DeviceStore
from whatsapp.positions import Positions
from whatsapp.presence import Presences
from whatsapp.room import Rooms
from whatsapp.session import Session


class OfHints(Struct, frozen=True, kw_only=True):
    """`hearing.Effects`, over the modules whose they are."""

    accounts: Accounts
    auth: Auth
    devices: DeviceStore
    hub: Hub
    positions: Positions
    presences: Presences
    rooms: Rooms

    def forget(self, user: str) -> None:
        self.accounts.forget(user)
        self.auth.logins.forget(user, self.auth.logins.of_user(user))  # it may be gone
        self.rooms.unrelate(user)
        self.presences.refresh(user)

    def forget_all(self) -> None:
        self.accounts.forget_all()
        self.auth.logins.forget_all()
        self.rooms.unrelate_all()

    def ended(self, user: str, devices: Collection[str], sure: bool) -> None:  # noqa: FBT001 — a callback
        if sure:
            self.auth.drop(user, devices)
        else:
            self.auth.logins.forget(user, devices)
            self.hub.revoke(user, devices)

    def elsewhere(self) -> None:
        self.presences.elsewhere()

    async def look_again(self, session: Session) -> None:
        """At its chats, and whether its device has not been logged out."""
        devices = await self.devices.of_user(session.user)
        if all(device.device != session.device for device in devices):
            self.auth.drop(session.user, [session.device])
        await self.positions.look_again(session)
