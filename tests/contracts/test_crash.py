"""SQLite's promise under kill -9: what was acknowledged is there, whole and in order."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys

import pytest

from tests.support.backends import log_of, opened

ROUNDS = 6


def killed(folder, run, *rest):
    """Let the appender run for a while, kill it, and return what it said was stored."""
    command = [sys.executable, "-m", "tests.support.appender", str(folder), run, *rest]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        lines = [child.stdout.readline() for _ in range(random.randrange(30, 400))]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [(chat, message_id, int(seq)) for chat, message_id, seq in whole]


async def assert_kept(folder, acknowledged):
    async with opened("sqlite", folder) as stores:
        logs = {chat: await log_of(stores, chat) for chat in {chat for chat, *_ in acknowledged}}
    stored = {(e.chat, e.id, e.seq) for log in logs.values() for e in log}
    missing = set(acknowledged) - stored
    assert not missing, f"{len(missing)} acknowledged entries are gone: {sorted(missing)[:3]}"
    assert len({(chat, message_id) for chat, message_id, _ in stored}) == len(stored)
    db = sqlite3.connect(folder / "messages.db")
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        db.close()


async def test_kill_in_the_middle_of_appends(tmp_path):
    folder = tmp_path / "data"
    acknowledged = []
    for run in range(ROUNDS):
        acknowledged += killed(folder, str(run))
        await assert_kept(folder, acknowledged)
    assert len(acknowledged) > ROUNDS * 30


async def test_this_test_notices_an_early_acknowledgement(tmp_path):
    with pytest.raises(AssertionError, match="acknowledged entries are gone"):
        for run in range(ROUNDS):
            folder = tmp_path / f"data{run}"
            await assert_kept(folder, killed(folder, str(run), "early"))
