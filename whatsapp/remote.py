"""The commands that talk to a server: chat, login, logout, send, tail. What they do is elsewhere.

As in `cli.py`, what takes time to import is imported when it is used.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from whatsapp.ranges import NumberRange

EXIT_USAGE = 2
SERVER = "http://127.0.0.1:8080"


def who_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which server, as whom."""
    command = click.option(
        "--as",
        "user",
        metavar="USER",
        envvar="WHATSAPP_USER",
        help="Who to be; the user with a saved login if there is one.  [$WHATSAPP_USER]",
    )(command)
    return click.option(
        "--server",
        metavar="URL",
        envvar="WHATSAPP_URL",
        default=SERVER,
        help=f"The server.  [$WHATSAPP_URL, {SERVER}]",
    )(command)


@click.command()
@who_options
def chat(*, server: str, user: str | None) -> None:
    """Chat in the terminal.

    \b
    Examples:
      whatsapp chat                                   at the server on this machine
      whatsapp chat --as alice                        with `whatsapp --demo`: no password
      whatsapp chat --server https://chat.example --as alice

    The password is asked for once; the login is kept in your data folder, for your eyes
    only (`whatsapp logout` ends it). WHATSAPP_PASSWORD is used where it is set. Messages
    that could not be sent yet are kept too, and go out next time.

    F1 or /help shows the keys and commands.
    """
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        from whatsapp.errors import StartupError

        raise StartupError(
            "chat needs a terminal", "For scripts there are `whatsapp send` and `whatsapp tail`."
        )
    from whatsapp.terminal import run

    run(server, user)


@click.command()
@who_options
@click.option("--register", is_flag=True, help="Make the account if there is none.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def login(*, server: str, user: str | None, register: bool, password_stdin: bool) -> None:
    """Save a login for `send`, `tail` and `chat`.

    \b
    Examples:
      whatsapp login --as alice
      whatsapp login --as echo-bot --register
      pass show chat/alice | whatsapp login --as alice --password-stdin

    The login is kept in a file for your eyes only. A login that is valid is kept as it is.
    """
    from whatsapp import access, scripting

    user = user or click.prompt("User", err=True)
    who = access.Who(server, user)
    slot = access.run(scripting.login(who, _password(stdin=password_stdin), register=register))
    click.echo(f"logged in as {slot.user} at {who.logins.url}", err=True)


@click.command()
@who_options
def logout(*, server: str, user: str | None) -> None:
    """End the saved logins of a user, here and at the server.

    \b
    Examples:
      whatsapp logout
      whatsapp logout --as alice --server https://chat.example
    """
    from whatsapp import access, scripting

    who = access.Who(server, user)
    count = access.run(scripting.logout(who))
    click.echo("logged out" if count else "there was no login", err=True)


@click.command()
@who_options
@click.argument("words", metavar="USER TEXT", nargs=-1, required=True)
@click.option("--chat", "to_chat", metavar="CHAT", help="A chat's id or a group's title, not USER.")
@click.option("--reply-to", metavar="SEQ", type=click.IntRange(1), help="Answer this message.")
@click.option(
    "--id", "message_id", metavar="ID", help="For a repeat: sent twice, it is stored once."
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=NumberRange(0, 86_400),
    default=30.0,
    help="How long to try while the server is busy.  [30]",
)
@click.option("--json", "as_json", is_flag=True, help="Print where it is: chat, seq, time.")
def send(
    *,
    server: str,
    user: str | None,
    words: tuple[str, ...],
    to_chat: str | None,
    **options: Any,
) -> None:
    """Send one message.

    \b
    Examples:
      whatsapp send bob "The build is green"
      make 2>&1 | tail -20 | whatsapp send --as ci bob -
      whatsapp send --chat Weekend "See you at ten"
      WHATSAPP_PASSWORD=secret whatsapp send --as ci bob done

    TEXT is - for standard input. Exit code 0: the server has the message for good. 1: it was
    refused. 2: wrong usage. 75: not now, try again later. 77: no valid login.
    """
    from whatsapp import access, scripting, shown

    to, *rest = (to_chat, *words) if to_chat else words
    if len(rest) != 1:
        raise click.UsageError(
            "one TEXT is needed after the USER" if not rest else "TEXT is one argument: quote it"
        )
    letter = scripting.Letter(
        to=to or "",
        text=_text(rest[0]),
        is_chat=bool(to_chat),
        id=options["message_id"],
        reply_to=options["reply_to"],
    )
    who = access.Who(server, user)
    posted = access.run(scripting.send(who, letter, timeout_seconds=options["timeout"]))
    if options["as_json"]:
        click.echo(shown.json_line(posted))


@click.command()
@who_options
@click.argument("chat", metavar="[CHAT]", required=False)
@click.option("-n", "count", metavar="COUNT", type=click.IntRange(0), help="Past messages.  [10]")
@click.option("--since", metavar="WHEN", help="Past messages since then: 10m, 2h, 3d, or a date.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, as in the protocol.")
@click.option("--follow/--no-follow", default=True, help="Go on with new messages.  [follow]")
def tail(*, server: str, user: str | None, chat: str | None, **options: Any) -> None:
    """Show messages as they come, of one chat or of all.

    \b
    Examples:
      whatsapp tail
      whatsapp tail bob -n 50
      whatsapp tail Weekend --since 2h --no-follow
      whatsapp tail --json -n 0 | jq -r .text

    CHAT is a user, a group's title, or a chat's id. Goes on by itself after the server was
    away; Ctrl-C ends it. Exit codes are those of `whatsapp send`.
    """
    from whatsapp import access, scripting

    count, since = options["count"], options["since"]
    wish = scripting.Wish(
        chat=chat,
        count=count if count is not None else (None if since else 10),
        since_ms=scripting.since(since, time.time_ns() // 1_000_000) if since else 0,
        as_json=options["as_json"],
        follow=options["follow"],
    )
    access.run(scripting.tail(access.Who(server, user), wish, _out))


COMMANDS = (chat, send, tail, login, logout)


def _out(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


def _text(given: str) -> str:
    if given != "-":
        return given
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise click.ClickException("standard input is not UTF-8 text") from None
    return text.removesuffix("\n")


def _password(*, stdin: bool) -> str:
    if stdin:
        line = sys.stdin.readline().rstrip("\r\n")
        if not line:
            raise click.UsageError("there is no password on standard input")
        return line
    given = os.environ.get("WHATSAPP_PASSWORD")
    prompted: str = given or click.prompt("Password", hide_input=True, err=True)
    return prompted
