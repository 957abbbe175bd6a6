"""Each kind of damage is planted and found, and what is well is not accused."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.backends import founded, opener, say
from tests.support.command import refused, run
from tests.support.server import STORES, settings
from tests.support.store import change, fill
from whatsapp import check
from whatsapp.app import open_app
from whatsapp.model import Account, CursorMove

pytestmark = pytest.mark.usefixtures("home")


def quiet(what: str, done: int, whole: int) -> None:
    """Nobody looks at the progress."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("made") / "data"
    asyncio.run(fill(data))
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A store of one's own to damage."""
    return Path(shutil.copytree(made, tmp_path / "data"))


def found(data: Path, *arguments: str) -> list[str]:
    """What is wrong, in lines."""
    result = run("check", *arguments, "--data", str(data))
    lines = [line for line in result.stdout.splitlines() if line.startswith("wrong: ")]
    assert result.exit_code == (1 if lines else 0)
    assert result.stderr == ""
    return lines


def test_a_store_that_is_well(data: Path):
    before = {path.name: path.read_bytes() for path in data.glob("*.db")}
    result = run("check", "--data", str(data))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "4 accounts, 2 chats, 36 entries: all is well\n"
    assert {path.name: path.read_bytes() for path in data.glob("*.db")} == before


PAIR = "(SELECT number FROM chats WHERE chat = 'ann:bob')"
GROUP = "(SELECT number FROM chats WHERE chat LIKE 'g:%')"
NO_INDEX = ("DROP INDEX messages_seq", "DROP INDEX messages_id")
COPIED = (
    "INSERT INTO messages (chat, seq, time_ms, hidden, reply_to, sender, id, kind, text)"
    " SELECT chat, {seq}, time_ms, hidden, reply_to, sender, {id}, kind, text FROM messages"
    f" WHERE chat = {PAIR} AND seq = 3"
)


@pytest.mark.parametrize(
    "statements,said",
    [
        ([f"DELETE FROM messages WHERE chat = {PAIR} AND seq = 7"], "ann:bob: seq 7 is missing"),
        (
            [f"DELETE FROM messages WHERE chat = {PAIR} AND seq BETWEEN 1 AND 4"],
            "ann:bob: seqs 1 to 4 are missing, and the head is 30",
        ),
        ([f"DELETE FROM messages WHERE chat = {PAIR}"], "chats without an entry: 1 (ann:bob)"),
        ([*NO_INDEX, COPIED.format(seq=3, id="'other-id'")], "ann:bob: seq 3 is there twice"),
        ([*NO_INDEX, COPIED.format(seq=31, id="id")], "ann:bob: seq 3 and seq 31 have one sender"),
        ([NO_INDEX[0]], "file: the index messages_seq is missing"),
        (
            ["DROP TABLE blocks", "CREATE TABLE blocks (user, other)"],
            "file: the table blocks is not as made",
        ),
        (
            [f"UPDATE members SET read = 99 WHERE user = 'ann' AND chat = {PAIR}"],
            "ann:bob: ann's read cursor is at 99, beyond the head 30",
        ),
        (
            ["UPDATE members SET received = 31 WHERE user = 'bob'"],
            "ann:bob: bob's received cursor is at 31",
        ),
        (["UPDATE cursors SET received = 50"], "the cursor of bob's device"),
        (
            [f"UPDATE chats SET epoch = 4 WHERE number = {GROUP}"],
            "its epoch is 4, and by its log 6",
        ),
        ([f"UPDATE chats SET title = 'x' WHERE number = {GROUP}"], "its title is 'x'"),
        (["UPDATE chats SET about = 'x' WHERE about <> ''"], "its about is 'x'"),
        (
            [f"UPDATE members SET role = 'owner' WHERE user = 'dan' AND chat = {GROUP}"],
            "dan is owner, and by its log member",
        ),
        (
            [f"UPDATE members SET \"left\" = 0 WHERE user = 'cid' AND chat = {GROUP}"],
            "cid's left is 0, and by its log 5",
        ),
        (
            [f"DELETE FROM members WHERE user = 'dan' AND chat = {GROUP}"],
            "dan is no member, and by its log is or was one",
        ),
        (
            [f"INSERT INTO members (user, chat, role, joined) VALUES ('cid', {PAIR}, 'member', 1)"],
            "ann:bob: it is of ann and bob, and has other members",
        ),
        (
            [f"UPDATE messages SET sender = 'dan' WHERE chat = {PAIR} AND seq = 8"],
            "ann:bob: seq 8 is by dan, who never was a member",
        ),
        (["DROP TABLE accounts"], "wrong: the accounts cannot be read: no such table"),
        (["DROP TABLE chats"], "wrong: the list of chats cannot be read: no such table"),
        (["DROP TABLE members"], "wrong: what belongs to ann cannot be read: no such table"),
        (["DROP TABLE devices"], "devices without an account cannot be looked for"),
        (["DELETE FROM accounts WHERE user = 'dan'"], "its member dan has no account"),
        (["DELETE FROM accounts WHERE user = 'bob'"], "devices without an account: 1 (bob)"),
        (["UPDATE accounts SET erased = 1 WHERE user = 'bob'"], "devices without an account"),
        (["UPDATE cursors SET chat = 99"], "cursors of a chat that does not exist: 1 (bob)"),
        (
            [f"UPDATE members SET chat = 99 WHERE user = 'dan' AND chat = {GROUP}"],
            "members of a chat that does not exist: 1 (dan)",
        ),
        (
            [f"UPDATE messages SET chat = 99 WHERE chat = {PAIR} AND seq = 30"],
            "entries of a chat that does not exist: 1 (99)",
        ),
        (["INSERT INTO blocks VALUES ('ann', 'nobody')"], "blocks without an account: 1 (ann"),
        (
            [f"UPDATE members SET role = 'king' WHERE chat = {GROUP}"],
            "cannot be read: 'king' is not",
        ),
        ([f"UPDATE messages SET event = '{{' WHERE chat = {GROUP}"], "cannot be read: Input data"),
    ],
)
def test_damage_to_the_messages(data: Path, statements: list[str], said: str):
    change(data / "messages.db", *statements)
    lines = found(data)
    assert any(said in line for line in lines), lines


