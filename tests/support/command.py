"""The command line in this process, in a home of its own; and a server as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from click.testing import CliRunner, Result

from whatsapp import cli

ROOT = Path(__file__).resolve().parents[2]
EXIT_SECONDS = 30


def run(*arguments: str, typed: str | None = None) -> Result:
    """Run a command. Bugs are raised."""
    result = CliRunner().invoke(cli.main, list(arguments), input=typed, prog_name="whatsapp")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(*arguments: str, code: int, typed: str | None = None) -> tuple[str, ...]:
    """The lines of an error."""
    result = run(*arguments, typed=typed)
    assert result.exit_code == code
    assert result.stdout == ""
    return tuple(result.stderr.splitlines())


def every_command() -> Iterator[tuple[list[str], click.Command]]:
    waiting: list[tuple[list[str], click.Command]] = [([], cli.main)]
    while waiting:
        path, command = waiting.pop()
        yield path, command
        if isinstance(command, click.Group):
            waiting += [([*path, name], inner) for name, inner in command.commands.items()]


class Serving:
    """A `whatsapp serve` that has said that it is ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.banner: list[str] = []
        self.log: list[str] = []
        # Its log is read all the time: a full pipe would block it.
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        assert process.stdout is not None
        for line in process.stdout:
            self.banner.append(line.rstrip("\n"))
            if line.startswith("ready in "):
                break

    @property
    def url(self) -> str:
        found = re.search(r"page +(http://\S+)/", "\n".join(self.banner))
        assert found is not None, (self.banner, self.log)
        return found[1]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(EXIT_SECONDS)
        self._reader.join(EXIT_SECONDS)
        return code

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)


@contextlib.contextmanager
def serving(
    *arguments: str,
    home: Path,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[Serving]:
    """`whatsapp serve` with these flags, its data below `home`; ended when the block is."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("WHATSAPP_")}
    with subprocess.Popen(
        [sys.executable, "-m", "whatsapp", "serve", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**clean, "XDG_DATA_HOME": str(home), "HOME": str(home), **(environment or {})},
    ) as process:
        try:
            yield Serving(process)
        finally:
            process.kill()
            process.wait(EXIT_SECONDS)
