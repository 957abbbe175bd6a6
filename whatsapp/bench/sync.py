"""`sync`: a device with many chats comes back; with nothing new, and with much."""

from __future__ import annotations

import time

from whatsapp.bench import frames
from whatsapp.bench.connecting import leave
from whatsapp.bench.figures import times
from whatsapp.bench.meter import Meter
from whatsapp.bench.peer import Peer, Sender
from whatsapp.bench.people import Person, chat_of
from whatsapp.bench.scene import Outcome, Scene

READERS = 3
COLD_MAX = 20
TEXT_BYTES = 1000


def run(scene: Scene) -> Outcome:
    """`chats` chats with `pending` messages each, read by a few users on new devices."""
    plan = scene.plan
    readers = scene.people.make(READERS)
    authors = scene.people.make(plan.chats)
    said = frames.text(plan.text_bytes or TEXT_BYTES)
    _write(scene, readers, authors, said)
    whole = plan.chats * plan.pending
    cold, cold_took = scene.meter(), []
    count = min(COLD_MAX, max(3, round(plan.seconds * 2)))
    peers = [_device(scene, readers[n % READERS], authors) for n in range(count)]
    cold = scene.meter()
    for done, peer in enumerate(peers):
        scene.tell("cold", done, count)
        cold_took.append(_synced(scene, peer, whole))
    cold.stop()
    warm, warm_took = _again(scene, peers)
    return Outcome(
        about=f"a device with {plan.chats} chats; cold: {plan.pending} messages pending in each",
        figures=[
            *times("nothing new, until synced", warm_took),
            *warm.cpu("sync, nothing new", len(warm_took)),
            *times("cold, until all is there", cold_took),
            *cold.cpu("cold sync", count),
            *cold.loads(),
        ],
        verdict=scene.verdict(),
        warnings=[],
        errors=scene.traffic.errors,
    )


def _write(scene: Scene, readers: list[Person], authors: list[Person], said: bytes) -> None:
    """Everything that will be pending."""
    pending = scene.plan.pending
    peers = [scene.peer(author) for author in authors]
    senders = [
        Sender(peer, scene.traffic, peer.line(chat_of(author, reader)), said)
        for peer, author in zip(peers, authors, strict=True)
        for reader in readers
    ]
    scene.connect(peers)
    for sender in senders:
        for _ in range(pending):
            sender.send(scene.driver.now)
        sender.peer.flush()
    scene.settle(lambda: scene.traffic.acknowledged == scene.traffic.sent)


def _device(scene: Scene, reader: Person, authors: list[Person]) -> Peer:
    peer = scene.peer(scene.people.login(reader.user))
    for author in authors:
        peer.line(chat_of(author, reader))
    return peer


def _synced(scene: Scene, peer: Peer, whole: int) -> float:
    """Connect, take all, and go; the seconds."""
    before = scene.traffic.delivered
    began = scene.driver.now = time.perf_counter()
    scene.connect([peer])
    scene.driver.run(30.0, done=lambda: scene.traffic.delivered - before >= whole)
    took = scene.driver.now - began
    leave(scene, [peer])
    return took


def _again(scene: Scene, peers: list[Peer]) -> tuple[Meter, list[float]]:
    meter, took = scene.meter(), []
    end = time.perf_counter() + scene.plan.seconds
    while time.perf_counter() < end:
        for peer in peers:
            took.append(_synced(scene, peer, 0))
            scene.tell("nothing new", len(took), len(took))
    return meter.stop(), took