def test_a_damaged_page(data: Path):
    file = data / "messages.db"
    content = bytearray(file.read_bytes())
    content[5 * 4096 : 6 * 4096] = b"\x55" * 4096
    file.write_bytes(content)
    assert any(line.startswith("wrong: file: ") for line in found(data))


def test_an_index_of_the_file_that_lacks_a_row(data: Path):
    change(
        data / "messages.db",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = sql || ' WHERE seq <> 9' WHERE name = 'messages_seq'",
    )
    change(data / "messages.db", "REINDEX messages_seq", "PRAGMA writable_schema = ON")
    change(
        data / "messages.db",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = replace(sql, ' WHERE seq <> 9', '')"
        " WHERE name = 'messages_seq'",
    )
    assert any("missing from index messages_seq" in line for line in found(data))


# --- the search index ----------------------------------------------------------------


def forget_an_entry(data: Path) -> None:
    """As a lost batch would: the index says that it has it, and has not."""
    (words,) = documents(data, 5)
    change(
        data / "search.db",
        f"INSERT INTO words_0 (words_0, rowid, words) VALUES ('delete', 5, '{words}')",
    )


def other_words(data: Path) -> None:
    forget_an_entry(data)
    change(
        data / "search.db", f"INSERT INTO words_0 (rowid, words) VALUES (5, '{MARK}c1 {MARK}u1 x')"
    )


def a_row_too_many(data: Path) -> None:
    change(data / "search.db", f"INSERT INTO words_0 (rowid, words) VALUES (99, '{MARK}c1 x')")


def no_part(data: Path) -> None:
    change(data / "search.db", "DELETE FROM shards")


def no_table(data: Path) -> None:
    change(data / "search.db", "DROP TABLE words_0")


def no_state(data: Path) -> None:
    change(data / "search.db", "DELETE FROM state")


def of_another(data: Path) -> None:
    change(data / "search.db", "UPDATE state SET identity = 'x'")


def ahead(data: Path) -> None:
    change(data / "search.db", "UPDATE state SET indexed = 99")


def rubbish(data: Path) -> None:
    (data / "search.db").write_bytes(b"rubbish" * 1000)


MARK = "\ue000"


def documents(data: Path, *numbers: int) -> list[str]:
    from backends import sqlite_index as index
    from backends.sqlite_thread import read_only

    db = read_only(data / "messages.db")
    try:
        rows = {row.number: row for row in index.unindexed(db, 0, 100)}
    finally:
        db.close()
    return [index.document(rows[number]) for number in numbers]


@pytest.mark.parametrize(
    "harm,said",
    [
        (forget_an_entry, "entries that it lacks: 1 "),
        (other_words, "entries with other words: 1 of 30"),
        (a_row_too_many, "entries that the log lacks: 1 "),
        (no_part, "entries that it lacks: 30 "),
        (no_table, "no such table"),
        (no_state, "it does not say how far it goes"),
        (of_another, "it belongs to another log"),
        (ahead, "it is ahead of the log"),
        (rubbish, "file is not a database"),
    ],
)
def test_damage_to_the_search_index(data: Path, harm: Callable[[Path], None], said: str):
    harm(data)
    (line,) = found(data)
    assert line.startswith("wrong: search index: ")
    assert said in line
    # What was derived is derived again.
    assert found(data, "--repair-index") == []
    asyncio.run(start_and_index(data))
    assert found(data) == []


