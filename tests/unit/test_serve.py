"""A whole server as a process: banner, signals, and an end in time."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.command import Serving, refused, run, serving
from whatsapp import serve
from whatsapp.config import Auth, Config, Rates, Storage
from whatsapp.errors import StartupError
from whatsapp.listen import Listening

QUICK = {"WHATSAPP_AUTH_PASSWORD_MEMORY_KIB": "1024"}
PASSWORD = "correct horse x"


def request(url: str, body: dict[str, Any] | None = None, token: str = "") -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    asked = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return answer.status, answer.read()


def logged_in(server: Serving, user: str = "alice") -> str:
    credentials = {"user": user, "password": PASSWORD}
    request(f"{server.url}/v1/users", credentials)
    _, body = request(f"{server.url}/v1/login", credentials)
    return str(json.loads(body)["token"])


def stalled_client(server: Serving, token: str) -> socket.socket:
    """A WebSocket that is authenticated, and then neither reads nor writes."""
    host, port = server.url.removeprefix("http://").split(":")
    sock = socket.create_connection((host, int(port)), timeout=10)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        (
            f"GET /v1/ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: whatsapp.v1.json\r\nAuthorization: Bearer {token}\r\n\r\n"
        ).encode()
    )
    assert sock.recv(4096).startswith(b"HTTP/1.1 101")
    hello = b'{"type":"hello"}'
    sock.sendall(bytes([0x81, 0x80 | len(hello)]) + bytes(4) + hello)
    while b"synced" not in sock.recv(4096):
        pass
    return sock


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_says_where_and_ends_in_order(tmp_path: Path, number: int):
    with serving("--port", "0", home=tmp_path) as server:
        said = "\n".join(server.banner)
        assert f"page      {server.url}/" in said
        assert f"docs      {server.url}/docs" in said
        assert str(tmp_path) in said
        assert "sqlite (durable)" in said
        assert "warning" not in said
        assert request(f"{server.url}/healthz")[0] == 200
        server.signal(number)
        assert server.ended() == 0
    assert "stopped" in server.log[-1]
    assert not any("Traceback" in line for line in server.log)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_was_stored_is_there_after_a_restart(tmp_path: Path, loop: str):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    flags = ("--port", "0", "--loop", loop)
    with serving(*flags, home=tmp_path, environment=QUICK) as server:
        token = logged_in(server)
        url = f"{server.url}/v1/chats/alice:alice/messages"
        body = {"id": "message-1", "text": "to be kept"}
        assert request(url, body, token)[0] == 201
        # No orderly end: what is acknowledged is durable.
        server.signal(signal.SIGKILL)
        server.ended()
    with serving(*flags, home=tmp_path, environment=QUICK) as server:
        url = f"{server.url}/v1/chats/alice:alice/messages"
        assert b"to be kept" in request(url, token=token)[1]


def test_a_port_that_was_asked_for_or_another_one(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving("--port", str(port), home=tmp_path) as server:
            assert server.ended() == 1
        assert server.log == [
            f"Error: port {port} on 127.0.0.1: in use by another program\n",
            "Stop that program, or name another port with --port (0 takes any free one).\n",
        ]
        assert server.banner == []


def test_the_data_folder_of_a_running_server_is_its_own(tmp_path: Path, home: Path):
    with serving("--port", "0", home=tmp_path) as server:
        pid = server.process.pid
        assert f"is in use by process {pid}" in refused("user", "list", code=1)[0]
        assert f"in use by process {pid}" in run("doctor", "--port", "0").stdout
        with serving("--port", "0", home=tmp_path) as second:
            assert second.ended() == 1
        assert "in use" in second.log[0]


def test_a_second_signal_ends_at_once(tmp_path: Path):
    with serving("--port", "0", home=tmp_path, environment=QUICK) as server:
        stalled = stalled_client(server, logged_in(server))
        server.signal(signal.SIGTERM)
        time.sleep(serve.SAME_SIGNAL_SECONDS + 0.1)
        server.signal(signal.SIGINT)
        assert server.ended() == 128 + signal.SIGINT
        stalled.close()


def test_one_ctrl_c_that_comes_twice_is_one(tmp_path: Path):
    with serving("--port", "0", home=tmp_path) as server:
        server.signal(signal.SIGINT)
        server.signal(signal.SIGINT)
        assert server.ended() == 0


def test_stalled_clients_do_not_decide_when_it_ends(tmp_path: Path):
    with serving("--port", "0", home=tmp_path, environment=QUICK) as server:
        token = logged_in(server)
        with contextlib.ExitStack() as stack:
            stack.enter_context(stalled_client(server, token))
            host, port = server.url.removeprefix("http://").split(":")
            silent = socket.create_connection((host, int(port)), timeout=10)
            stack.enter_context(silent)
            silent.sendall(b"POST /v1/login HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            assert server.ended() == 0
            assert time.monotonic() - began < 10


def test_a_hang_up_without_a_terminal_is_no_end(tmp_path: Path):
    with serving("--port", "0", home=tmp_path) as server:
        server.signal(signal.SIGHUP)
        assert request(f"{server.url}/healthz")[0] == 200
        server.signal(signal.SIGTERM)
        assert server.ended() == 0
    assert any("hang-up ignored" in line for line in server.log)


def test_a_terminal_that_is_closed_ends_the_server_in_it(tmp_path: Path):
    ours, theirs = os.openpty()
    with serving("--port", "0", home=tmp_path, stdin=theirs) as server:
        os.close(theirs)
        server.signal(signal.SIGHUP)
        assert server.ended() == 0
    os.close(ours)


# --- parts ---------------------------------------------------------------------------


def listening(*, loopback: bool = True, moved_from: int = 0) -> Listening:
    return Listening(
        sockets=(), host="127.0.0.1", port=8081, loopback=loopback, moved_from=moved_from
    )


def test_the_banner_warns():
    config = Config(
        storage=Storage(backend="memory"),
        rates=Rates(enabled=False),
        auth=Auth(registration="closed"),
    )
    where = listening(loopback=False, moved_from=8080)
    said = "\n".join(serve.banner(config, where, "1.2", durable=False))
    assert said.isascii()
    for part in (
        *("whatsapp 1.2", "not durable", "in memory", "whatsapp user add", "port 8080 is taken"),
        *("rate limits are off", "without TLS"),
    ):
        assert part in said


def test_nobody_listening_is_no_reason_to_end(monkeypatch):
    def gone(_):
        raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", SimpleNamespace(write=gone))
    serve.say(["x"])


def test_a_loop_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "uvloop", None)
    assert serve._loop_factory("asyncio") is None
    assert serve._loop_factory("auto") is None
    with pytest.raises(StartupError, match="uvloop is not installed"):
        serve._loop_factory("uvloop")


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_drain_that_hangs_or_fails_is_told_and_passed(caplog, *, hangs: bool):
    async def drain() -> None:
        if hangs:
            await asyncio.sleep(60)
        raise RuntimeError("broken")

    app = cast("Any", SimpleNamespace(drain=drain))
    runner = cast("Any", SimpleNamespace(sites=[]))
    await serve._drain(app, runner, 0.01)
    assert "drain" in caplog.text
