"""The links to the other instances: who is dialled, who is linked, what came and went.

    known (the directory's word) → dialled, if the name is greater than ours → linked → lost → …

One connection per pair; the instance with the lesser name dials, both send on it. Where two
meet all the same, the newest that has proved itself stays. Transport only: messages are bytes
here. They are hints: one that is dropped is healed by whoever reads what `send`, `linked` and
`lost` say, so nothing is kept for a peer that is away, and none waits for another one.

Tasks are for what waits: one per instance that is dialled, one per handshake, one per
listening socket. One timer is for all links. See `peerlink.py` for the link itself and
`handshake.py` for who may have one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from functools import partial
from typing import Any

from whatsapp import config
from whatsapp.handshake import (
    NONCE_BYTES,
    NOT_YET,
    REASONS,
    Handshake,
    Hello,
    Refused,
    Why,
)
from whatsapp.interfaces import Instance
from whatsapp.peerlink import Counters, Link
from whatsapp.peersetup import listening_for, own_address, split_address, tls_contexts

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 3.0
# Sockets that have proved nothing yet; the oldest makes room for one more.
UNPROVEN_MAX = 16
TICK_SECONDS = 0.5
BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 0.5
# A link that lasted for so long was a good one: the next waits are short again.
STEADY_SECONDS = 2.0
# For what was written before the end to leave.
CLOSE_SECONDS = 1.0
# Of a peer that cannot be linked, a line so often.
SAY_AGAIN_SECONDS = 60.0
SAID_MAX = 256
ACCEPT_AGAIN_SECONDS = 0.2

# Why we ended a link ourselves, with nothing amiss.
ON_PURPOSE = frozenset({"gone", "replaced", "closing"})


class Peers(Counters):
    """The other instances. Its counters (see `Counters`) are plain numbers, read by anyone.

    `heard(name, messages)` is called once per batch, in order; `linked(name)` before the first
    of a link, and `lost(name)` exactly once after its last. All of them on the loop.
    """

    def __init__(
        self,
        settings: config.Cluster,
        *,
        heard: Callable[[str, list[bytes]], None],
        linked: Callable[[str], None],
        lost: Callable[[str], None],
    ) -> None:
        super().__init__()
        config.check_secret(settings.secret)
        self.address = ""  # "host:port", where others reach this instance
        self._settings = settings
        self._tls = tls_contexts(settings)
        self._on_heard, self._on_linked, self._on_lost = heard, linked, lost
        self._loop = asyncio.get_running_loop()
        self._me: Instance | None = None
        self._known: dict[str, Instance] = {}
        self._links: dict[str, Link] = {}
        self._dialling: dict[str, tuple[Instance, asyncio.Task[None]]] = {}
        self._unproven: dict[asyncio.Task[None], None] = {}
        self._accepting: list[asyncio.Task[None]] = []
        self._ticked_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._said: dict[tuple[str, str], float] = {}

    # --- what others use ---------------------------------------------------------------

    def be(self, me: Instance) -> None:
        """Who we are. Before this nobody is linked."""
        assert self._me is None, "an instance is one for its life"
        self._me = me
        self._arrange()

    def know(self, instances: Collection[Instance]) -> None:
        """Who is alive: links to others are closed, missing ones are dialled, again and again."""
        self._known = {instance.name: instance for instance in instances}
        self._arrange()

    def send(self, name: str, message: bytes) -> bool:
        """Queue a message for this instance; never waits.

        False: it was dropped (no link now, its queue is full, or the message has more than
        `peerlink.MESSAGE_BYTES_MAX` bytes). True is no promise that it arrives.
        """
        link = self._links.get(name)
        if link is None:
            self.messages_dropped += 1
            return False
        return link.send(message)

    def names(self) -> Collection[str]:
        """Who is linked now."""
        return tuple(self._links)

    def offset_ms(self, name: str) -> int:
        """That instance's wall clock minus ours when the link was made; 0 where there is none."""
        return self._links[name].offset_ms if name in self._links else 0

    def epoch(self, name: str) -> int:
        """Which start of that instance is linked; 0 where none is."""
        return self._links[name].epoch if name in self._links else 0

    def depth_bytes(self) -> dict[str, int]:
        """What waits for each linked instance, transport included."""
        return {name: link.queue_bytes() for name, link in self._links.items()}

    # --- beginning and end -------------------------------------------------------------

    def open(self, sockets: Collection[socket.socket]) -> None:
        """Take connections from these listening sockets."""
        self._accepting = [self._loop.create_task(self._accept(sock)) for sock in sockets]
        self._tick()

    async def close(self) -> None:
        """End everything, in little more than a second; what was queued is written if it can be."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._accepting, *self._unproven, *(task for _, task in self._dialling.values())]
        for task in tasks:
            task.cancel()
        links = list(self._links.values())
        for link in links:
            link.close("closing")
        waits = [*tasks, *(link.closed for link in links)]
        if not waits:
            return
        _, slow = await asyncio.wait(waits, timeout=CLOSE_SECONDS)
        for link in links:
            link.abort("closing")
        if slow:
            await asyncio.wait(slow, timeout=CLOSE_SECONDS)

    def _tick(self) -> None:
        now = self._loop.time()
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        # While we stood still ourselves, nobody can have been heard.
        late = max(0.0, now - self._ticked_at - 2 * TICK_SECONDS)
        self._ticked_at = now
        for link in list(self._links.values()):
            link.heard_at += late
            link.beat(now)

    # --- who is to be linked -----------------------------------------------------------

    def _arrange(self) -> None:
        me, known = self._me, self._known
        if me is None:
            return
        for link in list(self._links.values()):
            alive = known.get(link.name)
            if alive is None or alive.epoch > link.epoch:
                link.abort("gone")
        for name, (instance, task) in list(self._dialling.items()):
            if known.get(name) != instance:
                task.cancel()
                del self._dialling[name]
        for name, instance in known.items():
            if name > me.name and name not in self._dialling:
                task = self._loop.create_task(self._keep_linked(me, instance))
                self._dialling[name] = instance, task

    def _admit(self, hello: Hello) -> Why | None:
        known, link = self._known.get(hello.name), self._links.get(hello.name)
        if known is None:
            return "unknown"
        if hello.epoch < known.epoch or (link is not None and hello.epoch < link.epoch):
            return "epoch"
        return None

    async def _keep_linked(self, me: Instance, instance: Instance) -> None:
        """Dial, and dial again when it is lost, until cancelled."""
        wait = BACKOFF_SECONDS_MIN
        while True:
            began = self._loop.time()
            link = self._links.get(instance.name) or await self._dial(me, instance)
            if link is not None:
                await asyncio.wait((link.closed,))
                if self._loop.time() - began > STEADY_SECONDS:
                    wait = BACKOFF_SECONDS_MIN
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
            wait = min(2 * wait, BACKOFF_SECONDS_MAX)

    async def _dial(self, me: Instance, instance: Instance) -> Link | None:
        def admit(hello: Hello) -> Why | None:
            return "name" if hello.name != instance.name else self._admit(hello)

        link = self._link(me, dials=True, admit=admit)
        trouble = "it closed the connection"
        try:
            host, port = split_address(instance.address)
            connecting = self._loop.create_connection(
                lambda: link, host, port or 0, **self._tls_options(dials=True)
            )
            await self._settle(link, connecting)
        except TimeoutError:
            trouble = "no answer in time"
        except (OSError, ValueError) as error:
            trouble = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        finally:
            if not link.proven:
                link.abort("given up")
        if link.proven:
            return link
        self.links_failed += 1
        self._say_failed(instance.name, link.refused, trouble)
        return None

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                sock, _ = await self._loop.sock_accept(listening)
            except OSError as error:
                # No descriptors left, most likely. Those who dial try again.
                if self._seldom("", "accept"):
                    log.warning("link not accepted cause=%s", error.strerror or error)
                await asyncio.sleep(ACCEPT_AGAIN_SECONDS)
                continue
            if self._me is None:
                sock.close()
                continue
            if len(self._unproven) >= UNPROVEN_MAX:
                oldest = next(iter(self._unproven))
                del self._unproven[oldest]
                oldest.cancel()
            link = self._link(self._me, dials=False, admit=self._admit)
            task = self._loop.create_task(self._answer(link, sock))
            self._unproven[task] = None
            task.add_done_callback(partial(self._answered, link, sock))

    def _answered(self, link: Link, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._unproven.pop(task, None)
        if not link.connected:
            sock.close()

    async def _answer(self, link: Link, sock: socket.socket) -> None:
        """The handshake with somebody who dialled us, whoever it is."""
        who = _host(sock)
        try:
            connecting = self._loop.connect_accepted_socket(
                lambda: link, sock, **self._tls_options(dials=False)
            )
            await self._settle(link, connecting)
        except TimeoutError:
            self.refused += 1
            self._say_refused(link.name or who, Refused("slow"))
        except OSError:
            # TLS: none of ours, most likely.
            self.refused += 1
            self._say_refused(who, Refused("hello"))
        finally:
            if not link.proven:
                link.abort("given up")
        if link.refused is not None:
            self._say_refused(link.name or who, link.refused)

    def _link(self, me: Instance, *, dials: bool, admit: Callable[[Hello], Why | None]) -> Link:
        nonce = secrets.token_bytes(NONCE_BYTES)
        handshake = Handshake(me, self._settings.secret, dials=dials, admit=admit, nonce=nonce)
        return Link(handshake, self, self, queue_bytes_max=self._settings.queue_bytes_max)

    async def _settle(self, link: Link, connecting: Coroutine[Any, Any, Any]) -> None:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await connecting
            await link.settled

    def _tls_options(self, *, dials: bool) -> dict[str, Any]:
        if self._tls is None:
            return {}
        bounds = {
            "ssl_handshake_timeout": HANDSHAKE_SECONDS,
            "ssl_shutdown_timeout": CLOSE_SECONDS,
        }
        waiting, dialling = self._tls
        if dials:
            return {"ssl": dialling, "server_hostname": "", **bounds}
        return {"ssl": waiting, **bounds}

    # --- what links tell ---------------------------------------------------------------

    def proven(self, link: Link) -> None:
        older = self._links.get(link.name)
        if older is not None:
            older.abort("replaced")
        self._links[link.name] = link
        log.info(
            "link up peer=%s epoch=%d dialled=%s offset_ms=%d",
            link.name,
            link.epoch,
            link.dials,
            link.offset_ms,
        )
        self._tell(self._on_linked, link.name)

    def heard(self, link: Link, messages: list[bytes]) -> None:
        self._tell(self._on_heard, link.name, messages)

    def ended(self, link: Link) -> None:
        if self._links.get(link.name) is not link:
            return
        del self._links[link.name]
        if link.cause not in ON_PURPOSE:
            self.links_failed += 1
        log.info("link down peer=%s epoch=%d cause=%s", link.name, link.epoch, link.cause)
        self._tell(self._on_lost, link.name)

    def _tell(self, callback: Callable[..., None], *what: Any) -> None:
        """A mistake of who is told must not cost the link."""
        try:
            callback(*what)
        except Exception:
            log.exception("link handler failed peer=%s", what[0])

    # --- the log -----------------------------------------------------------------------

    def _say_failed(self, name: str, refused: Refused | None, trouble: str) -> None:
        why = "" if refused is None else refused.why
        cause, cure = REASONS.get(
            why, (trouble, "see whether it runs and its [cluster] address can be reached from here")
        )
        if refused is not None and refused.theirs:
            cause = f"it refused us, and would say of us: {cause}"
        if self._seldom(name, cause):
            level = logging.INFO if why == NOT_YET else logging.WARNING
            log.log(level, "link failed peer=%s cause=%s cure=%s", name, cause, cure)

    def _say_refused(self, who: str, refused: Refused) -> None:
        if refused.theirs or not self._seldom(who, refused.why):
            return
        cause, cure = REASONS[refused.why]
        level = logging.INFO if refused.why == NOT_YET else logging.WARNING
        log.log(level, "link refused peer=%s cause=%s cure=%s", who, cause, cure)

    def _seldom(self, who: str, what: str) -> bool:
        """Was this not said within the last minute? It is now."""
        now = self._loop.time()
        key = (who, what)
        if now - self._said.get(key, -SAY_AGAIN_SECONDS) < SAY_AGAIN_SECONDS:
            return False
        if len(self._said) >= SAID_MAX:
            fresh = {k: at for k, at in self._said.items() if now - at < SAY_AGAIN_SECONDS}
            self._said = fresh
            if len(fresh) >= SAID_MAX:
                return False
        self._said[key] = now
        return True


@contextlib.asynccontextmanager
async def open_peers(
    settings: config.Cluster,
    *,
    heard: Callable[[str, list[bytes]], None],
    linked: Callable[[str], None],
    lost: Callable[[str], None],
) -> AsyncIterator[Peers]:
    """Listen for the others, until the end. `StartupError` says what is in the way."""
    peers = Peers(settings, heard=heard, linked=linked, lost=lost)
    with listening_for(settings) as listening:
        peers.address = own_address(settings, listening)
        peers.open(listening.sockets)
        try:
            yield peers
        finally:
            await peers.close()


def _host(sock: socket.socket) -> str:
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return errno.errorcode[errno.ENOTCONN]
