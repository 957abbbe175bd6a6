"""MongoDB at the start, and what is told of it: causes and cures, and never what is secret."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import random
import signal
import subprocess
import sys
from typing import Any

import pytest
from pymongo import MongoClient

from backends import mongo_driver, mongo_schema
from backends.mongo import diagnose, open_stores
from tests.contracts.test_alike import CALLS, Script, seen
from tests.support import mongo
from tests.support.backends import PAIR, append, log_of, opened, say, scope
from tests.support.daemon import free_port
from whatsapp.errors import StartupError, Unavailable
from whatsapp.words import parse

# PyMongo's asyncio client, closed while it connects, leaves a socket to the garbage collector.
pytestmark = [
    pytest.mark.external,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
DRIVERS = ["motor", "pymongo"]
SECRET = "open-sesame-7"


@pytest.fixture(params=DRIVERS)
def driver(request):
    return request.param


@pytest.fixture
def folder(tmp_path):
    yield tmp_path / "data"
    mongo.drop(tmp_path / "data")


@pytest.fixture(autouse=True)
def collected():
    """What the driver left is told in this test, and not in the next one."""
    yield
    gc.collect()


async def refused(settings):
    with pytest.raises(StartupError) as caught:
        async with open_stores(settings):
            pass
    assert SECRET not in str(caught.value)
    return caught.value


async def test_nobody_at_the_address(driver, folder):
    url = f"mongodb://user:{SECRET}@127.0.0.1:{free_port()}"
    error = await refused(mongo.settings(folder, driver, url, timeout_seconds=0.5))
    assert "cannot be reached at 127.0.0.1:" in error.cause
    assert "[storage] url" in error.cure


@pytest.mark.parametrize("url", [f"mongo://u:{SECRET}@h", "mongodb://", "mongodb://h:99999"])
async def test_an_address_that_is_none(driver, folder, url):
    error = await refused(mongo.settings(folder, driver, url, timeout_seconds=0.5))
    assert "not an address" in error.cause
    assert error.cure


async def test_a_wrong_password(driver, folder):
    url = mongo.server_url().replace("mongodb://", f"mongodb://nobody:{SECRET}@")
    error = await refused(mongo.settings(folder, driver, url, timeout_seconds=5.0))
    assert "refuses the user or the password" in error.cause
    assert "authSource" in error.cure


async def test_data_of_a_newer_version(driver, folder):
    settings = mongo.settings(folder, driver)
    async with open_stores(settings):
        pass
    with MongoClient[Any](settings.url) as client:
        client[settings.database].meta.update_one({"_id": "schema"}, {"$set": {"version": 99}})
    error = await refused(settings)
    assert "newer version (schema 99" in error.cause
    assert (False, "schema version 99") in [
        (well, what) for well, what, _ in await diagnose(settings)
    ]


async def test_without_the_driver(driver, folder, monkeypatch):
    def absent(name, *rest):
        if name.startswith(("motor", "pymongo")):
            raise ImportError(name)
        return importlib.import_module(name)

    settings = mongo.settings(folder, driver)
    monkeypatch.setattr(mongo_driver, "import_module", absent)
    error = await refused(settings)
    assert f'driver = "{driver}"' in error.cause
    assert "whatsapp[cluster]" in error.cure


def test_the_driver_is_imported_when_a_store_is_opened():
    code = (
        "import sys, backends; backends.stores('mongo');"
        " assert not {'motor', 'pymongo', 'bson'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_servers_that_start_at_once(driver, folder):
    settings = mongo.settings(folder, driver)

    async def start(number):
        async with open_stores(settings) as stores:
            await append(stores, say(f"{number}"))

    await asyncio.gather(*(start(number) for number in range(4)))
    async with open_stores(settings) as stores:
        assert len(await log_of(stores)) == 4


async def test_a_doctor_sees_what_there_is(driver, folder):
    settings = mongo.settings(folder, driver)
    before = await diagnose(settings)
    assert (True, "no data yet; made at the first start", "") in before
    async with open_stores(settings):
        pass
    said = [what for _, what, _ in await diagnose(settings)]
    assert any("answers at" in what for what in said)
    assert f"schema version {mongo_schema.VERSION}" in said
    assert "all indexes are there" in said
    with MongoClient[Any](settings.url) as client:
        client[settings.database].messages.drop_index("chat_sender_id")
    findings = await diagnose(settings)
    assert (False, "indexes missing: messages.chat_sender_id") in [each[:2] for each in findings]


async def test_a_doctor_hears_of_a_wrong_address(driver, folder):
    url = f"mongodb://u:{SECRET}@127.0.0.1:{free_port()}"
    ((well, what, cure),) = await diagnose(mongo.settings(folder, driver, url, timeout_seconds=0.5))
    assert not well
    assert cure
    assert SECRET not in what


async def test_a_command_that_the_server_does_not_know_is_a_bug_and_says_no_text(driver, folder):
    settings = mongo.settings(folder, driver)
    store = mongo_driver.connect(settings)
    try:
        with pytest.raises(RuntimeError) as caught:
            await store.run(lambda: store.db.command({"nope": SECRET}))
        assert SECRET not in str(caught.value)
        assert not isinstance(caught.value, Unavailable)
    finally:
        await store.close()


async def test_nothing_of_a_message_is_logged(driver, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="backends")
    server = mongo.MongoServer.start(tmp_path)
    try:
        settings = mongo.settings(tmp_path / "data", driver, server.url, timeout_seconds=3.0)
        async with open_stores(settings) as stores:
            await append(stores, say(SECRET))
            server.kill()
            for _ in range(2):
                with pytest.raises(Unavailable) as caught:
                    await stores.messages.append([say(SECRET)])
                assert SECRET not in str(caught.value)
            server.again()
            await append(stores, say(SECRET))
    finally:
        server.stop()
    said = [record.getMessage() for record in caplog.records if record.name.startswith("backends")]
    assert not any(SECRET in each for each in said)
    assert sum("store is away" in each for each in said) == 1
    assert sum("store is back" in each for each in said) == 1


async def test_a_killed_server_has_what_was_acknowledged(driver, tmp_path):
    server = mongo.MongoServer.start(tmp_path)
    try:
        settings = mongo.settings(tmp_path / "data", driver, server.url, timeout_seconds=20.0)
        async with open_stores(settings) as stores:
            told = []
            for _ in range(3):
                told += await append(stores, *(say() for _ in range(30)))
                drafts = [say() for _ in range(30)]
                call = asyncio.ensure_future(append(stores, *drafts))
                await asyncio.sleep(random.random() / 50)
                server.kill()
                server.again()
                told += await call
            assert await log_of(stores) == told
    finally:
        server.stop()


def killed(folder, driver, run):
    """As in the crash test of SQLite: let the appender run, kill it, and return what it said."""
    command = [sys.executable, "-m", "tests.support.appender", str(folder), run]
    environment = os.environ | {"APPENDER_BACKEND": f"mongo-{driver}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout
        lines = [child.stdout.readline() for _ in range(random.randrange(30, 200))]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    whole = [line.split() for line in lines if line.endswith("\n")]
    return {(chat, message_id, int(seq)) for chat, message_id, seq in whole}


async def test_a_killed_process_has_stored_what_it_acknowledged(driver, folder):
    mongo.settings(folder, driver)
    acknowledged = set()
    for run in range(3):
        acknowledged |= killed(folder, driver, str(run))
        async with opened(f"mongo-{driver}", folder) as stores:
            logs = [await log_of(stores, chat) for chat in {chat for chat, *_ in acknowledged}]
        stored = [(entry.chat, entry.id, entry.seq) for log in logs for entry in log]
        assert acknowledged <= set(stored)
        assert len({each[:2] for each in stored}) == len(stored)


@pytest.mark.parametrize("seed", range(3))
async def test_memory_and_mongo_answer_alike(tmp_path, folder, driver, seed):
    script = Script(seed)
    async with opened("memory", tmp_path) as one, opened(f"mongo-{driver}", folder) as other:
        for number in range(CALLS):
            first, second = await script.call(number, (one, other))
            assert first == second, number
            if number % 20 == 19:
                expected, answered = await seen(one), await seen(other)
                for question, answer in expected.items():
                    assert answered[question] == answer, (number, question)


async def test_searches_and_pages_go_by_an_index(driver, folder):
    """As a server that plans says itself; FerretDB does not."""
    settings = mongo.settings(folder, driver)
    async with open_stores(settings) as stores:
        await append(stores, *(say(f"hello {n}") for n in range(50)))
        found = await stores.messages.search(
            parse("hello"), [await scope(stores, "ann")], sender=None, before_ms=None, limit=5
        )
        assert len(found) == 5
    questions = [
        ("messages", {"chat": PAIR, "words": {"$all": ["hello"]}}, {"stored_us": -1}),
        ("messages", {"chat": PAIR, "words": {"$elemMatch": {"$gte": "h", "$lt": "i"}}}, {}),
        ("messages", {"chat": PAIR, "sender": "ann", "id": "x"}, {}),
        ("messages", {"chat": PAIR, "_id": {"$gt": "a", "$lt": "b"}}, {"_id": 1}),
        ("accounts", {"folded": {"$gte": "a", "$lt": "b"}, "erased": False}, {}),
        ("members", {"chat": PAIR}, {}),
        ("devices", {"user": "ann"}, {}),
        ("chats", {"invite": "code"}, {}),
    ]
    with MongoClient[Any](settings.url) as client:
        if "ferretdb" in str(client.admin.command("buildInfo")):
            return  # it has no plans to show, and reads whole collections
        for collection, which, order in questions:
            command = {"find": collection, "filter": which} | ({"sort": order} if order else {})
            plan = str(client[settings.database].command({"explain": command}))
            assert "IXSCAN" in plan, (collection, which)
            assert "COLLSCAN" not in plan, (collection, which)
