"""One line on standard error that says how far long work is; nothing where that is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

EVERY_SECONDS = 0.1

Tell = Callable[[str, int, int], None]


class Progress:
    """Call it with what is done, how much of it, of how much; `clear` it at the end."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._shown = False
        self._next = 0.0
        self._what = ""

    def __call__(self, what: str, done: int, whole: int) -> None:
        now = time.monotonic()
        if not self._on or (now < self._next and what == self._what):
            return
        self._next, self._what, self._shown = now + EVERY_SECONDS, what, True
        share = f" {100 * done // whole} %" if whole else ""
        sys.stderr.write(f"\r\x1b[K{what} …{share}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
