"""A seeded world: users and their devices on the real core, over stores that fail.

Everything comes from one seed: who does what, which calls are late or fail, in which order
they end. Each seed switches a random part of the features and faults on ("swarm"), since
what is always on hides what only happens without it. A violation is a bug: in the core, or
in the checker. `python -m tests.faults.fuzz --seed N --trace` shows what happened.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from backends.memory import _Data
from tests.faults import checks
from tests.faults.actions import ACTIONS
from tests.faults.clients import Device, Link, Wish
from tests.faults.core import Core, Settings, log_in, register
from tests.faults.faulty import Calls, NthCall, Weather
from tests.faults.loop import Loop
from tests.faults.truth import Log, Truth
from tests.support.clocks import ManualClock
from whatsapp import config
from whatsapp.errors import Answer
from whatsapp.model import Draft, Entry, is_group
from whatsapp.room import Room
from whatsapp.wire import Receipt, Sent

USERS = ("ann", "bob", "cid", "dan")
FEATURES = (
    *("delay", "fail_before", "fail_after", "crash", "drop", "lazy", "cursors", "rewind"),
    *("groups", "roles", "announce", "invites", "blocks", "privacy", "reuse", "repeat", "post"),
    *("typing", "watch", "window", "outbox", "mute", "devices", "busy", "batch", "rooms", "rates"),
    *("look", "beyond", "replies", "log_out"),
)
STEPS_MIN, STEPS_MAX = 30, 80
ROUNDS_MAX = 400


class Violation(AssertionError):
    """What must never happen."""


class World:
    """See the head of this file."""

    def __init__(
        self,
        seed: int,
        *,
        features: frozenset[str] | None = None,
        weather: NthCall | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.seed = seed
        self.replay = ""
        self._trace = trace
        self.chance = chance = random.Random(seed)
        self.draw = chance.random
        if features is None:
            features = frozenset(name for name in FEATURES if chance.random() < 0.5)
        self.features = features
        self.clock = ManualClock()
        self.step_number = 0
        self.violations: list[str] = []
        self.data = _Data()
        self.truth = Truth(self.fail)
        self.truth.committed_hooks.append(self._on_commit)
        self.settings = self._settings()
        self.weather: Weather | NthCall = weather or self._weather()
        self._codes = 0
        self._ids = 0
        self.links: list[Link] = []
        self.gone: dict[tuple[str, str], Core] = {}
        self.blocks: dict[tuple[str, str], tuple[bool | None, int]] = {}
        self.ended: dict[str, Core] = {}
        self.blocking: dict[tuple[str, str], Core] = {}
        self.blocked_at: dict[tuple[str, str], Core] = {}
        self.committing: Core | None = None
        self.said_at: dict[tuple[str, str, str], int] = {}
        self.changed_at: dict[str, int] = {}
        self.answered: dict[tuple[str, str, str], Sent] = {}
        self.fresh_answers: set[tuple[str, str, str]] = set()
        self.wishes: list[tuple[str, Wish]] = []
        self.ack_max: dict[tuple[str, str], int] = {}
        self.read_max: dict[tuple[str, str], int] = {}
        self.codes: list[str] = []
        self.actions = [
            (weight, act) for weight, feature, act in ACTIONS if not feature or feature in features
        ]
        self.weights = [weight for weight, _ in self.actions]
        for user in USERS:
            register(self.data, user)
        self.devices = list(self._devices())
        self.core = self._core()

    def on(self, feature: str) -> bool:
        return feature in self.features

    # --- building -----------------------------------------------------------------------

    def _settings(self) -> Settings:
        draw, chance = self.draw, self.chance
        rates = config.Rates(lookups_per_minute=1e6, lookups_per_day=1_000_000)
        if self.on("rates"):
            rates = config.Rates(
                sends_per_second=2.0, sends_burst=3, lookups_per_minute=1e6, lookups_per_day=10**6
            )
        return Settings(
            window=chance.choice((1, 2, 3, 5)) if self.on("window") else 512,
            outbox_bytes_max=chance.choice((150, 400, 1500)) if self.on("outbox") else 1_000_000,
            batch_max=chance.choice((1, 2, 3)) if self.on("batch") else 500,
            drafts_max=chance.choice((1, 2, 4)) if self.on("busy") else 20_000,
            rooms_max=1 if self.on("rooms") else 50_000,
            members_max=3 if draw() < 0.2 else 1024,
            rates=rates,
        )

    def _weather(self) -> Weather:
        pick = self.chance.choice
        return Weather(
            self.chance,
            delay=pick((0.2, 0.5, 0.9)) if self.on("delay") else 0.0,
            before=pick((0.03, 0.15)) if self.on("fail_before") else 0.0,
            after=pick((0.03, 0.15)) if self.on("fail_after") else 0.0,
        )

    def _devices(self) -> Iterator[Device]:
        for user in USERS:
            for number in range(self.chance.randint(1, 3) if self.on("devices") else 1):
                keeps = self.on("cursors") and self.draw() < 0.5
                device = Device(self, user, f"{user}-{number}", keeps_cursors=keeps)
                log_in(self.data, user, device.name, device.token, self.clock.now_ms())
                device.acks = not (self.on("mute") and self.draw() < 0.25)
                yield device

    @property
    def cores(self) -> Sequence[Core]:
        """All that run."""
        return (self.core,)

    @property
    def many(self) -> bool:
        """Are there several instances?"""
        return False

    def follows(self, core: Core, room: Room) -> bool:
        """Must this room be as the store has it?"""
        return True

    def under_way(self) -> str:
        """What else has not come to its end."""
        return ""

    def still_types(self, since: float) -> bool:
        """Is somebody who began then, and has stopped, still shown, though nobody said so?"""
        return True

    @property
    def awake(self) -> Sequence[Core]:
        """Those that do something."""
        return (self.core,)

    def _core(self) -> Core:
        loop = Loop()
        return Core(
            self.data,
            loop,
            Calls(self.weather, loop, self.truth.committed, self.trace),
            self.clock,
            self.settings,
            random_bytes=self.chance.randbytes,
            new_code=self._new_code,
        )

    def _new_code(self) -> str:
        self._codes += 1
        return f"event-{self._codes:05}"

    def new_id(self) -> str:
        self._ids += 1
        return f"message-{self._ids:05}"

    # --- running ------------------------------------------------------------------------

    def run(self) -> None:
        """All of one seed; `Violation` at the first thing that is wrong."""
        with quiet_log(self.fail):
            try:
                self._run()
            finally:
                self.end()

    def end(self) -> None:
        for core in self.cores:
            core.loop.kill()

    def _run(self) -> None:
        for device in self.devices:
            if self.draw() < 0.7:
                self.connect(device)
        for _ in range(self.chance.randint(STEPS_MIN, STEPS_MAX)):
            self.step()
        self.settle()

    def step(self) -> None:
        self.step_number += 1
        chance, draw = self.chance, self.draw
        [(_, act)] = chance.choices(self.actions, self.weights)
        self.trace("step %d %s", self.step_number, act.__name__)
        act(self)
        for link in self.links:
            if draw() < 0.8:
                link.pump()
        for core in self.awake:
            self.store_answers(core.loop, 0.6)
        self.clock.pass_seconds(draw() * 0.3)
        self.come_to_rest()

    def store_answers(self, loop: Loop, share: float) -> None:
        """Calls under way end, in any order."""
        stalled = loop.stalled
        while stalled and (share == 1.0 or self.draw() < share):
            self.trace(" go on: %s", loop.resume(self.chance.randrange(len(stalled))))
            loop.run()

    def come_to_rest(self) -> None:
        """The loop runs until all waits for the outside; then nothing may be wrong."""
        for core in self.awake:
            core.loop.run()
            if core.loop.failed:
                self.fail(f"a task failed: {core.loop.failed[0]!r}")
        self.links = [link for link in self.links if link.open]
        checks.at_rest(self)
        if self.violations:
            raise Violation(
                f"{self.violations[0]}\n  features: {' '.join(sorted(self.features))}\n"
                f"  replay: python -m tests.faults.fuzz --seed {self.seed}{self.replay} --trace"
            )

    def settle(self) -> None:
        """Everything is well again: then all must arrive, and all that is kept must agree."""
        self.trace("heal")
        self.weather.heal()
        for device in self.devices:
            device.eager = True
        for _ in range(ROUNDS_MAX):
            self.step_number += 1
            self._settle_some()
            if not checks.still_missing(self):
                break
        else:
            self.fail(f"does not come to an end: {checks.still_missing(self)}")
            self.come_to_rest()
        checks.at_the_end(self)
        self.come_to_rest()

    def _settle_some(self) -> None:
        for device in self.devices:
            link = device.link
            if device.absent:
                continue
            if link is None or not link.open:
                link = self.connect(device)
            link.lazy = False
            link.read_all()
            if link.welcomed:
                link.resend()
                self.ack_all(link)
            link.pump()
        self.all_goes_on()
        self.clock.pass_seconds(0.5)
        self.come_to_rest()

    def ack_all(self, link: Link) -> None:
        if not link.device.acks:
            return
        for chat, seqs in list(link.unacked.items()):
            if seqs and self.truth.active(chat, link.user):
                link.ack(chat, link.position[chat], read=False)

    def all_goes_on(self) -> None:
        self.store_answers(self.core.loop, 1.0)
        self.core.tick()

    def connect(self, device: Device) -> Link:
        link = device.connect()
        for chat, seq in (link.cursors or {}).items():
            self.acked(device.user, chat, seq, read=False)
        link.lazy = not device.eager
        self.links.append(link)
        return link

    def call(
        self, what: str, work: Coroutine[Any, Any, Any], done: Callable[[Any], None] | None = None
    ) -> None:
        """An operation of REST. `done` has its result, or the error."""

        def ended(result: Any, error: BaseException | None) -> None:
            self.trace(" %s: %s", what, result if error is None else repr(error))
            if error is not None and not isinstance(error, Answer):
                self.fail(f"{what} raised {error!r}")
            if done is not None:
                done(result if error is None else error)

        self.trace(" call %s", what)
        self.core.loop.start(work, ended)

    def crash(self) -> None:
        """kill -9, and a new start over the same data."""
        self.core.loop.kill()
        for link in self.links:
            link.drop()
        self.links.clear()
        self.blocking.clear()
        for device in self.devices:
            if device.name in self.ended:
                self.log_in_anew(device)
        self.core = self._core()

    def part_with(self, link: Link, *, logged_out: bool) -> None:
        """Its device was logged out, or may have been."""
        link.drop()

    def log_in_anew(self, device: Device) -> None:
        """For the server it is another device now, which has nothing yet."""
        device.name += "+"
        log_in(self.data, device.user, device.name, device.token, self.clock.now_ms())

    # --- what is noted, and what must hold ------------------------------------------------

    def fail(self, what: str) -> None:
        self.violations.append(what)
        self.trace("VIOLATION %s", what)

    def trace(self, what: str, *values: Any) -> None:
        if self._trace is not None:
            self._trace(what % values if values else what)

    def acked(self, user: str, chat: str, seq: int, *, read: bool) -> None:
        key = (chat, user)
        self.ack_max[key] = max(self.ack_max.get(key, 0), seq)
        if read:
            self.read_max[key] = max(self.read_max.get(key, 0), seq)

    def said(self, user: str, wish: Wish) -> None:
        self.said_at.setdefault((wish.chat, user, wish.id), self.step_number)
        self.wishes.append((user, wish))

    def heard(self, told: Core, core: Core) -> bool:
        """Must `core` know by now what was done at `told`?"""
        return True

    def block_of(self, one: str, other: str, core: Core | None) -> tuple[bool | None, int]:
        """Does `one` block `other`, as `core` knows? Since which step? None: unsure."""
        return self.blocks.get((one, other), (False, -1))

    def surely_blocks(self, one: str, other: str, chat: str, core: Core) -> bool:
        """Has one of the two blocked the other before this step, for certain?"""
        return not is_group(chat) and any(
            on is True and since < self.step_number
            for on, since in (
                self.block_of(one, other, core),
                self.block_of(other, one, core),
            )
        )

    def _on_commit(self, draft: Draft, entry: Entry, log: Log) -> None:
        self.trace("   commit %s %s", entry, "hidden" if entry.hidden else "")
        if draft.change is not None:
            self.changed_at[draft.chat] = self.step_number
            for user, _ in draft.change.joins:
                self.gone.pop((draft.chat, user), None)
        checks.hidden_as_it_must_be(self, entry)

    def check_stored(self, user: str, frame: Any, message_id: str) -> Entry | None:
        """What an answer says is stored: it must be, as it says."""
        chat, seq = frame.chat, frame.seq
        log = self.truth.logs.get(chat)
        if log is None or not 0 < seq <= len(log.entries):
            self.fail(f"{user} was told {frame}, which is not stored")
            return None
        entry: Entry = log.entries[seq - 1]
        if (entry.sender, entry.id, entry.time_ms) != (user, message_id, frame.time):
            self.fail(f"{user} was told {frame}, but there is {entry}")
            return None
        key = (chat, user, message_id)
        if not frame.dup:
            if key in self.fresh_answers:
                self.fail(f"{frame} is told as new twice")
            self.fresh_answers.add(key)
        return entry

    def check_refused(self, user: str, wish: Wish, code: str) -> None:
        """A refusal must have its reason."""
        log = self.truth.logs.get(wish.chat)
        entry = log.by_id.get((user, wish.id)) if log else None
        if code in {"unavailable", "busy"} or (code == "rate_limited" and self.on("rates")):
            return
        if code == "bad_request" and wish.reply_to:
            return  # what it replies to came in between this and a repeat that was stored
        if code == "id_reused":
            if entry is None or wish.is_in(entry):
                self.fail(f"{wish} refused as reused; there is {entry}")
        elif entry is not None and wish.is_in(entry):
            self.fail(f"{wish} is stored, but {code}")
        elif code in {"not_member", "not_found", "forbidden"} and is_group(wish.chat):
            if checks.may_send(self, user, wish):
                self.fail(f"{user} may send {wish}, but {code}")
        else:
            self.fail(f"{user} sent {wish}: {code}")

    def check_receipt(self, link: Link, frame: Receipt) -> None:
        checks.receipt(self, link, frame)

    def closed(self, link: Link, code: int) -> None:
        # The later hello wins, also that of a connection which was opened earlier.
        replaced = code == 4009 and link.device.connects > 1
        slow = code == 4008 and (self.on("lazy") or self.on("outbox"))
        ended = code in {4001, 4010} and link.name in self.ended
        if not (replaced or slow or ended or code == 1001):
            self.fail(f"{link.device} was closed with {code}")


class _ToFail(logging.Handler):
    def __init__(self, fail: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._fail = fail

    def emit(self, record: logging.LogRecord) -> None:
        told = f"{record.getMessage()} {record.exc_info[1]!r}" if record.exc_info else ""
        self._fail(f"logged as an error: {told or record.getMessage()}")


def first_found(run: Callable[[int], None], seeds: int) -> str:
    """What the first of these seeds finds whose run finds something, and which it is; or ""."""
    for seed in range(1, seeds + 1):
        try:
            run(seed)
        except Violation as violation:
            first = str(violation).partition("\n")[0]
            assert "logged as an error" not in first, "it fails by itself, nobody found it"
            return f"seed {seed}: {first}"
    return ""


@contextmanager
def quiet_log(fail: Callable[[str], None]) -> Iterator[None]:
    """Warnings are what these worlds are made of; an error in the log is a bug."""
    log = logging.getLogger("whatsapp")
    handler, before = _ToFail(fail), (log.level, log.propagate)
    log.addHandler(handler)
    log.setLevel(logging.ERROR)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        # Not `level = …`: loggers remember what they may say until one is set.
        log.setLevel(before[0])
        log.propagate = before[1]
