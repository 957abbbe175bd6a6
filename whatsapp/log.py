"""The log: set up here, on standard error, with the standard library, and nowhere else.

A message is a constant phrase and `key=value` pairs whose values are arguments:

    log.info("connection closed code=%d frames=%d", code, frames)

    2026-01-31T09:15:02.417Z INFO    connection connection closed conn=17 user=u3 code=4008 …
    {"time":"…","level":"info","logger":"…","event":"connection closed","conn":17,"code":4008}

Never in it: texts, tokens, passwords. Phone numbers and addresses are shortened on their
way out (`masked`), in tracebacks too, so that no caller has to remember it.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import sys
import time
from collections.abc import MutableMapping
from typing import IO, Any

import msgspec

Fields = dict[str, Any]

_pair = re.compile(r" ?([a-z][a-z0-9_]*)=(%[-+ #0]*\d*(?:\.\d+)?[a-zA-Z])")
_placeholder = re.compile(r"%[^%]")
_phone = re.compile(r"\+[1-9][0-9]{6,14}(?![0-9])")
_ipv4 = re.compile(r"(?<![\w.])(\d{1,3}\.\d{1,3})\.\d{1,3}\.\d{1,3}(?![\w.]\w)")
_ipv6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.[0-9.]{5,11})?")
_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_encode = msgspec.json.Encoder(enc_hook=str).encode


def setup(level: str, form: str, stream: IO[str] | None = None) -> None:
    """Send everything of at least `level` to `stream` (standard error), as "text" or "json".

    May be called again; the last call counts.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(mask)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(capture=True)
    # What is a line per request there is a counter here.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(unquoted)
    if level != "debug":
        logging.getLogger("asyncio").setLevel(logging.WARNING)


def unquoted(record: logging.LogRecord) -> bool:
    """What is no HTTP, or not packed as it says, is the peer's fault: one line.

    aiohttp logs a traceback for it that quotes the peer, a token in a broken header too.
    """
    error = record.exc_info[1] if record.exc_info else None
    kind = type(error)
    if kind.__module__.startswith("aiohttp.http") or kind.__name__ == "RequestPayloadError":
        record.msg, record.args = "request refused error=%s", (kind.__name__,)
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.exc_info = record.exc_text = None
    return logging.getLogger().isEnabledFor(record.levelno)


class SessionLog(logging.LoggerAdapter[logging.Logger]):
    """Gives each line about one connection its `conn=` and, once it is known, its `user=`."""

    def __init__(self, logger: logging.Logger, conn: int) -> None:
        super().__init__(logger, {"conn": conn})
        self.conn = conn

    def known(self, user: str) -> None:
        """From here on it is this user's."""
        self.extra = {"conn": self.conn, "user": user}

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {"context": self.extra}
        return msg, kwargs


def mask(record: logging.LogRecord) -> bool:
    """A filter that lets all through, with what identifies people in it shortened."""
    if isinstance(record.args, tuple):
        record.args = tuple(_masked_value(value) for value in record.args)
    elif record.args:
        record.args = {key: _masked_value(value) for key, value in record.args.items()}
    if context := getattr(record, "context", None):
        record.context = {key: _masked_value(value) for key, value in context.items()}
    return True


def masked(text: str) -> str:
    """Phone numbers as +49…78; addresses without their second half. Loopback ones stay."""
    if "+" in text:
        text = _phone.sub(_short_phone, text)
    if ":" in text:
        text = _ipv6.sub(_short_ipv6, text)
    if "." in text:
        text = _ipv4.sub(_short_ipv4, text)
    return text


class TextLines(logging.Formatter):
    """For people: time, level, module, event, pairs."""

    def format(self, record: logging.LogRecord) -> str:
        event, fields = said(record)
        pairs = "".join(f" {key}={_shown(value)}" for key, value in fields.items())
        line = (
            f"{_time(record.created)} {record.levelname:<7} "
            f"{record.name.removeprefix('whatsapp.')} {_one_line(event)}{pairs}"
        )
        return f"{line}\n{trace}" if (trace := _traceback(self, record)) else line


class JsonLines(logging.Formatter):
    """For machines: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        event, fields = said(record)
        line = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }
        # A pair may not take the place of one of ours.
        line |= {key if key not in line else f"{key}_": value for key, value in fields.items()}
        if trace := _traceback(self, record):
            line["traceback"] = trace
        return _encode({key: _encodable(value) for key, value in line.items()}).decode()


def said(record: logging.LogRecord) -> tuple[str, Fields]:
    """A record's event phrase and pairs. One that is not made so is all event."""
    fields: Fields = dict(getattr(record, "context", None) or {})
    template = str(record.msg)
    pairs = list(_pair.finditer(template))
    args = record.args if isinstance(record.args, tuple) else ()
    if not pairs or len(pairs) != len(args) or len(_placeholder.findall(template)) != len(pairs):
        return _message(record), fields
    for pair, value in zip(pairs, args, strict=True):
        fields[pair[1]] = _typed(pair[2], value)
    return _pair.sub("", template).strip(), fields


def _message(record: logging.LogRecord) -> str:
    """The message; of a call with the wrong arguments what there is of it."""
    try:
        return masked(record.getMessage())
    except (TypeError, ValueError):
        return masked(f"{record.msg} {record.args}")


def _typed(form: str, value: Any) -> Any:
    """A value for JSON, which has no need of text for what is a number there."""
    if form in {"%s", "%d"} and (value is None or isinstance(value, (bool, int, float))):
        return value
    try:
        text = form % (value,)
    except (TypeError, ValueError):
        return str(value)
    return float(text) if form.endswith("f") else text


def _masked_value(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return masked(str(value))


def _shown(value: Any) -> str:
    text = str(value)
    if text and not _control.search(text) and not any(c in text for c in ' "='):
        return text
    return '"' + _one_line(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _encodable(value: Any) -> Any:
    """Half a surrogate pair is text for Python and not for JSON."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _one_line(text: str) -> str:
    return _control.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts: list[str] = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return masked("\n".join(parts))


def _time(seconds: float) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{stamp}.{int(seconds % 1 * 1000):03d}Z"


def _short_phone(match: re.Match[str]) -> str:
    return f"{match[0][:3]}…{match[0][-2:]}"


def _short_ipv4(match: re.Match[str]) -> str:
    plain = match[0]
    return plain if plain.startswith("127.") or plain == "0.0.0.0" else f"{match[1]}.…"  # noqa: S104


def _short_ipv6(match: re.Match[str]) -> str:
    try:
        address = ipaddress.IPv6Address(match[0])
    except ValueError:
        return match[0]
    if address.is_loopback or address.is_unspecified:
        return match[0]
    if address.ipv4_mapped is not None:
        return _ipv4.sub(_short_ipv4, str(address.ipv4_mapped))
    return ":".join(address.exploded.split(":")[:2]) + ":…"
