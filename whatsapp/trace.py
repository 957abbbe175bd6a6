"""The command `whatsapp trace`. What it needs is imported when it is used."""

# ruff: noqa: PLC0415

from __future__ import annotations

import sys

import click

from whatsapp.settings import Settings, settings_options


@click.command()
@click.argument("message_id", metavar="[ID]", default="")
@click.option("--chat", default="", metavar="CHAT", help="Its chat: alice:bob, or a group's id.")
@click.option("--seq", type=click.IntRange(1), default=None, help="Its number there, for the id.")
@click.option("--user", default="", metavar="USER", help="Who wrote it.")
@click.option("--all", "everybody", is_flag=True, help="The devices of all members of a big group.")
@click.option(
    "--lookups",
    type=click.IntRange(1),
    default=1_000_000,
    metavar="N",
    help="Give up after so many, without --chat.  [1000000]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@settings_options("data", "store")
def trace(  # noqa: PLR0913  (one for each option)
    chosen: Settings,
    *,
    message_id: str,
    chat: str,
    seq: int | None,
    user: str,
    everybody: bool,
    lookups: int,
    as_json: bool,
) -> None:
    """Tell where a message is: who has received and read it.

    \b
    Examples:
      whatsapp trace --chat alice:bob --seq 42
      whatsapp trace 6f1c0a2e-… --chat alice:bob
      whatsapp trace 6f1c0a2e-… --user alice
      whatsapp trace 6f1c0a2e-…              looks through all chats

    ID is the one that the sender's client gave it. Reads the store (SQLite or MongoDB) beside
    the servers that run on it, and changes nothing. The text is not shown. What only the
    memory of a server knows (pushed and not acknowledged yet) cannot be seen.
    """
    from whatsapp import log, model, whereabouts

    if bool(message_id) == bool(seq):
        raise click.UsageError("name the message: its ID, or --chat and --seq")
    if seq and not chat:
        raise click.UsageError("--seq counts within a chat: name it with --chat")
    wish = whereabouts.Wish(
        message_id=model.message_id(message_id) if message_id else "",
        seq=seq or 0,
        chat=whereabouts.chat_id(chat) if chat else "",
        user=model.user_id(user) if user else "",
        lookups_max=lookups,
        everybody=everybody,
    )
    config = chosen.load()
    log.setup("error", config.log.format)
    found = whereabouts.run(config, wish, _progress)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(found).decode())
        return
    for line in whereabouts.lines(found):
        click.echo(line)


def _progress(lookups: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"{lookups} look-ups …", err=True)
