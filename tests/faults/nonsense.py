"""Nonsense for a real server: random and spoiled frames and requests, from a seed.

    python -m tests.faults.nonsense --inputs 1000000
    python -m tests.faults.nonsense --inputs 1000 --seed 4711

While it comes in, another client asks all the time whether the server still answers; the
longest that this took is printed. A crash, a logged bug, or an answer of 500 is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from tests.faults.pipes import Pipe, frame_bytes
from tests.support.peer import SUBPROTOCOL, Peer, client_session, masked
from tests.support.server import Server
from whatsapp import examples, wire
from whatsapp.endpoints import OPERATIONS

ANSWER_SECONDS_MAX = 20.0
FRAMES_A_CONNECTION = 200
FRAMES_AT_ONCE = 10
REQUESTS_A_CONNECTION = 20
# One HTTP request for so many frames.
FRAMES_A_REQUEST = 20
PAUSE_SECONDS = 0.02

FRAMES = [
    msgspec.json.encode(examples.value(kind))
    for kind in (wire.Send, wire.Received, wire.Read, wire.Typing, wire.Watch, wire.Ping)
]
VALUES: list[Any] = [
    *(None, True, 0, -1, 2**53, 2**63, 2**64, 1e308, -0.0, "", "\0", "x" * 5000, "alice:bob"),
    *([], {}, [[]], {"$gt": ""}, {"$where": "1"}, ["a"] * 300, "\U0010ffff", "' OR 1=1 --"),
]
SURROGATE = b'{"type":"send","id":"\\ud800xxxxxxx","to":"\\udfff","text":"\\ud800"}'


class Result(Struct):
    """What came of it."""

    inputs: int = 0
    slowest_seconds: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


# --- what is sent --------------------------------------------------------------------


def spoiled(chance: random.Random, data: bytes) -> bytes:
    """A good text with something wrong in it."""
    way = chance.randrange(4)
    if way == 0:
        at = chance.randrange(len(data))
        return data[:at] + chance.randbytes(chance.randrange(1, 4)) + data[at + 1 :]
    if way == 1:
        return data[: chance.randrange(len(data))]
    if way == 2:
        return data * chance.randrange(2, 4)
    return other(chance, data)


def other(chance: random.Random, data: bytes) -> bytes:
    """It stays JSON: another value, a member too few or too many."""
    frame = msgspec.json.decode(data)
    if not isinstance(frame, dict) or not frame:
        return data
    name = chance.choice(list(frame))
    way = chance.randrange(4)
    if way < 2:
        frame[name] = chance.choice(VALUES)
    elif way == 2:
        del frame[name]
    else:
        frame[chance.choice(["$where", "user", "__proto__", name.upper()])] = chance.choice(VALUES)
    return msgspec.json.encode(frame)


def text(chance: random.Random) -> bytes:
    draw = chance.random()
    if draw < 0.994:
        return other(chance, chance.choice(FRAMES))
    if draw < 0.996:
        return spoiled(chance, chance.choice(FRAMES))
    if draw < 0.997:
        return chance.randbytes(chance.randrange(200))
    if draw < 0.998:
        depth = chance.randrange(1, 20_000)
        return chance.choice([b"[", b'{"a":']) * depth
    if draw < 0.999:
        return SURROGATE
    return msgspec.json.encode(chance.choice(VALUES))


def frame(chance: random.Random) -> bytes:
    """Mostly a well-formed WebSocket frame; a broken one ends its connection."""
    draw = chance.random()
    if draw < 0.997:
        return masked(0x81, text(chance), chance.randbytes(4))
    if draw < 0.998:
        return masked(chance.randrange(256), chance.randbytes(chance.randrange(126)))
    if draw < 0.999:
        return struct.pack("!BBQ", 0x81, 0xFF, chance.choice([2**63, 2**40, 70_000]))
    return chance.randbytes(chance.randrange(1, 64))


def request(chance: random.Random, host: str, token: str) -> bytes:
    """An HTTP request: one that the table has, with something wrong in it."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(1, 300)) + b"\r\n\r\n"
    operation = chance.choice([one for group in OPERATIONS.values() for one in group])
    path = operation.path
    for name in operation.parameters:
        good = examples.path(operation)[name]
        value = chance.choice([good, "%00", "%ff", "..", "x" * 500, "%2e%2e%2f", "'", "$gt"])
        path = path.replace("{" + name + "}", value)
    if chance.random() < 0.3:
        path += chance.choice(["?limit=-1", "?q[$gt]=", "?q=%ff%fe", "?before=1e9", "?a=b&a=c"])
    body = b""
    if operation.body is not None or chance.random() < 0.1:
        good_body = examples.of(operation.body) if operation.body else {"a": 1}
        body = spoiled(chance, msgspec.json.encode(good_body))
    head = [
        f"{operation.method} {path} HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {token if chance.random() < 0.8 else 'x' * 43}",
        f"Content-Length: {len(body)}",
        "Content-Type: application/json",
        "Connection: close",
    ]
    if chance.random() < 0.1:
        head.append(chance.choice(["X-Forwarded-For: ::::", "Content-Encoding: gzip", "A: \x7f"]))
    return "\r\n".join([*head, "", ""]).encode() + body


