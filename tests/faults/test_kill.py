"""kill -9 in the middle of a flood, again and again on the same data: nothing acknowledged is lost.

First the judge itself: a checker that cannot fail proves nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.flood import (
    History,
    Record,
    Sender,
    log_by_rest,
    log_in_file,
    problems,
)
from tests.support.peer import Peer, client_session
from tests.support.server import Server

KILLS = 20
READY_SECONDS_MAX = 5.0
FLOOD_SECONDS = (0.1, 0.5)
SENDERS = ("alice", "bob", "carol", "dave")
ACKNOWLEDGED_MIN = 500

CHAT = "alice:bob"
Log = list[Record | None]


# --- the judge -----------------------------------------------------------------------


def a_good_run() -> tuple[History, Log]:
    log: Log = [Record(CHAT, n, "alice", f"alice-{n:08}", f"text {n}") for n in range(1, 7)]
    log[3] = Record(CHAT, 4, "bob", "bob-00000001", "text 1")
    log.append(None)  # an event
    history = History(
        sent={
            ("alice", CHAT): [one.id for one in log if one and one.sender == "alice"],
            ("bob", CHAT): ["bob-00000001"],
        },
        acknowledged=[one for one in log if one],
        pushed={("bob", CHAT): [[1, 2, 3], [2, 3, 5, 6, 7]]},
    )
    return history, log


def lose(history: History, log: Log) -> None:
    log.pop()
    log.pop()


def change(history: History, log: Log) -> None:
    log[0] = Record(CHAT, 1, "alice", "alice-00000001", "another text")


def double(history: History, log: Log) -> None:
    log.append(Record(CHAT, 8, "alice", "alice-00000002", "text 2"))


def leave_a_hole(history: History, log: Log) -> None:
    one = log.pop(0)
    assert one is not None
    history.acknowledged.remove(one)
    history.pushed.clear()


def reorder(history: History, log: Log) -> None:
    log[0] = Record(CHAT, 1, "alice", "alice-00000002", "text 2")
    log[1] = Record(CHAT, 2, "alice", "alice-00000001", "text 1")
    history.acknowledged = [one for one in log if one]


def acknowledge_twice(history: History, log: Log) -> None:
    history.acknowledged.append(Record(CHAT, 5, "alice", "alice-00000001", "text 1"))


def push_twice(history: History, log: Log) -> None:
    history.pushed["bob", CHAT].append([1, 2, 2, 3])


def push_backward(history: History, log: Log) -> None:
    history.pushed["bob", CHAT].append([2, 1])


def skip_a_push(history: History, log: Log) -> None:
    history.pushed["bob", CHAT].append([1, 3])


def test_the_judge_finds_nothing_in_a_good_run() -> None:
    history, log = a_good_run()
    assert problems(history, {CHAT: log}) == []


@pytest.mark.parametrize(
    "doctor, found",
    [
        (lose, "lost"),
        (change, "lost"),
        (double, "doubled"),
        (leave_a_hole, "hole"),
        (reorder, "reordered"),
        (acknowledge_twice, "moved"),
        (push_twice, "pushed badly"),
        (push_backward, "pushed badly"),
        (skip_a_push, "pushed badly"),
    ],
)
def test_the_judge_finds(doctor: Callable[[History, Log], None], found: str) -> None:
    history, log = a_good_run()
    doctor(history, log)
    assert any(line.startswith(f"{found}:") for line in problems(history, {CHAT: log}))


# --- the kills -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_killed_twenty_times_in_a_flood(tmp_path: Path) -> None:
    chance = random.Random(20)
    history = History()
    server = Server(tmp_path / "data", "--no-rate-limits")
    async with server, client_session() as http:
        peers = [await Peer(http, server.url, user).register() for user in SENDERS]
        group = await peers[0].ask("POST", "/v1/groups", {"title": "club", "members": SENDERS[1:]})
        chats = {
            "alice": [CHAT, group["chat"]],
            "bob": [CHAT, group["chat"]],
            "carol": ["carol:dave", group["chat"]],
            "dave": ["carol:dave", group["chat"]],
        }
        senders = [Sender(http, peer, chats[peer.user], history) for peer in peers]
        unanswered, slowest = 0, 0.0
        for _ in range(KILLS):
            flood = [asyncio.create_task(one.run(server.url, forever=True)) for one in senders]
            await asyncio.sleep(chance.uniform(*FLOOD_SECONDS))
            await server.kill9()
            await asyncio.gather(*flood)
            unanswered += sum(len(one.pending) for one in senders)
            await server.restart()
            assert server.ready_seconds <= READY_SECONDS_MAX
            slowest = max(slowest, server.ready_seconds)
        await asyncio.gather(*(one.run(server.url, forever=False) for one in senders))
        assert not any(one.pending for one in senders)
        assert history.refused == []
        count = len(history.acknowledged)
        print(f"{KILLS} kills, {count} acknowledged, ready again after {slowest:.2f} s at most")
        # The kills did hit a flood, and each chat has been written in.
        assert unanswered > KILLS
        assert len(history.acknowledged) > ACKNOWLEDGED_MIN
        names = {chat for _, chat in history.sent}
        assert names == {CHAT, "carol:dave", group["chat"]}
        for peer in peers:
            peer.url = server.url
        readers = {CHAT: peers[0], "carol:dave": peers[3], group["chat"]: peers[1]}
        by_rest = {chat: await log_by_rest(readers[chat], chat) for chat in names}
        assert problems(history, by_rest) == []
        assert await server.terminate() == 0
    in_file = {chat: log_in_file(server.data, chat) for chat in names}
    assert in_file == by_rest
