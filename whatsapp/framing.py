"""The common case of reading frames, and what aiohttp's frame reader does not look at.

Nearly always what comes is one whole text, or a few: `whole_texts` unmasks them, and that is
all. For anything else there is aiohttp's reader. But a server must refuse frames that are not
masked (RFC 6455, 5.1), and should refuse text at its first broken byte; the reader does
neither, so `look` is given the bytes first. Only what comes in pieces is unmasked there a
second time; whole texts are checked when they are handled.
"""

from __future__ import annotations

import codecs

from aiohttp._websocket.helpers import websocket_mask

from whatsapp.errors import ProtocolViolation
from whatsapp.wire import CLOSE_BROKEN_FRAME

CLOSE_PROTOCOL_ERROR = 1002
FINAL_TEXT = 0x81
FINAL, MASKED, OPCODE = 0x80, 0x80, 0x0F
CONTINUATION, TEXT, CONTROL = 0x0, 0x1, 0x8
# What says how long the rest of a header is.
HEAD_BYTES = 2
# Header with a mask, and a length that is in its second byte.
SHORT_HEADER_BYTES = 6
# With a length in two more; no text of ours is so short that it would not be there.
LONG_HEADER_BYTES = 8
SHORT_PAYLOAD_BYTES_MAX = 125
# What the second byte says where the length follows, and in how many bytes.
LONG, LONG_BYTES = 126, 2
LONG_LENGTHS = {LONG: LONG_BYTES, 127: 8}

_new_decoder = codecs.getincrementaldecoder("utf-8")


class Framing:
    """Follows the frames of one connection. `look` at all that comes, in order."""

    __slots__ = (
        "_at",
        "_checked",
        "_decoder",
        "_final",
        "_head",
        "_key",
        "_left",
        "_text",
    )

    def __init__(self) -> None:
        self._head = b""  # of a frame whose header has not come completely
        self._key = b""
        self._at = self._left = 0  # bytes of the payload that have come, and are to come
        self._final = True  # the last frame of its message, or there was none yet
        self._text = self._checked = False  # the message is text; this frame's text is checked
        self._decoder = _new_decoder()

    @property
    def idle(self) -> bool:
        """Has all that began ended, too?"""
        return self._final and not self._left and not self._head

    def whole_texts(self, data: bytes, payload_bytes_max: int) -> list[bytes] | None:
        """What `data` says, if it is nothing but whole texts of that size; else None: `look`."""
        if not self._final or self._left or self._head:
            return None
        texts: list[bytes] = []
        position, size = 0, len(data)
        while position < size:
            if data[position] != FINAL_TEXT or size - position < LONG_HEADER_BYTES:
                return None
            length = data[position + 1] - MASKED
            start = position + SHORT_HEADER_BYTES
            if length == LONG:
                length = data[position + 2] << 8 | data[position + 3]
                start += LONG_BYTES
            elif length > LONG:
                return None
            position = start + length
            if length < 0 or length > payload_bytes_max or position > size:
                return None
            text = bytearray(data[start:position])
            websocket_mask(data[start - 4 : start], text)
            texts.append(bytes(text))
        return texts

    def look(self, data: bytes) -> None:
        """`ProtocolViolation` for what must not be handed on."""
        if self._head:
            data, self._head = self._head + data, b""
        position = 0
        if self._final and not self._left:
            position = _after_whole_messages(data)
        while position < len(data):
            if not self._left:
                after = self._open(data, position)
                if not after:
                    self._head = data[position:]
                    break
                position = after
            position += self._take(data, position)

    def _open(self, data: bytes, position: int) -> int:
        """Read a header; where the payload begins, or 0 if not all of it is here."""
        if len(data) - position < HEAD_BYTES:
            return 0
        first, second = data[position], data[position + 1]
        if second < MASKED:
            raise ProtocolViolation(CLOSE_PROTOCOL_ERROR, "frames of a client are masked")
        length = second - MASKED
        extra = LONG_LENGTHS.get(length, 0)
        after = position + SHORT_HEADER_BYTES + extra
        if len(data) < after:
            return 0
        if extra:
            length = int.from_bytes(data[position + 2 : position + 2 + extra], "big")
        self._key, self._at, self._left = data[after - 4 : after], 0, length
        opcode = first & OPCODE
        if opcode >= CONTROL:
            self._checked = False
            return after
        if opcode != CONTINUATION:
            self._text = opcode == TEXT
        is_first_and_last = first >= FINAL and opcode != CONTINUATION
        self._checked = self._text and not (is_first_and_last and len(data) - after >= length)
        self._final = first >= FINAL
        return after

    def _take(self, data: bytes, position: int) -> int:
        """Pass over what is here of a payload; how much that is."""
        size = min(self._left, len(data) - position)
        self._left -= size
        if self._checked:
            last = self._final and not self._left
            piece = _unmasked(data[position : position + size], self._key, self._at)
            try:
                self._decoder.decode(piece, last)
            except UnicodeDecodeError:
                raise ProtocolViolation(CLOSE_BROKEN_FRAME, "the text is not UTF-8") from None
            if last:
                self._decoder.reset()
        self._at += size
        return size


def _after_whole_messages(data: bytes) -> int:
    """Where the first frame begins that must be looked at; at the end, if none must."""
    position, size = 0, len(data)
    while size - position >= SHORT_HEADER_BYTES:
        first, second = data[position], data[position + 1]
        length = second - MASKED
        if first < FINAL or length < 0:
            break
        if length <= SHORT_PAYLOAD_BYTES_MAX:
            after = position + SHORT_HEADER_BYTES + length
        elif length == LONG:
            length = data[position + 2] << 8 | data[position + 3]
            after = position + SHORT_HEADER_BYTES + LONG_BYTES + length
        else:
            break
        if after > size:
            break
        position = after
    return position


def _unmasked(data: bytes, key: bytes, at: int) -> bytes:
    size, turn = len(data), at % 4
    keys = ((key[turn:] + key[:turn]) * (size // 4 + 1))[:size]
    number = int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")
    return number.to_bytes(size, "little")
