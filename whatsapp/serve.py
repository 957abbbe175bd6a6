"""`whatsapp serve`: sockets, banner, signals, and an end that is in time.

    listen → open the app → page and sockets live → banner → … → SIGTERM, SIGINT
    → no new connections → App.drain() → HTTP ends → the app closes its stores → exit 0

Why so hard on time at the end: a process manager kills after its own patience, and a
stalled client must not decide when that is. Ending in the middle costs nothing that was
acknowledged, since what is acknowledged is durable; so a second signal ends at once, and
the system's alarm does if the loop itself hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from types import FrameType

from aiohttp import web
from msgspec import Struct

from whatsapp import process
from whatsapp.app import open_app
from whatsapp.config import Config, data_folder
from whatsapp.errors import StartupError
from whatsapp.gauges import collector_pauses
from whatsapp.listen import BACKLOG, Listening, listen
from whatsapp.server import App
from whatsapp.spans import open_spans

log = logging.getLogger(__name__)

# For what is left of HTTP after the drain: answers that are being written.
HTTP_SHUTDOWN_SECONDS = 0.5
# From the signal to the end of the process: the drain's time and this.
SHUTDOWN_MARGIN_SECONDS = 1.8
# Python's 700 means: with thousands of messages under way, the collector looks at every object
# of every connection again and again, a second at a time with 10,000 of them. The hot path
# makes no cycles, so there is little to find; garbage of so many objects is some megabytes.
COLLECTED_AFTER_OBJECTS = 50_000
# A terminal and the program that started us may both pass one Ctrl-C on.
SAME_SIGNAL_SECONDS = 0.25


class Options(Struct, frozen=True, kw_only=True):
    """What of a start is no configuration."""

    port_given: bool = False
    demo: bool = False
    loop: str = "auto"
    version: str = ""


def run(config: Config, options: Options) -> None:
    """Serve until a signal. `StartupError` where that cannot begin."""
    began = time.perf_counter()
    _raise_open_files_limit()
    server = config.server
    with (
        listen(
            server.host, server.port, tries=0 if options.port_given else server.port_tries
        ) as listening,
        asyncio.Runner(loop_factory=_loop_factory(options.loop)) as runner,
    ):
        runner.run(_serve(config, options, listening, began))


async def _serve(config: Config, options: Options, listening: Listening, began: float) -> None:
    drain_seconds = config.server.drain_timeout_seconds
    stop = _Stop(drain_seconds + SHUTDOWN_MARGIN_SECONDS)
    async with contextlib.AsyncExitStack() as stack:
        span = stack.enter_context(open_spans(os.environ, options.version))
        app = await stack.enter_async_context(open_app(config))
        app.watch.span = span
        runner = await stack.enter_async_context(_http(app, listening))
        stack.push_async_callback(_drain, app, runner, drain_seconds)
        scene: list[str] = []
        if options.demo:
            from whatsapp import demo  # noqa: PLC0415  (only where it is wanted)

            scene = await stack.enter_async_context(demo.open_scene(app, config, listening))
        say(
            [
                *banner(config, listening, options.version, durable=app.stores.durable),
                *scene,
                f"ready in {_since_start(began):.2f} s; Ctrl-C stops",
            ]
        )
        log.info("serving url=%s store=%s", listening.url, config.storage.backend)
        # What is there now stays; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECTED_AFTER_OBJECTS)
        stack.enter_context(collector_pauses(app.metrics))
        name = await stop.wanted()
        log.info("stopping signal=%s timeout_seconds=%s", name, drain_seconds)
    stop.over()
    log.info("stopped")


@contextlib.asynccontextmanager
async def _http(app: App, listening: Listening) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(
        app.web,
        access_log=None,
        handler_cancellation=False,
        shutdown_timeout=HTTP_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        for sock in listening.sockets:
            await web.SockSite(runner, sock, backlog=BACKLOG).start()
        yield runner
    finally:
        # Bounded from outside too: a stalled client can hold up a close of aiohttp's.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runner.cleanup(), 2 * HTTP_SHUTDOWN_SECONDS)


async def _drain(app: App, runner: web.AppRunner, timeout_seconds: float) -> None:
    """End the connections within that time. What fails here must not keep the stores open."""
    for site in list(runner.sites):
        await site.stop()
    try:
        await asyncio.wait_for(app.drain(), timeout_seconds)
    except TimeoutError:
        log.warning("drain timed out timeout_seconds=%s", timeout_seconds)
    except Exception:
        log.exception("drain failed")


class _Stop:
    """The first signal asks for the end, a second one is the end.

    Not the loop's own signal handlers: a loop that hangs would not hear the second.
    """

    def __init__(self, deadline_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: asyncio.Future[str] = self._loop.create_future()
        self._asked_at = 0.0
        self._deadline_seconds = deadline_seconds
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)
        # Under nohup a hang-up is ignored already; leave it so.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._loop.add_signal_handler(signal.SIGHUP, self._hung_up)

    async def wanted(self) -> str:
        """Wait for the signal; its name."""
        return await self._asked

    def over(self) -> None:
        """The end has come in time."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _ask(self, number: int, frame: FrameType | None = None) -> None:
        if not self._asked_at:
            self._asked_at = time.monotonic()
            # The system ends us then, by SIGALRM, whatever hangs here.
            signal.setitimer(signal.ITIMER_REAL, self._deadline_seconds)
            self._loop.call_soon_threadsafe(self._asked.set_result, signal.Signals(number).name)
        elif time.monotonic() - self._asked_at > SAME_SIGNAL_SECONDS:
            # Nothing acknowledged is lost: what is acknowledged is durable.
            os._exit(128 + number)

    def _hung_up(self) -> None:
        """A closed terminal ends the server that runs in it; elsewhere SIGHUP asks for a reload.

        There is none: the configuration is read at the start.
        """
        if sys.stdin is not None and sys.stdin.isatty():
            self._ask(signal.SIGHUP)
        else:
            log.warning("hang-up ignored; restart to read the configuration again")


