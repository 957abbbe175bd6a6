"""What a command line says about the configuration: the shared options, and their result.

    flag > WHATSAPP_… variable > file named by --config or WHATSAPP_CONFIG > default

No file is read that was not named. `config.py` is imported when it is needed, so that help
stays quick.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whatsapp import __version__

if TYPE_CHECKING:
    from whatsapp.config import Config, Option

log = logging.getLogger(__name__)

HIDDEN = "********"

# Parameter → (section, option). `no_rate_limits` is the one that is not its option's value.
TARGETS = {
    "host": ("server", "host"),
    "port": ("server", "port"),
    "data": ("storage", "data"),
    "store": ("storage", "backend"),
    "directory": ("directory", "backend"),
    "no_rate_limits": ("rates", "enabled"),
}

OPTIONS: dict[str, Callable[[Any], Any]] = {
    "host": click.option("--host", metavar="HOST", help="Address to listen on.  [127.0.0.1]"),
    "port": click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        metavar="PORT",
        help="Port; 0 is any free one.  [8080, or the next free one]",
    ),
    "data": click.option(
        "--data", metavar="DIR", type=click.Path(), help="Folder that everything is kept in."
    ),
    "store": click.option(
        "--store", type=click.Choice(["sqlite", "memory", "mongo"]), help="Where messages are kept."
    ),
    "directory": click.option(
        "--directory",
        type=click.Choice(["memory", "zookeeper"]),
        help="Who knows where each user is.",
    ),
    "no_rate_limits": click.option(
        "--no-rate-limits", is_flag=True, default=None, help="For load tests."
    ),
}


@dataclass(frozen=True)
class Settings:
    """The named file and the flags; the environment joins when they are loaded."""

    file: Path | None = None
    flags: dict[str, dict[str, Any]] = field(default_factory=dict)

    def load(self) -> Config:
        from whatsapp import config

        return config.load(self.file, os.environ, self.flags)

    def explain(self) -> list[Option]:
        from whatsapp import config

        return config.explain(self.file, os.environ, self.flags)

    def given(self, section: str, name: str) -> bool:
        """Did somebody ask for this, in whatever way?"""
        return any(
            option.source != "default"
            for option in self.explain()
            if (option.section, option.name) == (section, name)
        )

    def with_file(self, file: Path | None) -> Settings:
        return replace(self, file=file)

    def with_flag(self, section: str, name: str, value: Any) -> Settings:
        options = {**self.flags.get(section, {}), name: value}
        return replace(self, flags={**self.flags, section: options})

    def for_demo(self) -> Settings:
        """Without a folder of somebody's choice the demo gets one of its own."""
        from whatsapp.config import default_data_folder

        if self.given("storage", "data"):
            return self
        return self.with_flag("storage", "data", str(Path(default_data_folder(), "demo")))

    def odd_variables(self) -> list[str]:
        """About each environment variable that looks like an option and is none."""
        from whatsapp import config

        return [
            f"{name} is no option" + (f"; did you mean {near}?" if near else "")
            for name, near in config.unknown_variables(os.environ).items()
        ]

    def warn_of_variables(self) -> None:
        for line in self.odd_variables():
            log.warning("environment variable ignored: %s", line)

    def lines(self) -> Iterator[str]:
        """TOML that can be read again (but for the secrets), each line with its source."""
        from whatsapp.config import SECRETS

        section = ""
        for option in self.explain():
            if option.section != section:
                if section:
                    yield ""
                section = option.section
                yield f"[{section}]"
            value = option.value
            if value and (section, option.name) in SECRETS:
                value = [HIDDEN] if isinstance(value, tuple) else HIDDEN
            # What JSON has of text, numbers and lists is TOML too.
            pair = f"{option.name} = {json.dumps(value, ensure_ascii=False)}"
            yield f"{pair:<45} # {self._source(option)}"

    def _source(self, option: Option) -> str:
        named = {"file": f"file {self.file}", "environment": option.variable}
        return named.get(option.source, option.source)


def settings_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command these options and --config; it gets them as one `chosen: Settings`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def gathered(*args: Any, config_file: Path | None, **rest: Any) -> Any:
            chosen = Settings(file=config_file)
            for name in names:
                value = rest.pop(name)
                if value is not None:
                    chosen = chosen.with_flag(
                        *TARGETS[name], not value if name == "no_rate_limits" else value
                    )
            return command(*args, chosen=chosen, **rest)

        with_file = click.option(
            "--config",
            "config_file",
            metavar="FILE",
            type=click.Path(path_type=Path),
            envvar="WHATSAPP_CONFIG",
            help="Configuration, as in config.example.toml.  [$WHATSAPP_CONFIG]",
        )(gathered)
        for name in reversed(names):
            with_file = OPTIONS[name](with_file)
        return with_file

    return decorate


def version() -> str:
    """The package's version."""
    return __version__
