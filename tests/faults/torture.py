"""`make torture MINUTES=5`: a crowd on a real server, and one thing after the other goes wrong.

All choices come from a seed, which is printed; what the machine does in between does not, so
a seed gives the same faults, not the same run. That is what the history file is for.

    python -m tests.faults.torture --minutes 5
    python -m tests.faults.torture --minutes 1 --seed 4711
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import random
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
from aiohttp import ClientError, ClientSession
from msgspec import Struct, field

from tests.faults import flood, nemeses, verdict
from tests.faults.crowd import History, Person
from tests.faults.nemeses import Field, Nemesis, Place
from tests.support.chaos_proxy import ChaosProxy
from tests.support.peer import Peer, client_session
from tests.support.server import Server

# Who is there, and how many devices each one has. The stranger is in no chat.
DEVICES = {"alice": 1, "bob": 2, "carol": 1, "dave": 1}
STRANGER = "eve"
DIRECT = ("alice:bob", "alice:carol", "carol:dave")
SETTLE_SECONDS_MAX = 30.0
PRESENCE_SECONDS_MAX = 10.0
PROGRESS_SECONDS = 5.0
# Far more than is needed: only growth without end is an anomaly.
RSS_BYTES_MAX = 400_000_000
FILES_MAX = 200
SETTINGS = {
    "WHATSAPP_SERVER_HEARTBEAT_SECONDS": "1",
    "WHATSAPP_SERVER_CLOSE_TIMEOUT_SECONDS": "0.5",
    "WHATSAPP_SERVER_DRAIN_TIMEOUT_SECONDS": "3",
}

Say = Callable[[str], None]


class Outcome(Struct):
    """What a campaign found. `anomalies` must be empty."""

    seed: int
    anomalies: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    history: History = field(default_factory=History)
    rss_bytes_most: int = 0

    @property
    def acknowledged(self) -> int:
        return sum(one.outcome == "ok" for one in self.history.attempts)

    def summary(self) -> list[str]:
        struck = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        pushes = sum(len(life.pushes) for life in self.history.lives)
        return [
            f"seed {self.seed}: {self.acknowledged} messages acknowledged, {pushes} pushed",
            f"connections: {len(self.history.lives)}",
            f"faults: {struck}",
            f"memory at most {self.rss_bytes_most / 1e6:.0f} MB",
            f"anomalies: {len(self.anomalies)}",
            *self.anomalies[:20],
        ]


class Campaign:
    """See the head of this file. `program`: as in `Server`, to run one with a planted bug.

    `instances`: so many servers. Above one they need a shared store and directory, by `flags`
    and `environment`; every client may then connect to any of them.
    """

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        program: Sequence[str] = ("-m", "whatsapp"),
        faults: Sequence[Nemesis] = nemeses.ALL,
        instances: int = 1,
        rest_seconds: float = 0.4,
        settle_seconds: float = SETTLE_SECONDS_MAX,
        say: Say = lambda line: None,
    ) -> None:
        if instances != 1:
            raise NotImplementedError("several instances need a shared store, still to come")
        self.outcome = Outcome(seed)
        self._chance = random.Random(seed)
        self._folder = folder
        self._program = program
        self._faults = faults
        self._rest_seconds = rest_seconds
        self._settle_seconds = settle_seconds
        self._say = say
        self._told = 0.0
        self._peers: dict[str, Peer] = {}

    async def run(self, seconds: float) -> Outcome:
        async with self._place() as place, client_session() as http:
            people = await self._gather(http, place)
            churn = asyncio.create_task(self._churn())
            try:
                await self._struck(Field([place], people, self._chance), seconds)
                churn.cancel()
                await asyncio.gather(churn, return_exceptions=True)
                place.proxy.heal()
                await self._settle(place, people)
            finally:
                churn.cancel()
                await asyncio.gather(churn, *(one.stop() for one in people), return_exceptions=True)
            if (at := place.server.log.find("Traceback")) >= 0:
                told = place.server.log[max(0, at - 500) : at + 4000]
                self._wrong(f"the server logged a bug: {told}")
            await self._in_file(place)
        return self.outcome

    # --- the scene -------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[Place]:
        data = self._folder / "data"
        server = Server(data, "--no-rate-limits", environment=SETTINGS, program=self._program)
        async with server, ChaosProxy(lambda: server.url) as proxy:
            yield Place(server, proxy)

    async def _gather(self, http: ClientSession, place: Place) -> list[Person]:
        for user in (*DEVICES, STRANGER):
            self._peers[user] = await Peer(http, place.server.url, user).register()
        body = {"title": "club", "members": [user for user in DEVICES if user != "alice"]}
        group = (await self._peers["alice"].ask("POST", "/v1/groups", body))["chat"]
        self._readers = {"alice:bob": "alice", "alice:carol": "alice", "carol:dave": "dave"}
        self._readers[group] = "alice"
        self._group = group
        people = []
        for user, devices in {**DEVICES, STRANGER: 1}.items():
            chats = [chat for chat in DIRECT if user in chat.split(":")] + [group]
            for _ in range(devices):
                await self._peers[user].login()
                one = Person(
                    http,
                    self._peers[user],
                    [place.proxy.url],
                    chats,
                    self.outcome.history,
                    random.Random(self._chance.random()),
                )
                one.watching = [*DEVICES]
                people.append(one)
        for one in people:
            one.start()
        self._server = place.server
        return people

    async def _churn(self) -> None:
        """Dave is removed from the group and added again, all the time."""
        while True:
            await asyncio.sleep(0.7)
            await self._rule("DELETE", f"/v1/groups/{self._group}/members/dave")
            await asyncio.sleep(0.3)
            await self._rule("POST", f"/v1/groups/{self._group}/members", {"users": ["dave"]})

    async def _rule(self, method: str, path: str, body: object = None) -> None:
        alice = self._peers["alice"]
        alice.url = self._server.url
        with contextlib.suppress(ClientError, OSError, TimeoutError):
            async with asyncio.timeout(5.0):
                await alice.call(method, path, body)

    # --- the faults ------------------------------------------------------------------

    async def _struck(self, field: Field, seconds: float) -> None:
        counted = collections.Counter[str]()
        began = time.monotonic()
        while time.monotonic() - began < seconds and not self.outcome.anomalies:
            await asyncio.sleep(self._rest_seconds * self._chance.uniform(0.3, 2.0))
            nemesis = self._chance.choice(self._faults)
            counted[nemesis.name] += 1
            try:
                await nemesis.strike(field)
            except AssertionError as error:
                self._wrong(f"{nemesis.name}: {error}")
            self.outcome.faults = dict(counted)
            self._resources(field)
            self._progress(began)

    def _resources(self, field: Field) -> None:
        for place in field.places:
            rss, files = _resources_of(place.server.pid)
            self.outcome.rss_bytes_most = max(self.outcome.rss_bytes_most, rss)
            if rss > RSS_BYTES_MAX or files > FILES_MAX:
                self._wrong(f"the server has {rss} bytes of memory and {files} open files")

    def _progress(self, began: float) -> None:
        if time.monotonic() - self._told > PROGRESS_SECONDS:
            self._told = time.monotonic()
            count = sum(self.outcome.faults.values())
            took = self._told - began
            self._say(f"{took:.0f} s: {self.outcome.acknowledged} acknowledged, {count} faults")

    # --- the end ---------------------------------------------------------------------

    async def _settle(self, place: Place, people: Sequence[Person]) -> None:
        """All is well again: everything must arrive, and everybody be shown as it is."""
        for peer in self._peers.values():
            peer.url = place.server.url
        await self._rule(
            "POST", f"/v1/groups/{self._group}/members", {"users": ["dave"]}
        )  # whatever was last
        for one in people:
            one.sending = False
        logs = await self._quiet(people)
        self.outcome.anomalies += verdict.anomalies(self.outcome.history, logs)
        if not self.outcome.anomalies:
            await self._presence(people)
        self._logs = logs

    async def _quiet(self, people: Sequence[Person]) -> dict[str, list[verdict.Item]]:
        deadline = time.monotonic() + self._settle_seconds
        peers = {chat: self._peers[user] for chat, user in self._readers.items()}
        while True:
            # First nothing under way, then the logs: what they have is all there will be.
            missing = next(filter(None, (one.unfinished({}) for one in people)), "")
            logs = await verdict.read_logs(peers)
            missing = missing or self._missing(people, logs)
            if not missing:
                return logs
            if time.monotonic() > deadline:
                self._wrong(f"not settled in {self._settle_seconds:.0f} s: {missing}")
                return logs
            await asyncio.sleep(0.1)

    def _missing(self, people: Sequence[Person], logs: dict[str, list[verdict.Item]]) -> str:
        for one in people:
            heads = {
                chat: len(log) for chat, log in logs.items() if verdict.spans(log, chat, one.user)
            }
            if missing := one.unfinished(heads):
                return missing
        return ""

    async def _presence(self, people: Sequence[Person]) -> None:
        """Everybody is shown online; then bob goes, with both devices, and is shown so."""
        friends = [one for one in people if one.user != STRANGER]
        await self._until(
            lambda: all(one.shown.get(user) for one in friends for user in DEVICES),
            "not everybody who is online is shown so",
        )
        gone = [one for one in friends if one.user == "bob"]
        await asyncio.gather(*(one.stop() for one in gone))
        await self._until(
            lambda: not any(one.shown.get("bob") for one in friends if one not in gone),
            "bob is gone and still shown as online",
        )

    async def _until(self, holds: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + min(PRESENCE_SECONDS_MAX, self._settle_seconds)
        while not holds():
            if time.monotonic() > deadline:
                self._wrong(f"presence: {otherwise}")
                return
            await asyncio.sleep(0.05)

    async def _in_file(self, place: Place) -> None:
        """What another reader of the file finds, once the server has ended."""
        if await place.server.terminate() != 0:
            self._wrong("the server did not end in good order")
        for chat, log in self._logs.items():
            there = flood.log_in_file(place.server.data, chat)[: len(log)]
            if there != [flood._record(item) for item in log]:
                self._wrong(f"the file has another log of {chat} than REST")

    def _wrong(self, line: str) -> None:
        self.outcome.anomalies.append(line)


def _resources_of(pid: int) -> tuple[int, int]:
    """Resident bytes and open files of a process; (0, 0) where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0, 0
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0, files


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.torture")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long")
    parser.add_argument("--seed", type=int, help="of all choices; one is made up if none is given")
    parser.add_argument("--instances", type=int, default=1, help="how many servers")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    _say(f"seed {seed}: {given.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="whatsapp-torture-") as folder:
        try:
            campaign = Campaign(seed, Path(folder), instances=given.instances, say=_say)
        except NotImplementedError as error:
            _say(f"not possible: {error}")
            return 2
        outcome = asyncio.run(campaign.run(given.minutes * 60))
    for line in outcome.summary():
        _say(line)
    if not outcome.anomalies:
        return 0
    kept = Path(f"torture-{seed}.json").resolve()
    kept.write_bytes(msgspec.json.encode(outcome))
    _say(f"history: {kept}")
    _say(f"again: python -m tests.faults.torture --minutes {given.minutes:g} --seed {seed}")
    return 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
