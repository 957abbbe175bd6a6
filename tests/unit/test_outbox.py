"""The file survives kills, cuts and full disks; the order of messages survives everything."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp import outbox as module
from whatsapp.errors import StartupError
from whatsapp.outbox import Lanes, Login, Outbox, OutboxBroken, OutboxFull, OutboxInUse, Pending

LOGIN = Login(url="http://x", user="ann", token="t", device="d")


def message(number: int, chat: str = "ann:bob") -> Pending:
    return Pending(id=f"id-{number:06}", chat=chat, text=f"text {number}")


def opened(path: Path | None, messages_max: int = 100) -> Outbox:
    return Outbox(path, messages_max=messages_max)


async def test_what_was_put_is_there_again_in_order(tmp_path: Path):
    path = tmp_path / "outbox.json"
    outbox = opened(path)
    outbox.belongs_to(LOGIN)
    await asyncio.gather(*(outbox.put(message(n)) for n in range(5)))
    outbox.done("id-000002")
    outbox.done("no such message")
    outbox.moved({"ann:bob": 3})
    outbox.moved({})
    await outbox.close()
    await outbox.close()
    again = opened(path)
    assert list(again.pending) == [f"id-{n:06}" for n in (0, 1, 3, 4)]
    assert again.cursors == {"ann:bob": 3}
    assert again.login == LOGIN
    await again.close()


async def test_put_is_on_the_disk_when_it_returns_and_one_fsync_serves_many(
    tmp_path: Path, monkeypatch
):
    synced = []
    real = os.fsync

    def fsync(descriptor):
        synced.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    outbox = opened(tmp_path / "o")
    await asyncio.gather(*(outbox.put(message(n)) for n in range(50)))
    assert (tmp_path / "o").read_text().count("put") == 50
    assert 1 <= len(synced) <= 3
    await outbox.close()


async def test_without_a_path_it_is_only_in_memory():
    outbox = opened(None)
    await outbox.put(message(1))
    outbox.flush_soon()
    await outbox.flush()
    assert list(outbox.pending) == ["id-000001"]
    await outbox.close()


async def test_a_last_line_that_was_cut_off_is_dropped_with_a_warning(tmp_path: Path, caplog):
    path = tmp_path / "o"
    outbox = opened(path)
    await outbox.put(message(1))
    await outbox.put(message(2))
    await outbox.close()
    path.write_bytes(path.read_bytes()[:-9])
    again = opened(path)
    assert list(again.pending) == ["id-000001"]
    assert "cut off" in caplog.text
    await again.put(message(3))
    await again.close()
    third = opened(path)
    assert list(third.pending) == ["id-000001", "id-000003"]
    await third.close()


async def test_damage_elsewhere_is_passed_over_and_a_copy_is_kept(tmp_path: Path, caplog):
    path = tmp_path / "o"
    outbox = opened(path)
    await outbox.put(message(1))
    await outbox.close()
    damaged = b"\xff\xfe\n{}\n" + path.read_bytes()
    path.write_bytes(damaged)
    again = opened(path)
    assert list(again.pending) == ["id-000001"]
    assert "unreadable lines skipped lines=1" in caplog.text
    assert (tmp_path / "o.damaged").read_bytes() == damaged
    await again.close()


async def test_a_second_one_is_refused_until_the_first_is_closed(tmp_path: Path):
    outbox = opened(tmp_path / "o")
    with pytest.raises(OutboxInUse, match="in use"):
        opened(tmp_path / "o")
    await outbox.close()
    await opened(tmp_path / "o").close()


async def test_a_path_that_cannot_be_is_explained(tmp_path: Path):
    with pytest.raises(StartupError, match="locked"):
        opened(tmp_path / "no folder" / "o")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StartupError, match="opened"):
        opened(tmp_path / "folder")


async def test_it_is_for_its_owner_only(tmp_path: Path):
    outbox = opened(tmp_path / "o")
    await outbox.put(message(1))
    assert stat.S_IMODE((tmp_path / "o").stat().st_mode) == 0o600
    await outbox.close()


async def test_it_is_full_at_its_limit():
    outbox = opened(None, messages_max=1)
    await outbox.put(message(1))
    with pytest.raises(OutboxFull, match="1 messages"):
        await outbox.put(message(2))


async def test_history_is_written_over(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "LINES_MIN", 20)
    path = tmp_path / "o"
    outbox = opened(path)
    outbox.belongs_to(LOGIN)
    await outbox.put(message(1))
    for seq in range(100):
        outbox.moved({"ann:bob": seq + 1})
        await outbox.flush()
    assert len(path.read_text().splitlines()) < 30
    await outbox.put(message(2))
    await outbox.close()
    again = opened(path)
    assert list(again.pending) == ["id-000001", "id-000002"]
    assert (again.cursors, again.login) == ({"ann:bob": 100}, LOGIN)
    await again.close()


async def test_a_full_disk_refuses_the_message_and_heals_later(tmp_path: Path, monkeypatch):
    path = tmp_path / "o"
    outbox = opened(path)
    await outbox.put(message(1))
    real = module._write_all

    def half(file, lines):
        file.write(lines[0][:5])
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(module, "_write_all", half)
    with pytest.raises(OutboxBroken, match="no space"):
        await outbox.put(message(2))
    outbox.moved({"ann:bob": 1})
    monkeypatch.setattr(module, "_write_all", real)
    await outbox.put(message(3))
    assert all(json.loads(line) for line in path.read_text().splitlines())
    monkeypatch.setattr(module, "_write_all", half)
    outbox.moved({"ann:bob": 2})
    await outbox.close()  # a warning, no more
    again = opened(path)
    assert list(again.pending) == ["id-000001", "id-000003"]
    await again.close()


async def test_a_cancelled_put_breaks_nothing(tmp_path: Path):
    outbox = opened(tmp_path / "o")
    tasks = [asyncio.create_task(outbox.put(message(n))) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await outbox.put(message(99))
    await outbox.close()
    again = opened(tmp_path / "o")
    assert {f"id-{n:06}" for n in [*range(1, 20, 2), 99]} <= set(again.pending)
    await again.close()


async def test_what_was_noted_while_a_write_ran_follows(tmp_path: Path):
    path = tmp_path / "o"
    outbox = opened(path)
    outbox.moved({"a": 1})
    outbox.flush_soon()
    await asyncio.sleep(0)
    outbox.moved({"a": 2})
    outbox.flush_soon()
    async with asyncio.timeout(10):
        while path.read_text().count("at") < 2:
            await asyncio.sleep(0.01)
    await outbox.close()


def test_one_message_per_chat_is_on_its_way():
    lanes = Lanes()
    for number, chat in enumerate("aab"):
        lanes.add(message(number, chat))
    first, other = lanes.next(), lanes.next()
    assert first == message(0, "a")
    assert other == message(2, "b")
    assert lanes.next() is None
    assert lanes.unanswered == 2
    lanes.answered(message(0, "a"))
    assert lanes.next() == message(1, "a")
    lanes.answered(message(0, "a"))  # a repeated answer says nothing new


def test_again_is_first_and_lost_keeps_all():
    lanes = Lanes()
    for number, chat in enumerate("aabc"):
        lanes.add(message(number, chat))
    head = lanes.next()
    assert head is not None
    lanes.again(head)
    lanes.again(head)
    assert lanes.next() == head
    assert lanes.next() == message(2, "b")
    lanes.lost()
    assert [lanes.next() for _ in range(4)] == [head, message(2, "b"), message(3, "c"), None]


def test_a_message_that_was_not_sent_yet_may_be_answered():
    lanes = Lanes()
    lanes.add(message(1))
    lanes.add(message(2))
    lanes.answered(message(2))
    lanes.answered(message(1))
    assert lanes.next() is None


class Run:
    """Lanes with what is on its way, and what has arrived, in the order of arrival."""

    def __init__(self, waiting: list[Pending]) -> None:
        self.lanes = Lanes()
        self.flying: list[Pending] = []
        self.done: list[Pending] = []
        for pending in waiting:
            self.lanes.add(pending)

    def step(self, number: int) -> None:
        if number == 0:
            self.lanes.lost()
            self.flying.clear()
        elif number % 3 == 0:
            self.flying += filter(None, [self.lanes.next()])
        elif self.flying:
            pending = self.flying.pop(number % len(self.flying))
            (self.lanes.again if number % 3 == 1 else self.arrive)(pending)

    def arrive(self, pending: Pending) -> None:
        self.lanes.answered(pending)
        self.done.append(pending)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.integers(0, 30), max_size=80))
def test_the_order_within_a_chat_survives_whatever_happens(chats, steps):
    waiting = [message(number, chat) for number, chat in enumerate(chats)]
    run = Run(waiting)
    for number in [*steps, 0]:
        run.step(number)
    while (head := run.lanes.next()) is not None:
        run.arrive(head)
    for chat in "abc":
        assert [p for p in run.done if p.chat == chat] == [p for p in waiting if p.chat == chat]