def banner(config: Config, listening: Listening, version: str, *, durable: bool) -> list[str]:
    """What a person who starts the server wants to know; plain ASCII, one thing a line."""
    storage = config.storage
    memory = storage.backend == "memory"
    pairs = [
        ("page", f"{listening.url}/"),
        ("docs", f"{listening.url}/docs"),
        ("data", "in memory, gone when the server stops" if memory else data_folder(storage)),
        ("store", f"{storage.backend} ({'' if durable else 'not '}durable)"),
        ("accounts", _REGISTRATION[config.auth.registration]),
    ]
    if listening.moved_from:
        pairs.append(("note", f"port {listening.moved_from} is taken, so this is another one"))
    if not config.rates.enabled:
        pairs.append(("warning", "rate limits are off: for tests, not for strangers"))
    if not listening.loopback:
        pairs.append(
            ("warning", "other machines can connect, without TLS: put a proxy with TLS in front")
        )
    return [f"whatsapp {version}".strip(), *(f"  {name:<9} {said}" for name, said in pairs)]


_REGISTRATION = {
    "open": "open: anyone who reaches the page can make one",
    "invite": "by invite code",
    "closed": "closed: made with `whatsapp user add`",
}


def say(lines: list[str]) -> None:
    """Print for a person. Nobody may be listening any more: no reason to end."""
    with contextlib.suppress(OSError):
        sys.stdout.write("\n".join([*lines, ""]))
        sys.stdout.flush()


def _since_start(began: float) -> float:
    """Seconds since the process began; where that is not known, since `run` did."""
    return process.age_seconds() or time.perf_counter() - began


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415  (an extra; not everybody has it)
    except ImportError:
        if name == "auto":
            return None
        raise StartupError(
            "uvloop is not installed", "Install it with `pip install whatsapp[fast]`."
        ) from None
    return uvloop.new_event_loop


def _raise_open_files_limit() -> None:
    """Each connection is an open file; take as many as the system lets us have."""
    import resource  # noqa: PLC0415  (not on every system)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
