"""`DeviceStore`: logins."""

from __future__ import annotations

from msgspec.structs import replace

from tests.support.backends import append, say
from whatsapp.model import CursorMove, Device


def device(name: str, user: str = "ann", created_ms: int = 1) -> Device:
    return Device(
        device=name,
        user=user,
        name=f"Phone of {user}",
        token_hash=f"{user}/{name}".encode(),
        created_ms=created_ms,
        last_seen_ms=created_ms,
    )


async def test_a_device_is_found_by_its_token(stores):
    await stores.devices.add(one := device("one"))
    assert await stores.devices.by_token(one.token_hash) == one
    assert await stores.devices.by_token(b"") is None
    assert await stores.devices.by_token(one.token_hash[:-1]) is None


async def test_a_users_devices_come_oldest_first(stores):
    devices = [device("c", created_ms=2), device("a", created_ms=3), device("b", created_ms=1)]
    for one in devices:
        await stores.devices.add(one)
    await stores.devices.add(device("x", "bob"))
    assert [one.device for one in await stores.devices.of_user("ann")] == ["b", "c", "a"]
    assert await stores.devices.of_user("eve") == []


async def test_an_ended_device_is_gone_at_once(stores):
    one, two = device("one"), device("two", created_ms=2)
    for each in (one, two):
        await stores.devices.add(each)
    assert await stores.devices.end("ann", ["one", "other"]) == ["one"]
    assert await stores.devices.by_token(one.token_hash) is None
    assert await stores.devices.of_user("ann") == [two]
    assert await stores.devices.end("ann", ["one"]) == []
    assert await stores.devices.end("ann", []) == []


async def test_only_the_users_own_devices_end(stores):
    await stores.devices.add(one := device("one"))
    assert await stores.devices.end("bob", ["one"]) == []
    assert await stores.devices.by_token(one.token_hash) == one


async def test_an_ended_devices_cursors_go(stores):
    await append(stores, say())
    await stores.devices.add(device("one"))
    await stores.devices.add(device("two"))
    for name in ("one", "two"):
        move = CursorMove(chat="ann:bob", user="ann", device=name, device_received=1)
        await stores.chats.advance([move])
    await stores.devices.end("ann", ["one"])
    assert (await stores.chats.of_user("ann", "one"))[0].device_received == 0
    assert (await stores.chats.of_user("ann", "two"))[0].device_received == 1


async def test_last_seen_moves_forward_only(stores):
    await stores.devices.add(one := device("one"))
    await stores.devices.saw({"one": 9, "other": 9})
    await stores.devices.saw({"one": 8})
    await stores.devices.saw({})
    assert await stores.devices.of_user("ann") == [replace(one, last_seen_ms=9)]
