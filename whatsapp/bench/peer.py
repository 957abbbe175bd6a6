"""One device of the generator: handshake, hello, and what a client does with each frame.

It acknowledges what it gets at once: one `received` for all that a read brought of a chat.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable

import msgspec
from msgspec import Struct

from whatsapp.bench import frames
from whatsapp.bench.driver import Driver, Traffic
from whatsapp.bench.frames import Acks, Template
from whatsapp.bench.ledger import Record

READ_BYTES = 262_144
SYNCED_SECONDS = 30.0
MESSAGE_CHAT_AT = len(b'{"type":"message","chat":"')
SENT_ID_AT = len(b'{"type":"sent","id":"')
HELLO = frames.frame(b'{"type":"hello"}')
BROKEN = select.EPOLLERR | select.EPOLLHUP


class _Item(Struct, frozen=True):
    seq: int
    id: str = ""


class _Error(Struct, frozen=True):
    code: str


class _Run(Struct, frozen=True):
    chat: str
    items: list[_Item]


_error: msgspec.json.Decoder[_Error] = msgspec.json.Decoder(_Error)
_runs: msgspec.json.Decoder[_Run] = msgspec.json.Decoder(_Run)


class Place(Struct, frozen=True):
    """A server's WebSocket address, and the addresses of this machine to come from."""

    host: str
    port: int
    sources: tuple[str, ...] = ()


class Line:
    """One chat as one device sees it."""

    __slots__ = ("acks", "chat", "reading", "receipted", "record", "seq")

    def __init__(self, chat: str, record: Record, *, reading: bool = False) -> None:
        self.chat = chat
        self.record = record
        self.acks = Acks(chat, "read" if reading else "received")
        self.reading = reading
        self.receipted = 0
        self.seq = 0


class Sender:
    """One author in one chat. `again`: in a closed loop the next one follows each answer."""

    __slots__ = ("again", "answered", "began", "line", "number", "peer", "template")

    def __init__(self, peer: Peer, traffic: Traffic, line: Line, said: bytes) -> None:
        self.number = traffic.sender()
        self.began = traffic.began[self.number]
        self.line = line
        self.peer = peer
        self.again = False
        self.answered = 0
        self.template = Template(traffic.run, self.number, line.chat, said)
        peer.senders[self.number] = self

    def send(self, at: float) -> None:
        """Send the next one; it counts as begun `at`. Goes out with the peer's next flush."""
        self.peer.out.append(self.template.frame(len(self.began)))
        self.began.append(at)
        self.peer.traffic.sent += 1


