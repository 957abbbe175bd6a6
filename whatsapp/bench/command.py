"""The command `whatsapp bench`. What it needs is imported when it is used."""

# ruff: noqa: PLC0415

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from whatsapp.ranges import NumberRange

USUAL = ("ready", "direct", "group", "idle", "connect", "sync", "mixed", "search", "overload")
SCENARIOS = (*USUAL, "cluster")
# What `whatsapp plan --costs` reckons with, and how long to measure it where nobody says.
COSTS = ("direct", "group", "connect", "idle")
COSTS_FILE = "costs.json"
COSTS_SECONDS, COSTS_RUNS = 3.0, 1

COUNT = click.IntRange(1, 100_000_000)
# 0: the scenario's own.
COUNT_OR_OWN = click.IntRange(0, 100_000_000)
STORES = click.Choice(["sqlite", "memory"])
LOOPS = click.Choice(["auto", "asyncio", "uvloop"])
TEXT_BYTES = click.IntRange(0, 16_384)
RATE = NumberRange(0, 1_000_000)
FOLDER = click.Path(path_type=Path, file_okay=False)
JSON_FILE = click.Path(path_type=Path, allow_dash=True)
CONNECTIONS = "[direct 200, idle 5000, connect 1000, mixed 500, overload 200, cluster 60]"
DATA = "search: a folder to fill, or filled before; it is kept. Others: one that it filled."
FACTOR = NumberRange(1, 100)
OVERLOAD = "overload: so many times the capacity (or --rate) is offered.  [5]"
CONFIG = click.Path(path_type=Path, dir_okay=False, exists=True)
CLUSTER = "cluster: as for `serve`; names a MongoDB and a ZooKeeper.  [what `make services` runs]"
DRIVERS = click.Choice(["motor", "pymongo"])
DRIVER = "cluster: another one than configured; given twice, both in one run."
WRITERS = click.IntRange(0, 26)
WRITING = "cluster: one group that so many instances write to, in place of pairs on three."
CALIBRATE = f"Measure shortly what `plan --costs` reckons with.  [{COSTS_FILE}]"
OPEN_LOOP = "Open loop: so many messages a second, whatever is answered."


@click.command()
@click.argument("scenarios", metavar="[SCENARIOS]", nargs=-1, type=click.Choice(SCENARIOS))
@click.option("--url", default="", metavar="URL", help="A server that runs, not one of our own.")
@click.option("--pid", type=COUNT, metavar="PID", help="With --url: its process, for CPU, memory.")
@click.option("--store", type=STORES, default="sqlite", help="[sqlite]")
@click.option("--loop", type=LOOPS, default="auto", help="The server's event loop.  [auto]")
@click.option("--connections", type=COUNT_OR_OWN, default=0, metavar="N", help=CONNECTIONS)
@click.option("--rate", type=RATE, default=0.0, metavar="N", help=OPEN_LOOP)
@click.option("--half", is_flag=True, help="direct: also at half of the capacity, in an open loop.")
@click.option("--factor", type=FACTOR, default=5.0, metavar="X", help=OVERLOAD)
@click.option("--members", type=click.IntRange(2, 1024), default=100, help="group.  [100]")
@click.option("--senders", type=COUNT, default=1, help="group: how many write.  [1]")
@click.option("--messages", type=COUNT, default=200_000, help="search: in the store.  [200000]")
@click.option("--chats", type=click.IntRange(1, 10_000), default=200, help="sync, search.  [200]")
@click.option("--pending", type=COUNT, default=5, help="sync: messages in each chat.  [5]")
@click.option("--text-bytes", type=TEXT_BYTES, default=0, metavar="N", help="[1000; search 200]")
@click.option("--data", type=FOLDER, metavar="DIR", help=DATA)
@click.option("--config", type=CONFIG, envvar="WHATSAPP_CONFIG", metavar="FILE", help=CLUSTER)
@click.option("--driver", "drivers", type=DRIVERS, multiple=True, help=DRIVER)
@click.option("--writers", type=WRITERS, default=0, metavar="N", help=WRITING)
@click.option("--seconds", type=NumberRange(0.5, 3600), default=5.0, help="Of each run.  [5]")
@click.option("--runs", type=click.IntRange(1, 100), default=3, help="[3]")
@click.option("--json", "json_file", type=JSON_FILE, help="Write it there too; -: nothing else.")
@click.option(
    "--calibrate",
    type=JSON_FILE,
    is_flag=False,
    flag_value=COSTS_FILE,
    metavar="[FILE]",
    help=CALIBRATE,
)
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    *,
    scenarios: tuple[str, ...],
    json_file: Path | None,
    calibrate: Path | None,
    **options: Any,
) -> None:
    """Measure a server: CPU per message, rates, times, memory.

    \b
    Examples:
      whatsapp bench                              everything; takes several minutes
      whatsapp bench direct --half                and the times at half of the capacity
      whatsapp bench group --members 1024 --seconds 10
      whatsapp bench idle --connections 20000     needs `ulimit -n 20200`
      whatsapp bench direct --url http://10.0.0.5:8080 --rate 500
      whatsapp bench search --messages 10000000 --data ./filled
      whatsapp bench direct --data ./filled       a message's cost with so many stored
      whatsapp bench cluster --driver motor --driver pymongo     while `make services` runs
      whatsapp bench cluster --writers 10
      whatsapp bench --calibrate                  a minute; then whatsapp plan --costs costs.json

    Starts a server of its own on this machine, with a temporary folder, without rate limits,
    on a core of its own where there are two, and ends it. Scenarios: ready, direct, group,
    idle, connect, sync, mixed, search, overload; and, on three instances, cluster.

    Checks what it measures. Exit code 1: a message was lost, doubled or misordered, or too
    little was left under overload. The CPU
    per message is what compares well; rates and times depend on what else the machine does.
    """
    from whatsapp.bench import report, running
    from whatsapp.bench.scene import Plan

    if calibrate is not None:
        scenarios, json_file = _calibration(ctx, options, calibrate)
    plan = Plan(**options)
    names = scenarios or (USUAL if not plan.url else ("direct", "group", "connect"))
    running.check(plan, names)
    quiet = json_file is not None and str(json_file) == "-"
    progress, setting, results = report.Progress(), running.setting(plan, names), []
    _say(report.head(setting), quiet=quiet)
    for name in names:
        results.append(running.measure(plan, name, progress))
        _say(report.table(results[-1]), quiet=quiet)
    if json_file is not None:
        with click.open_file(str(json_file), "wb") as file:
            file.write(report.as_json(setting, results))
    if calibrate is not None:
        _say(["", f"To reckon with it: whatsapp plan --costs {calibrate}"], quiet=quiet)
    ctx.exit(0 if all(result.good for result in results) else 1)


def _calibration(
    ctx: click.Context, options: dict[str, Any], file: Path
) -> tuple[tuple[str, ...], Path]:
    """The scenarios and the file of the document; shorter than usual where nobody said how long."""
    if ctx.params["scenarios"] or ctx.params["json_file"] or options["url"]:
        raise click.UsageError("--calibrate goes without scenarios, --json and --url", ctx)
    shorter = {"seconds": COSTS_SECONDS, "runs": COSTS_RUNS}
    unsaid = ParameterSource.DEFAULT
    options.update({n: v for n, v in shorter.items() if ctx.get_parameter_source(n) is unsaid})
    return COSTS, file


def _say(lines: Any, *, quiet: bool) -> None:
    if not quiet:
        for line in lines:
            click.echo(line)
