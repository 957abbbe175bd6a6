"""What a backend that calls itself durable has after it was closed and opened again."""

from __future__ import annotations

from tests.support.backends import GROUP, PAIR, append, change, founded, log_of, say, scope
from whatsapp.model import Account, CursorMove, Device, Duplicate, Role
from whatsapp.words import parse


async def test_everything_is_there_again(durable_backend):
    draft = say("hello again")
    device = Device(
        device="d", user="ann", name="x", token_hash=b"\x00\xff", created_ms=1, last_seen_ms=1
    )
    async with durable_backend() as stores:
        assert stores.durable
        await stores.accounts.create(Account(user="ann", name="Ann"))
        await stores.accounts.block("ann", "eve", on=True)
        await stores.devices.add(device)
        await append(stores, draft, say(sender="bob"), founded("ann", "bob"))
        await append(stores, change(epoch=1, leaves=("bob",)))
        move = CursorMove(chat=PAIR, user="ann", device="d", device_received=2, read=1)
        await stores.chats.advance([move])
        await stores.chats.set_invite(GROUP, "code")
        before = await stores.chats.load([PAIR, GROUP])
        lines = await stores.chats.lines("bob", limit=9, before_ms=None)

    async with durable_backend() as stores:
        assert await stores.chats.load([PAIR, GROUP]) == before
        assert await stores.chats.lines("bob", limit=9, before_ms=None) == lines
        assert await stores.messages.append([draft]) == [Duplicate(draft.entry(1))]
        assert (await append(stores, say("third")))[0].seq == 3
        assert [entry.text for entry in await log_of(stores)] == ["hello again", "hello", "third"]
        assert await stores.accounts.blocks("ann") == {"eve"}
        assert not await stores.accounts.create(Account(user="ann", name="Other"))
        assert await stores.devices.by_token(b"\x00\xff") == device
        assert await stores.chats.by_invite("code") == GROUP
        assert await stores.chats.contacts("ann", ["bob"]) == {"bob"}
        positions = {p.chat: p.device_received for p in await stores.chats.of_user("ann", "d")}
        assert positions == {PAIR: 2, GROUP: 0}
        found = await stores.messages.search(
            parse("again"), [await scope(stores, "bob")], sender=None, before_ms=None, limit=9
        )
        assert [entry.text for entry in found] == ["hello again"]
        outcomes = await stores.messages.append([change(epoch=1, joins=(("bob", Role.MEMBER),))])
        assert [type(outcome).__name__ for outcome in outcomes] == ["Stale"]


async def test_hidden_state_survives(durable_backend):
    async with durable_backend() as stores:
        await append(stores, say("one"), say("no", hidden=True))
    async with durable_backend() as stores:
        await append(stores, say("no", hidden=True))
        (line,) = await stores.chats.lines("bob", limit=9, before_ms=None)
        assert line.last.text == "one"
        await append(stores, say("two"))
    async with durable_backend() as stores:
        (line,) = await stores.chats.lines("bob", limit=9, before_ms=None)
        assert (line.last.text, line.unread) == ("two", 2)
