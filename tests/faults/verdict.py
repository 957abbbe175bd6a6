"""The judge of what a crowd saw: everything that must not be, as lines of text.

Logs are what REST answers, in order: the items as they are. The rules for logs themselves
are those of `flood.py`; here is what the readers of them saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tests.faults import flood
from tests.faults.crowd import Attempt, History, Life, Push
from tests.faults.truth import Span
from tests.support.peer import Peer

# A group is made with `created` and, in the same commit, `added`.
FOUNDED_SEQ = 2

Item = dict[str, Any]
Logs = Mapping[str, Sequence[Item]]


def anomalies(history: History, logs: Logs) -> list[str]:
    """Empty for a run in which every promise was kept."""
    visible = Visible(logs)
    return [
        *flood.problems(
            _acknowledged(history), {c: list(map(_record, g)) for c, g in logs.items()}
        ),
        *_reordered(history.attempts, logs, visible),
        *_refused_and_stored(history.attempts, logs),
        *_never_sent(history.attempts, logs),
        *(line for life in history.lives for line in _of_life(life, logs, visible)),
        *(line for life in history.lives for line in _receipts(life, logs)),
        *_not_delivered(history, logs, visible),
    ]


async def read_logs(peers: Mapping[str, Peer]) -> dict[str, list[Item]]:
    """Each chat's whole log, as this member of it may see it."""
    logs: dict[str, list[Item]] = {}
    for chat, peer in peers.items():
        items, more = list[Item](), True
        while more:
            after = items[-1]["seq"] if items else 0
            path = f"/v1/chats/{chat}/messages?after={after}&limit={flood.PAGE}"
            page = await peer.ask("GET", path)
            items += page["messages"]
            more = page["more"]
        logs[chat] = items
    return logs


def spans(log: Sequence[Item], chat: str, user: str) -> list[Span]:
    """Which seqs `user` may see, from the membership that the log itself tells of."""
    if ":" in chat and not chat.startswith("g:"):
        return [Span(1)] if user in chat.split(":") else []
    found: list[Span] = []
    for item in log:
        kind, sender, seq = item["kind"], item.get("from"), item["seq"]
        joins = kind in {"created", "joined"} and sender == user
        joins = joins or (kind == "added" and user in item["users"])
        if joins and seq == FOUNDED_SEQ and kind == "added":
            seq = 1  # who is there from the beginning sees the beginning
        leaves = (kind == "left" and sender == user) or (
            kind == "removed" and user in item["users"]
        )
        if joins and not (found and found[-1].last is None):
            found.append(Span(seq))
        elif leaves and found and found[-1].last is None:
            found[-1].last = seq
    return found


