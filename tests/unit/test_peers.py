"""The links between instances over real sockets: made, used, attacked, lost, made again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
import signal
import sys
import time

import msgspec
import pytest

from tests.support.certificates import make_authority, make_certificate
from whatsapp import config, peers
from whatsapp.errors import StartupError
from whatsapp.handshake import HELLO_BYTES_MAX, VERSION, Handshake, Hello, No, Proof
from whatsapp.interfaces import Instance
from whatsapp.peerlink import framed
from whatsapp.peers import UNPROVEN_MAX, Peers, open_peers

SECRET = "a secret of the tests, long enough"
WAIT_SECONDS = 30.0
QUEUE_BYTES_MAX = 1_048_576


class Node:
    """An instance and what its links told."""

    def __init__(self) -> None:
        self.peers: Peers
        self.me: Instance
        self.told: list[str] = []
        self.heard: dict[str, list[bytes]] = {}
        self.batches = 0

    def hear(self, name: str, messages: list[bytes]) -> None:
        self.batches += 1
        self.heard.setdefault(name, []).extend(messages)


@contextlib.asynccontextmanager
async def node(name: str, *, epoch: int = 1, **options):
    one = Node()
    settings = msgspec.structs.replace(
        config.Cluster(secret=SECRET, queue_bytes_max=QUEUE_BYTES_MAX), **options
    )
    async with open_peers(
        settings,
        heard=one.hear,
        linked=lambda peer: one.told.append(f"linked {peer}"),
        lost=lambda peer: one.told.append(f"lost {peer}"),
    ) as one.peers:
        one.me = Instance(name=name, address=one.peers.address, epoch=epoch)
        one.peers.be(one.me)
        yield one


async def until(true) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not true():
            await asyncio.sleep(0.005)


async def introduce(*nodes: Node) -> None:
    everyone = [one.me for one in nodes]
    for one in nodes:
        one.peers.know(everyone)
    await until(lambda: all(len(one.peers.names()) == len(nodes) - 1 for one in nodes))


# --- links and messages ----------------------------------------------------------------


async def test_three_instances_link_each_pair_and_messages_arrive_in_order():
    async with node("ann") as ann, node("bob") as bob, node("cyd") as cyd:
        await introduce(ann, bob, cyd)
        for number in range(2_000):
            assert ann.peers.send("bob", b"%d" % number)
            assert bob.peers.send("ann", b"-%d" % number)
            if number % 100 == 0:
                await asyncio.sleep(0)
        assert cyd.peers.send("ann", b"hi")
        await until(
            lambda: (
                len(bob.heard.get("ann", [])) == len(ann.heard.get("bob", [])) == 2_000
                and ann.heard.get("cyd")
            )
        )
        assert bob.heard == {"ann": [b"%d" % number for number in range(2_000)]}
        assert ann.heard["bob"] == [b"-%d" % number for number in range(2_000)]
        assert bob.batches <= 100, "a batch per turn, not per message"
        assert sorted(ann.told) == ["linked bob", "linked cyd"]
        assert abs(ann.peers.offset_ms("bob")) < 5_000
        assert ann.peers.messages_sent == 2_000
        assert ann.peers.messages_heard == 2_001
        assert ann.peers.bytes_sent > 2_000
        assert ann.peers.depth_bytes() == {"bob": 0, "cyd": 0}
    assert sorted(ann.told) == ["linked bob", "linked cyd", "lost bob", "lost cyd"]
    assert sorted(bob.told) == ["linked ann", "linked cyd", "lost ann", "lost cyd"]


async def test_uvloop_links_too():
    uvloop = pytest.importorskip("uvloop", reason="skipped, because uvloop is not installed")

    def in_its_loop() -> None:
        async def run() -> None:
            async with node("ann") as ann, node("bob") as bob:
                await introduce(ann, bob)
                for _ in range(100):
                    ann.peers.send("bob", b"x" * 30_000)
                    await asyncio.sleep(0.001)
                await until(lambda: len(bob.heard.get("ann", [])) == 100)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    await asyncio.to_thread(in_its_loop)


async def test_to_nobody_nothing_is_sent():
    async with node("ann") as ann:
        assert not ann.peers.send("bob", b"hi")
        assert ann.peers.messages_dropped == 1
        assert ann.peers.offset_ms("bob") == 0
        assert list(ann.peers.names()) == []


async def test_nobody_is_linked_before_it_is_known_who_we_are():
    told: list[str] = []
    async with (
        open_peers(
            config.Cluster(secret=SECRET), heard=lambda *_: None, linked=told.append, lost=print
        ) as nameless,
        node("ann") as ann,
    ):
        bob = Instance(name="bob", address=nameless.address, epoch=1)
        nameless.know([ann.me, bob])
        ann.peers.know([ann.me, bob])
        await until(lambda: ann.peers.links_failed >= 2)
        assert told == []
        nameless.be(bob)
        await until(lambda: told == ["ann"])
        ann.peers.know([ann.me])
        await until(lambda: not nameless.names())


async def test_a_listener_that_fails_costs_neither_link_nor_loop(caplog):
    def fail(name: str, messages: list[bytes]) -> None:
        heard.append(messages)
        raise ZeroDivisionError

    heard: list[list[bytes]] = []
    async with node("ann") as ann, node("bob") as bob:
        await introduce(ann, bob)
        bob.peers._on_heard = fail
        for number in range(3):
            ann.peers.send("bob", b"x")
            await until(lambda number=number: len(heard) > number)
        assert bob.told == ["linked ann"]
    assert "link handler failed peer=ann" in caplog.text


async def test_a_peer_that_does_not_read_fills_its_own_queue_only():
    async with node("ann") as ann, node("bob") as bob, node("cyd") as cyd:
        await introduce(ann, bob, cyd)
        bob.peers._links["ann"]._transport.pause_reading()
        sent = 0
        while ann.peers.send("bob", b"x" * 10_000):
            sent += 1
            if sent % 10 == 0:
                await asyncio.sleep(0)
        assert ann.peers.depth_bytes()["bob"] <= QUEUE_BYTES_MAX
        assert ann.peers.messages_dropped == 1
        assert ann.peers.send("cyd", b"hi")
        await until(lambda: cyd.heard.get("ann"))


# --- comings and goings ----------------------------------------------------------------


async def test_who_is_gone_is_let_go_of_and_linked_again_when_it_is_back():
    async with node("ann") as ann, node("bob") as bob:
        await introduce(ann, bob)
        bob.peers.know([bob.me])
        await until(lambda: not ann.peers.names())
        assert not bob.peers.names()
        bob.peers.know([ann.me, bob.me])
        await until(lambda: ann.peers.names() and bob.peers.names())
        assert bob.told == ["linked ann", "lost ann", "linked ann"]
        ann.peers.know([])
        await until(lambda: not bob.peers.names())
        assert ann.told == ["linked bob", "lost bob", "linked bob", "lost bob"]


async def test_a_new_start_of_an_instance_is_linked_at_its_new_address():
    async with node("ann") as ann:
        async with node("bob") as bob:
            await introduce(ann, bob)
        await until(lambda: not ann.peers.names())
        async with node("bob", epoch=2) as bob:
            await introduce(ann, bob)
            ann.peers.send("bob", b"hi")
            await until(lambda: bob.heard)
            assert ann.told == ["linked bob", "lost bob", "linked bob"]
            # The directory's older word changes nothing; a still newer start ends the link.
            bob.peers.know([ann.me, bob.me])
            assert ann.peers.names() == ("bob",)
            ann.peers.know([ann.me, msgspec.structs.replace(bob.me, epoch=3)])
            assert ann.peers.names() == ()


@contextlib.asynccontextmanager
async def listener(handle):
    """Somebody who listens: its address. What `handle` has not ended by then is ended."""
    running: set[asyncio.Task[None]] = set()

    async def take(reader, writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await handle(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Proxy:
    """Between two instances; while it `swallows` nothing comes through, nothing is closed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.swallows = False

    async def handle(self, reader, writer) -> None:
        if self.swallows:
            await asyncio.sleep(WAIT_SECONDS)
        host, _, port = self.address.rpartition(":")
        their_reader, their_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(self.carry(reader, their_writer), self.carry(their_reader, writer))

    async def carry(self, reader, writer) -> None:
        try:
            while data := await reader.read(65_536):
                if not self.swallows:
                    writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


