"""Steps over WebSocket: connections, frames that are said, frames that must come."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import msgspec

from tests.scripts.language import step, text_of
from tests.scripts.stage import Stage
from tests.support.peer import SUBPROTOCOL, Answer
from whatsapp.model import direct_chat

LOG = ("message", "synced")
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


def place(stage: Stage, name: str, chat: str | None, user: str | None) -> str:
    """`in CHAT`, or the direct chat of the device's user with another."""
    if chat is not None:
        return chat
    assert user is not None
    return direct_chat(stage.device(name).user, user)


# --- coming and going ----------------------------------------------------------------


@step("{who} is online")
@step("{who} are online")
async def is_online(stage: Stage, who: str) -> None:
    device = stage.device(who)
    if not device.token:
        await stage.login(who)
    await device.online()


@step("{who} connects[ with cursors {cursors:rest}]")
async def connects(stage: Stage, who: str, cursors: str | None = None) -> None:
    device = stage.device(who)
    welcome = await device.connect(None if cursors is None else msgspec.json.decode(cursors))
    assert stage.running is not None
    assert (welcome["user"], welcome["device"]) == (device.user, device.device)
    assert welcome["durable"] == (stage.store != "memory")


@step("{who} drops")
async def drops(stage: Stage, who: str) -> None:
    await stage.device(who).drop()


@step("{who} leaves")
async def leaves(stage: Stage, who: str) -> None:
    await stage.device(who).leave()


@step("{who} opens a connection[ with {headers:rest}]")
async def opens(stage: Stage, who: str, headers: str = "{}") -> None:
    await stage.device(who).open(headers=msgspec.json.decode(headers))


@step("{who} tries to connect with {headers:rest}")
async def tries(stage: Stage, who: str, headers: str) -> None:
    """A handshake that is refused; the answer is then looked at like that of REST."""
    named = {"Sec-WebSocket-Protocol": SUBPROTOCOL, **msgspec.json.decode(headers)}
    url = f"{stage.device(who).url}/v1/ws"
    async with stage.http.get(url, headers={**HANDSHAKE, **named}) as response:
        body = await response.read()
        stage.answer = Answer(response.status, msgspec.json.decode(body), response.headers)


@step("{who} is closed {code:number}[ within {seconds:number} s]")
@step("{who} are closed {code:number}[ within {seconds:number} s]")
async def is_closed(stage: Stage, who: str, code: int, seconds: int = 5) -> None:
    device = stage.device(who)
    closed = await device.closed(seconds)
    assert closed == code, f"expected: closed {code}\n  got:      {closed} {device.close_reason}"
    await device.leave()


# --- frames said ---------------------------------------------------------------------


@step("{who} sends {text} to {user:any} as {id}[ replying to {number}]")
@step("{who} sends {text} in {chat} as {id}[ replying to {number}]")
async def sends(stage: Stage, who: str, text: str, id: str, **more: Any) -> None:
    target = {"to": more["user"]} if "user" in more else {"chat": more["chat"]}
    reply = {"reply_to": more["number"]} if "number" in more else {}
    await stage.device(who).send(id, text, **target, **reply)


@step("{who} sends {number} messages to {user:name} as {id}")
@step("{who} sends {number} messages in {chat} as {id}")
async def sends_many(stage: Stage, who: str, number: int, id: str, **more: Any) -> None:
    """Texts "1", "2" …; all are answered."""
    device, base = stage.device(who), id.rstrip("-")
    target = {"to": more["user"]} if "user" in more else {"chat": more["chat"]}
    for index in range(1, number + 1):
        await device.send(f"{base}-{index}".ljust(8, "-"), str(index), **target)
    for index in range(1, number + 1):
        sent = await device.next("sent", "error")
        assert sent["type"] == "sent", sent
        assert sent["id"].rstrip("-") == f"{base}-{index}", sent


@step("{who} received {number} in {chat}")
@step("{who} received {number} from {user:name}")
async def received(
    stage: Stage, who: str, number: int, chat: str | None = None, user: str | None = None
) -> None:
    await stage.device(who).received(place(stage, who, chat, user), number)


