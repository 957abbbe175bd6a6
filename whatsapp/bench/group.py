"""`group`: one room of people who are all online, and one or a few who write."""

from __future__ import annotations

from whatsapp.bench import frames
from whatsapp.bench.direct import TEXT_BYTES
from whatsapp.bench.figures import Figure
from whatsapp.bench.peer import Sender
from whatsapp.bench.scene import Outcome, Scene, all_arrived


def run(scene: Scene) -> Outcome:
    """CPU per delivery in a closed loop, or at a rate."""
    plan = scene.plan
    people = scene.people.make(plan.members)
    chat = scene.people.group(people[0], people[1:])
    peers = [scene.peer(person) for person in people]
    lines = [peer.line(chat) for peer in peers]
    said = frames.text(plan.text_bytes or TEXT_BYTES)
    count = min(plan.senders, plan.members)
    pairs = list(zip(peers, lines, strict=True))[:count]
    senders = [Sender(peer, scene.traffic, line, said) for peer, line in pairs]
    scene.connect(peers)
    if plan.rate:
        meter = scene.open_loop(senders, plan.seconds, plan.rate)
    else:
        meter = scene.closed_loop(senders, plan.seconds)
    scene.settle(all_arrived(scene, [], plan.members - 1))
    return Outcome(
        about=f"a room of {plan.members} online, {count} writing, {len(said):,}-byte texts",
        figures=[
            Figure(name="deliveries", value=meter.delivered / meter.seconds, unit="/s"),
            *meter.cpu("delivery", meter.delivered),
            Figure(name="messages", value=meter.acknowledged / meter.seconds, unit="/s"),
            *meter.latencies(),
            *meter.loads(),
        ],
        verdict=scene.verdict(),
        warnings=meter.warnings(),
        errors=scene.traffic.errors,
    )
