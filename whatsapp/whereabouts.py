"""Where a message is: stored or not, who may see it, which device has it, who has read it.

Told from the stores alone, of any backend, while the server runs or not. So it is what was
written: a cursor that moved in the last quarter of a second is still in the memory of a
server, and so is what was pushed and not acknowledged. When each device got a message is not
kept anywhere; a member's cursors have the time at which they last moved, which is an upper
bound. The text of the message is never told.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from whatsapp.app import open_reading
from whatsapp.config import Config
from whatsapp.errors import StartupError
from whatsapp.interfaces import Stores
from whatsapp.model import Chat, Device, Entry, Member, Page, direct_chat, is_group, user_id
from whatsapp.shown import one_line

# Beyond so many members devices are told of those who were asked for only.
MEMBERS_WITH_DEVICES_MAX = 16
FORMER_CHATS_MAX = 1_000
PROGRESS_EVERY = 5_000

State = Literal["wrote", "read", "received", "waiting", "unseen", "hidden"]
Progress = Callable[[int], None]

_SAID: dict[State, str] = {
    "wrote": "wrote it",
    "read": "has read it",
    "received": "has received it",
    "waiting": "has not received it",
    "unseen": "may not see it",
    "hidden": "may not see it: had blocked the author",
}


class Wish(Struct, frozen=True, kw_only=True):
    """Which message: its id or its seq, and what else is known of it."""

    message_id: str = ""
    seq: int = 0
    chat: str = ""
    user: str = ""
    lookups_max: int = 1_000_000
    everybody: bool = False


class DeviceAt(Struct, frozen=True, kw_only=True):
    """A device, and up to which seq of the chat it has acknowledged."""

    device: str
    name: str
    received: int
    last_seen_ms: int


class MemberAt(Struct, frozen=True, kw_only=True):
    """A member. `moved_ms`: when its cursors last moved; `devices` None: not asked for."""

    user: str
    state: State
    received: int
    read: int
    joined: int
    left: int
    moved_ms: int
    devices: list[DeviceAt] | None = None


class Whereabouts(Struct, frozen=True, kw_only=True):
    """All that is known. `bytes` is the length of the text."""

    chat: str
    seq: int
    head: int
    id: str
    sender: str
    time_ms: int
    kind: str
    bytes: int
    members: list[MemberAt]


def chat_id(text: str) -> str:
    """A chat as somebody may write it, `Bob:alice`, in canonical form; or `BadRequest`."""
    lowered = text.lower()
    if is_group(lowered):
        return lowered
    one, _, other = lowered.partition(":")
    return direct_chat(user_id(one), user_id(other))


def run(config: Config, wish: Wish, progress: Progress) -> Whereabouts:
    """Look it up; `StartupError` where it is not, or the store cannot be read."""
    if config.storage.backend == "memory":
        raise StartupError(
            "the memory store is in the memory of its server alone",
            "Trace messages of a store that others can read: sqlite, mongo.",
        )

    async def look() -> Whereabouts:
        async with open_reading(config) as stores:
            return await whereabouts(stores, wish, progress)

    return asyncio.run(look())


async def whereabouts(stores: Stores, wish: Wish, progress: Progress) -> Whereabouts:
    """The message that is wished for, or `StartupError`."""
    entry = await _by_seq(stores, wish) if wish.seq else await _by_id(stores, wish, progress)
    if entry is None:
        raise StartupError(
            "no such message is stored",
            "It was never acknowledged, or is in another store: see that the id, the chat, the"
            " author and the store (--data, --store, --config) are right.",
        )
    chat = (await stores.chats.load([entry.chat]))[entry.chat]
    return Whereabouts(
        chat=entry.chat,
        seq=entry.seq,
        head=chat.head,
        id=entry.id,
        sender=entry.sender,
        time_ms=entry.time_ms,
        kind=entry.kind,
        bytes=len(entry.text.encode()),
        members=await _members(stores, chat, entry, wish),
    )


def _kind(found: Whereabouts) -> str:
    if found.kind != "text":
        return found.kind
    return f"text, {found.bytes} bytes" if found.bytes else "text, too old to be kept"


def lines(found: Whereabouts) -> list[str]:
    """For people."""
    said = [
        ("message", f"{found.chat} seq {found.seq} of {found.head}"),
        ("id", found.id),
        ("from", found.sender),
        ("stored", f"{_moment(found.time_ms)}, durable since it was acknowledged"),
        ("kind", _kind(found)),
    ]
    rows = [f"{name:<9} {value}" for name, value in said]
    rows.append("")
    shown = [m for m in found.members if m.devices is not None]
    for member in shown:
        rows.append(f"{member.user}  {_told(member)}")
        rows += [f"    {_device(device, member, found)}" for device in member.devices or ()]
    if others := [m for m in found.members if m.devices is None]:
        rows += _summary(others)
    rows += [
        "",
        "Not kept: when it was pushed, and each device's own time of receipt. A cursor that",
        "moved a moment ago may not be written yet.",
    ]
    return rows


async def _by_seq(stores: Stores, wish: Wish) -> Entry | None:
    page = Page(chat=wish.chat, limit=1, after=wish.seq - 1)
    [entries] = await stores.messages.pages([page])
    return entries[0] if entries else None


async def _by_id(stores: Stores, wish: Wish, progress: Progress) -> Entry | None:
    """One look-up for each chat and each of its members who may have written it."""
    lookups = 0
    async for chat in _chats(stores, wish):
        senders = [wish.user] if wish.user else list(chat.members)
        for sender in senders:
            if entry := await stores.messages.find(chat.chat, sender, wish.message_id):
                return entry
            lookups += 1
            if lookups % PROGRESS_EVERY == 0:
                progress(lookups)
            if lookups >= wish.lookups_max:
                raise StartupError(
                    f"not found in {lookups} look-ups", "Name its author or its chat: see --help."
                )
    return None


async def _chats(stores: Stores, wish: Wish) -> AsyncIterator[Chat]:
    """Those in which it may be, each once."""
    if wish.chat:
        for chat in (await stores.chats.load([wish.chat])).values():
            yield chat
        return
    users = [wish.user]
    if not wish.user:
        users = [account.user for account in await stores.accounts.search("", sys.maxsize)]
    known: set[str] = set()
    for user in users:
        new = [chat for chat in await _chats_of(stores, user) if chat not in known]
        known.update(new)
        for chat in (await stores.chats.load(new)).values():
            yield chat


async def _chats_of(stores: Stores, user: str) -> Iterable[str]:
    """Those that the user is in, then the former groups."""
    now = [position.chat for position in await stores.chats.of_user(user, "")]
    shown = await stores.chats.lines(user, limit=FORMER_CHATS_MAX, before_ms=None)
    return dict.fromkeys([*now, *(line.chat for line in shown)])


async def _members(stores: Stores, chat: Chat, entry: Entry, wish: Wish) -> list[MemberAt]:
    all_of_them = wish.everybody or len(chat.members) <= MEMBERS_WITH_DEVICES_MAX
    asked_for = {entry.sender, wish.user}
    members = sorted(chat.members.values(), key=lambda m: (m.user != entry.sender, m.user))
    found = []
    for member in members:
        devices = None
        if all_of_them or member.user in asked_for:
            devices = await _devices(stores, chat.chat, member)
        found.append(
            MemberAt(
                user=member.user,
                state=_state(member, entry),
                received=member.received,
                read=member.read,
                joined=member.joined,
                left=member.left,
                moved_ms=member.moved_ms,
                devices=devices,
            )
        )
    return found


async def _devices(stores: Stores, chat: str, member: Member) -> list[DeviceAt]:
    if not member.active:
        return []
    return [
        DeviceAt(
            device=device.device,
            name=device.name,
            received=await _cursor(stores, chat, device),
            last_seen_ms=device.last_seen_ms,
        )
        for device in await stores.devices.of_user(member.user)
    ]


async def _cursor(stores: Stores, chat: str, device: Device) -> int:
    positions = await stores.chats.of_user(device.user, device.device)
    return next((p.device_received for p in positions if p.chat == chat), 0)


def _state(member: Member, entry: Entry) -> State:
    if member.user == entry.sender:
        return "wrote"
    if entry.hidden:
        return "hidden"
    if not member.sees(entry.seq):
        return "unseen"
    if member.read >= entry.seq:
        return "read"
    return "received" if member.received >= entry.seq else "waiting"


def _told(member: MemberAt) -> str:
    said = _SAID[member.state]
    if member.state == "unseen":
        why = f"left at {member.left}" if member.left else f"joined at {member.joined}"
        return f"{said}: {why}"
    if member.state in {"read", "received"} and member.moved_ms:
        return f"{said}, by {_moment(member.moved_ms)} at the latest"
    if member.state == "waiting":
        return f"{said}: has all up to {member.received}"
    return said


def _device(device: DeviceAt, member: MemberAt, found: Whereabouts) -> str:
    if member.state in {"unseen", "hidden"}:
        said = "-"
    elif device.received >= found.seq:
        said = "has it"
    else:
        said = f"has acknowledged all up to {device.received}"
    seen = _moment(device.last_seen_ms)
    return f"device {device.device} ({one_line(device.name)}): {said}; last seen {seen}"


def _summary(members: list[MemberAt]) -> list[str]:
    """Of many members how many; by name those who wait."""
    rows = []
    for state, said in _SAID.items():
        those = [member.user for member in members if member.state == state]
        if those:
            named = " ".join(those[:MEMBERS_WITH_DEVICES_MAX])
            more = " …" if len(those) > MEMBERS_WITH_DEVICES_MAX else ""
            rows.append(f"{len(those)} of the others: {said}: {named}{more}")
    return rows


def _moment(time_ms: int) -> str:
    if not time_ms:
        return "never"
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time_ms % 1000:03d}Z"
