"""The lines around the conversation: a chat in the list, who it is with, the status."""

from __future__ import annotations

import time
from datetime import date

from rich.style import Style
from rich.text import Text

from whatsapp import shown
from whatsapp.resources import ChatInfo
from whatsapp.terminal.drawing import BLUE, FAINT, GREEN, RED, tick_text
from whatsapp.terminal.session import Session
from whatsapp.terminal.state import State, Tick


def chat_line(state: State, info: ChatInfo, width: int, today: date, typing: list[str]) -> Text:
    """A chat in the list: two lines."""
    peer = state.peer(info.chat)
    presence = state.presences.get(peer or "")
    online = bool(presence and presence.online)
    when = shown.short(info.last.time, today) if info.last else ""
    title = Text(shown.one_line(state.title(info.chat)), Style(bold=True))
    title.truncate(max(1, width - len(when) - 3), overflow="ellipsis")
    first = Text.assemble(("\u25cf " if online else "  ", GREEN), title)
    first.append(" " * max(1, width - first.cell_len - len(when)))
    first.append(when, GREEN if info.unread else FAINT)
    count = f" {info.unread} " if info.unread else ""
    said = Text("  ").append_text(_preview(state, info, typing))
    said.truncate(max(1, width - len(count) - 1), overflow="ellipsis")
    said.append(" " * max(0, width - said.cell_len - len(count)))
    said.append(count, Style(bgcolor="#25d366", color="#0b141a", bold=True))
    return Text.assemble(first, "\n", said, no_wrap=True)


def _preview(state: State, info: ChatInfo, typing: list[str]) -> Text:
    if typing:
        return Text("typing\u2026", GREEN)
    waiting = state.waiting(info.chat)
    if waiting:
        tick = Tick.REFUSED if waiting[-1].refused else Tick.QUEUED
        return Text.assemble(tick_text(tick), " ", shown.one_line(waiting[-1].text[:100]))
    last = info.last
    if last is None or last.kind == "void":
        return Text("")
    if last.kind != "text":
        return Text(shown.happened(last, state.me), FAINT)
    said = shown.one_line((last.text or "")[:100])
    if last.sender == state.me:
        return Text.assemble(tick_text(state.tick(last)), " ", (said, FAINT))
    if info.kind == "group":
        said = f"{shown.one_line(state.name(last.sender or '?'))}: {said}"
    return Text(said, FAINT)


def head(session: Session, chat: str) -> Text:
    """Who it is with; behind the name who types, online, last seen, or a group's members."""
    state = session.state
    line = Text(no_wrap=True, overflow="ellipsis")
    if chat:
        line.append(" " + shown.one_line(state.title(chat)), "bold")
        line.append("  ").append_text(_about(session, chat))
    return line


def _about(session: Session, chat: str) -> Text:
    state = session.state
    typing = [shown.one_line(name) for name in state.typing(chat, time.monotonic())]
    peer = state.peer(chat)
    if peer is None:
        users = [shown.one_line(state.name(user)) for user in state.cursors.get(chat, {})]
        return (
            Text(f"{', '.join(typing)} typing\u2026", GREEN)
            if typing
            else Text(", ".join(users), FAINT)
        )
    if typing:
        return Text("typing\u2026", GREEN)
    presence = state.presences.get(peer)
    if presence is None or not session.connected:
        return Text(peer, FAINT)
    if presence.online:
        return Text("online", GREEN)
    seen = presence.last_seen
    return Text("" if seen is None else shown.last_seen(seen, shown.today()), FAINT)


def status(session: Session, told: str, below: str) -> Text:
    """What was told just now, else how the connection is.

    `below`: the chat whose newest messages are below what is seen.
    """
    state = session.state
    if told:
        return Text(f" {shown.one_line(told)}", "bold")
    if not session.connected:
        line = Text(" not connected, trying again", RED)
        count = len([one for one in state.queued.values() if not one.refused])
        line.append(f": {count} to be sent" if count else "")
        return line.append(f"  {shown.one_line(session.trouble)}", FAINT)
    line = Text.assemble((" \u25cf ", GREEN), "connected")
    if below in state.chats and (new := state.chats[below].unread):
        line.append(f"  {new} new below: Esc", GREEN)
    elif unread := state.unread_chats():
        line.append(f"  {unread} unread", BLUE)
    return line.append("   F1 help  ^N new  ^F search  ^O info  ^Q quit", FAINT)
