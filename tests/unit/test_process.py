"""What the system knows of this process."""

from __future__ import annotations

import time
from pathlib import Path

from whatsapp import process


def test_the_age_of_the_process_grows():
    first = process.age_seconds()
    assert first is not None
    time.sleep(0.03)
    assert first < (process.age_seconds() or 0) < first + 60
    assert time.time() - 86_400 < process.start_time() <= time.time()


def test_memory_and_open_files():
    assert 1 << 20 < process.resident_bytes() < 1 << 40
    before = process.open_files()
    with Path(__file__).open("rb"):
        assert process.open_files() == before + 1
    assert process.open_files() < process.open_files_max()
