"""The real core over the memory store, without sockets and without an event loop, for unit tests.

Frames go in by the router and come out at a `Peer`; operations are coroutines that `do` runs.
A call of a store waits or fails only where a test says so.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from backends.memory import _Data
from tests.faults.core import Core, Settings, log_in, register
from tests.faults.faulty import GOOD, Calls, Fate
from tests.faults.loop import Loop, awaited
from tests.support.clocks import ManualClock
from whatsapp import wire
from whatsapp.model import Actor, direct_chat
from whatsapp.session import Session

FAIL_BEFORE = Fate(fails="before")
FAIL_AFTER = Fate(fails="after")
WAIT = Fate(wait_before=True)
WAIT_AFTER = Fate(wait_after=True)


class Peer:
    """A `Sink` that keeps what it is given. `buffered`: what it says has not left yet."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.writes = 0
        self.buffered = 0
        self.closed: tuple[int, str] | None = None
        self.session: Session

    def write(self, frames: list[bytes]) -> None:
        self.writes += 1
        self.frames += map(wire.decode_server, frames)

    def buffered_bytes(self) -> int:
        return self.buffered

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def take(self, *kinds: type[Any]) -> list[Any]:
        """The frames since the last look, of these kinds if any are named."""
        frames, self.frames = self.frames, []
        return [frame for frame in frames if not kinds or isinstance(frame, kinds)]

    def texts(self) -> list[str | None]:
        """The texts that were pushed since the last look; an event's kind instead."""
        return [item.text or item.kind for item in self.items()]

    def items(self) -> list[Any]:
        found: list[Any] = []
        for frame in self.take(wire.Message, wire.Messages):
            found += [frame] if isinstance(frame, wire.Message) else frame.items
        return found

    def error(self) -> str:
        """The code of the one error since the last look."""
        [frame] = self.take(wire.Error)
        return str(frame.code)


class World:
    """A core, its users, and fates for the next calls of its stores."""

    def __init__(
        self,
        *users: str,
        data: _Data | None = None,
        clock: ManualClock | None = None,
        ids: str = "id",
        more: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or ManualClock()
        self._prefix = ids
        self.loop = Loop()
        self.data = _Data() if data is None else data
        self._fates: dict[str, list[Fate]] = {}
        self._ids = 0
        self.calls: list[str] = []
        calls = Calls(self, self.loop, lambda *_: None, lambda *_: None)
        self.core = Core(
            self.data,
            self.loop,
            calls,
            self.clock,
            Settings(**settings),
            random_bytes=lambda count: self.new_id().encode().rjust(count, b"-")[-count:],
            new_code=self.new_id,
            **more or {},
        )
        for user in users:
            register(self.data, user)

    # --- fates -------------------------------------------------------------------------

    def fate(self, name: str) -> Fate:
        self.calls.append(name)
        waiting = self._fates.get(name)
        return waiting.pop(0) if waiting else GOOD

    def heal(self) -> None:
        self._fates.clear()

    def next(self, name: str, *fates: Fate) -> None:
        """What happens to the next calls of this method of a store."""
        self._fates.setdefault(name, []).extend(fates)

    def go_on(self) -> None:
        """What waits for the store goes on."""
        while self.loop.stalled:
            self.loop.resume(0)
            self.loop.run()

    # --- doing -------------------------------------------------------------------------

    def new_id(self) -> str:
        self._ids += 1
        return f"{self._prefix}-{self._ids:08}"

    def begin(self, work: Coroutine[Any, Any, Any]) -> list[Any]:
        """Start it; the list gets its result or error when there is one."""
        results: list[Any] = []
        self.loop.start(work, lambda result, error: results.append(error or result))
        self.loop.run()
        self.raise_failed()
        return results

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run it to its end: its result, or what it raises."""
        results = self.begin(work)
        assert results, "it waits for something"
        if isinstance(results[0], BaseException):
            raise results[0]
        return results[0]

    def raise_failed(self) -> None:
        if self.loop.failed:
            raise self.loop.failed[0]

    def tick(self, seconds: float = 0.1) -> None:
        self.clock.pass_seconds(seconds)
        self.core.tick()
        self.loop.run()
        self.raise_failed()

    # --- devices -----------------------------------------------------------------------

    def open(self) -> Peer:
        """A connection that has not said hello."""
        peer = Peer()
        peer.session = self.core.connected(peer)
        return peer

    def connect(self, user: str, device: str = "", cursors: dict[str, int] | None = None) -> Peer:
        device = device or f"{user}-phone"
        log_in(self.data, user, device, f"token of {device}", self.clock.now_ms())
        peer = self.open()
        self.say(peer, wire.Hello(token=f"token of {device}", cursors=cursors))
        return peer

    def say(self, peer: Peer, frame: Any) -> list[Any]:
        """One frame; what it leads to without waiting. The list is filled when it is handled."""
        data = frame if isinstance(frame, bytes) else wire.encode(frame)
        later = self.core.router.receive(peer.session, data)
        if later is not None:
            return self.begin(awaited(later))
        self.loop.run()
        self.raise_failed()
        return [None]

    def drop(self, peer: Peer) -> None:
        self.core.session_ended(peer.session)

    def send(self, peer: Peer, chat: str, text: str, **more: Any) -> str:
        """A text; its id."""
        more.setdefault("id", self.new_id())
        self.say(peer, wire.Send(text=text, chat=chat, **more))
        return str(more["id"])

    def post(self, user: str, chat: str, text: str, **more: Any) -> Any:
        """A text over REST; to a user where `chat` is one."""
        chat = chat if ":" in chat else direct_chat(user, chat)
        more.setdefault("message", self.new_id())
        more.setdefault("reply_to", None)
        actor = Actor(user, "rest")
        return self.do(self.core.conversations.post(actor, chat, text=text, **more))

    def group(self, owner: str, *members: str) -> str:
        return str(self.do(self.core.groups.create(Actor(owner, "rest"), "Tea", members)))
