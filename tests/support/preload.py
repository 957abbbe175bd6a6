"""A process whose disk loses its mind, or whose clock is set (Linux; needs a C compiler)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.need import need

SOURCE = Path(__file__).with_name("preload.c")


class Preload:
    """`environment` is for the process; the rest is for the test, while it runs."""

    def __init__(self, folder: Path) -> None:
        if sys.platform != "linux":
            pytest.skip("skipped, because LD_PRELOAD is Linux's")
        library = folder / "preload.so"
        self._fsync, self._clock = folder / "fsync fails", folder / "clock"
        command = [need("cc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self.environment = {
            "LD_PRELOAD": str(library),
            "CHAOS_FSYNC": str(self._fsync),
            "CHAOS_CLOCK": str(self._clock),
        }

    def break_fsync(self) -> None:
        self._fsync.touch()

    def mend_fsync(self) -> None:
        self._fsync.unlink(missing_ok=True)

    def shift_clock(self, seconds: int) -> None:
        """Against the right time; a new file each time, so that nobody reads half of it."""
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self._clock)
