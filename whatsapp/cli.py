"""The command line. Reads what is asked for and calls who does it; every error is two lines.

Why so many imports inside functions: `--help`, `--version` and the shell's completion answer
before anybody notices, and aiohttp alone takes a third of a second to import.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from whatsapp import operating, remote, settings
from whatsapp.bench.command import bench
from whatsapp.errors import StartupError, WhatsAppError
from whatsapp.settings import Settings, settings_options
from whatsapp.trace import trace

if TYPE_CHECKING:
    from whatsapp.users import Work

EXIT_TROUBLE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

COMPLETION_VARIABLE = "_WHATSAPP_COMPLETE"


class Commands(click.Group):
    """The root: serves where no command is named, and says what is wrong in two lines."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if not ctx.resilient_parsing and (not args or args[0].startswith("-")):
            args = args if args and args[0] in own else ["serve", *args]
        return super().parse_args(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002  (click's signature)
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except (WhatsAppError, click.ClickException) as error:
            code = _said(error)
        except (click.Abort, KeyboardInterrupt):
            code = EXIT_INTERRUPTED
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            # Who read our output (`| head`) is gone; Python would complain once more at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = EXIT_TROUBLE
        sys.exit(code if isinstance(code, int) else 0)


def _said(error: WhatsAppError | click.ClickException) -> int:
    """Print cause and cure; the exit code."""
    code = getattr(error, "exit_code", EXIT_TROUBLE)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return EXIT_USAGE
    match error:
        case StartupError():
            cause, cure = error.cause, error.cure
        case click.UsageError():
            (cause, cure), code = _usage(error), EXIT_USAGE
        case click.ClickException():
            cause, cure = error.format_message(), ""
        case _:
            # One sentence that says what to do.
            cause, cure = str(error), ""
    click.echo(f"Error: {cause}", err=True)
    if cure:
        click.echo(cure, err=True)
    return code


def _usage(error: click.UsageError) -> tuple[str, str]:
    """What was wrong with the command line, and what was probably meant."""
    if isinstance(error, (click.NoSuchOption, click.exceptions.NoSuchCommand)):
        near = error.possibilities
        if near:
            return error.message, f"Did you mean {near[0]}?"
    command = error.ctx.command_path if error.ctx else "whatsapp"
    return error.format_message(), f"See `{command} --help`."


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value and not ctx.resilient_parsing:
        click.echo(f"whatsapp {settings.version()}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def main() -> None:
    """A messaging server for anyone to run. Without a command it serves.

    \b
    Examples:
      whatsapp                       serve on http://127.0.0.1:8080/
      whatsapp --demo                the same, with people to talk to
      whatsapp serve --port 9000     on another port
      whatsapp doctor                is this machine fit for it?
      whatsapp chat                  a client in the terminal
    """


for _command in (*remote.COMMANDS, *operating.COMMANDS, bench, trace):
    main.add_command(_command)


@main.command()
@settings_options("host", "port", "data", "store", "directory", "no_rate_limits")
@click.option("--demo", is_flag=True, help="Make users to try it with; one of them answers.")
@click.option(
    "--loop",
    type=click.Choice(["auto", "asyncio", "uvloop"]),
    default="auto",
    help="Event loop; auto is uvloop where it is installed.",
)
def serve(chosen: Settings, *, demo: bool, loop: str) -> None:
    """Serve until Ctrl-C or SIGTERM.

    \b
    Examples:
      whatsapp serve
      whatsapp serve --port 9000 --data ./data
      whatsapp serve --store memory          nothing is kept
      whatsapp serve --demo                  alice, bob and carol are there
      whatsapp serve --config whatsapp.toml

    The first signal lets the connections end in good order, a second one ends at once.
    Nothing that was acknowledged is lost either way.
    """
    from whatsapp import log

    if demo:
        chosen = chosen.for_demo()
    config = chosen.load()
    log.setup(config.log.level, config.log.format)
    chosen.warn_of_variables()
    from whatsapp import serve as server

    server.run(
        config,
        server.Options(
            port_given=chosen.given("server", "port"),
            demo=demo,
            loop=loop,
            version=settings.version(),
        ),
    )


@main.command()
@settings_options("host", "port", "data", "store")
@click.pass_context
def doctor(ctx: click.Context, chosen: Settings) -> None:
    """Look at this machine and say what to mend.

    \b
    Examples:
      whatsapp doctor
      whatsapp doctor --config whatsapp.toml
      whatsapp doctor --data /srv/whatsapp --port 80

    Changes nothing. Exit code 1 where something would keep the server from running.
    """
    from whatsapp import doctor as diagnosis

    findings = diagnosis.examine(chosen.load(), port_given=chosen.given("server", "port"))
    for line in diagnosis.lines(findings):
        click.echo(line)
    ctx.exit(EXIT_TROUBLE if any(finding.state == "fail" for finding in findings) else 0)


@main.group(name="config")
def config_group() -> None:
    """Check the configuration, or show what is in effect.

    \b
    Examples:
      whatsapp config check whatsapp.toml
      whatsapp config show --config whatsapp.toml --port 9000
    """


@config_group.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@settings_options()
def check(chosen: Settings, *, file: Path | None) -> None:
    """Say whether FILE and the environment are right.

    \b
    Examples:
      whatsapp config check whatsapp.toml
      WHATSAPP_SERVER_PORT=9000 whatsapp config check
    """
    chosen = chosen.with_file(file or chosen.file)
    chosen.load()
    for line in chosen.odd_variables():
        click.echo(f"warning: {line}", err=True)
    click.echo(f"{chosen.file or 'defaults and environment'}: right")


@config_group.command()
@settings_options("host", "port", "data", "store", "directory", "no_rate_limits")
def show(chosen: Settings) -> None:
    """Show every option in effect and its source.

    The result is TOML that can be read again, but for the secrets, which are hidden.

    \b
    Examples:
      whatsapp config show
      whatsapp config show --config whatsapp.toml | grep -v '# default'
    """
    for line in chosen.lines():
        click.echo(line)


@main.group()
def user() -> None:
    """Add, list and remove accounts while the server is stopped.

    While it runs the data folder is its own: use the REST API (see its /docs).

    \b
    Examples:
      whatsapp user add alice --name Alice
      whatsapp user list
      whatsapp user password alice
      whatsapp user remove alice
    """


_user_argument = click.argument("user", metavar="USER")
_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)


@user.command()
@_user_argument
@click.option("--name", help="The name that others see; the user id if left out.")
@_password_stdin
@settings_options("data")
def add(chosen: Settings, *, user: str, name: str | None, password_stdin: bool) -> None:
    """Make an account. Works with closed registration too.

    \b
    Examples:
      whatsapp user add alice --name Alice
      pass show chat/alice | whatsapp user add alice --password-stdin
    """
    from whatsapp import users

    password = _password(stdin=password_stdin)
    _work(chosen, users.add(user, password, name))
    click.echo(f"added {user.lower()}")


@user.command(name="list")
@settings_options("data")
def list_users(chosen: Settings) -> None:
    """List the accounts: user id, name, when last seen.

    \b
    Examples:
      whatsapp user list
      whatsapp user list --data /srv/whatsapp | wc -l
    """
    from whatsapp import users

    for line in _work(chosen, users.listing()):
        click.echo(line)


@user.command()
@_user_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings_options("data")
def remove(chosen: Settings, *, user: str, yes: bool) -> None:
    """Erase an account.

    Its profile, devices and memberships go; what it wrote stays. The user id stays taken, so
    that nobody can pose as the one who had it.

    \b
    Examples:
      whatsapp user remove alice
      whatsapp user remove alice --yes
    """
    from whatsapp import users

    if not yes:
        click.confirm(f"Erase {user} for good?", abort=True)
    _work(chosen, users.remove(user))
    click.echo(f"removed {user.lower()}")


@user.command()
@_user_argument
@_password_stdin
@settings_options("data")
def password(chosen: Settings, *, user: str, password_stdin: bool) -> None:
    """Set a new password for somebody who forgot it.

    All of the user's logins end.

    \b
    Examples:
      whatsapp user password alice
      openssl rand -base64 18 | tee new | whatsapp user password alice --password-stdin
    """
    from whatsapp import users

    new = _password(stdin=password_stdin)
    _work(chosen, users.set_password(user, new))
    click.echo(f"new password set for {user.lower()}")


def _password(*, stdin: bool) -> str:
    if not stdin:
        prompted: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return prompted
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise StartupError(
            "there is no password on standard input", "Give it as the first line, and nothing else."
        )
    return line


def _work(chosen: Settings, work: Work) -> list[str]:
    from whatsapp import log, users

    config = chosen.load()
    # What the operator must know comes as an error; the log is the server's.
    log.setup("error", config.log.format)
    return users.run(config, work)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes `whatsapp` in your shell.

    \b
    Examples:
      eval "$(whatsapp completion bash)"      in ~/.bashrc
      eval "$(whatsapp completion zsh)"       in ~/.zshrc
      whatsapp completion fish > ~/.config/fish/completions/whatsapp.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        _no_shell(shell)
    click.echo(found(main, {}, "whatsapp", COMPLETION_VARIABLE).source())


def _no_shell(shell: str) -> NoReturn:
    raise StartupError(f"click cannot complete for {shell}", "Install click 8.3 or later.")
