"""`whatsapp backup` and `whatsapp restore`: a store as one file, and back.

Both verify what they have written before it gets its name: all that `check.py` looks at.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from whatsapp import app, check
from whatsapp.config import Config, data_folder
from whatsapp.errors import StartupError
from whatsapp.progress import Tell

SOME = 3


class Done(Struct, frozen=True):
    """What was written.

    `report`: None where it was not verified. `aside`: where what was there before is now.
    """

    file: Path
    size_bytes: int
    seconds: float
    report: check.Report | None
    aside: Path | None = None


class Wish(Struct, frozen=True, kw_only=True):
    """`force`: replace what is there. `verify`: only what passes is kept.

    `keep_logins`: of a restored store the devices stay logged in. Why that is not the rule: a
    device that has seen what came after the backup takes the next messages, which get the same
    seqs, for ones that it has, and drops them. Who logs in anew begins anew.
    """

    force: bool = False
    verify: bool = True
    keep_logins: bool = False


def back_up(config: Config, target: Path, wish: Wish, tell: Tell) -> Done:
    """Copy the configured store, beside a running server or not, to a file or into a folder."""
    upkeep, began = app.upkeep(config), time.monotonic()
    source = upkeep.messages_file(data_folder(config.storage))
    if target.is_dir():
        target /= f"whatsapp-{_stamp()}.db"
    if target.exists() and not wish.force:
        raise StartupError(f"{target} is there already", "Name another file, or add --force.")
    if target.parent.absolute() == source.parent:
        raise StartupError(
            "a backup in the data folder is lost with it", "Name a file somewhere else."
        )
    with upkeep.explaining(source), upkeep.copy(source, target, tell) as copied:
        report = _verified(config, copied, tell) if wish.verify else None
        size_bytes = copied.stat().st_size
    return Done(target, size_bytes, time.monotonic() - began, report)


def restore(config: Config, source: Path, wish: Wish, tell: Tell) -> Done:
    """Make a backup the configured store. No server may run on it."""
    upkeep, began = app.upkeep(config), time.monotonic()
    folder = data_folder(config.storage)
    if not source.is_file():
        raise StartupError(f"{source} is no file", "Name a file that `whatsapp backup` has made.")
    there = upkeep.kept(folder)
    if there and not wish.force:
        raise StartupError(
            f"{folder} is not empty: it has {', '.join(path.name for path in there[:SOME])}",
            "Name an empty folder with --data, or add --force: its store is put aside then.",
        )
    aside = f"replaced-{_stamp()}"
    with upkeep.explaining(source), upkeep.put_back(source, folder, aside, tell) as copied:
        report = _verified(config, copied, tell) if wish.verify else None
        if not wish.keep_logins:
            upkeep.end_logins(copied)
        size_bytes = copied.stat().st_size
    kept = folder / aside
    seconds = time.monotonic() - began
    return Done(folder, size_bytes, seconds, report, kept if kept.exists() else None)


def repair_index(config: Config) -> None:
    """Drop the search index; the next start of a server builds it anew."""
    app.upkeep(config).drop_index(data_folder(config.storage))


def _verified(config: Config, file: Path, tell: Tell) -> check.Report:
    report = check.of_file(config, file, tell)
    if report.problems:
        told = "; ".join(report.problems[:SOME]) + ("; …" if len(report.problems) > SOME else "")
        raise StartupError(
            f"the copy is not kept, since it is not well: {told}",
            "See `whatsapp check` for all of them; --no-verify keeps a copy as it is.",
        )
    return report


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
