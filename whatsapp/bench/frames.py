"""WebSocket frames as bytes: how the generator makes and reads them, without a JSON decoder.

Client frames are masked with a key of zeros. A server does the same work for it as for any
other key, and the payload can be prepared in advance.
"""

from __future__ import annotations

import struct
from base64 import b64encode

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
SHORT_BYTES_MAX = 125
LENGTH_16_BITS = 126
NO_KEY = b"\0\0\0\0"

# A message's id: the run (six hex digits), a dash, the sender (5 digits), its number (8).
RUN_CHARACTERS = 6
SENDER_DIGITS, NUMBER_DIGITS = 5, 8
KEY_DIGITS = SENDER_DIGITS + NUMBER_DIGITS
NUMBERS: int = 10**NUMBER_DIGITS
NO_KEY_OF_OURS = -1

WORDS = b"lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor "
CLOSE_FRAME = bytes((CLOSE, 0x82)) + NO_KEY + struct.pack("!H", 1000)


def frame(payload: bytes, first: int = TEXT) -> bytes:
    """A client's frame, masked."""
    length = len(payload)
    if length <= SHORT_BYTES_MAX:
        return bytes((first, 0x80 | length)) + NO_KEY + payload
    return struct.pack("!BBH", first, 0x80 | LENGTH_16_BITS, length) + NO_KEY + payload


def handshake(host: str, token: str) -> bytes:
    """The request that opens the WebSocket."""
    return (
        f"GET /v1/ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {b64encode(bytes(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: whatsapp.v1.json\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


def split(buffer: bytes, frames: list[tuple[int, bytes]]) -> bytes:
    """Move the whole frames of `buffer` to `frames`, as (first byte, payload); the rest."""
    at, end = 0, len(buffer)
    while end - at >= 2:  # noqa: PLR2004 — the shortest header
        length = buffer[at + 1]
        start = at + 2
        if length > SHORT_BYTES_MAX:
            wide = 2 if length == LENGTH_16_BITS else 8
            if end - start < wide:
                break
            length = int.from_bytes(buffer[start : start + wide], "big")
            start += wide
        if end - start < length:
            break
        frames.append((buffer[at], buffer[start : start + length]))
        at = start + length
    return buffer[at:] if at else buffer


def key(sender: int, number: int) -> int:
    """A sender and its how-manieth message, as one number."""
    return sender * NUMBERS + number


def kind(payload: bytes) -> bytes:
    """The frame's type. The server writes "type" first."""
    return payload[9 : payload.find(b'"', 9)]


def text(count: int, marker: str = "") -> bytes:
    """Words, `count` bytes of them."""
    return (marker.encode() + WORDS * (count // len(WORDS) + 1))[:count]


class Scanner:
    """Reads `seq` and the key of messages whose ids begin with this run's name."""

    __slots__ = ("_id", "_skip")

    def __init__(self, run: str) -> None:
        self._id = b'"id":"' + run.encode() + b"-"
        self._skip = len(self._id)

    def seq(self, payload: bytes) -> int:
        at = payload.find(b'"seq":') + 6
        end = at
        while payload[end : end + 1].isdigit():
            end += 1
        return int(payload[at:end])

    def key(self, payload: bytes) -> int:
        """`NO_KEY_OF_OURS` for what is none of this run's messages, such as events."""
        at = payload.find(self._id)
        if at < 0:
            return NO_KEY_OF_OURS
        at += self._skip
        return int(payload[at : at + KEY_DIGITS])


class Template:
    """The `send` frames of one sender in one chat; only the number changes."""

    __slots__ = ("_after", "_before")

    def __init__(self, run: str, sender: int, chat: str, said: bytes) -> None:
        before = f'{{"type":"send","id":"{run}-{sender:0{SENDER_DIGITS}d}'.encode()
        after = b'","chat":"' + chat.encode() + b'","text":"' + said + b'"}'
        whole = frame(before + b"0" * NUMBER_DIGITS + after)
        start = len(whole) - len(after) - NUMBER_DIGITS
        self._before, self._after = whole[:start], after

    def frame(self, number: int) -> bytes:
        return self._before + b"%08d" % number + self._after


class Acks:
    """The `received` frames of one chat."""

    __slots__ = ("_before",)

    def __init__(self, chat: str, what: str = "received") -> None:
        self._before = f'{{"type":"{what}","chat":"{chat}","seq":'.encode()

    def frame(self, seq: int) -> bytes:
        payload = b"%b%d}" % (self._before, seq)
        return bytes((TEXT, 0x80 | len(payload))) + NO_KEY + payload
