"""`whatsapp trace`: what it is asked, beside a server that runs."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.command import refused, run
from tests.support.peer import Peer, client_session
from tests.support.server import Server

ALICE, BOB = "alice", "bob"


@pytest.mark.parametrize(
    "arguments, told",
    [
        ((), "name the message"),
        (("12345678", "--seq", "3", "--chat", "ann:ben"), "name the message"),
        (("--seq", "3"), "--seq counts within a chat"),
    ],
)
def test_what_is_asked_wrongly_is_told(arguments, told):
    cause, cure = refused("trace", *arguments, code=2)
    assert told in cause
    assert "whatsapp trace --help" in cure


@pytest.mark.parametrize(
    "arguments", [("short",), ("12345678", "--chat", "x"), ("12345678", "--user", "?")]
)
def test_ids_that_are_none_are_refused(arguments):
    assert refused("trace", *arguments, code=1)


def test_no_data_is_told(tmp_path):
    cause, _ = refused("trace", "12345678", "--data", str(tmp_path / "no"), code=1)
    assert "has no data" in cause


async def test_a_message_on_its_way_beside_the_running_server(tmp_path):
    data = tmp_path / "data"
    async with Server(data) as server, client_session() as http:
        alice = await (await Peer(http, server.url, ALICE).register()).online()
        bob = await (await Peer(http, server.url, BOB).register()).online()
        await alice.send("message-1", "are you there", to=BOB)
        await bob.next("message")
        told = (await asyncio.to_thread(run, "trace", "--data", str(data), "message-1")).stdout
        assert "alice:bob seq 1 of 1" in told
        assert "bob  has not received it" in told
        assert "are you there" not in told
        await bob.received("alice:bob", 1)
        await alice.next("receipt")
        await server.terminate()  # so that cursors are written
        await server.restart()
        wish = ("--chat", "Bob:Alice", "--seq", "1", "--json")
        found = json.loads(
            (await asyncio.to_thread(run, "trace", "--data", str(data), *wish)).stdout
        )
    assert (found["id"], found["sender"], found["bytes"]) == ("message-1", ALICE, 13)
    assert {m["user"]: m["state"] for m in found["members"]} == {ALICE: "wrote", BOB: "received"}
    [device] = found["members"][1]["devices"]
    assert (device["name"], device["received"]) == ("test", 1)
