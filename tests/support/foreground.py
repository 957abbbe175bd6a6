"""Programs that run in a terminal until Ctrl-C, and then end in order.

A terminal gives Ctrl-C to all of its processes at once; a store would be gone before the
instances that want to drain into it. So the work is done by a child in a session of its own,
which ends when the pipe to its parent does, in whatever way that ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType

import pytest

from whatsapp.errors import StartupError

INNER = "WHATSAPP_INNER"
WORK_EVERY_SECONDS = 0.5

# Opens what is to run; yields the work that is to be done now and then meanwhile.
Scene = Callable[[], AbstractContextManager[Callable[[], None]]]


def say(*lines: str) -> None:
    """Print, though nobody may be listening any more."""
    with contextlib.suppress(OSError):
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def run(scene: Scene) -> int:
    """Run it until Ctrl-C, SIGTERM or the end of the terminal; the exit code."""
    return _inner(scene) if os.environ.get(INNER) else _outer()


def _outer() -> int:
    """What the terminal and `kill` know of: passes on that the end is wanted, and waits."""
    module = sys.modules["__main__"].__spec__
    assert module is not None, "run it with python -m"
    reading, writing = os.pipe()

    def end(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.close(writing)

    with subprocess.Popen(
        [sys.executable, "-m", module.name, *sys.argv[1:]],
        stdin=reading,
        start_new_session=True,
        env={**os.environ, INNER: "1"},
    ) as child:
        os.close(reading)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        return child.wait()


def _inner(scene: Scene) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_watch_parent, daemon=True).start()
    try:
        with scene() as work:
            while True:
                work()
                time.sleep(WORK_EVERY_SECONDS)
    except KeyboardInterrupt:
        say("stopped")
        return 0
    except (StartupError, AssertionError, RuntimeError, OSError) as error:
        say("", f"It did not start, or did not stay: {error}")
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        reason = (missing.msg or "").removeprefix("skipped, because ")
        say("", f"It cannot start: {reason}")
    finally:
        # Whatever of ours is left, for example of a start that was interrupted.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    return 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Once: what is done to end must not be interrupted itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("", "stopping …")
    raise KeyboardInterrupt


def _watch_parent() -> None:
    # Nobody writes there: it is over when the parent is, or says so.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
