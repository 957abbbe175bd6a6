"""What is wrong at the start is told with its cure, and does no harm to those that run."""

from __future__ import annotations

import asyncio

import pytest

import backends
from tests.cluster.trio import environment, planted, trio, until
from tests.support import mongo
from tests.support.cluster import SECRET, shared
from tests.support.daemon import free_port
from tests.support.peer import Peer
from tests.support.server import Server, run_serve

pytestmark = [pytest.mark.external, pytest.mark.slow, pytest.mark.timeout(100)]

NOWHERE = f"127.0.0.1:{free_port()}"
MISTAKES = {
    "zookeeper": ({"directory": {"hosts": NOWHERE}}, "No ZooKeeper server answers at"),
    "password": ({"directory": {"password": "another"}}, "ZooKeeper refuses us at"),
    "mongo": (
        {"storage": {"url": f"mongodb://{NOWHERE}", "timeout_seconds": 2}},
        "MongoDB cannot be reached at",
    ),
    "name": ({"directory": {"instance": "a"}}, "Another instance is running under the name 'a'"),
    "short": ({"cluster": {"secret": "short"}}, "[cluster] secret: has 5 characters"),
}


async def test_mistakes_are_told_and_those_that_run_are_unharmed(tmp_path):
    async with trio(tmp_path, names="ab") as together:
        common = shared(tmp_path / "shared")
        alice = await (await Peer(together.http, together.urls[0], "alice").register()).online()
        bob = await (await Peer(together.http, together.urls[1], "bob").register()).online()

        async def start(options):
            variables = environment(common, "z", options)
            return await run_serve(tmp_path / "z", "--port", "0", environment=variables)

        told = await asyncio.gather(*(start(options) for options, _ in MISTAKES.values()))
        for (_, cause), (code, said) in zip(MISTAKES.values(), told, strict=True):
            assert code == 1, said
            assert cause in said
            assert "Traceback" not in said
        await together.linked()
        await alice.send("id-00000001", "all well?", to="bob")
        assert (await bob.next("message"))["text"] == "all well?"
        await alice.leave()
        await bob.leave()


async def test_another_secret_is_told_and_messages_arrive_by_looks(tmp_path):
    """No hint passes. Who connects sees everything; who is connected, what comes by a look."""
    async with trio(tmp_path, names="a") as together:
        common = shared(tmp_path / "shared") | {"cluster": {"secret": SECRET[::-1]}}
        stranger = Server(tmp_path / "z", "--no-rate-limits", environment=environment(common, "z"))
        async with stranger:
            alice = await (await Peer(together.http, together.urls[0], "alice").register()).online()
            bob = await Peer(together.http, stranger.url, "bob").register()
            await alice.send("id-00000001", "do you hear?", to="bob")
            await alice.next("sent")
            await bob.connect()
            assert (await bob.next("message"))["text"] == "do you hear?"
            await until(
                lambda: "its secret is another one" in together["a"].log + stranger.log, 20, "told"
            )
            await alice.leave()
            await bob.leave()


async def test_clocks_that_are_apart_are_told(tmp_path):
    async with trio(tmp_path, names="a") as together:
        common = shared(tmp_path / "shared")
        variables = environment(common, "z") | planted("fast")
        async with Server(tmp_path / "z", environment=variables) as ahead:
            await until(lambda: "clocks differ" in together["a"].log, 20, "told")
            await until(lambda: "clocks differ" in ahead.log, 20, "told")


async def test_many_start_at_once_on_an_empty_database(tmp_path):
    for number in range(5):
        settings = mongo.settings(tmp_path / str(number), "motor")

        async def start():
            async with backends.stores("mongo").open_stores(settings):  # noqa: B023
                pass

        await asyncio.gather(*(start() for _ in range(4)))