STOPPED = """
import asyncio, sys
from whatsapp import config
from whatsapp.interfaces import Instance
from whatsapp.peers import open_peers

async def run():
    settings = config.Cluster(secret=sys.argv[1])
    nothing = lambda *_: None
    async with open_peers(settings, heard=nothing, linked=nothing, lost=nothing) as peers:
        me = Instance(name="bob", address=peers.address, epoch=1)
        peers.be(me)
        peers.know([me, Instance(name="ann", address="", epoch=1)])
        print(peers.address, flush=True)
        await asyncio.sleep(60)

asyncio.run(run())
"""


@pytest.mark.slow
async def test_a_process_that_stands_still_is_lost_and_linked_when_it_goes_on():
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STOPPED, SECRET), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            address = (await process.stdout.readline()).decode().strip()
        async with node("ann") as ann:
            ann.peers.know([ann.me, Instance(name="bob", address=address, epoch=1)])
            await until(ann.peers.names)
            process.send_signal(signal.SIGSTOP)
            await until(lambda: not ann.peers.names())
            assert not ann.peers.send("bob", b"hi")
            process.send_signal(signal.SIGCONT)
            await until(ann.peers.names)
            assert ann.told == ["linked bob", "lost bob", "linked bob"]
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.slow
async def test_a_peer_that_falls_silent_is_lost_and_linked_when_it_speaks_again():
    between = Proxy("")
    async with node("ann") as ann, node("bob") as bob, listener(between.handle) as address:
        between.address = bob.me.address
        bob.me = msgspec.structs.replace(bob.me, address=address)
        await introduce(ann, bob)
        await asyncio.sleep(4.0)
        assert ann.told == ["linked bob"], "heartbeats keep a link where nothing is said"
        between.swallows = True
        began = time.monotonic()
        await until(lambda: not ann.peers.names() and not bob.peers.names())
        assert time.monotonic() - began > 1.5
        assert ann.peers.links_failed
        assert bob.peers.links_failed
        between.swallows = False
        await until(lambda: ann.peers.names() and bob.peers.names())
        assert ann.told == ["linked bob", "lost bob", "linked bob"]
        assert bob.told == ["linked ann", "lost ann", "linked ann"]