@step("{who} read {number} in {chat}")
@step("{who} read {number} from {user:name}")
async def read(
    stage: Stage, who: str, number: int, chat: str | None = None, user: str | None = None
) -> None:
    chat = place(stage, who, chat, user)
    await stage.device(who).say({"type": "read", "chat": chat, "seq": number})


@step("{who} types in {chat}")
async def types(stage: Stage, who: str, chat: str) -> None:
    await stage.device(who).say({"type": "typing", "chat": chat, "on": True})


@step("{who} stops typing in {chat}")
async def stops_typing(stage: Stage, who: str, chat: str) -> None:
    await stage.device(who).say({"type": "typing", "chat": chat, "on": False})


@step("{who} watches {users:rest}")
async def watches(stage: Stage, who: str, users: str) -> None:
    names = [] if users == "nobody" else users.replace(" and ", ", ").split(", ")
    await stage.device(who).say({"type": "watch", "users": names})


@step("{who} says {text:raw}")
async def says(stage: Stage, who: str, text: str) -> None:
    """One text frame, as it stands there."""
    await stage.device(who).say_text(text)


@step("{who} says hello[ with the token of {other:name}]")
async def says_hello(stage: Stage, who: str, other: str | None = None) -> None:
    device = stage.device(who)
    device.token = stage.device(other).token if other else device.token
    await device.hello()


@step("{who} says {number} bytes of blanks")
async def says_blanks(stage: Stage, who: str, number: int) -> None:
    await stage.device(who).say_text(" " * number)


@step("{who} says bytes {text}")
async def says_bytes(stage: Stage, who: str, text: str) -> None:
    """A binary frame."""
    await stage.device(who).say_binary(text.encode())


@step("{who} pings {number} times")
async def pings(stage: Stage, who: str, number: int) -> None:
    for index in range(number):
        await stage.device(who).say({"type": "ping", "n": index})


@step("{who} forgets what it has")
async def forgets(stage: Stage, who: str) -> None:
    await stage.device(who).settled()
    stage.device(who).inbox.clear()


# --- frames that must come -----------------------------------------------------------


@step("{who} gets message {rest}")
async def gets_message(stage: Stage, who: str, rest: str) -> None:
    """`1 "hi" from alice[ in CHAT][ replying to N]`; the chat is the direct one if left out."""
    number, _, said = rest.partition(" ")
    quoted, _, tail = said.rpartition(" from ")
    quoted = json.dumps(text_of(quoted), ensure_ascii=False)
    words = tail.split()
    if "in" not in words:
        words[1:1] = ["in", direct_chat(stage.device(who).user, words[0])]
    await stage.expect(who, LOG, f"message {number} {quoted} from {' '.join(words)}")


@step("{who} gets messages {first:number} to {last:number} from {user:name}[ in {chat}]")
async def gets_many(
    stage: Stage, who: str, first: int, last: int, user: str, chat: str | None = None
) -> None:
    """Those of `sends 9 messages`: their texts are numbers."""
    chat = place(stage, who, chat, user)
    for seq in range(first, last + 1):
        frame = await stage.next_of(who, chat, *LOG)
        told = (frame["type"], frame.get("chat"), frame.get("seq"), frame.get("from"))
        assert told == ("message", chat, seq, user), f"expected: {seq}\n  got:      {told}"


@step("{who} gets messages {first:number} to {last:number} from {user:name} in the midst of others")
async def gets_amidst(stage: Stage, who: str, first: int, last: int, user: str) -> None:
    """Chats are caught up side by side: of this one all, in order, whatever comes between."""
    chat = place(stage, who, None, user)
    for seq in range(first, last + 1):
        frame = await stage.device(who).take(
            lambda one: one["type"] == "message" and one["chat"] == chat
        )
        assert frame["seq"] == seq, f"expected: {seq}\n  got:      {frame['seq']}"


@step("{who} gets event {rest}")
async def gets_event(stage: Stage, who: str, rest: str) -> None:
    await stage.expect(who, LOG, f"event {rest}")


