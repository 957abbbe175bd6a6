"""The commands of an operator: backup, restore, check, plan. What they do is elsewhere.

As in `cli.py`, what takes time to import is imported when it is used.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whatsapp.ranges import NumberRange
from whatsapp.settings import Settings, settings_options

if TYPE_CHECKING:
    from whatsapp.backup import Done
    from whatsapp.check import Report
    from whatsapp.progress import Progress

EXIT_TROUBLE = 1
FILE = click.Path(path_type=Path)
COUNT = click.IntRange(1, 10**12)
NUMBER = NumberRange(0, 10**9)
ABOVE_0 = NumberRange(0, 10**9, min_open=True)
SHARE = NumberRange(0, 1)

_no_verify = click.option("--no-verify", is_flag=True, help="Keep the copy as it is, unlooked at.")


@click.command()
@click.argument("target", type=FILE)
@click.option("--force", is_flag=True, help="Replace TARGET where it is there already.")
@_no_verify
@settings_options("data")
def backup(chosen: Settings, *, target: Path, force: bool, no_verify: bool) -> None:
    """Copy the SQLite store to TARGET while it is served, or not.

    \b
    Examples:
      whatsapp backup /backups/monday.db
      whatsapp backup /backups                    a file with a name of its own
      whatsapp backup /backups/last.db --force --data /srv/whatsapp

    One file with everything as of one moment, for this user's eyes only. It is verified (as by
    `whatsapp check`) before it gets its name. The search index is not in it; a server that
    runs on a restored store builds it anew. Exit code 1 where there is no good copy.
    """
    from whatsapp import backup as work

    config = chosen.load()
    wish = work.Wish(force=force, verify=not no_verify)
    with _working() as tell:
        done = work.back_up(config, target, wish, tell)
    click.echo(f"{done.file}: {_told(done)}")


@click.command()
@click.argument("source", type=FILE)
@click.option("--force", is_flag=True, help="Put aside what the data folder has.")
@click.option("--keep-logins", is_flag=True, help="Where nothing came after the backup.")
@_no_verify
@settings_options("data")
def restore(
    chosen: Settings, *, source: Path, force: bool, keep_logins: bool, no_verify: bool
) -> None:
    """Make the backup SOURCE the store of the data folder.

    \b
    Examples:
      whatsapp restore /backups/monday.db --data /srv/new
      whatsapp restore /backups/monday.db --force

    The server must be stopped. The copy is verified before it takes its place. What the folder
    had before is kept in a folder below it, `replaced-…`; remove that when you are content.

    What was written after the backup was made is not there any more. So all logins end: a
    device that has seen it would take the next messages for ones that it has.
    """
    from whatsapp import backup as work

    config = chosen.load()
    wish = work.Wish(force=force, verify=not no_verify, keep_logins=keep_logins)
    with _working() as tell:
        done = work.restore(config, source, wish, tell)
    click.echo(f"restored to {done.file}: {_told(done)}")
    if not keep_logins:
        click.echo("all logins are ended; everybody logs in again")
    if done.aside:
        click.echo(f"what was there before is in {done.aside}")


@click.command()
@click.argument("backup_file", metavar="[BACKUP]", type=FILE, required=False)
@click.option("--repair-index", is_flag=True, help="Drop the search index; it is built anew.")
@settings_options("data")
@click.pass_context
def check(
    ctx: click.Context, chosen: Settings, *, backup_file: Path | None, repair_index: bool
) -> None:
    """Say whether a store, or a backup, has all that it must have.

    \b
    Examples:
      whatsapp check                              the store, while it is served too
      whatsapp check /backups/monday.db           a backup
      whatsapp check --data /srv/whatsapp
      whatsapp check --repair-index               while the server is stopped

    Reads everything and changes nothing: pages and indexes of the file, seqs without a hole,
    no id twice, members as the log says, cursors not beyond the head, rows without their
    owner, the search index against the log. Exit code 1 where something is wrong.
    """
    from whatsapp import backup as work
    from whatsapp import check as checking

    config = chosen.load()
    if repair_index:
        if backup_file is not None:
            raise click.UsageError("a backup has no search index", ctx)
        work.repair_index(config)
        click.echo("the search index is dropped; the next start of the server builds it anew")
    with _working() as tell:
        report = checking.run(config, tell, backup_file)
    for problem in report.problems:
        click.echo(f"wrong: {problem}")
    for note in report.notes:
        click.echo(f"note: {note}")
    click.echo(f"{_counts(report)}: {_verdict(report)}")
    ctx.exit(EXIT_TROUBLE if report.problems else 0)


@click.command()
@click.option("--daily-users", type=COUNT, metavar="N", help="[50,000,000]")
@click.option("--messages-per-user", type=ABOVE_0, metavar="N", help="A day.  [40]")
@click.option("--bytes", type=click.IntRange(1, 16_384), metavar="N", help="Of a text.  [1000]")
@click.option("--group-share", type=SHARE, metavar="X", help="Of messages, to groups.  [0.4]")
@click.option("--group-size", type=click.IntRange(2, 1024), metavar="N", help="Members.  [10]")
@click.option("--online-share", type=SHARE, metavar="X", help="Of users, at once.  [0.4]")
@click.option("--logins-per-user", type=NUMBER, metavar="N", help="A day.  [18]")
@click.option("--peak-factor", type=NumberRange(1, 1000), metavar="N", help="[3]")
@click.option("--years", type=ABOVE_0, metavar="N", help="[10]")
@click.option("--copies", type=click.IntRange(1, 100), metavar="N", help="Of the data.  [3]")
@click.option("--busy-share", type=NumberRange(0.01, 1), metavar="X", help="At peak.  [0.5]")
@click.option("--connections-max", type=COUNT, metavar="N", help="Of an instance.  [100,000]")
@click.option("--shard-tb", type=ABOVE_0, metavar="N", help="A MongoDB shard holds.  [4]")
@click.option("--costs", type=FILE, metavar="FILE", help="What `bench --calibrate` measured.")
@click.option("--show-costs", is_flag=True, help="With the costs and where they come from.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plan(*, costs: Path | None, show_costs: bool, as_json: bool, **options: Any) -> None:
    """Say how much of everything so many users need.

    \b
    Examples:
      whatsapp plan                                    the size it was planned for
      whatsapp plan --daily-users 20000 --years 3 --copies 1
      whatsapp plan --show-costs                       and what it rests on
      whatsapp bench --calibrate                       measure this machine
      whatsapp plan --costs costs.json                 and reckon with it

    The back of an envelope, with costs that were measured.
    """
    from whatsapp import plan as work

    prices, sources = work.read_costs(costs) if costs else (work.Costs(), work.SOURCES)
    envelope = work.reckon(work.with_options(**options), prices)
    if as_json:
        click.echo(work.as_json(envelope))
        return
    for line in work.lines(envelope, sources, costs=show_costs):
        click.echo(line)


COMMANDS = (backup, restore, check, plan)


@contextlib.contextmanager
def _working() -> Iterator[Progress]:
    """A progress line that is gone at the end; what goes wrong is told by the commands alone."""
    from whatsapp.progress import Progress

    store = logging.getLogger("backends")
    level, line = store.level, Progress()
    store.setLevel(logging.CRITICAL + 1)
    try:
        yield line
    finally:
        line.clear()
        store.setLevel(level)


def _told(done: Done) -> str:
    size = f"{done.size_bytes / (1 << 20):,.1f} MiB in {done.seconds:.1f} s"
    if done.report is None:
        return f"{size}, not verified"
    return f"{size}; {_counts(done.report)}, verified"


def _counts(report: Report) -> str:
    return f"{report.accounts:,} accounts, {report.chats:,} chats, {report.entries:,} entries"


def _verdict(report: Report) -> str:
    count = len(report.problems)
    return f"{count} problem{'s' * (count > 1)}" if count else "all is well"