# --- the run -------------------------------------------------------------------------


class Run:
    """Frames and requests in turn, and somebody who watches."""

    def __init__(self, seed: int, server: Server) -> None:
        self.result = Result()
        self._chance = random.Random(seed)
        self._server = server
        self._to = urlsplit(server.url)
        self._counted = collections.Counter[str]()

    async def go(self, inputs: int, told: Callable[[str], None]) -> Result:
        async with client_session() as http:
            mallory = await Peer(http, self._server.url, "mallory").register()
            watcher = await Peer(http, self._server.url, "watcher").register()
            pipe = await Pipe(self._server.url, watcher.token).connect()
            watching = asyncio.create_task(self._watch(pipe))
            said = time.monotonic()
            while self.result.inputs < inputs and not watching.done():
                if (await mallory.call("GET", "/v1/me")).status == 401:
                    await mallory.login()  # it has logged itself out
                await self._frames(mallory.token)
                for _ in range(max(1, FRAMES_A_CONNECTION // FRAMES_A_REQUEST)):
                    await self._requests(mallory)
                if time.monotonic() - said > 5:
                    said = time.monotonic()
                    told(f"{self.result.inputs} of {inputs} inputs")
            watching.cancel()
            ended = await asyncio.gather(watching, return_exceptions=True)
            if not isinstance(ended[0], asyncio.CancelledError):
                self.result.wrong.append(f"the server does not answer: {ended[0]!r}")
            await pipe.close()
        if "Traceback" in self._server.log:
            at = self._server.log.index("Traceback")
            self.result.wrong.append(f"a bug was logged: {self._server.log[at - 500 : at + 3000]}")
        self.result.answers = dict(self._counted)
        return self.result

    async def _watch(self, pipe: Pipe) -> None:
        while True:
            before, began = pipe.counts["pong"], time.monotonic()
            pipe.say(frame_bytes({"type": "ping"}))
            await pipe.wait("pong", before + 1, ANSWER_SECONDS_MAX)
            took = time.monotonic() - began
            self.result.slowest_seconds = max(self.result.slowest_seconds, took)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _frames(self, token: str) -> None:
        """Frames through one connection, until one of them has ended it."""
        pipe = await Pipe(self._server.url, token).connect()
        await pipe.wait("welcome", seconds=ANSWER_SECONDS_MAX)
        for number in range(FRAMES_A_CONNECTION):
            if not pipe.open:
                break
            pipe.say(frame(self._chance))
            self.result.inputs += 1
            if number % FRAMES_AT_ONCE == FRAMES_AT_ONCE - 1:
                before = pipe.counts["pong"]
                pipe.say(frame_bytes({"type": "ping"}))
                try:
                    await pipe.wait("pong", before + 1, 0.2)
                except TimeoutError:
                    break  # it has ended, or waits for the rest of a frame
        if pipe.counts["internal"]:
            self.result.wrong.append(f"a frame was answered with `internal`: {pipe.counts}")
        for kind, count in pipe.counts.items():
            self._counted[kind] += count
        await pipe.close()

    async def _requests(self, peer: Peer) -> None:
        data = request(self._chance, self._to.netloc, peer.token)
        reader, writer = await asyncio.open_connection(self._to.hostname, self._to.port)
        try:
            writer.write(data)
            self.result.inputs += 1
            # What is no request need not be answered at once.
            async with asyncio.timeout(ANSWER_SECONDS_MAX if b" HTTP/1.1\r\n" in data else 0.05):
                answer = await reader.read(4096)
            status = answer[9:12].decode("latin-1") or "closed"
            self._counted[f"HTTP {status}"] += 1
            if status == "500":
                self.result.wrong.append(f"500 for {data[:300]!r}: {answer[-300:]!r}")
        except (ConnectionError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and b" HTTP/1.1\r\n" in data:
                self.result.wrong.append(f"no answer to {data[:300]!r}")
        finally:
            writer.transport.abort()


async def run(
    seed: int, inputs: int, folder: Path, told: Callable[[str], None] = lambda line: None
) -> Result:
    """So many inputs for a server of its own."""
    async with Server(folder / "data", "--no-rate-limits") as server:
        result = await Run(seed, server).go(inputs, told)
        if await server.terminate() != 0:
            result.wrong.append("the server did not end in good order")
        return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.nonsense")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many")
    parser.add_argument("--seed", type=int, help="of all choices; one is made up if none is given")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    _say(f"seed {seed}: {given.inputs} inputs, frames with {SUBPROTOCOL} and HTTP")
    with tempfile.TemporaryDirectory(prefix="whatsapp-nonsense-") as folder:
        result = asyncio.run(run(seed, given.inputs, Path(folder), _say))
    _say(
        f"{result.inputs} inputs; the slowest answer beside them took "
        f"{result.slowest_seconds * 1000:.0f} ms; {len(result.wrong)} failures"
    )
    _say(", ".join(f"{name} {count}" for name, count in sorted(result.answers.items())))
    for line in result.wrong[:20]:
        _say(line)
    if result.wrong:
        _say(f"again: python -m tests.faults.nonsense --inputs {given.inputs} --seed {seed}")
    return 1 if result.wrong else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