async def test_a_loop_that_stood_still_does_not_blame_its_peers():
    async with node("ann") as ann, node("bob") as bob:
        await introduce(ann, bob)
        link = ann.peers._links["bob"]
        link.heard_at -= 10
        ann.peers._ticked_at -= 10
        ann.peers._timer.cancel()
        ann.peers._tick()
        assert ann.told == ["linked bob"]


# --- peers made by hand ----------------------------------------------------------------


class Hand:
    """A connection of which the test says every word."""

    def __init__(self, reader, writer) -> None:
        self.reader, self.writer = reader, writer

    async def said(self) -> bytes:
        async with asyncio.timeout(WAIT_SECONDS):
            length = int.from_bytes(await self.reader.readexactly(4), "big")
            payload: bytes = await self.reader.readexactly(length)
            return payload

    def say(self, payload: bytes) -> None:
        self.writer.write(framed(payload))

    async def closed(self) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            with contextlib.suppress(ConnectionError):
                await self.reader.read()

    async def shake(self, me: Instance, secret: str = SECRET) -> bytes:
        """The dialling side of a handshake; the other's last word."""
        nonce = random.randbytes(32)
        ours = Handshake(me, secret, dials=True, admit=lambda _: None, nonce=nonce)
        self.say(ours.begin(0))
        self.say(ours.take(await self.said(), 0))
        return await self.said()


