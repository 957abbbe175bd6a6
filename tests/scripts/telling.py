"""Frames in the words of the stories; what a story expects is compared in these words."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.support.peer import Frame


def tell(frame: Frame) -> str:
    told = TELLING.get(frame["type"])
    return told(frame) if told is not None else json.dumps(frame)


def message(frame: Frame) -> str:
    chat, seq, kind = frame["chat"], frame["seq"], frame["kind"]
    if kind == "void":
        return f"void {seq} in {chat}"
    if kind == "text":
        reply = f" replying to {frame['reply_to']}" if "reply_to" in frame else ""
        quoted = json.dumps(frame["text"], ensure_ascii=False)
        return f"message {seq} {quoted} from {frame['from']} in {chat}{reply}"
    return f"event {seq} in {chat}: {' '.join([frame['from'], kind, *_about(frame)])}"


def _about(frame: Frame) -> list[str]:
    """What an event says beside its kind."""
    words = [frame[name] for name in ("title", "about", "user", "role") if name in frame]
    if "users" in frame:
        words.append(" and ".join(frame["users"]))
    if "on" in frame:
        words.append("on" if frame["on"] else "off")
    return words


def sent(frame: Frame) -> str:
    again = " again" if frame.get("dup") else ""
    return f"sent {short_id(frame['id'])} seq {frame['seq']}{again}"


def error(frame: Frame) -> str:
    named = "re" in frame
    wait_ms = frame.get("retry_after_ms")
    assert wait_ms is None or wait_ms > 0, frame
    assert (wait_ms is not None) or frame["code"] != "rate_limited", frame
    return f"refusal {frame['code']}" + (f" of {short_id(frame['re'])}" if named else "")


def receipt(frame: Frame) -> str:
    return f"receipt of {frame['user']} in {frame['chat']}: {_cursors(frame)}"


def cursor(frame: Frame) -> str:
    return f"cursor in {frame['chat']}: {_cursors(frame)}"


def _cursors(frame: Frame) -> str:
    return f"received {frame['received']} read {frame['read']}"


def typing(frame: Frame) -> str:
    return f"typing {'on' if frame['on'] else 'off'} of {frame['user']} in {frame['chat']}"


def presence(frame: Frame) -> str:
    seen = "seen" if frame["last_seen"] else "hidden"
    return f"presence of {frame['user']}: {'online' if frame['online'] else 'offline'} {seen}"


def short_id(id: str | int) -> str:
    return str(id).rstrip("-")


TELLING: dict[str, Callable[[Frame], str]] = {
    "message": message,
    "sent": sent,
    "error": error,
    "receipt": receipt,
    "cursor": cursor,
    "typing": typing,
    "presence": presence,
    "synced": lambda frame: "synced",
    "pong": lambda frame: f"pong {frame.get('n', '')}".rstrip(),
    "draining": lambda frame: "draining",
}
