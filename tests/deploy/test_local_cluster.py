"""Three instances behind the proxy of deploy/haproxy.cfg: who is asked, and how it all ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.local_cluster import NAMES, LocalCluster
from tests.support.need import ROOT
from tests.support.server import WEAK_HASHES_KIB
from tests.support.services import services, usual_port
from whatsapp import config, doctor
from whatsapp.wire import SUBPROTOCOL

pytestmark = pytest.mark.external

SECONDS_MAX = 60.0
PERSON = {"user": "ann", "password": "a long road home"}


@pytest.fixture(name="cluster")
def a_cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Of instances that know nothing of each other: here it is about the proxy."""
    made = LocalCluster(
        tmp_path / "cluster",
        {
            "WHATSAPP_STORAGE_BACKEND": "memory",
            "WHATSAPP_AUTH_PASSWORD_MEMORY_KIB": str(WEAK_HASHES_KIB),
        },
        proxy_port=usual_port(0),
        ports=[usual_port(0) for _ in NAMES],
    )
    with made.running():
        yield made


async def status(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url) as answer:
        return answer.status


async def connected(client: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
    """A new person, live."""
    async with client.post(f"{url}/v1/users", json=PERSON) as answer:
        assert answer.status == 201, await answer.text()
    async with client.post(f"{url}/v1/login", json=PERSON) as answer:
        token = (await answer.json())["token"]
    socket = await client.ws_connect(
        f"{url}/v1/ws", protocols=(SUBPROTOCOL,), headers={"Authorization": f"Bearer {token}"}
    )
    await socket.send_str('{"type":"hello"}')
    return socket


async def until(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            frame: dict[str, Any] = json.loads(await socket.receive_str())
            if frame["type"] == kind:
                return frame


async def test_what_is_for_operators_is_not_for_the_world(cluster: LocalCluster):
    async with aiohttp.ClientSession() as client:
        for path in ("/metrics", "/readyz", "/healthz"):
            assert await status(client, cluster.url + path) == 404
            assert await status(client, cluster.urls["a"] + path) == 200
        assert await status(client, cluster.url + "/docs") == 200


async def test_an_instance_that_goes_is_not_asked_any_more(cluster: LocalCluster):
    a, b, c = cluster.instances
    async with aiohttp.ClientSession() as client:
        b.ask_to_stop()
        c.kill()
        # Not one of them fails meanwhile: what cannot be reached is asked of the next one.
        answers = [await status(client, f"{cluster.url}/docs") for _ in range(200)]
        assert set(answers) == {200}
        assert await asyncio.to_thread(b.ended) == 0

        socket = await connected(client, cluster.url)
        assert (await until(socket, "welcome"))["instance"] == "a"
        # The last one drains, and the proxy lets it tell its clients so.
        a.ask_to_stop()
        assert "reconnect_ms" in await until(socket, "draining")
        async with asyncio.timeout(SECONDS_MAX):
            assert (await socket.receive()).type in {
                aiohttp.WSMsgType.CLOSE,
                aiohttp.WSMsgType.CLOSED,
            }
        assert socket.close_code == 1001


async def test_an_instance_that_comes_back_is_asked_again(cluster: LocalCluster):
    for program in cluster.instances:
        program.ask_to_stop()
        await asyncio.to_thread(program.ended)
    async with aiohttp.ClientSession() as client:
        assert await status(client, f"{cluster.url}/docs") == 503
        for program in cluster.instances[:1]:
            program.start()
            await asyncio.to_thread(program.wait_until_ready)
        end = time.monotonic() + SECONDS_MAX
        while await status(client, f"{cluster.url}/docs") != 200:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)


async def test_one_client_cannot_claim_anothers_address(tmp_path: Path):
    made = LocalCluster(
        tmp_path / "cluster",
        {
            "WHATSAPP_STORAGE_BACKEND": "memory",
            "WHATSAPP_AUTH_PASSWORD_MEMORY_KIB": str(WEAK_HASHES_KIB),
            "WHATSAPP_RATES_LOGINS_BURST": "3",
            "WHATSAPP_RATES_LOGINS_PER_MINUTE": "0.1",
        },
        proxy_port=usual_port(0),
        ports=[usual_port(0) for _ in NAMES],
    )
    with made.running():
        async with aiohttp.ClientSession() as client:
            answers = []
            for number in range(12):
                claimed = {"X-Forwarded-For": f"192.0.2.{number}"}
                async with client.post(
                    f"{made.url}/v1/login", json=PERSON, headers=claimed
                ) as answer:
                    answers.append(answer.status)
    # Three on each of three instances, whatever they claim.
    assert answers.count(429) >= 3, answers


def test_a_program_that_does_not_come_up_tells_why(tmp_path: Path):
    broken = LocalCluster(
        tmp_path / "cluster",
        {"WHATSAPP_SERVER_PORT": "nonsense"},
        proxy_port=usual_port(0),
        ports=[usual_port(0) for _ in NAMES],
    )
    with (
        pytest.raises(AssertionError, match=r"a ended with 1(.|\n)*WHATSAPP_SERVER_PORT"),
        broken.running(),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_nothing_is_left(number: signal.Signals, tmp_path: Path):
    flags = ["--store", "memory", "--folder", str(tmp_path / "cluster")]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.local_cluster", *flags],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as command:
        assert command.stdout is not None
        # A hang here must not outlive the test.
        watch = threading.Timer(SECONDS_MAX, command.kill)
        watch.start()
        said: list[str] = []
        for line in command.stdout:
            said.append(line)
            if "they know nothing of each other" in line:
                command.send_signal(number)
        # All who had its output open are gone, the inner process too.
        watch.cancel()
        code = command.wait(SECONDS_MAX)
    assert code == (-number if number == signal.SIGKILL else 0), said
    assert said[-1] == "stopped\n"
    for pid in re.findall(r"pid (\d+)", "".join(said)):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_the_doctor_looks_at_real_services(tmp_path: Path):
    pytest.importorskip("backends.mongo", reason="skipped, because there is no such backend yet")
    pytest.importorskip("backends.zookeeper", reason="skipped, because as above")

    def seen(environment: dict[str, str]) -> dict[str, set[str]]:
        findings = doctor.examine(config.load(None, environment), port_given=False)
        names = {"mongo", "zookeeper"}
        return {name: {f.state for f in findings if f.what == name} for name in names}

    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(services(tmp_path / "services"))
        settings = dict(opened.environment)
        found = seen(settings)
        assert "ok" in found["zookeeper"]
        assert "ok" in found["mongo"]
    settings["WHATSAPP_STORAGE_TIMEOUT_SECONDS"] = "1"
    assert seen(settings) == {"mongo": {"fail"}, "zookeeper": {"fail"}}
