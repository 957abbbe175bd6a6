"""A client for tests that hides nothing: raw JSON frames and REST, one device each.

Every frame that comes is checked against the published schema and against the promise of
order (each seq of a chat once, none skipped) when it comes, whatever the test looks at. It
shares no code with the client library, so that the two can disagree.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any

import aiohttp
import msgspec
from aiohttp import ClientSession, ClientTimeout, ClientWebSocketResponse, WSMsgType
from msgspec import Struct

from tests.support.frames import check_client_frame, check_server_frame

PASSWORD = "tulips in may"
SUBPROTOCOL = "whatsapp.v1.json"
WAIT_SECONDS = 20.0
RESET = struct.pack("ii", 1, 0)

Frame = dict[str, Any]


class Answer(Struct):
    """Of REST."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Closed(Exception):
    """The connection ended while a frame was waited for."""


class Order:
    """Guarantee 3 of the protocol, for one device over all of its connections."""

    def __init__(self, user: str) -> None:
        self._user = user
        self._acked: dict[str, int] = {}
        self._own: dict[str, set[int]] = {}
        self._pushed: dict[str, int] = {}

    def connected(self, cursors: Mapping[str, int] | None) -> None:
        """Pushes begin again after what was acknowledged, or what the hello says."""
        self._pushed = {}
        self._acked |= cursors or {}

    def received(self, chat: str, seq: int) -> None:
        self._acked[chat] = max(seq, self._acked.get(chat, 0))

    def sent(self, chat: str, seq: int) -> None:
        """The sending connection is not pushed its own message; it may be, when it catches up."""
        self._own.setdefault(chat, set()).add(seq)

    def came(self, item: Frame) -> None:
        chat, seq = item["chat"], item["seq"]
        pushed = self._pushed.get(chat)
        assert pushed is None or seq > pushed, f"{chat} {seq} came after {pushed}"
        after = self._acked.get(chat, 0) if pushed is None else pushed
        own = self._own.get(chat, ())
        skipped = [number for number in range(after + 1, seq) if number not in own]
        assert not skipped or self._begins(item), f"{chat} {seq} came without {skipped[:5]}"
        self._pushed[chat] = seq

    def _begins(self, item: Frame) -> bool:
        """A member sees a group from where it joined, also when it joins again."""
        if item["kind"] == "added":
            return self._user in item["users"]
        return bool(item["kind"] == "joined" and item["from"] == self._user)


