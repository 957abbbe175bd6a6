"""`mixed`: everything at once, in the proportions of the planning size.

Of 69,000 messages a second at the peak come 31,000 logins a second. Of the messages four in
ten go to a group, here of ten. Half of them are announced by `typing`; every device watches
ten others' presence, and says `read` for what it gets.
"""

from __future__ import annotations

import random
from itertools import islice

from whatsapp.bench import frames
from whatsapp.bench.direct import TEXT_BYTES
from whatsapp.bench.figures import Figure
from whatsapp.bench.meter import Meter
from whatsapp.bench.peer import Peer, Sender
from whatsapp.bench.people import chat_of
from whatsapp.bench.scene import SETTLE_SECONDS, WARM_UP_SECONDS, Outcome, Scene

CONNECTIONS = 500
GROUP = 10
WATCHED = 10
GROUP_SHARE = 0.4
TYPING_SHARE = 0.5
RECONNECTS_PER_MESSAGE = 31 / 69
SEED = 11
# Closed loop: so many messages are under way, and so many devices on their way back.
UNDER_WAY = 64
COMING_BACK = 64


class Device:
    """One peer, and where it writes."""

    def __init__(self, peer: Peer, direct: Sender, group: Sender, watch: bytes) -> None:
        self.peer = peer
        self.direct = direct
        self.group = group
        self.watch = watch
        self.away = False
        peer.on_synced = self._back

    @property
    def quiet(self) -> bool:
        """Nothing of its own is without an answer."""
        return all(s.answered == len(s.began) for s in (self.direct, self.group))

    def _back(self) -> None:
        self.away = False
        self.peer.out.append(self.watch)


class Crowd:
    """What they do, drawn from a seed; called by the driver as its arrivals."""

    def __init__(self, scene: Scene, devices: list[Device]) -> None:
        self._scene = scene
        self._devices = devices
        self._chance = random.Random(SEED)  # noqa: S311 — the same every time
        self._back = 0.0
        self._began = scene.driver.now
        self._count = 0
        self.active = True
        self.reconnects = 0
        for device in devices:
            device.peer.on_closed = device.peer.open

    @property
    def away(self) -> int:
        return sum(device.away for device in self._devices)

    def act(self, now: float) -> float:
        """Do what is due; seconds until something is, unless an answer comes before."""
        if not self.active:
            return 1.0
        traffic, rate = self._scene.traffic, self._scene.plan.rate
        while self._due(now) if rate else traffic.sent - traffic.acknowledged < UNDER_WAY:
            device = self._chance.choice(self._devices)
            if device.away:
                continue
            self._say(device, now)
            self._back += RECONNECTS_PER_MESSAGE
            if self._back >= 1 and self.away < COMING_BACK:
                self._leave()
        return max(0.0, self._began + self._count / rate - now) if rate else 1.0

    def _due(self, now: float) -> bool:
        return self._began + self._count / self._scene.plan.rate <= now

    def _say(self, device: Device, now: float) -> None:
        self._count += 1
        sender = device.group if self._chance.random() < GROUP_SHARE else device.direct
        if self._chance.random() < TYPING_SHARE:
            head = f'{{"type":"typing","chat":"{sender.line.chat}","on":'.encode()
            device.peer.out += [frames.frame(head + b"true}"), frames.frame(head + b"false}")]
        sender.send(now)
        device.peer.flush()

    def _leave(self) -> None:
        """Somebody loses the connection, and comes back."""
        device = self._chance.choice(self._devices)
        if device.away or not device.quiet:
            return
        self._back -= 1
        device.away = True
        self.reconnects += 1
        device.peer.leave()


def run(scene: Scene) -> Outcome:
    """A closed loop, or `rate` messages a second."""
    plan = scene.plan
    devices = _devices(scene, plan.count(CONNECTIONS) // GROUP * GROUP)
    crowd = Crowd(scene, devices)
    scene.driver.run(WARM_UP_SECONDS, arrivals=crowd.act)
    meter, before = scene.meter(), crowd.reconnects
    scene.tell("measuring", 0, 1)
    scene.driver.run(plan.seconds, arrivals=crowd.act)
    meter.stop()
    reconnects = crowd.reconnects - before
    crowd.active = False
    traffic = scene.traffic
    scene.driver.run(
        SETTLE_SECONDS, done=lambda: not crowd.away and traffic.sent == traffic.acknowledged
    )
    # Receivers that were away for a moment get theirs by a catch-up.
    scene.driver.run(1.0)
    return Outcome(
        about=f"{len(devices)} devices; {GROUP_SHARE:.0%} to groups of {GROUP}; typing, presence,"
        f" read receipts; {RECONNECTS_PER_MESSAGE:.0%} as many reconnects as messages",
        figures=_figures(meter, reconnects),
        verdict=scene.verdict(),
        warnings=meter.warnings(),
        errors=traffic.errors,
    )


def _figures(meter: Meter, reconnects: int) -> list[Figure]:
    return [
        Figure(name="messages", value=meter.acknowledged / meter.seconds, unit="/s"),
        Figure(name="deliveries", value=meter.delivered / meter.seconds, unit="/s"),
        Figure(name="reconnects", value=reconnects / meter.seconds, unit="/s"),
        *meter.cpu("message, all included", meter.acknowledged),
        *meter.latencies(),
        *meter.loads(),
    ]


def _devices(scene: Scene, count: int) -> list[Device]:
    people = scene.people.make(count)
    said = frames.text(scene.plan.text_bytes or TEXT_BYTES)
    peers = [scene.peer(person) for person in people]
    devices: list[Device] = []
    for start in range(0, count, GROUP):
        room = people[start : start + GROUP]
        chat = scene.people.group(room[0], room[1:])
        for index, peer in islice(enumerate(peers), start, start + GROUP):
            direct = peer.line(chat_of(people[index], people[index ^ 1]), reading=True)
            group = peer.line(chat, reading=True)
            # The next group's: strangers' presence costs what friends' does.
            watched = [people[(start + GROUP + n) % count].user for n in range(WATCHED)]
            names = ",".join(f'"{user}"' for user in watched)
            devices.append(
                Device(
                    peer,
                    Sender(peer, scene.traffic, direct, said),
                    Sender(peer, scene.traffic, group, said),
                    frames.frame(f'{{"type":"watch","users":[{names}]}}'.encode()),
                )
            )
    scene.connect(peers)
    for device in devices:
        # A chat is there once it has a message; who types before that is told so.
        device.direct.send(scene.driver.now)
        device.peer.flush()
    scene.settle(lambda: scene.traffic.acknowledged == count)
    return devices
