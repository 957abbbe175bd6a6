"""One fault after the other, on a real server process: processes, disks, clocks, networks.

What several of them at once do is `test_torture.py`; kills are `test_kill.py`; full disks and
orderly ends are in `tests/scripts/test_shutdown.py`. RELIABILITY.md has the whole matrix.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import sqlite_thread
from tests.faults import planted_server
from tests.faults.flood import log_by_rest
from tests.support.chaos_proxy import ChaosProxy
from tests.support.netns import other_machine
from tests.support.peer import Closed, Peer, Stalled, client_session
from tests.support.preload import Preload
from tests.support.server import Server

CHAT = "alice:bob"
PATIENCE_SECONDS = 30.0


async def until(holds: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> float:
    """Wait for it; how long it took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)
    return time.monotonic() - began


def held_for(server: Server, address: str) -> int:
    """Descriptors that the server holds for connections from there, an IPv4 address."""
    peer = bytes(reversed(ipaddress.ip_address(address).packed)).hex().upper()
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    there = {f"socket:[{line[9]}]" for line in lines if line[2].startswith(f"{peer}:")}
    found = 0
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(entry.readlink()) in there
    return found


def open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


async def two(http, server: Server) -> tuple[Peer, Peer]:
    alice, bob = [await Peer(http, server.url, user).register() for user in ("alice", "bob")]
    return alice, bob


async def stored(peer: Peer, count: int) -> None:
    """Wait until the chat has so many entries."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            chats = await peer.ask("GET", "/v1/chats")
            if chats and chats[0]["head"] >= count:
                return
            await asyncio.sleep(0.02)


# --- acknowledgements ----------------------------------------------------------------


@pytest.mark.slow
async def test_acknowledgements_that_are_lost(tmp_path: Path) -> None:
    """Everything is sent again, and stored once."""
    rounds, each = 10, 20
    async with (
        Server(tmp_path / "data", "--no-rate-limits") as server,
        ChaosProxy(lambda: server.url) as proxy,
        client_session() as http,
    ):
        alice, bob = await two(http, server)
        places: dict[str, int] = {}
        for number in range(rounds):
            alice.url = proxy.url
            await alice.online()
            proxy.lost_down = True
            ids = [f"lost-{number:04}-{at:04}" for at in range(each)]
            for name in ids:
                await alice.send(name, f"text of {name}", to="bob")
            await stored(bob, (number + 1) * each)
            proxy.heal()
            await alice.drop()
            assert not any(frame["type"] == "sent" for frame in alice.inbox)
            await alice.online()
            for name in ids:
                await alice.send(name, f"text of {name}", to="bob")
            for name in ids:
                sent = await alice.next("sent")
                assert sent["id"] == name
                assert sent["dup"] is True
                places[name] = sent["seq"]
            await alice.leave()
            alice.inbox.clear()
        records = await log_by_rest(bob, CHAT)
        assert {one.id: one.seq for one in records if one} == places
        assert len(records) == rounds * each


# --- a server that stands still ------------------------------------------------------


def freeze(server: Server) -> None:
    server.signal(signal.SIGSTOP)


def thaw(server: Server) -> None:
    server.signal(signal.SIGCONT)


def hang(server: Server) -> None:
    server.signal(signal.SIGUSR1)


def no_matter(server: Server) -> None:
    """It comes back by itself."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant, stand, go", [("", freeze, thaw), ("hangs_when_told", hang, no_matter)]
)
async def test_a_server_that_stood_still(
    tmp_path: Path, plant: str, stand: Callable[[Server], None], go: Callable[[Server], None]
) -> None:
    """For longer than two heartbeats; then it goes on as if nothing had been."""
    program = planted_server.program(plant) if plant else ("-m", "whatsapp")
    fast = {"WHATSAPP_SERVER_HEARTBEAT_SECONDS": "1"}
    async with (
        Server(tmp_path / "data", environment=fast, program=program) as server,
        client_session() as http,
    ):
        alice, bob = await two(http, server)
        await alice.online()
        await bob.online()
        stand(server)
        await asyncio.sleep(0.3)
        ids = [f"while-away-{number:04}" for number in range(20)]
        for name in ids:
            await alice.send(name, name, to="bob")
        await asyncio.sleep(planted_server.HANG_SECONDS)
        go(server)
        try:
            for name in ids:
                assert (await alice.next("sent", timeout_seconds=PATIENCE_SECONDS))["id"] == name
        except Closed:
            # Legal too: it was silent for two heartbeats. All is sent again then.
            await alice.online()
            for name in ids:
                await alice.send(name, name, to="bob")
        if not bob.connected:
            await bob.online()
        for name in ids:
            assert (await bob.next("message", timeout_seconds=PATIENCE_SECONDS))["id"] == name
        assert len(await log_by_rest(bob, CHAT)) == len(ids)
        await alice.leave()
        await bob.leave()
        assert await server.terminate() == 0
        assert "Traceback" not in server.log


