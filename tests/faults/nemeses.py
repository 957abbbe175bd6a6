"""What goes wrong while a crowd talks. Each nemesis strikes once, and mends what it did.

They know servers (`whatsapp serve` processes) and the relays before them; of how many there
are they know nothing, so one picks among what it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from tests.faults.crowd import Person
from tests.support.chaos_proxy import ChaosProxy
from tests.support.server import Server


class Place(Struct):
    """One instance, and the relay through which its clients come."""

    server: Server
    proxy: ChaosProxy


class Field(Struct):
    """All that can be struck."""

    places: Sequence[Place]
    people: Sequence[Person]
    chance: random.Random

    def place(self) -> Place:
        return self.chance.choice(self.places)

    async def a_while(self, low: float, high: float) -> None:
        await asyncio.sleep(self.chance.uniform(low, high))


class Nemesis(Protocol):
    """`name` is for the summary."""

    name: str

    async def strike(self, field: Field) -> None:
        """Break something for a while, and return when it is mended again."""
        ...


class Kill:
    """kill -9, and a new start on the same data."""

    name = "kill -9"

    async def strike(self, field: Field) -> None:
        server = field.place().server
        await server.kill9()
        await server.restart()


class Restart:
    """SIGTERM amid it all: drained, and started again."""

    name = "restart"

    async def strike(self, field: Field) -> None:
        server = field.place().server
        code = await server.terminate()
        if code != 0:
            raise AssertionError(f"the server ended with {code}")
        await server.restart()


class Freeze:
    """SIGSTOP, and SIGCONT a while later: a process that was away and does not know it."""

    name = "freeze"

    def __init__(self, seconds: float = 3.0) -> None:
        self._seconds = seconds

    async def strike(self, field: Field) -> None:
        server = field.place().server
        async with frozen(server):
            await field.a_while(0.2, self._seconds)


@contextlib.asynccontextmanager
async def frozen(server: Server) -> AsyncIterator[None]:
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


class Cut:
    """Every connection is reset."""

    name = "cut"

    async def strike(self, field: Field) -> None:
        await field.place().proxy.cut()


class Refuse:
    """Every connection is reset, and no new one comes through for a while."""

    name = "refuse"

    async def strike(self, field: Field) -> None:
        proxy = field.place().proxy
        proxy.refusing = True
        await proxy.cut()
        await field.a_while(0.1, 1.0)
        proxy.heal()


class LoseAnswers:
    """What the server says vanishes: acknowledgements too, so that all is sent again."""

    name = "answers lost"

    async def strike(self, field: Field) -> None:
        proxy = field.place().proxy
        proxy.lost_down = True
        await field.a_while(0.05, 1.0)
        proxy.heal()


class HalfOpen:
    """Nothing passes, and neither side is told."""

    name = "half-open"

    async def strike(self, field: Field) -> None:
        proxy = field.place().proxy
        proxy.lost_up = proxy.lost_down = True
        await field.a_while(0.5, 4.0)
        proxy.heal()


class Slow:
    """Each piece of data is late, or comes byte by byte, or not at all for a while."""

    name = "slow"

    async def strike(self, field: Field) -> None:
        proxy = field.place().proxy
        kind = field.chance.choice(("delay", "bytes", "stop"))
        if kind == "delay":
            proxy.delay_seconds = field.chance.uniform(0.01, 0.2)
        elif kind == "bytes":
            proxy.piece_bytes = 1
        else:
            proxy.stopped = True
        await field.a_while(0.2, 2.0)
        proxy.heal()


class DropOne:
    """One client's connection is gone."""

    name = "drop"

    async def strike(self, field: Field) -> None:
        await field.chance.choice(field.people).drop()


ALL: tuple[Nemesis, ...] = (
    Kill(),
    Restart(),
    Freeze(),
    Cut(),
    Refuse(),
    LoseAnswers(),
    HalfOpen(),
    Slow(),
    DropOne(),
)
