"""What the system knows of this process: its age, memory, open files."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def age_seconds() -> float | None:
    """How long ago this process began, to a hundredth; None where the system does not tell."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    # Field 22; the second one, a name in brackets, may have spaces in it.
    ticks = float(stat.rpartition(")")[2].split()[19])
    return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))


def start_time() -> float:
    """Seconds since the Unix epoch."""
    return round(time.time() - (age_seconds() or 0.0), 2)


def resident_bytes() -> float:
    """Memory in use; where the system does not tell, the most that it ever was."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        import resource  # noqa: PLC0415  (not on every system)

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> float:
    """Open file descriptors; `OSError` where the system does not tell."""
    # The one that lists them is not counted.
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1


def open_files_max() -> float:
    """How many the system allows."""
    import resource  # noqa: PLC0415  (not on every system)

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
