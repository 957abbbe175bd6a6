"""The n-th call sweep: one story, told again and again, each time with another call failing.

Each call of a store fails once without effect, once after its effect, once half done, and
is once where the process is killed, before and after the effect. People try again what
failed; in the end everything must have happened exactly once and be everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.faults import actions
from tests.faults.clients import Link, Wish
from tests.faults.faulty import NthCall
from tests.faults.world import World, quiet_log
from whatsapp import wire
from whatsapp.errors import Answer
from whatsapp.model import Actor, Role, direct_chat
from whatsapp.resources import GroupChange

TRIES_MAX = 4
WAYS = ("before", "after", "partly", "crash before", "crash after")
LAST_CALL_MAX = 1_000

Begin = Callable[[], Coroutine[Any, Any, Any]]


class Story:
    """A world without chance: what is said is done, again where it failed."""

    def __init__(self, nth: int, way: str) -> None:
        self.weather = NthCall(nth, way)
        features = frozenset({"groups", "invites", "blocks", "announce", "crash", "post"})
        self.world = World(0, features=features, weather=self.weather)
        self.devices = {device.user: device for device in self.world.devices}

    def run(self) -> None:
        world = self.world
        with quiet_log(world.fail):
            try:
                self._tell()
                world.settle()
            finally:
                world.core.loop.kill()

    def _tell(self) -> None:
        world, core = self.world, self.world.core
        self.let_go()
        for text in ("tea one", "tea two"):
            self.say("ann", direct_chat("ann", "bob"), text)
        self.ack("bob", read=True)
        self.do(lambda: core_of(world).groups.create(Actor("ann", "x"), "Tea", ["bob", "cid"]))
        group = actions.groups(world)[-1]
        self.say("bob", group, "time for tea")
        self.ack("ann", read=False)
        self.do(lambda: core_of(world).groups.set_role(Actor("ann", "x"), group, "bob", Role.ADMIN))
        self.block("bob", "cid", on=True)
        self.say("cid", direct_chat("bob", "cid"), "are you there")
        self.ack("bob", read=True)
        self.block("bob", "cid", on=False)
        self.say("cid", direct_chat("bob", "cid"), "there you are")
        self.do(lambda: core_of(world).groups.remove(Actor("ann", "x"), group, "cid"))
        self.say("ann", group, "without cid")
        invite = self.do(lambda: core_of(world).groups.invite(Actor("bob", "x"), group))
        self.do(lambda: core_of(world).groups.join(Actor("dan", "x"), invite.code))
        self.drop("ann")
        self.say("dan", group, "rain and train")
        self.let_go()
        wish = GroupChange(announce=True, title="Teatime")
        self.do(lambda: core_of(world).groups.change(Actor("bob", "x"), group, wish))
        self.do(lambda: core_of(world).groups.remove(Actor("ann", "x"), group, "ann"))
        self.link("dan").watch(["ann", "bob"])
        self.link("dan").say(wire.Typing(direct_chat("ann", "bob"), on=True))
        self.do(lambda: core_of(world).histories.lines(Actor("dan", "x"), 50, None))
        self.do(
            lambda: core_of(world).histories.search(Actor("bob", "x"), "tea", None, None, None, 5)
        )
        assert core is world.core or self.weather.name

    # --- words of the story --------------------------------------------------------------

    def say(self, user: str, chat: str, text: str) -> None:
        world, device = self.world, self.devices[user]
        wish = Wish(chat=chat, id=world.new_id(), text=text, reply_to=0, step=world.step_number)
        device.outbox[chat, wish.id] = wish
        world.said(user, wish)
        for _ in range(TRIES_MAX):
            self.link(user).resend()
            self.let_go()
            if (chat, wish.id) not in device.outbox:
                return
        pytest.fail(f"{user} cannot say {text}")

    def ack(self, user: str, *, read: bool) -> None:
        link = self.link(user)
        for chat, seq in link.position.items():
            if self.world.truth.active(chat, user):
                link.ack(chat, seq, read=read)
        self.let_go()

    def block(self, user: str, other: str, *, on: bool) -> None:
        world, actor = self.world, Actor(user, "x")
        world.blocks[user, other] = (None, world.step_number)
        if on:
            self.do(lambda: core_of(world).people.block(actor, other))
        else:
            self.do(lambda: core_of(world).people.unblock(actor, other))
        world.blocks[user, other] = (on, world.step_number)

    def do(self, begin: Begin) -> Any:
        """An operation; where it failed, or the server died meanwhile, once more."""
        results: list[Any] = []
        for _ in range(TRIES_MAX):
            self.world.call("do", begin(), results.append)
            self.let_go()
            if results and not isinstance(results[-1], Answer):
                return results[-1]
            if results and not results[-1].retryable:
                return results[-1]  # it had happened
        pytest.fail(f"cannot be done: {results}")

    def drop(self, user: str) -> None:
        self.link(user).drop()

    def link(self, user: str) -> Link:
        device = self.devices[user]
        if device.link is None or not device.link.open or not device.link.welcomed:
            self.let_go()
        assert device.link is not None
        return device.link

    def let_go(self) -> None:
        """All that is under way comes to its end, in the order in which it began."""
        world = self.world
        for _ in range(TRIES_MAX):
            world.step_number += 1
            self._connect()
            while True:
                for link in list(world.links):
                    link.pump()
                world.come_to_rest()
                if self.weather.crash_due:
                    self.weather.crash_due = False
                    world.crash()
                    self._connect()
                elif world.core.loop.stalled:
                    world.core.loop.resume(0)
                else:
                    break
            world.core.tick()
            world.clock.pass_seconds(0.3)
            if all(device.link and device.link.welcomed for device in self.devices.values()):
                return

    def _connect(self) -> None:
        for device in self.devices.values():
            if device.link is None or not device.link.open:
                self.world.connect(device)


def core_of(world: World) -> Any:
    """The one that runs now: it may have crashed since."""
    return world.core


def test_the_story_itself():
    story = Story(0, "")
    story.run()
    assert 50 < story.weather.count < LAST_CALL_MAX


@pytest.mark.parametrize("way", WAYS)
def test_any_one_call_may_fail(way):
    last = Story(0, "")
    last.run()
    for nth in range(1, last.weather.count + 1):
        story = Story(nth, way)
        try:
            story.run()
        except AssertionError as error:
            raise AssertionError(f"call {nth} ({story.weather.name}) {way}: {error}") from error
