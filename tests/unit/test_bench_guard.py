"""What one message costs the core, counted and not timed: the same on a slow day.

Between people who are online, a message is send, sent, message, received, receipt. Counted
are the calls of our own Python functions that this takes, and each of the dear things: tasks,
frames encoded and decoded, appends, writes to a socket. Whoever makes a message dearer on
purpose moves a budget here, and says why in the commit.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from backends.memory import _Data
from tests.faults.core import Core, Settings, log_in, register
from tests.faults.faulty import Calls, NthCall
from tests.faults.loop import Loop
from tests.support.clocks import ManualClock
from whatsapp import hub, router, wire
from whatsapp.session import State

OURS = str(Path(wire.__file__).parent)
TEXT = "lorem ipsum " * 80
PAIRS = 10
MEMBERS = 20
BUSY_MESSAGES = 20

# Python calls: what was counted when this was written (beside it), and a tenth for small things.
DIRECT_CALLS_MAX = 70  # 64
DIRECT_CALLS_IN_BATCH_MAX = 63  # 56.8
GROUP_CALLS_PER_DELIVERY_MAX = 28  # 25.4
BUSY_GROUP_CALLS_PER_DELIVERY_MAX = 17  # 14.9


class Person:
    """A connected device: says what it has received, at once."""

    def __init__(self, core: Core, user: str) -> None:
        self.user = user
        self.core = core
        self.raw: list[bytes] = []
        self.writes = 0
        self.session = core.connected(self)
        later = core.router.receive(self.session, wire.encode(wire.Hello(token=f"{user}'s")))
        assert later is not None
        core.loop.start(_awaited(later), lambda _, error: None)
        core.loop.run()
        assert self.session.state is State.LIVE

    def send(self, chat: str, number: int) -> bytes:
        return wire.encode(wire.Send(f"{self.user}-{number:08d}", TEXT, chat=chat))

    def write(self, frames: list[bytes]) -> None:
        self.writes += 1
        self.raw += frames

    @property
    def got(self) -> list[wire.AnyServerFrame]:
        return [wire.decode_server(frame) for frame in self.raw]

    def buffered_bytes(self) -> int:
        return 0

    def close(self, code: int, reason: str) -> None:
        raise AssertionError((code, reason))


async def _awaited(later: Any) -> None:
    await later


def world(users: list[str]) -> tuple[Core, dict[str, Person]]:
    data, loop, clock = _Data(), Loop(), ManualClock()
    weather = NthCall(0, "")
    weather.heal()
    numbers = iter(range(10**6))
    core = Core(
        data,
        loop,
        Calls(weather, loop, lambda drafts, outcomes: None, lambda *told: None),
        clock,
        Settings(),
        random_bytes=bytes,
        new_code=lambda: f"code-{next(numbers)}",
    )
    for user in users:
        register(data, user)
        log_in(data, user, user, f"{user}'s", clock.now_ms())
    return core, {user: Person(core, user) for user in users}


class Count:
    """Counts while it is entered; `each(n)` divides."""

    def __init__(self, core: Core, people: dict[str, Person]) -> None:
        self.found: Counter[str] = Counter()
        self._core = core
        self._people = people.values()

    def __enter__(self) -> Counter[str]:
        self._writes = sum(person.writes for person in self._people)
        sys.setprofile(self._profile)
        return self.found

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self.found["writes"] = sum(person.writes for person in self._people) - self._writes

    def _profile(self, frame: FrameType, event: str, about: Any) -> None:
        code = frame.f_code
        if event == "call":
            # A comprehension is a call in one version of Python, and none in the next.
            ours = code.co_filename.startswith(OURS) and not code.co_name.startswith("<")
            self.found["calls"] += ours
            self.found["tasks"] += code is Loop.start.__code__
            self.found["turns"] += code is Loop.soon.__code__
            self.found["appends"] += code.co_qualname == "MemoryMessages.append"
        elif event == "c_call" and code.co_filename.startswith(OURS):
            kind = type(getattr(about, "__self__", None)).__name__
            self.found["encoded"] += kind == "Encoder"
            self.found["decoded"] += kind == "Decoder"


def receive(person: Person, frame: bytes) -> None:
    assert person.core.router.receive(person.session, frame) is None


def exchange(core: Core, pairs: list[tuple[Person, Person]], number: int) -> Counter[str]:
    """One message of each pair, all in one turn, until its receipt is back."""
    people = {person.user: person for pair in pairs for person in pair}
    chats = [f"{one.user}:{other.user}" for one, other in pairs]
    sends = [one.send(chat, number) for (one, _), chat in zip(pairs, chats, strict=True)]
    acks = [wire.encode(wire.Received(chat, number)) for chat in chats]
    for person in people.values():
        person.raw.clear()
    with Count(core, people) as found:
        for (one, _), frame in zip(pairs, sends, strict=True):
            receive(one, frame)
        core.loop.run()
        for (_, other), frame in zip(pairs, acks, strict=True):
            receive(other, frame)
        core.loop.run()
    for one, other in pairs:
        assert [type(frame) for frame in one.got] == [wire.Sent, wire.Receipt]
        assert [type(frame) for frame in other.got] == [wire.Message]
    return found


def pairs_of(count: int) -> tuple[Core, list[tuple[Person, Person]]]:
    users = [f"user{n:02d}" for n in range(2 * count)]
    core, people = world(users)
    everybody = list(people.values())
    pairs = list(zip(everybody[::2], everybody[1::2], strict=True))
    # The first message makes the chat, and is dearer; so is the second one.
    for one, other in pairs:
        core.loop.start(_awaited(core.rooms.ready(f"{one.user}:{other.user}", one.user)), _done)
        core.loop.run()
    for number in (1, 2):
        for one, other in pairs:
            chat = f"{one.user}:{other.user}"
            later = core.router.receive(one.session, one.send(chat, number))
            if later is not None:
                core.loop.start(_awaited(later), _done)
            core.loop.run()
            receive(other, wire.encode(wire.Received(chat, number)))
            core.loop.run()
    return core, pairs


def _done(result: Any, error: BaseException | None) -> None:
    assert error is None


# --- one message -----------------------------------------------------------------------


def direct() -> Counter[str]:
    core, pairs = pairs_of(1)
    return exchange(core, pairs, 3)


def test_a_message_alone():
    found = direct()
    calls = found.pop("calls")
    # Encoded: sent, message, receipt. Decoded: send, received. Written: one each.
    assert found == Counter(tasks=1, encoded=3, decoded=2, appends=1, writes=3, turns=3)
    assert calls <= DIRECT_CALLS_MAX


def test_the_count_is_the_same_every_time():
    assert direct() == direct()


def test_messages_together_share_a_task_an_append_and_the_turns():
    core, pairs = pairs_of(PAIRS)
    found = exchange(core, pairs, 3)
    calls = found.pop("calls")
    assert found["tasks"] == 1
    assert found["appends"] <= 2
    assert found["encoded"] == 3 * PAIRS
    assert found["decoded"] == 2 * PAIRS
    assert found["writes"] == 3 * PAIRS
    assert calls <= DIRECT_CALLS_IN_BATCH_MAX * PAIRS


# --- a group -----------------------------------------------------------------------------


def group_of(members: int) -> tuple[Core, dict[str, Person], str]:
    """A group whose members all have everything, as far as seq 3."""
    users = [f"user{n:02d}" for n in range(members)]
    core, people = world(users)
    made: list[str] = []
    actor = core.auth.known(f"{users[0]}'s")
    assert actor is not None
    core.loop.start(
        core.groups.create(actor, "all", users[1:]), lambda chat, error: made.append(chat)
    )
    core.loop.run()
    [chat] = made
    sender = people[users[0]]
    receive(sender, sender.send(chat, 1))
    core.loop.run()
    acknowledge(core, list(people.values()), chat, 3)
    tick(core)
    return core, people, chat


def acknowledge(core: Core, people: list[Person], chat: str, seq: int) -> None:
    ack = wire.encode(wire.Received(chat, seq))
    for person in people:
        receive(person, ack)
    core.loop.run()


def tick(core: Core) -> None:
    core.acks.tick()
    core.receipts.tick()
    core.loop.run()


def deliver(messages: int) -> tuple[Counter[str], int]:
    """So many messages to a group within a tick, each acknowledged by all; and the readers."""
    core, people, chat = group_of(MEMBERS)
    sender, *others = people.values()
    frames = [sender.send(chat, number) for number in range(2, messages + 2)]
    with Count(core, people) as found:
        for number, frame in enumerate(frames):
            receive(sender, frame)
            core.loop.run()
            acknowledge(core, others, chat, 4 + number)
        tick(core)
    for person in others:
        texts = [frame for frame in person.got if isinstance(frame, wire.Message)]
        assert texts[-1].seq == 3 + messages
    receipts = [frame for frame in sender.got if isinstance(frame, wire.Receipt)]
    assert {frame.received for frame in receipts[-len(others) :]} == {3 + messages}
    return found, len(others)


def test_a_message_to_a_group_is_encoded_once():
    found, others = deliver(1)
    # Sent, the message, and a receipt of each reader; the author's are written together.
    assert found["encoded"] == 2 + others
    assert found["writes"] == 2 + others
    assert found["tasks"] == found["appends"] == 1
    assert found["calls"] <= GROUP_CALLS_PER_DELIVERY_MAX * others


def test_in_a_busy_group_cursors_and_receipts_are_made_once_for_many_messages():
    found, others = deliver(BUSY_MESSAGES)
    assert found["encoded"] == 2 * BUSY_MESSAGES + others
    assert found["writes"] == (1 + others) * BUSY_MESSAGES + 1
    assert found["calls"] <= BUSY_GROUP_CALLS_PER_DELIVERY_MAX * others * BUSY_MESSAGES


# --- a guard that cannot fail proves nothing ----------------------------------------------


def test_an_encoding_too_many_is_noticed(monkeypatch):
    before = direct()
    original = hub.Hub.deliver

    def twice(self, entry, readers, *, origin):
        wire.message_frame(entry, entry.sender)
        original(self, entry, readers, origin=origin)

    monkeypatch.setattr(hub.Hub, "deliver", twice)
    assert direct()["encoded"] == before["encoded"] + 1


def test_a_task_too_many_is_noticed(monkeypatch):
    before = direct()

    async def nothing():
        pass

    def with_a_task(self, session, frame):
        self._conversations._scheduler.spawn(nothing())
        return self._conversations.received(session, frame)

    monkeypatch.setitem(router.TABLE[State.LIVE], wire.Received, with_a_task)
    assert direct()["tasks"] == before["tasks"] + 1


@pytest.mark.parametrize("count", [1, 5])
def test_a_call_too_many_is_noticed(monkeypatch, count):
    before = direct()
    clock = ManualClock.now_ms

    def slow(self):
        for _ in range(count):
            wire.answers(b"{}")
        return clock(self)

    monkeypatch.setattr(ManualClock, "now_ms", slow)
    assert direct()["calls"] >= before["calls"] + count