# --- clients that are gone -----------------------------------------------------------


@pytest.mark.slow
async def test_idle_half_open_clients_are_found(tmp_path: Path) -> None:
    """The network is gone and nobody was told: two heartbeats later the descriptor is free."""
    fast = {
        "WHATSAPP_SERVER_HEARTBEAT_SECONDS": "1",
        "WHATSAPP_SERVER_CLOSE_TIMEOUT_SECONDS": "0.3",
    }
    async with (
        Server(tmp_path / "data", environment=fast) as server,
        ChaosProxy(lambda: server.url) as proxy,
        client_session() as http,
    ):
        alice, bob = await two(http, server)
        await bob.online()
        before = open_files(server)
        clients = [Stalled(proxy.url) for _ in range(20)]
        for client in clients:
            await alice.login()
            await client.connect(alice.token)
        assert open_files(server) >= before + 20
        proxy.lost_up = proxy.lost_down = True
        took = await until(lambda: open_files(server) <= before + 1)
        print(f"idle half-open clients: descriptors free after {took:.1f} s at a heartbeat of 1 s")
        assert bob.connected
        for client in clients:
            client.close()
        await bob.leave()


@pytest.mark.slow
async def test_a_pulled_cable_with_data_pending(tmp_path: Path) -> None:
    """No packet passes: the descriptor is free within 15 s; what was missed comes later."""
    with other_machine() as machine:
        async with (
            Server(tmp_path / "data", "--host", machine.address, "--no-rate-limits") as server,
            client_session() as http,
        ):
            alice, bob = await two(http, server)
            far = await connected_from(machine, server, bob.token)
            await alice.online()
            assert held_for(server, machine.other) == 1
            machine.pull()
            began = time.monotonic()
            for number in range(40):
                await alice.send(f"pending-{number:04}", "x" * 10_000, to="bob")
                await alice.next("sent")
            await until(lambda: not held_for(server, machine.other), 60.0)
            took = time.monotonic() - began
            print(f"a pulled cable with data pending: descriptor free after {took:.1f} s")
            machine.plug()
            far.close()
            again = await connected_from(machine, server, bob.token)
            async with asyncio.timeout(PATIENCE_SECONDS):
                caught: list[bytes] = []
                while sum(data.count(b'"seq"') for data in caught) < 40:
                    caught += [data for _, data in await again.frames(1)]
            again.close()
            await alice.leave()


async def connected_from(machine, server: Server, token: str) -> Stalled:
    client = Stalled(server.url)
    client.close()
    client._socket = machine.socket()
    client._socket.setblocking(False)
    await client.connect(token)
    await asyncio.sleep(0.3)
    return client


# --- disks and clocks ----------------------------------------------------------------


@pytest.mark.slow
async def test_an_fsync_that_fails_ends_the_process(tmp_path: Path) -> None:
    preload = Preload(tmp_path)
    async with (
        Server(tmp_path / "data", environment=preload.environment) as server,
        client_session() as http,
    ):
        alice, _bob = await two(http, server)
        await alice.online()
        for number in range(10):
            await alice.send(f"kept-{number:04}", "kept", to="bob")
            await alice.next("sent")
        preload.break_fsync()
        await alice.send("in-doubt-1", "in doubt", to="bob")
        assert await server.ended() == sqlite_thread.EXIT_CODE
        with pytest.raises(Closed):
            # An error may still come through; an acknowledgement must not.
            await alice.next("sent")
        assert 'disk failed to keep data, ending now error="disk I/O error"' in server.log
        preload.mend_fsync()
        await server.restart()
        alice.url = server.url
        await alice.drop()
        await alice.online()
        await alice.send("in-doubt-1", "in doubt", to="bob")
        assert (await alice.next("sent"))["seq"] == 11
        records = await log_by_rest(alice, CHAT)
        assert [one.text for one in records if one] == ["kept"] * 10 + ["in doubt"]
        await alice.leave()


