"""Where a story is played: its server, its people and their devices, and what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.scripts.language import Line, Story, match, names_of, text_of
from tests.scripts.telling import tell
from tests.support.cluster import instances, quiet
from tests.support.peer import PASSWORD, Answer, Closed, Frame, Peer
from tests.support.server import Running, ShiftedClock, running, settings

# Longer than the server gathers what it tells later: receipts of groups, presence.
QUIET_SECONDS = 0.25
NAMED = re.compile(r"\$([a-z0-9_]+(?:/[a-z]+)?\.(?:token|device)|[a-z0-9_]+)")


# The store of a story that is played on three instances over MongoDB and ZooKeeper.
CLUSTER = "cluster"
# How a server reads its sockets.
LEAN, PLAIN = "lean", "plain"
FORWARD_LOOKS = 200


class Failed(AssertionError):
    """A line of a story came out otherwise."""


class Stage:
    """One play of one story."""

    def __init__(
        self, story: Story, store: str, data: Path, http: ClientSession, *, reader: str = LEAN
    ) -> None:
        self.store = store
        self.clock = ShiftedClock()
        self.http = http
        self.kept: dict[str, str] = {}
        self.devices: dict[str, Peer] = {}
        self.passwords: dict[str, str] = {}
        self.answer = Answer(0, None, {})
        self._story = story
        options = {**story.options, "server": {**story.options.get("server", {}), "reader": reader}}
        self._config = settings("memory" if store == CLUSTER else store, data, options)
        self._server = contextlib.AsyncExitStack()
        self._data = data
        self._servers: list[Running] = []
        self._users: dict[str, None] = {}
        self.running: Running | None = None
        self.background: asyncio.Task[None] | None = None

    # --- the server ------------------------------------------------------------------

    async def open(self) -> None:
        if self.store == CLUSTER:
            several = instances(self._data, options=self._story.options, clock=self.clock)
            self._servers = await self._server.enter_async_context(several)
        else:
            server = running(self._config, clock=self.clock)
            self._servers = [await self._server.enter_async_context(server)]
        self.running = self._servers[0]
        for name, device in self.devices.items():
            device.url = self._server_of(name).url

    async def drain(self) -> None:
        await asyncio.gather(*(server.app.drain() for server in self._servers))

    async def leave(self) -> None:
        """Everybody goes, in no order."""
        for device in self.devices.values():
            with contextlib.suppress(Exception):
                await device.drop()
        if self.background is not None:
            await self.background

    async def close(self) -> None:
        await self._server.aclose()

    # --- people ----------------------------------------------------------------------

    def device(self, name: str) -> Peer:
        """`alice`, or another device of hers: `alice/phone`."""
        if name not in self.devices:
            user = self.kept.get(name.partition("/")[0], name.partition("/")[0])
            self.devices[name] = Peer(self.http, self._server_of(name).url, user)
            self.devices[name].check_own_frames = False
        return self.devices[name]

    def _server_of(self, name: str) -> Running:
        """Of several instances each user has another one, and so has a user's next device."""
        if len(self._servers) == 1:
            return self._servers[0]
        self._users[name] = None
        return self._servers[list(self._users).index(name) % len(self._servers)]

    async def login(self, name: str) -> Peer:
        """Logged in, registered if need be."""
        device = self.device(name)
        if device.user not in self.passwords:
            self.passwords[device.user] = PASSWORD
            await device.ask("POST", "/v1/users", {"user": device.user, "password": PASSWORD})
        await device.login(name, self.passwords[device.user])
        self.kept[f"{name}.token"], self.kept[f"{name}.device"] = device.token, device.device
        return device

    # --- words -----------------------------------------------------------------------

    def chat(self, name: str) -> str:
        return self.kept.get(name, name)

    def filled(self, text: str) -> str:
        """With `$name` replaced."""
        return NAMED.sub(lambda hit: self.kept.get(hit[1], hit[0]), text)

    def told(self, frame: Frame) -> str:
        """A frame in the language of the stories."""
        return self.named(tell(frame))

    def named(self, text: str) -> str:
        """With the story's names of groups instead of their ids."""
        for name, value in self.kept.items():
            if value.startswith("g:"):
                text = text.replace(value, name)
        return text

    # --- playing ---------------------------------------------------------------------

    async def play(self) -> None:
        """Line by line; at the end nobody may have anything that the story did not tell."""
        for line in self._story.lines:
            await self._guarded(line, self._step(line))
            if self.store == CLUSTER:
                for device in self.devices.values():
                    with contextlib.suppress(Closed):
                        await device.settled()
                await quiet(self._servers)
        last = Line(self._story.lines[-1].number, "(the end: nothing is left over)")
        await self._guarded(last, self.nothing(*self.devices.values()))

    async def _step(self, line: Line) -> None:
        pattern, words = match(line)
        named = {name: self._meaning(pattern.kinds[name], word) for name, word in words.items()}
        who = named.pop("who", None)
        if who is None:
            await pattern.step(self, **named)
            return
        for name in who:
            await pattern.step(self, name, **named)

    def _meaning(self, kind: str, word: str) -> Any:
        match kind:
            case "who":
                return names_of(word)
            case "text":
                return text_of(word)
            case "number":
                return int(word)
            case "id":
                return word.ljust(8, "-")  # of the length that the protocol wants
            case "chat":
                return self.chat(word)
            case "rest" | "raw":
                return self.filled(word)
            case _:
                return word

    async def _guarded(self, line: Line, done: Awaitable[None]) -> None:
        try:
            await done
        except (AssertionError, TimeoutError, Closed, KeyError, OSError) as error:
            said = str(error) or type(error).__name__
            raise Failed(
                f"{self._story.path.name}:{line.number} on {self.store}: {line.text}\n"
                f"  {said}\n{self._left()}"
            ) from None

    def _left(self) -> str:
        """What the devices have that was not asked for, to see what happened instead."""
        lines = []
        for name, device in self.devices.items():
            state = "connected" if device.connected else f"closed {device.close_code}"
            left = "; ".join(self.told(frame)[:200] for frame in device.inbox[:20])
            lines.append(f"  {name} ({state}) has: {left or 'nothing'}")
        return "\n".join(lines)

    async def expect(self, name: str, kinds: tuple[str, ...], expected: str) -> None:
        """The next frame of these kinds must be that."""
        expected = self.named(expected)
        device = self.device(name)
        try:
            if self.store == CLUSTER:
                await self._bring_forward(device, kinds, expected)
            frame = await device.next(*kinds)
        except TimeoutError:
            raise AssertionError(f"expected: {expected}\n  got:      nothing") from None
        told = self.told(frame)
        assert told == expected, f"expected: {expected}\n  got:      {told}"

    async def next_of(self, name: str, chat: str, *kinds: str) -> Frame:
        """The next frame of these kinds; of several instances, the next one of this chat."""
        device = self.device(name)
        if self.store != CLUSTER:
            return await device.next(*kinds)
        return await device.take(lambda one: one["type"] in kinds and one.get("chat") == chat)

    async def next_like(self, name: str, kind: str, begins: str) -> Frame:
        """The next frame of this kind; of several instances, the next one that begins so."""
        device = self.device(name)
        if self.store != CLUSTER:
            return await device.next(kind)
        return await device.take(
            lambda one: one["type"] == kind and self.told(one).startswith(begins)
        )

    async def _bring_forward(self, device: Peer, kinds: tuple[str, ...], expected: str) -> None:
        """What several instances tell of different people or chats comes in any order."""
        for _ in range(FORWARD_LOOKS):
            for index, frame in enumerate(device.inbox):
                if frame["type"] in kinds and self.told(frame) == expected:
                    del device.inbox[index]
                    device.inbox.insert(0, frame)
                    return
            await asyncio.sleep(0.01)

    async def nothing(self, *devices: Peer) -> None:
        """All is quiet, and these have got nothing more than was told."""
        for _ in range(2):
            for device in devices:
                device.check()
                with contextlib.suppress(Closed):
                    await device.settled()
            await asyncio.sleep(QUIET_SECONDS / 2)
        left = [name for name, one in self.devices.items() if one in devices and one.inbox]
        assert not left, f"expected: nothing\n  got:      something, see {', '.join(left)}"
