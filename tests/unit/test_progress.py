"""The progress line."""

from __future__ import annotations

import io
import sys

from whatsapp.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_is_one_line_and_gone_at_the_end(monkeypatch):
    told = Terminal()
    monkeypatch.setattr(sys, "stderr", told)
    progress = Progress()
    progress("copying", 1, 4)
    progress("copying", 2, 4)  # too soon
    progress("pages", 0, 0)
    progress.clear()
    progress.clear()
    assert told.getvalue() == "\r\x1b[Kcopying … 25 %\r\x1b[Kpages …\r\x1b[K"


def test_elsewhere_it_is_silent(monkeypatch):
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    progress = Progress()
    progress("copying", 1, 4)
    progress.clear()
    assert told.getvalue() == ""
