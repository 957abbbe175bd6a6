"""The seeded world with several instances over one store and one directory.

Each instance has its own loop and clock, devices come to any of them, operations go to any.
Links break, are slow or full; the directory lags and is away; instances die, or stand still
and go on. What holds of one instance must hold of all of them together, in the end. What an
instance does not know yet of another one's doings is no violation while it cannot know it:

- a message comes within seconds, also where two instances stay parted (`go_on_parted`);
- removals, logouts and blocks count at once where they were made, everywhere else once all was
  well for a moment (`heard`, `block_of`): each user says something to each other one then;
- that somebody stopped typing may be lost: its devices end it themselves (`still_types`);
- presence is right in the end, whatever was lost;
- a room is as the store has it where a member is connected (`follows`): nobody else sees it,
  and it is read anew when one comes;
- cursors lie between what is stored and what devices said: an instance may have told of one
  and died before it was written;
- an entry costs one hint to each instance, however many of its readers are there (`net.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tests.faults.checks import not_arrived
from tests.faults.clients import Device, Link, Wish
from tests.faults.core import Core
from tests.faults.detector import LAG_SECONDS_MAX, Detector, LateDirectory
from tests.faults.faulty import Calls
from tests.faults.loop import Loop
from tests.faults.many_actions import ACTIONS_OF_MANY
from tests.faults.net import Ends, Net, Up, Way
from tests.faults.world import FEATURES, World
from tests.support.clocks import ManualClock
from whatsapp.interfaces import Instance
from whatsapp.model import direct_chat
from whatsapp.presence import TYPING_SECONDS
from whatsapp.room import Room
from whatsapp.session import State

FEATURES_OF_MANY = (
    "links",
    "full",
    "parts",
    "lag",
    "detector",
    "pauses",
    "deaths",
    "skew",
    "apart",
)
# Without these, no hint is lost.
LOSSY = {"links", "full", "parts", "detector", "pauses", "deaths"}
CALM_SECONDS = 6.0
# Of half a second: for instances to know of each other, and for the look of one that is deaf.
PARTED_ROUNDS = 16


class SkewedClock(ManualClock):
    """A clock that runs as another one does, and shows another time."""

    def __init__(self, clock: ManualClock, ahead_seconds: float) -> None:
        self._clock = clock
        self._ahead = ahead_seconds

    @property
    def seconds(self) -> float:  # type: ignore[override]
        return self._clock.seconds + self._ahead


class Many(World):
    """See the head of this file."""

    def __init__(
        self,
        seed: int,
        *,
        instances: int = 3,
        features: frozenset[str] | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.wanted = [chr(ord("a") + number) for number in range(instances)]
        self.running: dict[str, Core] = {}
        self.directories: dict[str, LateDirectory] = {}
        self.epochs = dict.fromkeys(self.wanted, 0)
        self.calm = False
        self.swarms = features is None
        super().__init__(seed, features=features, trace=trace)
        self.replay = f" --instances {instances}"

    # --- building -----------------------------------------------------------------------

    def _core(self) -> Core:
        """All instances; the first one's core."""
        chance = self.chance
        if self.swarms:
            self.features |= {name for name in FEATURES_OF_MANY if chance.random() < 0.5}
        more: list[tuple[int, Any]] = [
            (w, act) for w, feature, act in ACTIONS_OF_MANY if not feature or self.on(feature)
        ]
        self.actions += more
        self.weights = [weight for weight, _ in self.actions]
        self.net = Net(chance, self.trace, self.fail)
        self.detector = Detector(self.clock)
        self.speed = chance.choice((0.2, 0.5, 0.9))
        for name in self.wanted:
            self.start(name)
        self.join_up()
        return self.running[self.wanted[0]]

    def start(self, name: str) -> None:
        self.epochs[name] += 1
        self.detector.expired(name)  # who comes back waits for that
        instance = Instance(name=name, address=f"{name}:1", epoch=self.epochs[name])
        ahead = self.draw() if self.on("skew") else 0.0
        loop = Loop()
        calls = Calls(self.weather, loop, partial(self._committed, name), self.trace)
        lag = self.draw() * LAG_SECONDS_MAX if self.on("lag") else 0.0
        directory = LateDirectory(self.detector, instance, calls, lag)
        ends = Ends(self.net, instance, round(ahead * 1000))
        core = Core(
            self.data,
            loop,
            calls,
            SkewedClock(self.clock, ahead),
            self.settings,
            random_bytes=self.chance.randbytes,
            new_code=self._new_code,
            instance=instance,
            directory=directory,
            links=ends,
        )
        self.running[name] = core
        self.directories[name] = directory
        self.net.enter(ends)

    def join_up(self) -> None:
        """As after some time: all know of each other and are linked."""
        for _ in range(3):
            for core in self.awake:
                core.tick()
            for directory in self.directories.values():
                directory.beat(agrees=True)
            self.net.dial((), 1.0)
            self.hear_all()
            self.clock.pass_seconds(LAG_SECONDS_MAX)

    def _committed(self, name: str, drafts: Any, outcomes: Any) -> None:
        self.committing = self.running.get(name)
        self.truth.committed(drafts, outcomes)

    # --- who runs -----------------------------------------------------------------------

    @property
    def many(self) -> bool:
        return True

    @property
    def cores(self) -> Sequence[Core]:
        return tuple(self.running.values())

    @property
    def awake(self) -> Sequence[Core]:
        return tuple(core for core in self.running.values() if not core.asleep)

    @property
    def asleep(self) -> set[str]:
        return {name for name, core in self.running.items() if core.asleep}

    def turn(self) -> None:
        """What is done next is done at one of them."""
        self.core = self.chance.choice(self.awake)

    # --- running ------------------------------------------------------------------------

    def step(self) -> None:
        self.turn()
        super().step()
        for core in self.awake:
            if self.draw() < 0.6:
                core.tick()
        for name, directory in self.directories.items():
            if not self.running[name].asleep:
                directory.beat(agrees=self.draw() < 0.3)
        self.net.dial(self.asleep, 0.4)
        for way in self.net.waiting(self.asleep):
            while self.net.pipes.get(way) and self.draw() < self.speed:
                self.hear(way)
        self.come_to_rest()

    def hear(self, way: Way) -> None:
        sender, name = way
        core = self.running[name]
        assert core.cluster is not None
        what = self.net.next(way)
        if isinstance(what, bytes):
            self.trace("  %s hears %s: %s", name, sender, what)
            core.cluster.heard(sender, [what])
        elif isinstance(what, Up):
            self.trace("  %s is linked with %s", name, sender)
            core.cluster.linked(sender)
        else:
            self.trace("  %s has lost %s", name, sender)
            core.cluster.lost(sender)
        core.loop.run()

    def hear_all(self) -> None:
        self.come_to_rest()
        while ways := self.net.waiting(self.asleep):
            self.hear(self.chance.choice(ways))
            self.come_to_rest()

    def connect(self, device: Device) -> Link:
        self.turn()
        return super().connect(device)

    # --- the end ------------------------------------------------------------------------

    def settle(self) -> None:
        for name in self.wanted:
            if name not in self.running:
                self.start(name)
        for name in sorted(self.asleep):
            self.wake(name)
        self.weather.heal()
        for directory in self.directories.values():
            directory.away = False
        self.net.full.clear()
        if self.net.parted:
            self.go_on_parted()
        self.net.parted.clear()
        for user in self.data.accounts:
            if self.on("apart") and self.draw() < 0.2:
                self.go_away(user)
        for link in self.links:
            if link.session.state is State.OPENING and link.device.link is not link:
                link.drop()  # who says no hello is closed in time
        self.healed_at = self.clock.seconds
        super().settle()
        self.calm = True
        self.healed_at = self.clock.seconds
        self.say_again()
        super().settle()

    def go_on_parted(self) -> None:
        """Also where two instances never hear each other, all that is written comes soon."""
        for device in self.devices:
            device.eager = True
        heads = {chat: len(log.entries) for chat, log in self.truth.logs.items()}
        # Where a device takes only a few at a time, each takes a round.
        slow = bool({"window", "outbox"} & self.features)
        for _ in range(PARTED_ROUNDS + slow * sum(heads.values())):
            self.step_number += 1
            self._settle_some()
        for device in self.devices:
            for chat, head in heads.items():
                reads = device.acks and self.truth.active(chat, device.user)
                missing = reads and device.link and not_arrived(self, device.link, chat, head)
                if missing:
                    self.fail(f"{device}, where instances are parted: {missing}")

    def go_away(self, user: str) -> None:
        """This user is on no device at the end."""
        for device in self.devices:
            if device.user == user:
                device.absent = True
                for link in self.links:
                    if link.device is device:
                        link.drop()

    def say_again(self) -> None:
        """One message from each user to each other one: blocks count everywhere now."""
        self.step_number += 1
        for device in self.devices:
            if device.absent or device.link is None or device.name[-1] not in "0+":
                continue
            for other in self.data.accounts:
                chat = direct_chat(device.user, other)
                wish = Wish(
                    chat=chat, id=self.new_id(), text="now", reply_to=0, step=self.step_number
                )
                device.outbox[chat, wish.id] = wish
                self.said(device.user, wish)
                device.link.send(wish)

    def all_goes_on(self) -> None:
        for core in self.awake:
            self.store_answers(core.loop, 1.0)
            core.tick()
        for directory in self.directories.values():
            directory.beat(agrees=self.draw() < 0.5)
        self.net.dial((), 0.5)
        self.hear_all()
        self.turn()

    def under_way(self) -> str:
        if self.clock.seconds - self.healed_at < CALM_SECONDS:
            return "second looks are due"
        for core in self.cores:
            assert core.cluster is not None
            looks, post = core.cluster._looks, core.cluster._post
            if looks._later or looks._sessions or looks._chats or looks._all_at:
                return "looks are due"
            if post._held or post._missed or core.cluster._arrived:
                return "hints are due"
        if not all(directory.settled for directory in self.directories.values()):
            return "the directory is behind"
        sessions = sum(core.hub.count for core in self.cores)
        if sessions != sum(not device.absent for device in self.devices):
            return f"{sessions} sessions of {len(self.devices)} devices"
        return ""

    # --- what happens to instances --------------------------------------------------------

    def crash(self) -> None:
        """One of them dies; it comes back in its time."""
        core = self.core
        name = core.instance.name
        self.trace(" %s dies", name)
        core.loop.kill()
        for link in [link for link in self.links if link.core is core]:
            link.drop()
        self.links = [link for link in self.links if link.open]
        for pair in [pair for pair, at in self.blocking.items() if at is core]:
            del self.blocking[pair]
        del self.running[name]
        del self.directories[name], self.detector.directories[name]
        self.net.leave(name)
        for device in self.devices:
            if self.ended.get(device.name) is core:
                self.log_in_anew(device)
        if not self.awake:
            self.start(name)
        self.turn()

    def pause(self, name: str) -> None:
        """It stands still: SIGSTOP, or a loop that is blocked. Links do not survive it."""
        self.running[name].asleep = True
        self.trace(" %s stands still", name)
        for other in sorted(self.running):
            self.net.cut(name, other)

    def wake(self, name: str) -> None:
        """It goes on, and believes what it believed."""
        self.trace(" %s goes on", name)
        self.running[name].asleep = False
        if self.draw() < 0.7:
            self.directories[name].forget_session()

    def part_with(self, link: Link, *, logged_out: bool) -> None:
        """The server must close it by itself where it is another one."""
        if not logged_out or self.draw() < 0.3:
            link.drop()
        else:
            link.ghost = True
            if link.device.link is link:
                link.device.link = None

    # --- who must know what ---------------------------------------------------------------

    def heard(self, told: Core, core: Core) -> bool:
        return told is core or self.calm

    def block_of(self, one: str, other: str, core: Core | None) -> tuple[bool | None, int]:
        """Another instance hears of a block a moment later, or when it looks again."""
        at = self.blocked_at.get((one, other))
        if self.calm or at is None or at is core:
            return super().block_of(one, other, core)
        return None, 0

    def still_types(self, since: float) -> bool:
        """That somebody stopped may be lost on its way: then devices end it by themselves."""
        return not LOSSY & self.features or self.clock.seconds - since < TYPING_SECONDS

    def follows(self, core: Core, room: Room) -> bool:
        """Nobody is told of a chat where no member is connected: it is read anew when one comes.

        Nor where one is that was removed: what it may do there, the store decides.
        """
        members = (user for user in room.members if self.truth.active(room.chat, user))
        return not room.stale and any(map(core.hub.online, members))


assert not set(FEATURES) & set(FEATURES_OF_MANY)
