"""`connect`: devices with a token that come back, a few at a time and all at once."""

from __future__ import annotations

import time

from whatsapp.bench import frames
from whatsapp.bench.figures import Figure, times
from whatsapp.bench.peer import Peer
from whatsapp.bench.process import need_files
from whatsapp.bench.scene import Outcome, Scene, pair_up

CONNECTIONS = 1000
AT_ONCE = 20
LEAVE_SECONDS = 30.0
SPARE_FILES = 200


def run(scene: Scene) -> Outcome:
    """CPU per reconnect (handshake, hello, synced, close); then everybody at the same moment."""
    plan = scene.plan
    need_files(plan.count(CONNECTIONS) + SPARE_FILES)
    # Each device has one chat with one message, and nothing pending.
    senders = pair_up(scene, plan.count(CONNECTIONS), frames.text(100))
    for sender in senders[::2]:
        sender.send(scene.driver.now)
        sender.peer.flush()
    scene.settle(lambda: scene.traffic.delivered == len(senders) // 2)
    peers = scene.peers
    leave(scene, peers)
    meter, took = scene.meter(), []
    end = time.perf_counter() + plan.seconds
    count = 0
    while time.perf_counter() < end:
        scene.tell(
            "measuring", round(plan.seconds - (end - time.perf_counter())), round(plan.seconds)
        )
        some = [peers[(count + n) % len(peers)] for n in range(10 * AT_ONCE)][: len(peers)]
        scene.connect(some, at_once=AT_ONCE)
        took += [peer.synced_at - peer.began_at for peer in some]
        leave(scene, some)
        count += len(some)
    meter.stop()
    storm = scene.meter()
    scene.tell("storm", 0, 1)
    began = time.perf_counter()
    scene.connect(peers, at_once=len(peers))
    storm.stop()
    in_storm = [peer.synced_at - began for peer in peers]
    return Outcome(
        about=f"{len(peers):,} devices with nothing pending, {AT_ONCE} at a time, then all at once",
        figures=[
            Figure(name="reconnects", value=count / meter.seconds, unit="/s"),
            *meter.cpu("reconnect", count),
            *times("until synced", took),
            *meter.loads(),
            Figure(name="storm: until all are synced", value=max(in_storm), unit="s"),
            Figure(name="storm: reconnects", value=len(peers) / storm.seconds, unit="/s"),
        ],
        verdict=scene.verdict(),
        warnings=meter.warnings(),
        errors=scene.traffic.errors,
    )


def leave(scene: Scene, peers: list[Peer]) -> None:
    """Close these connections in good order."""
    for peer in peers:
        peer.leave()
    scene.driver.run(LEAVE_SECONDS, done=lambda: all(peer.ended for peer in peers))