class Peer:
    """One connection at a time of one device."""

    _socket: socket.socket
    # There may be many thousands.
    __slots__ = (
        "_blocked",
        "_buffer",
        "_handshake",
        "_heard",
        "_kinds",
        "_rest",
        "_socket",
        "began_at",
        "driver",
        "ended",
        "hello",
        "lines",
        "on_closed",
        "on_synced",
        "out",
        "place",
        "senders",
        "synced_at",
        "traffic",
        "upgraded",
    )

    def __init__(self, driver: Driver, traffic: Traffic, place: Place, token: str) -> None:
        self.driver = driver
        self.traffic = traffic
        self.lines: dict[bytes, Line] = {}
        self.senders: dict[int, Sender] = {}
        self.out: list[bytes] = []
        self.hello = HELLO
        self.on_synced: Callable[[], None] | None = None
        self.on_closed: Callable[[], None] | None = None
        self.ended = True
        self.upgraded = False
        self.began_at = self.synced_at = 0.0
        self.place = place
        self._handshake = frames.handshake(f"{place.host}:{place.port}", token)
        self._rest = self._buffer = b""
        self._blocked = False
        self._heard: dict[Line, None] = {}
        self._kinds: dict[bytes, Callable[[bytes], None]] = {
            b"message": self._message,
            b"sent": self._sent,
            b"receipt": self._receipt,
            b"messages": self._messages,
            b"synced": self._synced,
            b"error": self._error,
        }

    def line(self, chat: str, begun: int = 0, *, reading: bool = False) -> Line:
        """This device takes part in that chat."""
        line = Line(chat, self.traffic.ledger.record(chat, begun), reading=reading)
        self.lines[chat.encode()] = line
        return line

    # --- the socket ------------------------------------------------------------------

    def open(self, source: str = "") -> None:
        """Begin to connect; `synced_at` is set when the server says so."""
        place = self.place
        family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.traffic.send_buffer_bytes:
            size = self.traffic.send_buffer_bytes
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        if source:
            self._socket.bind((source, 0))
        self.began_at, self.synced_at = self.driver.now, 0.0
        self.ended = self.upgraded = False
        # What was still to be said belonged to the connection before.
        self.out.clear()
        self._heard.clear()
        self._buffer, self._rest = b"", self._handshake
        for line in self.lines.values():
            line.record.reconnected()
        code = self._socket.connect_ex((place.host, place.port))
        self._blocked = True
        self.driver.add(self._socket.fileno(), self, writing=True)
        if code not in {0, errno.EINPROGRESS}:
            self._lost(OSError(code, os.strerror(code)))

    def ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._write()
        if not self.ended and events & (select.EPOLLIN | BROKEN):
            self._read()

    def flush(self) -> None:
        """Write all that is in `out`."""
        if self.out:
            self._rest += b"".join(self.out)
            self.out.clear()
            self._write()

    @property
    def unsent_bytes(self) -> int:
        """What its socket has not taken."""
        return len(self._rest)

    def close(self) -> None:
        """Hang up."""
        if not self.ended:
            self.ended = True
            self.driver.remove(self._socket.fileno())
            self._socket.close()

    def leave(self) -> None:
        """Say goodbye; the connection ends when the server has answered."""
        for line in self.lines.values():
            line.record.leaving()
        self.out.append(frames.CLOSE_FRAME)
        self.flush()

    def _write(self) -> None:
        try:
            count = self._socket.send(self._rest) if self._rest else 0
        except BlockingIOError:
            count = 0
        except OSError as error:
            self._lost(error)
            return
        self._rest = self._rest[count:]
        if self._blocked != bool(self._rest):
            self._blocked = not self._blocked
            self.driver.watch(self._socket.fileno(), writing=self._blocked)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        if not data:
            self._lost(ConnectionResetError("the server closed the connection"))
            return
        if not self.upgraded:
            data = self._welcome(data)
        self._handle(data)
        if self._heard:
            self.out += [line.acks.frame(line.seq) for line in self._heard]
            self._heard.clear()
        if not self.ended:
            self.flush()

    def _handle(self, data: bytes) -> None:
        found: list[tuple[int, bytes]] = []
        self._buffer = frames.split(self._buffer + data if self._buffer else data, found)
        for first, payload in found:
            if first != frames.TEXT:
                self._control(first, payload)
                continue
            handle = self._kinds.get(frames.kind(payload))
            if handle is not None:
                handle(payload)

    def _welcome(self, data: bytes) -> bytes:
        """The answer to the handshake; what follows it."""
        head, end, rest = (self._buffer + data).partition(b"\r\n\r\n")
        if not end:
            self._buffer = head
            return b""
        self._buffer = b""
        if not head.startswith(b"HTTP/1.1 101"):
            self._lost(ConnectionError(head[:80].decode("latin-1")))
            return b""
        self.upgraded = True
        self.out.append(self.hello)
        return rest

    def _control(self, first: int, payload: bytes) -> None:
        if first == frames.PING:
            self.out.append(frames.frame(payload, frames.PONG))
        elif first == frames.CLOSE:
            self.close()
            code = int.from_bytes(payload[:2], "big")
            if code != 1000:  # noqa: PLR2004 — "normal" (RFC 6455)
                self.traffic.failed(f"closed with {code}: {payload[2:].decode(errors='replace')}")
            self.traffic.closed += 1
            self._heard.clear()
            if self.on_closed is not None:
                self.on_closed()

    def _lost(self, error: OSError) -> None:
        self.close()
        self.traffic.failed(f"connection lost: {error}")

    # --- frames ----------------------------------------------------------------------

    def _message(self, payload: bytes) -> None:
        traffic = self.traffic
        chat = payload[MESSAGE_CHAT_AT : payload.find(b'"', MESSAGE_CHAT_AT)]
        line = self.lines[chat]
        line.seq = seq = traffic.scanner.seq(payload)
        key = traffic.scanner.key(payload)
        line.record.pushed(seq, key)
        self._heard[line] = None
        sender, number = divmod(key, frames.NUMBERS)
        # Its own come, too, where it fell behind and is read for from the log.
        if key >= 0 and sender not in self.senders:
            traffic.delivered += 1
            traffic.to_peer.append(self.driver.now - traffic.began[sender][number])

    def _messages(self, payload: bytes) -> None:
        run = _runs.decode(payload)
        line = self.lines[run.chat.encode()]
        mine = self.traffic.run + "-"
        for item in run.items:
            ours = item.id.startswith(mine)
            key = int(item.id[len(mine) :]) if ours else frames.NO_KEY_OF_OURS
            line.record.pushed(item.seq, key)
            self.traffic.delivered += ours and key // frames.NUMBERS not in self.senders
            line.seq = item.seq
        self._heard[line] = None

    def _sent(self, payload: bytes) -> None:
        traffic = self.traffic
        key = traffic.scanner.key(payload)
        sender_number, number = divmod(key, frames.NUMBERS)
        sender = self.senders[sender_number]
        sender.line.record.acknowledged(traffic.scanner.seq(payload), key)
        sender.answered += 1
        traffic.acknowledged += 1
        now = self.driver.now
        traffic.to_sent.append(now - sender.began[number])
        if sender.again:
            sender.send(now)

    def _receipt(self, payload: bytes) -> None:
        self.traffic.receipts += 1
        at = payload.find(b'"chat":"') + 8
        line = self.lines[payload[at : payload.find(b'"', at)]]
        at = payload.find(b'"received":') + 11
        received = int(payload[at : payload.find(b",", at)])
        line.receipted = max(line.receipted, received)

    def _synced(self, payload: bytes) -> None:
        self.synced_at = self.driver.now
        self.traffic.synced += 1
        if self.on_synced is not None:
            self.on_synced()

    def _error(self, payload: bytes) -> None:
        if self.traffic.refusable and _error.decode(payload).code == self.traffic.refusable:
            self.traffic.refused += 1
            return
        self.traffic.failed(payload.decode(errors="replace"))


def connect_all(peers: list[Peer], *, at_once: int = 100) -> bool:
    """Connect them, so many at a time, until all are synced; whether they are."""
    if not peers:
        return True
    traffic, driver = peers[0].traffic, peers[0].driver
    synced, errors = traffic.synced, traffic.ledger.errors
    opened = 0

    def ended() -> int:
        return traffic.synced - synced + traffic.ledger.errors - errors

    def proceed() -> bool:
        nonlocal opened
        while opened < len(peers) and opened - ended() < at_once:
            sources = peers[opened].place.sources or ("",)
            peers[opened].open(sources[opened % len(sources)])
            opened += 1
        return ended() >= len(peers)

    before = -1
    while ended() > before:
        before = ended()
        if driver.run(SYNCED_SECONDS, done=proceed):
            break
    return traffic.synced - synced == len(peers)


def hang_up(peers: list[Peer]) -> None:
    for peer in peers:
        peer.close()