@pytest.mark.slow
async def test_a_clock_that_is_set(tmp_path: Path) -> None:
    """An hour forward, two back: the order stays, logins stay, heartbeats go on."""
    preload = Preload(tmp_path)
    fast = {"WHATSAPP_SERVER_HEARTBEAT_SECONDS": "1"}
    async with (
        Server(tmp_path / "data", environment={**preload.environment, **fast}) as server,
        client_session() as http,
    ):
        alice, bob = await two(http, server)
        await alice.online()
        await bob.online()
        times = []
        for number, hours in enumerate((0, 1, -1, 0)):
            preload.shift_clock(hours * 3600)
            await asyncio.sleep(1.2)
            for sender, reader in ((alice, bob), (bob, alice)):
                name = f"{sender.user}-at-{number:04}"
                await sender.send(name, name, to=reader.user)
                sent = await sender.next("sent")
                got = await reader.next("message")
                assert (got["id"], got["seq"]) == (name, sent["seq"])
                times.append(got["time"])
        assert alice.connected
        assert bob.connected
        # It did happen, and the order did not care.
        hour = 3_600_000
        assert times[2] - times[0] > 0.9 * hour
        assert times[4] - times[2] < -1.9 * hour
        seqs = [one.seq for one in await log_by_rest(bob, CHAT) if one]
        assert seqs == list(range(1, 9))
        await alice.leave()
        await bob.leave()
        await alice.login("another")
        assert "Traceback" not in server.log


# --- taken away while it is used -----------------------------------------------------


class Stream:
    """One user sends to a chat as quickly as it is answered, until it is told to stop."""

    def __init__(self, peer: Peer, **where: str) -> None:
        self._peer = peer
        self._where = where
        self.sent = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self.sent += 1
            await self._peer.send(f"{self._peer.user}-{self.sent:06}", "go on", **self._where)
            await self._peer.next("sent")

    async def at_least(self, count: int) -> None:
        await until(lambda: self.sent > count)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._peer.settled()


@pytest.mark.slow
async def test_kicked_amid_sends(tmp_path: Path) -> None:
    """After its own removal nothing more, neither way."""
    async with Server(tmp_path / "data", "--no-rate-limits") as server, client_session() as http:
        users = ("alice", "bob", "carol")
        alice, bob, carol = [await Peer(http, server.url, user).register() for user in users]
        body = {"title": "club", "members": ["bob", "carol"]}
        chat = (await alice.ask("POST", "/v1/groups", body))["chat"]
        for peer in (bob, carol):
            await peer.online()
        for _ in range(5):
            stream = Stream(carol, chat=chat)
            await stream.at_least(30)
            await alice.ask("DELETE", f"/v1/groups/{chat}/members/bob")
            await stream.at_least(stream.sent + 30)
            await bob.send("let-me-in-1", "still here?", chat=chat)
            assert (await bob.next("error"))["code"] == "not_member"
            await stream.stop()
            await bob.settled()
            pushed = [frame for frame in bob.inbox if frame["type"] == "message"]
            assert pushed[-1]["kind"] == "removed"
            assert pushed[-1]["users"] == ["bob"]
            await bob.received(chat, pushed[-1]["seq"])
            bob.inbox.clear()
            await alice.ask("POST", f"/v1/groups/{chat}/members", {"users": ["bob"]})
            while (await bob.next("message"))["kind"] != "added":
                pass
        await bob.leave()
        await carol.leave()


@pytest.mark.slow
async def test_blocked_amid_sends(tmp_path: Path) -> None:
    """Once the block is answered, no text of the blocked one comes; it sees no difference."""
    async with Server(tmp_path / "data", "--no-rate-limits") as server, client_session() as http:
        alice, bob = await two(http, server)
        await alice.online()
        await bob.online()
        stream = Stream(alice, to="bob")
        await stream.at_least(30)
        await bob.ask("PUT", "/v1/blocks/alice")
        await bob.settled()
        bob.inbox.clear()
        await stream.at_least(stream.sent + 50)
        await stream.stop()
        await bob.settled()
        # One may have been stored before the block and be on its way.
        kinds = [frame["kind"] for frame in bob.inbox if frame["type"] == "message"]
        assert set(kinds[1:]) == {"void"}
        assert not any("text" in frame for frame in bob.inbox[1:])
        await alice.leave()
        await bob.leave()


@pytest.mark.slow
async def test_revoked_amid_sends(tmp_path: Path) -> None:
    """Its socket closes at once, its token is dead, and nothing more comes."""
    async with Server(tmp_path / "data", "--no-rate-limits") as server, client_session() as http:
        alice, bob = await two(http, server)
        phone = await Peer(http, server.url, "bob").login("phone")
        await alice.online()
        await phone.online()
        stream = Stream(alice, to="bob")
        await stream.at_least(30)
        began = time.monotonic()
        await bob.ask("DELETE", f"/v1/devices/{phone.device}")
        assert await phone.closed() == 4010
        took = time.monotonic() - began
        print(f"revoked amid sends: closed after {took * 1000:.0f} ms")
        count = len(phone.inbox)
        await stream.at_least(stream.sent + 30)
        await stream.stop()
        assert len(phone.inbox) == count
        assert (await phone.call("GET", "/v1/me")).status == 401
        await alice.leave()