@step("{who} gets void {number} in {chat}")
async def gets_void(stage: Stage, who: str, number: int, chat: str) -> None:
    await stage.expect(who, LOG, f"void {number} in {chat}")


@step("{who} gets synced")
async def gets_synced(stage: Stage, who: str) -> None:
    await stage.expect(who, LOG, "synced")


@step("{who} gets sent {rest}")
async def gets_sent(stage: Stage, who: str, rest: str) -> None:
    await stage.expect(who, ("sent",), f"sent {rest}")


@step("{who} gets pong[ {number}]")
async def gets_pong(stage: Stage, who: str, number: int | None = None) -> None:
    await stage.expect(who, ("pong",), "pong" if number is None else f"pong {number}")


@step("{who} is refused {word}[ of {name}]")
async def is_refused(stage: Stage, who: str, word: str, name: str = "") -> None:
    await stage.expect(who, ("error",), f"refusal {word}" + (f" of {name}" if name else ""))


@step("{who} gets receipt of {user:name}[ in {chat}]: {rest}")
async def gets_receipt(
    stage: Stage, who: str, user: str, rest: str, chat: str | None = None
) -> None:
    """Receipts are coalesced: those before may come or not."""
    chat = place(stage, who, chat, user)
    await expect_last(stage, who, "receipt", f"receipt of {user} in {chat}: {rest}")


@step("{who} gets cursor in {chat}: {rest}")
async def gets_cursor(stage: Stage, who: str, chat: str, rest: str) -> None:
    await expect_last(stage, who, "cursor", f"cursor in {chat}: {rest}")


async def expect_last(stage: Stage, who: str, kind: str, expected: str) -> None:
    """Wait for that one; those before it, which tell less, are not looked at."""
    expected = stage.named(expected)
    told, before = "nothing", (0, 0)
    while told != expected:
        try:
            frame = await stage.next_like(who, kind, expected.partition(": ")[0])
        except TimeoutError:
            raise AssertionError(f"expected: {expected}\n  got:      {told}") from None
        now = frame["received"], frame["read"]
        assert now[0] >= before[0], f"{kind} went back: {told}, then {frame}"
        told, before = stage.told(frame), now


@step("{who} gets typing {rest}")
async def gets_typing(stage: Stage, who: str, rest: str) -> None:
    await stage.expect(who, ("typing",), f"typing {rest}")


@step("{who} gets presence of {user:name}: {rest}")
async def gets_presence(stage: Stage, who: str, user: str, rest: str) -> None:
    """`online` or `offline`, and `seen` or, without a last_seen, `hidden`."""
    frame = await stage.device(who).take(
        lambda one: one["type"] == "presence" and one["user"] == user
    )
    told = stage.told(frame)
    expected = f"presence of {user}: {rest}"
    assert told == expected, f"expected: {expected}\n  got:      {told}"


@step("{who} gets welcome")
async def gets_welcome(stage: Stage, who: str) -> None:
    frame = await stage.device(who).next("welcome")
    assert frame["user"] == stage.device(who).user


@step("{who} gets draining")
async def gets_draining(stage: Stage, who: str) -> None:
    await stage.expect(who, ("draining",), "draining")


@step("nobody gets anything")
async def nobody(stage: Stage) -> None:
    await stage.nothing(*stage.devices.values())


@step("{who} gets nothing")
async def gets_nothing(stage: Stage, who: str) -> None:
    await stage.nothing(stage.device(who))


# --- time and the server -------------------------------------------------------------


@step("{number} s pass")
async def passes(stage: Stage, number: int) -> None:
    """On the server's clock; nothing waits."""
    stage.clock.shift_seconds += number


@step("the server drains")
async def drains(stage: Stage) -> None:
    assert stage.running is not None
    stage.background = asyncio.create_task(stage.drain())


@step("the server restarts")
async def restarts(stage: Stage) -> None:
    for device in stage.devices.values():
        await device.drop()
    await stage.close()
    await stage.open()
