"""Whose event loop hangs must not stay in the detector, although kazoo's threads go on pinging.

The loop says now and then that it runs. A thread of its own notices when it has not for a
session time-out, and takes the instance's node away; the entries then count as absent. When
the loop is back, the instance joins again.
"""

from __future__ import annotations

import threading
import time

from backends.zookeeper_link import Link


class Guard:
    def __init__(self, link: Link, path: str) -> None:
        self._link = link
        self._path = path
        self._lock = threading.Lock()
        self._beat_at = time.monotonic()
        self._session: int | None = None
        self._dropped = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zookeeper-guard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def joined(self, session: int | None) -> None:
        """The node is there, and this session's: only that one is ever taken away."""
        with self._lock:
            self._session = session

    def beat(self) -> bool:
        """The loop runs. True: it did not for so long that the node was taken away."""
        with self._lock:
            self._beat_at = time.monotonic()
            dropped, self._dropped = self._dropped, False
            return dropped

    def stop(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        seconds = self._link.session_seconds
        while not self._ended.wait(seconds / 8):
            with self._lock:
                late = time.monotonic() - self._beat_at > seconds
                if late and not self._dropped and self._session is not None:
                    self._dropped = True
                    if self._session == self._link.session:
                        self._link.client.delete_async(self._path)