@contextlib.asynccontextmanager
async def by_hand(one: Node):
    host, _, port = one.peers.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Hand(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def why(payload: bytes) -> str:
    return msgspec.msgpack.decode(payload, type=No).why


ANN = Instance(name="ann", address="127.0.0.1:9", epoch=1)
ZED = Instance(name="zed", address="127.0.0.1:9", epoch=5)


async def test_the_newest_of_two_connections_of_a_pair_stays():
    async with node("bob") as bob, by_hand(bob) as first, by_hand(bob) as second:
        bob.peers.know([ANN, bob.me])
        await first.shake(ANN)
        await until(lambda: bob.told == ["linked ann"])
        await second.shake(msgspec.structs.replace(ANN, epoch=2))
        await first.closed()
        assert bob.told == ["linked ann", "lost ann", "linked ann"]
        bob.peers.send("ann", b"hi")
        assert await second.said() == msgspec.msgpack.encode([b"hi"])
        async with by_hand(bob) as third:
            assert why(await third.shake(ANN)) == "epoch"
        assert len(bob.told) == 3


async def test_one_that_dials_in_the_wrong_direction_is_linked_all_the_same():
    async with node("bob") as bob, by_hand(bob) as hand:
        bob.peers.know([bob.me, ZED])
        await hand.shake(ZED)
        hand.say(msgspec.msgpack.encode([b"one", b"two"]))
        await until(lambda: bob.heard == {"zed": [b"one", b"two"]})


async def test_who_is_refused_is_told_why_and_never_heard(caplog):
    caplog.set_level(logging.INFO)
    async with node("bob") as bob:
        bob.peers.know([ANN, bob.me])
        for me, secret, expected in [
            (ANN, "x" * 40, "secret"),
            (ANN, "x" * 40, "secret"),
            (ZED, SECRET, "unknown"),
            (msgspec.structs.replace(ANN, epoch=0), SECRET, "epoch"),
        ]:
            async with by_hand(bob) as hand:
                assert why(await hand.shake(me, secret)) == expected
                await hand.closed()
        newer = msgspec.msgpack.encode(Hello(VERSION + 1, "ann", 1, b"n" * 32, 0))
        selfish = msgspec.msgpack.encode(Hello(VERSION, "bob", 1, b"n" * 32, 0))
        for hello, expected in [(newer, "version"), (selfish, "self"), (b"GET /", "hello")]:
            async with by_hand(bob) as hand:
                hand.say(hello)
                assert why(await hand.said()) == expected
                await hand.closed()
        assert bob.peers.refused == 6
        assert bob.told == []
        assert bob.heard == {}
    assert caplog.text.count("cause=its secret is another one cure=give all") == 1
    assert SECRET not in caplog.text


async def test_messages_before_a_proof_are_not_looked_at():
    async with node("bob") as bob, by_hand(bob) as hand:
        bob.peers.know([ANN, bob.me])
        hand.say(msgspec.msgpack.encode(Hello(VERSION, "ann", 1, b"n" * 32, 0)))
        await hand.said()
        hand.say(msgspec.msgpack.encode([b"hi"]))
        assert why(await hand.said()) == "hello"
        async with by_hand(bob) as long:
            long.writer.write((HELLO_BYTES_MAX + 1).to_bytes(4, "big") + b"x" * 10)
            assert why(await long.said()) == "hello"
        assert bob.heard == {}


async def test_an_echo_of_our_own_words_is_no_peer():
    """Somebody listens at bob's address who says back what ann says."""
    heard = []

    async def echo(reader, writer) -> None:
        while data := await reader.read(65_536):
            heard.append(data)
            writer.write(data)

    async with listener(echo) as address, node("ann") as ann:
        ann.peers.know([ann.me, Instance(name="bob", address=address, epoch=1)])
        await until(lambda: ann.peers.refused >= 2)
        assert ann.told == []
    assert not any(b"proof" in data for data in heard)


async def test_a_listener_without_the_secret_is_no_peer():
    """It knows the protocol, takes ann's proof and makes one of its own."""

    async def pretend(reader, writer) -> None:
        hand = Hand(reader, writer)
        await hand.said()
        hand.say(msgspec.msgpack.encode(Hello(VERSION, "bob", 1, b"n" * 32, 0)))
        proof = msgspec.msgpack.decode(await hand.said(), type=Proof)
        hand.say(msgspec.msgpack.encode(proof))
        hand.say(msgspec.msgpack.encode([b"evil"]))
        await hand.closed()

    async with listener(pretend) as address, node("ann") as ann:
        ann.peers.know([ann.me, Instance(name="bob", address=address, epoch=1)])
        await until(lambda: ann.peers.refused >= 2)
        assert ann.told == []
        assert ann.heard == {}


async def test_those_who_only_connect_are_limited_and_do_not_keep_peers_out(monkeypatch):
    monkeypatch.setattr(peers, "HANDSHAKE_SECONDS", 2.0)
    async with node("ann") as ann, node("bob") as bob, contextlib.AsyncExitStack() as stack:
        hands = [await stack.enter_async_context(by_hand(bob)) for _ in range(3 * UNPROVEN_MAX)]
        await hands[0].closed()
        assert len(bob.peers._unproven) <= UNPROVEN_MAX
        await introduce(ann, bob)
        hands[-1].writer.write(b"\x00\x00")  # a hello, byte by byte
        await hands[-1].closed()
        await until(lambda: not bob.peers._unproven)
        assert bob.told == ["linked ann"]


async def test_noise_is_never_heard_and_breaks_nothing():
    dice = random.Random(11)
    async with node("ann") as ann, node("bob") as bob:
        await introduce(ann, bob)
        for _ in range(60):
            async with by_hand(bob) as hand:
                noise = dice.randbytes(dice.choice([1, 3, 5, 40, 2_000, 100_000]))
                length = (len(noise) % HELLO_BYTES_MAX).to_bytes(4, "big")
                with contextlib.suppress(ConnectionError):
                    hand.writer.write(dice.choice([b"", length]) + noise)
                    hand.writer.write_eof()
                await hand.closed()
        assert bob.heard == {}
        ann.peers.send("bob", b"still here")
        await until(lambda: bob.heard == {"ann": [b"still here"]})
        assert bob.told == ["linked ann"]


async def test_an_address_that_cannot_be_dialled_is_said_once(caplog):
    async with node("ann") as ann:
        nowhere = [
            Instance(name="bob", address="no address", epoch=1),
            Instance(name="cyd", address="127.0.0.1:1", epoch=1),
        ]
        ann.peers.know(nowhere)
        await until(lambda: ann.peers.links_failed >= 6)
    assert caplog.text.count("link failed peer=bob") == 1
    assert caplog.text.count("link failed peer=cyd") == 1


async def test_lines_about_strangers_are_bounded():
    async with node("ann") as ann:
        said = sum(ann.peers._seldom(f"stranger {number}", "secret") for number in range(1_000))
        assert said == peers.SAID_MAX
        ann.peers._said = dict.fromkeys(ann.peers._said, -1_000.0)
        assert ann.peers._seldom("another", "secret")


async def test_an_accept_that_fails_is_tried_again(monkeypatch, caplog):
    monkeypatch.setattr(peers, "ACCEPT_AGAIN_SECONDS", 0.001)
    loop = asyncio.get_running_loop()
    accept = loop.sock_accept
    failed: list[object] = []

    async def failing(sock):
        if len(failed) < 3:
            failed.append(sock)
            raise OSError(errno.EMFILE, "Too many open files")
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", failing)
    async with node("ann") as ann, node("bob") as bob:
        await introduce(ann, bob)
    assert caplog.text.count("link not accepted cause=Too many open files") >= 1


# --- the start and the end -------------------------------------------------------------


async def test_a_bad_secret_keeps_us_from_starting():
    with pytest.raises(StartupError, match="secret"):
        async with node("ann", secret="change-me"):
            pass


async def test_the_end_is_bounded_where_a_peer_does_not_read():
    async with node("ann") as ann:
        async with node("bob") as bob:
            await introduce(ann, bob)
            ann.peers._links["bob"]._transport.pause_reading()
            while bob.peers.send("ann", b"x" * 10_000):
                await asyncio.sleep(0)
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert bob.told == ["linked ann", "lost ann"]


# --- TLS -------------------------------------------------------------------------------


@pytest.mark.external
async def test_links_with_certificates_of_our_authority_and_no_others(tmp_path, caplog):
    def options(name: str, authority):
        certificate, key = make_certificate(tmp_path, name, authority)
        return {
            "tls_certificate": str(certificate),
            "tls_key": str(key),
            "tls_authority": str(authority),
        }

    ours, other = make_authority(tmp_path, "ours"), make_authority(tmp_path, "other")
    async with (
        node("ann", **options("ann", ours)) as ann,
        node("bob", **options("bob", ours)) as bob,
        node("aaa", **options("aaa", other)) as stranger,
        node("abe") as plain,
    ):
        await introduce(ann, bob)
        sent = [random.randbytes(50_000) for _ in range(40)]
        for message in sent:
            while not ann.peers.send("bob", message):
                await asyncio.sleep(0.01)
        await until(lambda: len(bob.heard.get("ann", [])) == len(sent))
        assert bob.heard["ann"] == sent
        everyone = [ann.me, bob.me, stranger.me, plain.me]
        for one in (ann, bob, stranger, plain):
            one.peers.know(everyone)
        await until(lambda: stranger.peers.links_failed >= 3 and plain.peers.links_failed >= 3)
        assert stranger.told == []
        assert plain.told == []
        assert ann.told == ["linked bob"]
