"""What may happen to instances, their links and their directory in one step of a world."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.many import Many


def hear(world: Many) -> None:
    world.hear_all()


def break_link(world: Many) -> None:
    if world.net.links:
        world.net.cut(*world.chance.choice(sorted(world.net.links)))


def part(world: Many) -> None:
    """Two instances cannot reach each other, or can again; all else goes on."""
    pairs = world.net.pairs()
    if world.net.parted and world.draw() < 0.6:
        world.net.parted.discard(world.chance.choice(sorted(world.net.parted)))
    elif pairs:
        world.net.part(*world.chance.choice(pairs))


def fill(world: Many) -> None:
    """A queue is full, or has room again."""
    if world.net.full and world.draw() < 0.6:
        world.net.full.discard(world.chance.choice(sorted(world.net.full)))
    elif world.net.pipes:
        world.net.full.add(world.chance.choice(sorted(world.net.pipes)))


def detector_away(world: Many) -> None:
    """For one instance or all; long enough, its session is over."""
    directories = list(world.directories.values())
    if world.draw() < 0.5:
        directories = [world.chance.choice(directories)]
    away = world.draw() < 0.5
    for directory in directories:
        directory.away = away
        if away and world.draw() < 0.3:
            directory.forget_session()


def pause(world: Many) -> None:
    awake = [core.instance.name for core in world.awake]
    if len(awake) > 1:
        name = world.chance.choice(awake)
        world.pause(name)
        if world.draw() < 0.5:
            world.directories[name].forget_session()
        world.turn()


def wake(world: Many) -> None:
    if world.asleep:
        world.wake(world.chance.choice(sorted(world.asleep)))


def expire(world: Many) -> None:
    """The directory notices that an instance is dead."""
    for name in world.wanted:
        if name not in world.running:
            world.detector.expired(name)


def begin(world: Many) -> None:
    dead = [name for name in world.wanted if name not in world.running]
    if dead:
        world.start(world.chance.choice(dead))


def die(world: Many) -> None:
    if len(world.running) > 1:
        world.crash()


def pass_seconds(world: Many) -> None:
    """As they pass for all who run: with ticks in between."""
    for _ in range(world.chance.choice((5, 15, 30))):
        world.clock.pass_seconds(0.2)
        for core in world.awake:
            core.tick()
            core.loop.run()


ACTIONS_OF_MANY: tuple[tuple[int, str, Callable[[Many], None]], ...] = (
    (8, "", hear),
    (4, "", pass_seconds),
    (6, "links", break_link),
    (4, "parts", part),
    (6, "full", fill),
    (5, "detector", detector_away),
    (3, "pauses", pause),
    (5, "pauses", wake),
    (3, "deaths", die),
    (4, "deaths", expire),
    (4, "deaths", begin),
)
