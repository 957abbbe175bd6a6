"""One link over real sockets: its frames, its queue, its end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import pytest

from whatsapp.handshake import Handshake
from whatsapp.interfaces import Instance
from whatsapp.peerlink import (
    BATCH_BYTES,
    FRAME_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    Counters,
    Link,
    framed,
)

SECRET = "a secret of the tests, long enough"
WAIT_SECONDS = 20.0
QUEUE_BYTES = 4_000_000


class Owner:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.batches: list[list[bytes]] = []

    def proven(self, link: Link) -> None:
        self.told.append("proven")

    def heard(self, link: Link, messages: list[bytes]) -> None:
        self.batches.append(messages)

    def ended(self, link: Link) -> None:
        self.told.append(f"ended: {link.cause}")

    @property
    def messages(self) -> list[bytes]:
        return [message for batch in self.batches for message in batch]


async def until(true) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not true():
            await asyncio.sleep(0.005)


def made(name: str, *, dials: bool) -> tuple[Link, Owner]:
    owner = Owner()
    me = Instance(name=name, address="", epoch=1)
    handshake = Handshake(
        me, SECRET, dials=dials, admit=lambda hello: None, nonce=random.randbytes(32)
    )
    return Link(handshake, owner, Counters(), queue_bytes_max=QUEUE_BYTES), owner


@contextlib.asynccontextmanager
async def pair():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ann, of_ann = made("ann", dials=True)
    bob, of_bob = made("bob", dials=False)
    await loop.connect_accepted_socket(lambda: ann, ours)
    await loop.connect_accepted_socket(lambda: bob, theirs)
    async with asyncio.timeout(WAIT_SECONDS):
        await ann.settled
        await bob.settled
    try:
        yield ann, of_ann, bob, of_bob
    finally:
        ann.abort("the test is over")
        bob.abort("the test is over")
        async with asyncio.timeout(WAIT_SECONDS):
            await ann.closed
            await bob.closed


async def test_what_a_turn_sends_is_one_batch():
    async with pair() as (ann, of_ann, bob, of_bob):
        for number in range(100):
            assert ann.send(b"%d" % number)
        assert bob.send(b"back")
        await until(lambda: of_bob.batches and of_ann.batches)
        assert of_bob.batches == [[b"%d" % number for number in range(100)]]
        assert of_ann.messages == [b"back"]
        assert ann.queue_bytes() == 0


async def test_messages_of_all_sizes_arrive_whole_and_in_order():
    dice = random.Random(5)
    async with pair() as (ann, _of_ann, bob, of_bob):
        sizes = [0, 1, BATCH_BYTES, MESSAGE_BYTES_MAX, 0, *(dice.choices(range(9_000), k=300))]
        sent = [dice.randbytes(size) for size in sizes]
        assert all(ann.send(message) for message in sent)
        await until(lambda: len(of_bob.messages) == len(sent))
        assert of_bob.messages == sent
        assert max(sum(map(len, batch)) for batch in of_bob.batches[:-1]) <= MESSAGE_BYTES_MAX
        assert ann.queue_bytes() == 0
        assert len(bob._buffer) < FRAME_BYTES_MAX, "the buffer of a long frame is given back"


async def test_a_message_too_long_for_a_frame_is_refused():
    async with pair() as (ann, _of_ann, _bob, of_bob):
        assert not ann.send(b"x" * (MESSAGE_BYTES_MAX + 1))
        assert ann.send(b"next")
        await until(lambda: of_bob.messages)
        assert of_bob.messages == [b"next"]
        assert ann._counters.messages_dropped == 1


async def test_empty_messages_take_room_too():
    async with pair() as (ann, *_):
        sent = 0
        while ann.send(b""):
            sent += 1
        assert sent < QUEUE_BYTES / 32


async def test_a_peer_that_reads_again_gets_what_waited_in_order():
    async with pair() as (ann, _of_ann, bob, of_bob):
        bob._transport.pause_reading()
        sent = 0
        while ann.send(b"%06d" % sent + b"x" * 10_000):
            sent += 1
            await asyncio.sleep(0)
        assert ann.queue_bytes() <= QUEUE_BYTES
        assert not ann.send(b"x" * 20_000)
        bob._transport.resume_reading()
        await until(lambda: len(of_bob.messages) == sent)
        assert [int(message[:6]) for message in of_bob.messages] == list(range(sent))
        assert ann.send(b"x" * 20_000), "there is room again"


@pytest.mark.parametrize(
    "data, cause",
    [
        ((FRAME_BYTES_MAX + 1).to_bytes(4, "big"), "a frame that is too long"),
        (b"\xff" * 100, "a frame that is too long"),
        (framed(b"\xc1"), "a frame that is none"),
        (framed(b"\x91\x01"), "a frame that is none"),
        (framed(b"\x91\xa1a"), "a frame that is none"),
        (framed(b""), "a frame that is none"),
        (framed(b"\x90" + b"x"), "a frame that is none"),
    ],
)
async def test_a_broken_frame_ends_the_link(data, cause):
    async with pair() as (ann, _of_ann, bob, of_bob):
        ann._transport.write(data)
        await until(lambda: bob.gone)
        assert of_bob.told == ["proven", f"ended: {cause}"]
        assert of_bob.messages == []


async def test_heartbeats_go_out_where_nothing_else_does_and_silence_is_the_end():
    async with pair() as (ann, _of_ann, bob, of_bob):
        before = ann._counters.bytes_sent
        heard_at = bob.heard_at
        ann.beat(ann._sent_at + 0.5)
        assert ann._counters.bytes_sent == before
        await asyncio.sleep(0.01)
        ann.beat(ann._sent_at + 1.5)
        assert ann._counters.bytes_sent > before
        await until(lambda: bob.heard_at > heard_at)
        assert of_bob.batches == []
        bob.beat(bob.heard_at + 2.9)
        assert not bob.gone
        bob.beat(bob.heard_at + 3.1)
        assert of_bob.told == ["proven", "ended: silent"]


async def test_what_was_sent_before_the_close_arrives_and_nothing_after():
    async with pair() as (ann, of_ann, bob, of_bob):
        ann.send(b"last words")
        ann.close("closing")
        ann.close("again")
        await until(lambda: bob.gone)
        assert of_bob.messages == [b"last words"]
        assert of_ann.told == ["proven", "ended: closing"]
        assert of_bob.told == ["proven", "ended: closed by the peer"]
