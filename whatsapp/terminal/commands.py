"""What begins with a slash in the composer: every command, what it takes, what it does."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from typing import Protocol

from msgspec import Struct

from whatsapp import model, shown
from whatsapp.errors import WhatsAppError
from whatsapp.model import Role
from whatsapp.terminal.session import Session

KEYS = """\
Enter               send              Ctrl-J, Alt-Enter  new line
PageUp, PageDown    scroll            Ctrl-L, Tab        list of chats
Up                  choose a message, Enter: reply to it
Ctrl-Up, Ctrl-Down  previous, next chat
Ctrl-N              new chat          Ctrl-G             new group
Ctrl-O              group info        Ctrl-F             search
Esc                 no reply, newest  F1                 this help
Ctrl-Q              quit (Ctrl-C clears the text first)
Shift and the mouse select text, in most terminals.

Ticks: \u2026 waits   \u2713 stored   \u2713\u2713 delivered   \u2713\u2713 (blue) read

A text that begins with / is a command; begin it with // to send it.
"""


class Mistake(WhatsAppError):
    """The command is not understood; what to enter instead."""


class Desk(Protocol):
    """What commands need of the screen."""

    session: Session

    @property
    def chat(self) -> str:
        """The open chat, or ""."""
        ...

    def tell(self, text: str) -> None: ...
    async def show(self, chat: str) -> None: ...
    def choose_reply(self, seq: int) -> None: ...
    async def dialog(self, name: str, text: str = "") -> None:
        """Open one of: help, search, info, new, group."""
        ...

    async def log_out(self) -> None: ...
    async def leave_program(self) -> None: ...


class Command(Struct, frozen=True):
    """`usage`: its arguments."""

    usage: str
    explains: str
    do: Callable[[Desk, str], Awaitable[None]]


def _open(desk: Desk) -> str:
    if not desk.chat:
        raise Mistake("Open a chat first.")
    return desk.chat


def _group(desk: Desk) -> str:
    chat = _open(desk)
    if not model.is_group(chat):
        raise Mistake("This is for groups; a direct chat is open.")
    return chat


def _needed(text: str, what: str) -> str:
    if not text:
        raise Mistake(f"It needs {what}.")
    return text


def _users(text: str) -> list[str]:
    return [model.user_id(one) for one in _needed(text, "a user id").replace(",", " ").split()]


async def _help(desk: Desk, _: str) -> None:
    await desk.dialog("help")


async def _new(desk: Desk, text: str) -> None:
    if text:
        await desk.show(await desk.session.start(text))
    else:
        await desk.dialog("new")


async def _new_group(desk: Desk, text: str) -> None:
    if text:
        raise Mistake("Enter /group alone: it asks for the title and the members.")
    await desk.dialog("group")


async def _info(desk: Desk, _: str) -> None:
    await desk.dialog("info", _open(desk))


async def _search(desk: Desk, text: str) -> None:
    await desk.dialog("search", text)


async def _go(desk: Desk, text: str) -> None:
    wanted = _needed(text, "the beginning of a chat's name").lower()
    state = desk.session.state
    for info in state.listed():
        if state.title(info.chat).lower().startswith(wanted) or state.peer(info.chat) == wanted:
            await desk.show(info.chat)
            return
    raise Mistake(f"No chat begins with {text}. /new {text} begins one.")


async def _reply(desk: Desk, text: str) -> None:
    chat = _open(desk)
    if text and not text.isdecimal():
        raise Mistake("Give nothing (the newest message), or how many messages back: /reply 2.")
    back = max(1, int(text or 1))
    others = [
        item
        for item in desk.session.state.thread(chat).entries
        if item.kind == "text" and item.sender != desk.session.state.me
    ]
    if len(others) < back:
        raise Mistake("There is no such message.")
    desk.choose_reply(others[-back].seq)


async def _add(desk: Desk, text: str) -> None:
    added = await desk.session.client.add_members(_group(desk), _users(text))
    desk.tell(f"added {', '.join(added)}" if added else "nobody was added")


async def _remove(desk: Desk, text: str) -> None:
    chat = _group(desk)
    for user in _users(text):
        await desk.session.client.remove_member(chat, user)
    desk.tell("removed")


async def _role(desk: Desk, text: str) -> None:
    user, _, role = text.partition(" ")
    with contextlib.suppress(ValueError):
        await desk.session.client.set_role(_group(desk), model.user_id(user), Role(role.strip()))
        desk.tell(f"{user} is {role.strip()} now")
        return
    raise Mistake("Enter /role USER owner, admin or member.")


async def _title(desk: Desk, text: str) -> None:
    await desk.session.client.change_group(_group(desk), title=_needed(text, "a title"))


async def _leave(desk: Desk, _: str) -> None:
    await desk.session.client.leave(_group(desk))
    desk.tell("you have left the group")


async def _invite(desk: Desk, _: str) -> None:
    code = await desk.session.client.invite(_group(desk))
    desk.tell(f"others join with: /join {code}")


async def _revoke(desk: Desk, _: str) -> None:
    await desk.session.client.revoke_invite(_group(desk))
    desk.tell("the invite code has ended")


async def _join(desk: Desk, text: str) -> None:
    await desk.show(await desk.session.join(_needed(text, "an invite code")))


async def _block(desk: Desk, text: str) -> None:
    for user in _users(text):
        await desk.session.client.block(user)
    desk.tell(f"blocked {text}; /unblock undoes it")


async def _unblock(desk: Desk, text: str) -> None:
    for user in _users(text):
        await desk.session.client.unblock(user)
    desk.tell(f"unblocked {text}")


async def _name(desk: Desk, text: str) -> None:
    profile = await desk.session.client.change(name=_needed(text, "a name"))
    desk.tell(f"others see you as {profile.name}")


async def _about(desk: Desk, text: str) -> None:
    await desk.session.client.change(about=text)
    desk.tell("changed")


async def _whois(desk: Desk, text: str) -> None:
    user = text or desk.session.state.peer(_open(desk)) or ""
    info = await desk.session.client.user_info(model.user_id(_needed(user, "a user id")))
    about = f": {info.about}" if info.about else ""
    desk.tell(shown.one_line(f"{info.name} ({info.user}){about}"))


async def _clear(desk: Desk, _: str) -> None:
    desk.session.state.dropped(_open(desk))
    desk.tell("what was refused is gone from the screen")


async def _logout(desk: Desk, _: str) -> None:
    await desk.log_out()


async def _quit(desk: Desk, _: str) -> None:
    await desk.leave_program()


COMMANDS: dict[str, Command] = {
    "help": Command("", "keys and commands", _help),
    "new": Command("[USER]", "write to somebody", _new),
    "go": Command("NAME", "open the chat that begins so", _go),
    "search": Command("[WORDS]", "find messages, go there", _search),
    "reply": Command("[N]", "answer the newest message of others, or the Nth last", _reply),
    "group": Command("", "make a group", _new_group),
    "join": Command("CODE", "join a group", _join),
    "info": Command("", "members of the group, or who this is", _info),
    "add": Command("USER\u2026", "add to the group", _add),
    "remove": Command("USER\u2026", "remove from the group", _remove),
    "role": Command("USER ROLE", "owner, admin or member", _role),
    "title": Command("TITLE", "rename the group", _title),
    "invite": Command("", "make an invite code for the group", _invite),
    "revoke": Command("", "end the invite code", _revoke),
    "leave": Command("", "leave the group", _leave),
    "whois": Command("[USER]", "name and text about somebody", _whois),
    "name": Command("NAME", "how others see you", _name),
    "about": Command("TEXT", "a text about you", _about),
    "block": Command("USER", "hear nothing from somebody", _block),
    "unblock": Command("USER", "hear from them again", _unblock),
    "clear": Command("", "take away messages that were refused", _clear),
    "logout": Command("", "end this login and quit", _logout),
    "quit": Command("", "quit; the login stays", _quit),
}


def help_text() -> str:
    lines = [
        f"{f'/{name} {command.usage}'.strip():<20}{command.explains}"
        for name, command in COMMANDS.items()
    ]
    return KEYS + "\n" + "\n".join(lines)


async def execute(desk: Desk, line: str) -> None:
    """Do what `line` (with its slash) says. `Mistake`, or the server's refusal."""
    name, _, text = line[1:].partition(" ")
    command = COMMANDS.get(name.lower())
    if command is None:
        near = get_close_matches(name.lower(), COMMANDS, 1)
        hint = f" Did you mean /{near[0]}?" if near else " /help lists them."
        raise Mistake(f"There is no command /{name}.{hint} (// sends a text with a slash.)")
    await command.do(desk, text.strip())