async def start_and_index(data: Path) -> None:
    from tests.support.backends import indexed

    async with opener("sqlite", data)() as stores:
        assert await indexed(stores)


@pytest.mark.parametrize(
    "statement,said",
    [
        ("PRAGMA user_version = 9", "of another version"),
        ("UPDATE state SET open = 1, boot = 'x'", "was open when the machine stopped"),
    ],
)
def test_an_index_that_mends_itself_is_a_note(data: Path, statement: str, said: str):
    change(data / "search.db", statement)
    result = run("check", "--data", str(data))
    assert result.exit_code == 0
    assert re.search(f"^note: .*{said}.*builds it anew$", result.stdout, re.MULTILINE)


def test_an_index_that_is_behind_is_a_note(data: Path):
    change(data / "messages.db", COPIED.format(seq=31, id="'other-id'"))
    result = run("check", "--data", str(data))
    assert (result.exit_code, "not in the search index yet: 1;" in result.stdout) == (0, True)


def test_left_over_cursors_are_a_note(data: Path):
    change(data / "messages.db", "DELETE FROM devices")
    result = run("check", "--data", str(data))
    assert (result.exit_code, "cursors of ended devices: 1;" in result.stdout) == (0, True)


# --- what cannot be checked ----------------------------------------------------------


def test_where_there_is_nothing_to_check(tmp_path: Path, data: Path, monkeypatch):
    assert "there is no store" in refused("check", "--data", str(tmp_path / "no"), code=1)[0]
    assert "cannot be read" in refused("check", str(tmp_path / "no.db"), code=1)[0]
    (tmp_path / "notes").write_text("my notes\n" * 1000)
    assert "is not a database" in refused("check", str(tmp_path / "notes"), code=1)[0]
    change(tmp_path / "theirs.db", "CREATE TABLE t (x)")
    assert "some other program" in refused("check", str(tmp_path / "theirs.db"), code=1)[0]
    change(data / "messages.db", "PRAGMA user_version = 99")
    assert "newer version" in refused("check", "--data", str(data), code=1)[0]
    assert "no search index" in refused("check", "x.db", "--repair-index", code=2)[0]
    monkeypatch.setenv("WHATSAPP_STORAGE_BACKEND", "memory")
    assert "memory store" in refused("check", code=1)[0]


# --- over the interfaces alone -------------------------------------------------------


@pytest.mark.parametrize("store", STORES)
async def test_over_any_stores(tmp_path: Path, store: str):
    async with opener(store, tmp_path / "data")() as stores:
        for user in ("ann", "bob"):
            await stores.accounts.create(Account(user=user, name=user))
        await stores.messages.append([say(f"{n}") for n in range(1200)])
        report = check.Report()
        await check.examine(stores, report, quiet)
        assert (report.problems, report.accounts, report.chats) == ([], 2, 1)
        assert report.entries == 1200
        # A store promises to keep what it is told; it is told nonsense.
        await stores.chats.advance([CursorMove(chat="ann:bob", user="ann", read=2000)])
        await stores.messages.append([founded("ann", "eve")])
        report = check.Report()
        await check.examine(stores, report, quiet)
        assert len([line for line in report.problems if "read cursor is at 2000" in line]) == 1
        assert len([line for line in report.problems if "eve has no account" in line]) == 1
        # Its kind is none that the server writes: the log does not tell of its members.
        assert len([line for line in report.problems if "nothing of that" in line]) == 2


async def test_beside_a_running_server_that_writes(tmp_path: Path):
    data = tmp_path / "data"
    await fill(data)
    config = settings("sqlite", data)
    async with open_app(config) as app:

        async def write() -> None:
            while True:
                await app.stores.messages.append([say("more") for _ in range(50)])

        writing = asyncio.create_task(write())
        report = check.Report()
        for _ in range(3):
            report = await asyncio.to_thread(check.run, config, quiet)
            assert report.problems == []
        writing.cancel()
        await asyncio.wait([writing])
    assert report.entries > 36


async def test_a_store_without_files_is_opened_as_a_server_does(tmp_path: Path):
    """What a MongoDB gets; here over SQLite, which can be opened so, too."""
    data = tmp_path / "data"
    await fill(data)
    report = await check._opened(settings("sqlite", data), quiet)
    assert (report.problems, report.accounts, report.chats, report.entries) == ([], 4, 2, 36)
