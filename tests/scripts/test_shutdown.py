"""The beginning and the end of a server process: signals, ports, folders, disks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.flood import History, Sender, log_by_rest, problems
from tests.support.need import need
from tests.support.peer import Peer, Stalled, client_session
from tests.support.server import Server, run_serve

END_SECONDS_MAX = 10.0
STALLED_CLIENTS = 20
BIG_TEXT = "x" * 16_000
# More than the kernel takes for a socket that nobody reads.
BACKLOG_MESSAGES = 100
CHAT = "alice:bob"


@contextlib.asynccontextmanager
async def stalled_clients(server: Server, writer: Peer, count: int) -> AsyncIterator[list[Stalled]]:
    """Devices of one user with much to read, of which none reads."""
    reader = await Peer(writer.http, server.url, "sloth").register()
    for number in range(BACKLOG_MESSAGES):
        body = {"id": f"backlog-{number}", "text": BIG_TEXT}
        await writer.ask("POST", f"/v1/chats/{writer.user}:sloth/messages", body)
    clients = []
    try:
        for number in range(count):
            await reader.login(f"device {number}")
            clients.append(Stalled(server.url))
            await clients[-1].connect(reader.token)
        yield clients
    finally:
        for client in clients:
            client.close()


async def test_sigterm_amid_senders_and_stalled_clients(tmp_path: Path) -> None:
    history = History()
    async with Server(tmp_path / "data", "--no-rate-limits") as server, client_session() as http:
        peers = [await Peer(http, server.url, user).register() for user in ("alice", "bob")]
        senders = [Sender(http, peer, [CHAT], history) for peer in peers]
        async with stalled_clients(server, peers[0], STALLED_CLIENTS):
            flood = [asyncio.create_task(one.run(server.url, forever=True)) for one in senders]
            await asyncio.sleep(1.0)
            began = time.monotonic()
            assert await server.terminate() == 0
            assert time.monotonic() - began < END_SECONDS_MAX
            await asyncio.gather(*flood)
        assert history.ends == [(True, 1001)] * len(senders)
        assert {frame["code"] for frame in history.refused} <= {"unavailable", "busy"}
        await server.restart()
        peers[0].url = server.url
        log = await log_by_rest(peers[0], CHAT)
        assert problems(history, {CHAT: log}) == []
        # All that was accepted was answered, too.
        assert len(log) == len(history.acknowledged) > 0
        assert "Traceback" not in server.log


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    patient = {
        "WHATSAPP_SERVER_CLOSE_TIMEOUT_SECONDS": "60",
        "WHATSAPP_SERVER_DRAIN_TIMEOUT_SECONDS": "60",
    }
    async with (
        Server(tmp_path / "data", "--no-rate-limits", environment=patient) as server,
        client_session() as http,
    ):
        alice = await Peer(http, server.url, "alice").register()
        async with stalled_clients(server, alice, 1):
            server.signal(signal.SIGINT)
            await asyncio.sleep(1.0)
            os.kill(server.pid, 0)  # waits for the stalled one
            began = time.monotonic()
            assert await server.terminate(signal.SIGINT) == 128 + signal.SIGINT
            assert time.monotonic() - began < 30.0  # far less than it would have waited


async def test_ctrl_c_alone_is_an_orderly_end(tmp_path: Path) -> None:
    async with Server(tmp_path / "data") as server:
        assert server.said[-1].endswith("Ctrl-C stops")
        assert await server.terminate(signal.SIGINT) == 0


# --- what keeps it from starting -----------------------------------------------------


def two_lines(told: str) -> tuple[str, str]:
    """Cause and cure, at the end of what it told; and no traceback."""
    assert "Traceback" not in told
    *_, cause, cure = told.strip().splitlines()
    return cause, cure


async def test_the_port_is_taken(tmp_path: Path) -> None:
    async with Server(tmp_path / "one") as server:
        port = server.url.rpartition(":")[2]
        code, told = await run_serve(tmp_path / "two", "--port", port)
    cause, cure = two_lines(told)
    assert code == 1
    assert cause == f"Error: port {port} on 127.0.0.1: in use by another program"
    assert "--port" in cure


async def test_the_folder_is_taken(tmp_path: Path) -> None:
    async with Server(tmp_path / "data") as server:
        code, told = await run_serve(tmp_path / "data", "--port", "0")
        cause, cure = two_lines(told)
        assert code == 1
        assert cause == f"Error: {tmp_path / 'data'} is in use by process {server.pid}"
        assert "--data" in cure
        # The first one is not disturbed, and a dead one leaves no lock behind.
        await server.kill9()
        await server.restart()


def newer(data: Path) -> None:
    with contextlib.closing(sqlite3.connect(data / "messages.db")) as db:
        db.execute("PRAGMA user_version = 99")


def not_a_database(data: Path) -> None:
    (data / "messages.db").write_bytes(b"These are my notes.\n" * 1000)


def damaged(data: Path) -> None:
    """A page in the middle is overwritten, as by a disk that fails."""
    file = data / "messages.db"
    content = bytearray(file.read_bytes())
    assert len(content) > 5 * 4096
    content[4096 : 5 * 4096] = b"\x55" * 4 * 4096
    file.write_bytes(content)


@pytest.mark.parametrize(
    "harm, said",
    [(newer, "newer version"), (not_a_database, "is not a database"), (damaged, "is damaged")],
)
async def test_the_data_cannot_be_used(
    tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    data = tmp_path / "data"
    async with Server(data) as server, client_session() as http:
        alice = await Peer(http, server.url, "alice").register()
        for number in range(20):
            body = {"id": f"number-{number}", "text": BIG_TEXT}
            await alice.ask("POST", "/v1/chats/alice:alice/messages", body)
        assert await server.terminate() == 0
    harm(data)
    before = (data / "messages.db").read_bytes()
    code, told = await run_serve(data, "--port", "0")
    cause, cure = two_lines(told)
    assert code == 1
    assert said in cause
    assert "--data" in cure
    # What cannot be used is not touched either.
    assert (data / "messages.db").read_bytes() == before


# --- a full disk ---------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of 24 MB there; skips where this user may not mount one."""
    folder.mkdir()
    command = [need("mount"), "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([need("umount"), "--lazy", str(folder)], check=True)


async def fill_and_make_room(server: Server, fill: Callable[[], None], clear: Callable[[], None]):
    """Send until it is full, and beyond; then make room, and send the rest again."""
    async with client_session() as http:
        alice = await Peer(http, server.url, "alice").register()
        bob = await Peer(http, server.url, "bob").register()
        assert bob.user == "bob"
        await alice.online()
        acknowledged: dict[str, int] = {}
        fill()
        refused = await send_until_refused(alice, acknowledged)
        # While it is full nothing is acknowledged, and nothing else breaks.
        for number in range(3):
            await alice.send(f"full-{number:04}", BIG_TEXT, to="bob")
            error = await alice.next("error", "sent")
            assert (error.get("code"), error.get("retryable")) == ("unavailable", True)
        await alice.settled()
        clear()
        again = await send_until_accepted(alice, refused)
        acknowledged[refused] = again["seq"]
        await alice.leave()
        records = [one for one in await log_by_rest(alice, CHAT) if one is not None]
        assert {one.id: one.seq for one in records} == acknowledged
    assert await server.terminate() == 0
    await server.restart()


async def send_until_refused(peer: Peer, acknowledged: dict[str, int]) -> str:
    """The id that was refused."""
    for number in range(3000):
        name = f"big-{number:04}"
        await peer.send(name, BIG_TEXT, to="bob")
        frame = await peer.next("error", "sent")
        if frame["type"] == "error":
            assert (frame["code"], frame["re"]) == ("unavailable", name)
            return name
        acknowledged[name] = frame["seq"]
    raise AssertionError("it was never full")


async def send_until_accepted(peer: Peer, id: str) -> dict[str, int]:
    for _ in range(50):
        await peer.send(id, BIG_TEXT, to="bob")
        frame = await peer.next("error", "sent")
        if frame["type"] == "sent":
            return frame
        await asyncio.sleep(0.1)
    raise AssertionError("it does not recover")


async def test_a_disk_that_becomes_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    ballast = disk / "ballast"
    with small_disk(disk):
        async with Server(disk / "data", "--no-rate-limits") as server:

            def fill() -> None:
                free = os.statvfs(disk)
                ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 1_000_000))

            await fill_and_make_room(server, fill, ballast.unlink)


async def test_writes_that_fail_at_run_time(tmp_path: Path) -> None:
    """The same where nobody may mount: files of this process may not grow any more."""
    async with Server(tmp_path / "data", "--no-rate-limits") as server:
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)

        def fill() -> None:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1_000_000, hard))

        def clear() -> None:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))

        await fill_and_make_room(server, fill, clear)
