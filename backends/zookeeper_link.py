"""The one place that touches kazoo: its threads on one side, this event loop on the other.

Every call is `await link.call(…)`: an `*_async` of kazoo's and a time-out; every callback of
kazoo's does `call_soon_threadsafe` and nothing else. No exception of kazoo's leaves: they are
`Unavailable`, but for those that a caller names as answers.

Why the link judges for itself: kazoo takes half a session time-out to notice a server that is
silent, and does not say "lost" until it reaches a server again. Here a call that got no
answer makes the link suspect at once, until something is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from backends.zookeeper_nodes import Write
from whatsapp import config
from whatsapp.errors import StartupError, Unavailable

try:
    from kazoo.client import KazooClient
    from kazoo.exceptions import (
        KazooException,
        NoAuthError,
        NodeExistsError,
        NoNodeError,
        UnimplementedError,
    )
    from kazoo.protocol.states import KazooState, KeeperState
    from kazoo.retry import KazooRetry
    from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE
except ImportError as error:
    raise StartupError(
        "The ZooKeeper directory needs kazoo, which is not installed",
        'Install it: pip install "whatsapp[cluster]"',
    ) from error

log = logging.getLogger(__name__)

CALL_SECONDS = 1.0
SUSPENDED_SECONDS = 1.0
STOP_SECONDS = 5.0
RECONNECT_SECONDS_MAX = 1.0
LOOPBACK = ("127.", "localhost", "[::1]")

Found = tuple[bytes, int] | None  # what a node holds, and its version

__all__ = [
    "CREATOR_ALL_ACL",
    "OPEN_ACL_UNSAFE",
    "Found",
    "Link",
    "MultiRead",
    "NoAuthError",
    "NoNodeError",
    "NodeExistsError",
    "UnimplementedError",
    "check",
    "hosts_and_root",
]

_GET_DATA = 4
_ERROR = -1
_NO_NODE = -101
_header = struct.Struct("!iBi")
_int = struct.Struct("!i")
_version = struct.Struct("!i")
_STAT_BYTES = 68
_VERSION_AT = 32
_end = _header.pack(-1, 1, -1)
_get = _header.pack(_GET_DATA, 0, -1)


class MultiRead(tuple[str, ...]):
    """Operation 22 (ZooKeeper 3.6): what many nodes hold, in one request. kazoo has none."""

    __slots__ = ()
    type = 22

    def serialize(self) -> bytes:
        parts: list[bytes] = []
        for path in self:
            name = path.encode()
            parts += (_get, _int.pack(len(name)), name, b"\0")
        return b"".join(parts) + _end

    @classmethod
    def deserialize(cls, data: bytes, offset: int) -> list[Found]:
        """In the order asked; None where there is no such node."""
        found: list[Found] = []
        while True:
            kind, done, code = _header.unpack_from(data, offset)
            offset += _header.size
            if done:
                return found
            if kind == _ERROR:
                offset += _int.size
                if code != _NO_NODE:
                    raise NoAuthError(f"multiRead: error {code}")
                found.append(None)
                continue
            (length,) = _int.unpack_from(data, offset)
            offset += _int.size
            held = data[offset : offset + max(length, 0)]
            offset += max(length, 0)
            found.append((held, _version.unpack_from(data, offset + _VERSION_AT)[0]))
            offset += _STAT_BYTES


def hosts_and_root(settings: config.DirectorySection) -> tuple[str, str]:
    """The servers, and the root with what the hosts have behind a slash (a "chroot")."""
    hosts, _, chroot = settings.hosts.partition("/")
    inner = f"/{chroot.strip('/')}" if chroot.strip("/") else ""
    return hosts.strip().strip(","), inner + settings.root


def check(settings: config.DirectorySection) -> None:
    """`StartupError` where anybody on the network could read and write our nodes."""
    hosts = hosts_and_root(settings)[0].split(",")
    if not settings.password and not all(h.strip().startswith(LOOPBACK) for h in hosts):
        raise StartupError(
            "[directory] password is empty, and ZooKeeper is not on this machine",
            "Set it (WHATSAPP_DIRECTORY_PASSWORD), the same on all instances.",
        )


class Link:
    """One kazoo client. `changed()` is called on the loop whenever its state may have changed."""

    def __init__(self, settings: config.DirectorySection) -> None:
        hosts, _ = hosts_and_root(settings)
        # Its lines would be many, and at DEBUG they hold all that is sent.
        logging.getLogger("kazoo").setLevel(logging.CRITICAL)
        self.session_seconds = settings.session_timeout_seconds
        self.acl = CREATOR_ALL_ACL if settings.password else OPEN_ACL_UNSAFE
        auth = [("digest", f"{settings.user}:{settings.password}")] if settings.password else []
        try:
            self.client = KazooClient(
                hosts=hosts,
                timeout=settings.session_timeout_seconds,
                auth_data=auth,
                connection_retry=KazooRetry(max_tries=-1, max_delay=RECONNECT_SECONDS_MAX),
            )
        except ValueError as error:
            raise StartupError(
                f"[directory] hosts = {settings.hosts!r} cannot be read",
                'Write it as "name:port,name:port".',
            ) from error
        self._loop = asyncio.get_running_loop()
        self._lost_since: float | None = time.monotonic()
        self._silent = False  # a call got no answer, and none since
        self._stopped = False
        self._restarting = False
        self.connections = 0  # made so far; what was read under an earlier one may be old
        self.was_away_seconds = 0.0  # before the present one
        self.changed: Callable[[], None] = lambda: None

    @property
    def session(self) -> int | None:
        """The session's id, while connected."""
        known = self.client.client_id
        return known[0] if known else None

    @property
    def connected(self) -> bool:
        return self._lost_since is None

    @property
    def usable(self) -> bool:
        """May a call be tried? False also where its answer would have to be waited for."""
        return self.connected and not self._silent

    def away_seconds(self) -> float:
        """How long the connection has been away."""
        return 0.0 if self._lost_since is None else time.monotonic() - self._lost_since

    @property
    def healthy(self) -> bool:
        return not self._silent and self.away_seconds() < SUSPENDED_SECONDS

    def start(self) -> None:
        self.client.add_listener(self._heard)
        self.client.start_async()

    async def probe(self) -> None:
        """Ask something, so that a silent link is found out, or found to be well again."""
        if self.client.client_state == KeeperState.CLOSED and not self._stopped:
            await self._restart()
        elif self.connected:
            await self.call(lambda: self.client.exists_async("/"))

    async def call(self, begin: Callable[[], Any], seconds: float = CALL_SECONDS) -> Any:
        """What an `*_async` call of kazoo's results in. `Unavailable`, or one of the answers
        NoNodeError, NodeExistsError, NoAuthError, UnimplementedError."""
        if not self.connected:
            raise Unavailable("ZooKeeper cannot be reached.")
        try:
            async with asyncio.timeout(seconds):
                value = await self.begin(begin)
        except TimeoutError as error:
            self._is_silent(silent=True)
            raise Unavailable("ZooKeeper does not answer.") from error
        except (NoNodeError, NodeExistsError, NoAuthError, UnimplementedError):
            self._is_silent(silent=False)
            raise
        except KazooException as error:
            raise Unavailable("ZooKeeper cannot be reached.") from error
        self._is_silent(silent=False)
        return value

    def begin(self, begin: Callable[[], Any]) -> asyncio.Future[Any]:
        """Send it now, before whatever is called next: ZooKeeper answers a session in order.

        Its errors are kazoo's, and it has no time-out: rather `call`.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        begin().rawlink(lambda done: self._soon(_settle, future, done))
        return future

    async def read(self, paths: Sequence[str]) -> list[Found]:
        """What these nodes hold. As many at a time as fit one answer: the caller's business."""
        if not paths:
            return []

        def begin() -> Any:
            result = self.client.handler.async_result()
            self.client._call(MultiRead(paths), result)  # noqa: SLF001 — its only way in
            return result

        found: list[Found] = await self.call(begin)
        return found

    async def children(self, path: str, watch: Callable[[Any], None] | None = None) -> list[str]:
        names: list[str] = await self.call(lambda: self.client.get_children_async(path, watch))
        return names

    async def write(
        self, writes: Sequence[Write], fence: tuple[str, int] | None = None, seconds: float = 5.0
    ) -> bool:
        """All of these writes, or none: False where one met another version than it was made for.

        `fence`: a node that must still have this version.
        """
        transaction = self.client.transaction()
        if fence:
            transaction.check(*fence)
        for write in writes:
            if write.version is None:
                transaction.create(write.path, write.data, acl=self.acl)
            elif write.data:
                transaction.set_data(write.path, write.data, write.version)
            else:
                transaction.delete(write.path, write.version)
        return await self.commit(transaction, seconds)

    async def commit(self, transaction: Any, seconds: float = 5.0) -> bool:
        """False (and no effect) where one of its operations does not fit what is there."""
        results = await self.call(transaction.commit_async, seconds)
        failed = [result for result in results if isinstance(result, Exception)]
        for error in failed:
            if isinstance(error, NoAuthError):
                raise error
        return not failed

    def on_loop(self, call: Callable[[Any], None]) -> Callable[[Any], None]:
        """A watcher for kazoo: `call(event)` on the loop. The end of a connection is no event."""

        def fired(event: Any) -> None:
            if event.path is not None:
                self._soon(call, event)

        return fired

    async def stop(self) -> None:
        """In a thread of its own and given up after a while: kazoo's `stop` can hang."""
        self._stopped = True

        def stopping() -> None:
            self.client.stop()
            self.client.close()

        if not await self._in_thread(stopping, STOP_SECONDS):
            log.warning("zookeeper client did not stop in time")

    async def _restart(self) -> None:
        """kazoo's thread has ended, by an error of its own: start it again."""
        if not self._restarting:
            self._restarting = True
            log.warning("zookeeper client ended by itself, is started again")
            await self._in_thread(self.client.start_async, STOP_SECONDS)
            self._restarting = False

    async def _in_thread(self, call: Callable[[], Any], seconds: float) -> bool:
        """Why not the loop's executor: the loop's end would wait for a thread that hangs."""
        done = asyncio.Event()

        def run() -> None:
            try:
                call()
            finally:
                self._soon(done.set)

        threading.Thread(target=run, name="zookeeper-client", daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                await done.wait()
        except TimeoutError:
            return False
        return True

    def _heard(self, state: str) -> None:
        self._soon(self._now, state)

    def _now(self, state: str) -> None:
        """What kazoo says the connection is now."""
        if state == KazooState.CONNECTED:
            self.connections += 1
            self.was_away_seconds = self.away_seconds()
            self._lost_since = None
            self._silent = False
        elif self._lost_since is None:
            self._lost_since = time.monotonic()
        self.changed()

    def _is_silent(self, *, silent: bool) -> None:
        if self._silent != silent:
            self._silent = silent
            self.changed()

    def _soon(self, call: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            self._loop.call_soon_threadsafe(call, *arguments)


def _settle(future: asyncio.Future[Any], done: Any) -> None:
    if future.done():
        return
    if done.exception is None:
        future.set_result(done.value)
    else:
        future.set_exception(done.exception)
