"""Instances as processes over a real store and a real directory, and devices that use them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.cluster.devices import Device, Seen
from tests.faults.flood import log_by_rest, problems
from tests.support.cluster import LINKED_SECONDS, shared
from tests.support.peer import Peer, client_session
from tests.support.server import Options, Server

SESSION_SECONDS = 4.0
PLANTS = Path(__file__).parent / "planted"
USERS = ("alice", "bob", "carol", "dave", "erin", "frank")
SETTLED_SECONDS = 40.0


def environment(common: Options, name: str, options: Options | None = None) -> dict[str, str]:
    """The configuration of one instance, as variables."""
    table: dict[str, dict[str, Any]] = {section: dict(part) for section, part in common.items()}
    table.setdefault("directory", {})["instance"] = name
    for section, changed in (options or {}).items():
        table.setdefault(section, {}).update(changed)
    return {
        f"WHATSAPP_{section}_{option}".upper(): str(value)
        for section, part in table.items()
        for option, value in part.items()
    }


def planted(name: str) -> dict[str, str]:
    """Variables with which a server process has this bug."""
    return {"PYTHONPATH": str(PLANTS), "PLANTED": name}


class Trio:
    """The instances by name; their addresses, which change when one is started again."""

    def __init__(self, servers: Mapping[str, Server], http: ClientSession) -> None:
        self.servers = servers
        self.http = http
        self.urls: list[str] = []
        self.peers: list[Peer] = []
        self.devices: list[Device] = []
        self.seen = Seen()

    def __getitem__(self, name: str) -> Server:
        return self.servers[name]

    async def start(self, *names: str) -> None:
        await asyncio.gather(*(self.servers[name].start() for name in names or self.servers))
        self.urls[:] = [server.url for server in self.servers.values()]

    async def figure(self, name: str, metric: str) -> float:
        async with self.http.get(f"{self.servers[name].url}/metrics") as answer:
            found = re.search(rf"^{metric} (\S+)$", await answer.text(), re.MULTILINE)
        assert found, metric
        return float(found[1])

    async def linked(self) -> None:
        """Wait until each has a link to each."""
        await until(self.all_linked, LINKED_SECONDS, "linked")

    async def all_linked(self) -> bool:
        others = len(self.servers) - 1
        counts = [await self.figure(name, "whatsapp_instances_linked") for name in self.servers]
        return counts == [others] * len(counts)

    async def people(self, pause_seconds: float = 0.03) -> list[Device]:
        """Six users, two on each instance; each in a chat with its neighbour and in one group."""
        urls = self.urls
        self.peers = [
            await Peer(self.http, urls[number % len(urls)], user).register()
            for number, user in enumerate(USERS)
        ]
        group = await self.peers[0].ask(
            "POST", "/v1/groups", {"title": "club", "members": USERS[1:]}
        )
        pairs = [":".join(USERS[number : number + 2]) for number in range(len(USERS) - 1)]
        for number, peer in enumerate(self.peers):
            chats = [group["chat"], *(pair for pair in pairs if peer.user in pair.split(":"))]
            device = Device(
                self.http, peer, urls, chats, self.seen, at=number, pause_seconds=pause_seconds
            )
            self.devices.append(device)
        await asyncio.gather(*(device.come() for device in self.devices))
        return self.devices

    async def complete(self, seconds: float = SETTLED_SECONDS) -> float:
        """Nobody writes any more: all is answered and all have everything; how long that took."""
        began = time.monotonic()
        for device in self.devices:
            device.writing = False
        await until(lambda: not any(one.pending for one in self.devices), seconds, "answered")
        heads: dict[str, int] = {}
        for one in self.seen.acknowledged:
            heads[one.chat] = max(one.seq, heads.get(one.chat, 0))

        def missing() -> list[str]:
            return [
                f"{device.user} lacks {chat} {sorted(lacks)[:5]}"
                for device in self.devices
                for chat in device.chats
                if (lacks := set(range(1, heads.get(chat, 0) + 1)) - device.has[chat])
            ]

        try:
            await until(lambda: not missing(), seconds, "delivered")
        except AssertionError:
            raise AssertionError(f"not delivered: {missing()}") from None
        return time.monotonic() - began

    async def verdict(self, at: str) -> list[str]:
        """What must not be, by the log as this instance shows it."""
        logs = {}
        for peer, device in zip(self.peers, self.devices, strict=True):
            peer.url = self.servers[at].url
            for chat in device.chats:
                if chat not in logs:
                    logs[chat] = await log_by_rest(peer, chat)
        return [
            *problems(self.seen, logs),
            *self.seen.backward,
            *(f"refused: {frame}" for frame in self.seen.refused),
        ]

    def slowest(self, since: float, until_: float, *but: Device) -> float:
        """The longest way of a message acknowledged in this time to devices but those (s)."""
        users = {device.user for device in self.devices} - {device.user for device in but}
        ways = [
            came - acked
            for (user, chat, seq), came in self.seen.came_at.items()
            if user in users
            and (acked := self.seen.acked_at.get((chat, seq)))
            and since <= acked <= until_
        ]
        return max(ways, default=0.0)

    def acked_after(self, moment: float) -> float:
        """How long after this moment the first message was acknowledged (s)."""
        return min((at for at in self.seen.acked_at.values() if at > moment), default=0) - moment

    def acked_between(self, since: float, until_: float) -> int:
        return sum(since < at < until_ for at in self.seen.acked_at.values())


@contextlib.asynccontextmanager
async def trio(
    folder: Path,
    *,
    names: str = "abc",
    hosts: str = "",
    url: str = "",
    timeout_seconds: float = 30.0,
    options: Mapping[str, Options] | None = None,
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[Trio]:
    """All started and linked; killed at the end. `options`: of single instances, by name."""
    common = await asyncio.to_thread(
        shared, folder / "shared", hosts=hosts, url=url, timeout_seconds=timeout_seconds
    )
    async with client_session() as http, contextlib.AsyncExitStack() as stack:
        servers = {}
        for name in names:
            one = environment(common, name, (options or {}).get(name))
            one |= {**(variables or {}), "WHATSAPP_SERVER_HEARTBEAT_SECONDS": "5"}
            servers[name] = Server(folder / name, "--no-rate-limits", environment=one)
            stack.push_async_exit(servers[name].__aexit__)
        together = Trio(servers, http)
        await together.start()
        await together.linked()
        try:
            yield together
        finally:
            await asyncio.gather(*(device.leave() for device in together.devices))


async def until(so: Callable[[], Any], seconds: float, what: str) -> float:
    """Wait until it is so; how long it took."""
    began = time.monotonic()
    while True:
        answer = so()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return time.monotonic() - began
        assert time.monotonic() - began < seconds, f"not {what} in {seconds} s"
        await asyncio.sleep(0.02)


def show(what: str, **figures: float) -> None:
    """For `pytest -s`, and for a file that WHATSAPP_TEST_FIGURES names."""
    line = f"{what}: " + ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
    print(line)
    if file := os.environ.get("WHATSAPP_TEST_FIGURES"):
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(line + "\n")