class Peer:
    """A device of `user`. Frames wait in `inbox` until they are taken."""

    def __init__(self, http: ClientSession, url: str, user: str) -> None:
        self.http = http
        self.url = url
        self.user = user
        self.token = ""
        self.device = ""
        self.inbox: list[Frame] = []
        self.close_code = 0
        self.close_reason = ""
        self.check_frames = self.check_own_frames = True
        self.welcomed = False
        self._order = Order(user)
        self._socket: ClientWebSocketResponse[bool] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._fault: BaseException | None = None
        self._news = asyncio.Event()

    # --- REST ------------------------------------------------------------------------

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        async with self.http.request(
            method, self.url + path, json=body, headers=headers
        ) as response:
            data = await response.read()
            decoded = msgspec.json.decode(data) if "json" in response.content_type else data
            return Answer(response.status, decoded, response.headers)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A call that must succeed; its body."""
        answer = await self.call(method, path, body)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body}"
        return answer.body

    async def register(self) -> Peer:
        await self.ask("POST", "/v1/users", {"user": self.user, "password": PASSWORD})
        return await self.login()

    async def login(self, device: str = "test", password: str = PASSWORD) -> Peer:
        body = {"user": self.user, "password": password, "device": device}
        answer = await self.ask("POST", "/v1/login", body)
        self.token, self.device = answer["token"], answer["device"]
        return self

    # --- WebSocket -------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._reader is not None and not self._reader.done()

    async def open(
        self, *, protocols: Collection[str] = (SUBPROTOCOL,), headers: Mapping[str, str] = {}
    ) -> None:
        """A connection without a hello."""
        assert not self.connected, f"{self.user} is connected"
        self._socket = await self.http.ws_connect(
            f"{self.url}/v1/ws",
            protocols=protocols,
            headers=headers,
            max_msg_size=0,
            autoclose=False,
            compress=0,
        )
        self.close_code, self.close_reason, self.welcomed = 0, "", False
        self._reader = asyncio.create_task(self._read(self._socket))

    async def hello(self, cursors: Mapping[str, int] | None = None) -> None:
        self._order.connected(cursors)
        more = {} if cursors is None else {"cursors": dict(cursors)}
        await self.say({"type": "hello", "token": self.token, **more})

    async def connect(self, cursors: Mapping[str, int] | None = None) -> Frame:
        """Open and say hello; the welcome."""
        await self.open()
        await self.hello(cursors)
        return await self.next("welcome")

    async def online(self) -> Peer:
        """Connected, with nothing pending."""
        await self.connect()
        await self.next("synced")
        return self

    async def say(self, frame: Frame) -> None:
        if self.check_own_frames:
            check_client_frame(frame)
        if frame["type"] in {"received", "read"}:
            self._order.received(frame["chat"], frame["seq"])
        await self.say_text(msgspec.json.encode(frame).decode())

    async def say_text(self, text: str) -> None:
        assert self._socket is not None, f"{self.user} is not connected"
        with contextlib.suppress(ConnectionError):  # how it ended is asked for otherwise
            await self._socket.send_str(text)

    async def say_binary(self, data: bytes) -> None:
        assert self._socket is not None, f"{self.user} is not connected"
        await self._socket.send_bytes(data)

    async def send(self, id: str, text: str, **more: Any) -> None:
        """`to` or `chat` is in `more`."""
        await self.say({"type": "send", "id": id, "text": text, **more})

    async def received(self, chat: str, seq: int) -> None:
        await self.say({"type": "received", "chat": chat, "seq": seq})

    async def next(self, *kinds: str, timeout_seconds: float | None = None) -> Frame:
        """The first frame of one of these kinds that was not taken yet, waited for if need be.

        The items of `messages` are here as `message` each. `Closed` where none can come.
        """
        return await self.take(lambda frame: frame["type"] in kinds, timeout_seconds)

    async def take(
        self, wanted: Callable[[Frame], bool], timeout_seconds: float | None = None
    ) -> Frame:
        """The first frame that is `wanted`, whatever else is there."""
        async with asyncio.timeout(timeout_seconds or WAIT_SECONDS):
            while True:
                self._news.clear()
                for index, frame in enumerate(self.inbox):
                    if wanted(frame):
                        return self.inbox.pop(index)
                self.check()
                if not self.connected:
                    raise Closed(f"{self.close_code} {self.close_reason}")
                await self._news.wait()

    async def settled(self) -> None:
        """All that the server wrote until now is in the inbox."""
        if self.connected and self.welcomed:
            await self.say({"type": "ping", "n": 999_999_999})
            await self.take(lambda frame: frame.get("n") == 999_999_999)

    async def closed(self, timeout_seconds: float = WAIT_SECONDS) -> int:
        """Wait for the end; the close code that the server gave, 1006 where it gave none."""
        assert self._reader is not None, f"{self.user} was never connected"
        await asyncio.wait_for(asyncio.shield(self._reader), timeout_seconds)
        self.check()
        return self.close_code

    async def leave(self) -> None:
        """Close in good order."""
        if self._socket is not None:
            await self._socket.close()
        await self._ended()

    async def drop(self) -> None:
        """As if the network were gone: no close frame."""
        if self._socket is not None:
            sock = self._socket.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            response = self._socket._response
            if response.connection is not None and response.connection.transport is not None:
                response.connection.transport.abort()
        await self._ended()

    def check(self) -> None:
        """Was every frame as it must be?"""
        if self._fault is not None:
            raise self._fault

    async def _ended(self) -> None:
        if self._reader is not None:
            await asyncio.wait([self._reader])
        if self._socket is not None:
            await self._socket.close()
        self._socket = None
        self.check()

    async def _read(self, ws: ClientWebSocketResponse[bool]) -> None:
        try:
            while (message := await ws.receive()).type is WSMsgType.TEXT:
                self._take(message.data)
            if message.type is WSMsgType.CLOSE:
                self.close_code, self.close_reason = int(message.data), message.extra or ""
                await ws.close()
            else:
                self.close_code = 1006
        except Exception as error:  # noqa: BLE001 (it is the test's to see)
            self._fault = error
        finally:
            self._news.set()

    def _take(self, data: str) -> None:
        frame: Frame = msgspec.json.decode(data)
        if self.check_frames:
            check_server_frame(frame)
        kind = frame["type"]
        if kind == "sent":
            self._order.sent(frame["chat"], frame["seq"])
        self.welcomed = self.welcomed or kind == "welcome"
        items = [frame]
        if kind == "messages":
            items = [{"type": "message", **item} for item in frame["items"]]
        for item in items:
            if item["type"] == "message":
                self._order.came(item)
            self.inbox.append(item)
        self._news.set()


@contextlib.asynccontextmanager
async def client_session() -> AsyncIterator[ClientSession]:
    """For any number of peers."""
    connector = aiohttp.TCPConnector(limit=0)
    async with ClientSession(connector=connector, timeout=ClientTimeout(total=30)) as http:
        yield http
        await asyncio.sleep(0)


class Stalled:
    """A client on a bare socket: it says what it is told to and reads only when it is asked to."""

    def __init__(self, url: str, *, receive_buffer_bytes: int = 4096) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = (host, int(port))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.setblocking(False)

    async def connect(self, token: str | None = None, *, forwarded_for: str = "") -> None:
        """The handshake; then, with a token, the hello."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, self._address)
        request = (
            "GET /v1/ws HTTP/1.1\r\nHost: {}:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: {}\r\nX-Forwarded-For: {}\r\n\r\n"
        ).format(*self._address, SUBPROTOCOL, forwarded_for)
        await loop.sock_sendall(self._socket, request.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = await self._receive(1)
            assert piece, f"refused: {head!r}"
            head += piece
        assert head.startswith(b"HTTP/1.1 101"), head
        if token is not None:
            await self.say({"type": "hello", "token": token})

    async def say(self, frame: Frame) -> None:
        await self.write(masked(0x81, msgspec.json.encode(frame)))

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def frames(self, count: int) -> list[tuple[int, bytes]]:
        """Read so many frames: first byte and payload."""
        found = []
        for _ in range(count):
            first, length = await self._exactly(2)
            if length == 126:
                length = int.from_bytes(await self._exactly(2), "big")
            elif length == 127:
                length = int.from_bytes(await self._exactly(8), "big")
            found.append((first, await self._exactly(length)))
        return found

    async def gone(self) -> None:
        """Read on until the server has ended it."""
        with contextlib.suppress(ConnectionError):
            while await self._receive(65_536):
                pass

    def close(self) -> None:
        self._socket.close()

    async def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = await self._receive(count - len(data))
            assert piece, "the server has ended the connection"
            data += piece
        return data

    async def _receive(self, count: int) -> bytes:
        data = asyncio.get_running_loop().sock_recv(self._socket, count)
        return await asyncio.wait_for(data, WAIT_SECONDS * 4)


def masked(first: int, payload: bytes, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    """A client's frame."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    key = (mask * (size // 4 + 1))[:size]
    body = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return head + mask + body.to_bytes(size, "big")