class Visible(dict[tuple[str, str], list[Span]]):
    """The spans of a (chat, user), worked out once."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def __missing__(self, key: tuple[str, str]) -> list[Span]:
        chat, user = key
        self[key] = found = spans(self._logs.get(chat, ()), chat, user)
        return found


def _acknowledged(history: History) -> flood.History:
    """For the rules that `flood.py` has."""
    return flood.History(
        acknowledged=[
            flood.Record(one.chat, one.seq, one.user, one.id, one.text)
            for one in history.attempts
            if one.outcome == "ok"
        ]
    )


def _reordered(attempts: Sequence[Attempt], logs: Logs, visible_of: Visible) -> list[str]:
    """What one device sent to a chat stands there as it was sent.

    Not so for who was removed and added again: a refusal may get lost, and its message be sent
    again when it is allowed.
    """
    place = {one.id: number for number, one in enumerate(attempts)}
    found = []
    for chat, log in logs.items():
        last: dict[str, int] = {}
        for item in log:
            number = place.get(item.get("id", ""))
            if number is None or len(visible_of[chat, item["from"]]) > 1:
                continue
            device = item["id"].rpartition("-")[0]
            if number < last.get(device, -1):
                found.append(f"reordered: {item}")
            last[device] = number
    return found


def _record(item: Item) -> flood.Record | None:
    return flood._record(item)


def _refused_and_stored(attempts: Sequence[Attempt], logs: Logs) -> list[str]:
    stored = {(item["from"], item["id"]) for log in logs.values() for item in log if "id" in item}
    return [
        f"refused and stored: {one}"
        for one in attempts
        if one.outcome == "failed" and (one.user, one.id) in stored
    ]


def _never_sent(attempts: Sequence[Attempt], logs: Logs) -> list[str]:
    sent = {(one.user, one.chat, one.id, one.text) for one in attempts}
    return [
        f"never sent: {item}"
        for log in logs.values()
        for item in log
        if item["kind"] == "text"
        and (item["from"], item["chat"], item["id"], item["text"]) not in sent
    ]


def _of_life(life: Life, logs: Logs, visible_of: Visible) -> list[str]:
    """In a connection: each seq once, in order, none skipped, nothing that is not one's own."""
    found = []
    by_chat: dict[str, list[Push]] = {}
    for push in life.pushes:
        by_chat.setdefault(push.chat, []).append(push)
    for chat, pushes in by_chat.items():
        log = logs.get(chat, ())
        visible = visible_of[chat, life.user]
        for push in pushes:
            found += _of_push(life, push, log, visible)
        for before, after in pairwise(pushes):
            if after.seq <= before.seq:
                found.append(f"pushed badly: {life.user} got {chat} {after.seq} after {before.seq}")
                continue
            since = next((s.first for s in visible if s.has(after.seq)), after.seq)
            skipped = log[max(before.seq, since - 1) : after.seq - 1]
            if any(item.get("from") != life.user for item in skipped):
                found.append(f"skipped: {life.user} got {chat} {after.seq} after {before.seq}")
    return found


def _of_push(life: Life, push: Push, log: Sequence[Item], visible: Sequence[Span]) -> list[str]:
    if push.seq > len(log):
        return [f"never stored: {life.user} got {push}"]
    item = log[push.seq - 1]
    if not any(span.has(push.seq) for span in visible):
        return [f"forbidden: {life.user} got {push}"]
    told = (push.kind, push.sender, push.id, push.text)
    if told != (item["kind"], item.get("from", ""), item.get("id", ""), item.get("text", "")):
        return [f"changed: {life.user} got {push}, there is {item}"]
    return []


def _receipts(life: Life, logs: Logs) -> list[str]:
    """Never backward within a connection, never more than the reader had said."""
    found = []
    last: dict[tuple[str, str], tuple[int, int]] = {}
    for told in life.receipts:
        before = last.get((told.chat, told.user), (0, 0))
        if told.received < before[0] or told.read < before[1]:
            found.append(f"receipt went back: {life.user} was told {told} after {before}")
        last[told.chat, told.user] = (told.received, told.read)
        log, most = logs.get(told.chat, ()), told.said_received
        # Its own entries right after what it has need no acknowledgement.
        while most < len(log) and log[most].get("from") == told.user:
            most += 1
        if told.received > most or told.read > told.said_read:
            found.append(f"receipt too far: {life.user} was told {told}")
    return found


def _not_delivered(history: History, logs: Logs, visible_of: Visible) -> list[str]:
    """Each device got, over all of its connections, all that its user may see now."""
    got: dict[str, set[tuple[str, int]]] = {}
    users: dict[str, str] = {}
    for life in history.lives:
        users[life.device] = life.user
        got.setdefault(life.device, set()).update((p.chat, p.seq) for p in life.pushes)
    found = []
    for chat, log in logs.items():
        for device, user in users.items():
            visible = visible_of[chat, user]
            if not visible or visible[-1].last is not None:
                continue
            missing = [
                item["seq"]
                for item in log[visible[-1].first - 1 :]
                if item.get("from") != user and (chat, item["seq"]) not in got[device]
            ]
            if missing:
                found.append(f"not delivered: {user} never got {chat} {missing[:5]}")
    return found
