"""What may happen in one step of a world, with its weight and the feature that it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tests.faults.clients import Link, Wish
from whatsapp import wire
from whatsapp.errors import Answer
from whatsapp.model import Actor, Role, Visibility, direct_chat, is_group
from whatsapp.resources import GroupChange, PrivacyChange, ProfileChange
from whatsapp.session import State

if TYPE_CHECKING:
    from tests.faults.world import World

WORDS = ("tea", "time", "team", "rain", "train", "Ärger", "ok", "日本")


def someone(world: World) -> Actor:
    device = world.chance.choice(world.devices)
    return Actor(device.user, device.name)


def groups(world: World) -> list[str]:
    return [chat for chat in world.truth.logs if is_group(chat)]


def a_chat(world: World, user: str) -> str:
    """A direct chat, or a group; sometimes one that is not the user's."""
    found = groups(world)
    if found and world.draw() < 0.6:
        mine = [chat for chat in found if world.truth.active(chat, user)]
        return world.chance.choice(mine if mine and world.draw() < 0.9 else found)
    return direct_chat(user, world.chance.choice(list(world.data.accounts)))


def my_chat(world: World, user: str) -> str | None:
    mine = [chat for chat in world.truth.logs if world.truth.active(chat, user)]
    return world.chance.choice(mine) if mine else None


def a_link(world: World) -> Link | None:
    ready = [link for link in world.links if link.welcomed and link.open and not link.ghost]
    return world.chance.choice(ready) if ready else None


def a_wish(world: World, user: str) -> Wish:
    chat = a_chat(world, user)
    text = f"{world.chance.choice(WORDS)} {world.chance.choice(WORDS)} {world.step_number}"
    if world.draw() < 0.05:
        text *= 20
    head = world.truth.head(chat)
    reply = world.chance.randint(0, head + 1) if world.on("replies") and world.draw() < 0.3 else 0
    return Wish(chat=chat, id=world.new_id(), text=text, reply_to=reply, step=world.step_number)


# --- devices ----------------------------------------------------------------------------


def connect(world: World) -> None:
    away = [d for d in world.devices if d.link is None or world.draw() < 0.1]
    if away:
        world.connect(world.chance.choice(away))


def drop(world: World) -> None:
    if world.links:
        world.chance.choice(world.links).drop()


def send(world: World) -> None:
    device = world.chance.choice(world.devices)
    for _ in range(world.chance.choice((1, 1, 1, 2, 5))):
        wish = a_wish(world, device.user)
        device.outbox[wish.chat, wish.id] = wish
        world.said(device.user, wish)
        if device.link is not None and device.link.welcomed:
            device.link.send(wish)


def repeat(world: World) -> None:
    """The same again, on any device of the user, answered already or not."""
    _again(world, lambda wish: wish)


def reuse(world: World) -> None:
    """The same id for something else."""
    _again(world, lambda wish: replace(wish, text=wish.text + " not the same"))


def _again(world: World, change: Callable[[Wish], Wish]) -> None:
    link = a_link(world)
    if link is None:
        return
    mine = [wish for user, wish in world.wishes if user == link.user]
    if mine:
        wish = change(world.chance.choice(mine))
        waiting = [other for other in link.waiting if other.id == wish.id]
        if all(other == wish for other in waiting):
            link.send(wish)


def post(world: World) -> None:
    actor = someone(world)
    mine = [wish for user, wish in world.wishes if user == actor.user]
    wish = a_wish(world, actor.user)
    if mine and world.draw() < 0.3:
        wish = world.chance.choice(mine)
    world.said(actor.user, wish)

    def done(result: Any) -> None:
        if isinstance(result, Answer):
            world.check_refused(actor.user, wish, result.code)
            return
        entry = world.check_stored(actor.user, result, wish.id)
        if entry is not None and not wish.is_in(entry):
            world.fail(f"post of {wish} answered with {entry}")

    work = world.core.conversations.post(actor, wish.chat, wish.id, wish.text, wish.reply_to)
    world.call(f"post {actor.user} {wish}", work, done)


def ack(world: World) -> None:
    link = a_link(world)
    if link is None or not link.device.acks:
        return
    chat = my_chat(world, link.user)
    applied = link.device.applied.get(chat, 0) if chat else 0
    if chat and applied:
        seq = applied if world.draw() < 0.7 else world.chance.randint(1, applied)
        link.ack(chat, seq, read=world.draw() < 0.4)


def beyond(world: World) -> None:
    """More than there is: refused, and nothing is moved."""
    link = a_link(world)
    chat = link and my_chat(world, link.user)
    if link and chat:
        # Far enough that nothing which is under way can make it true.
        link.say(wire.Received(chat, world.truth.head(chat) + 10_000))


def rewind(world: World) -> None:
    """Restored from a backup: connects with older cursors."""
    old = [d for d in world.devices if d.keeps_cursors and d.applied]
    if old:
        device = world.chance.choice(old)
        chat = world.chance.choice(list(device.applied))
        if device.link is not None:
            device.link.drop()
        device.rewind(chat, world.chance.randint(0, device.applied[chat]))
        world.connect(device)


def typing(world: World) -> None:
    link = a_link(world)
    if link is not None:
        link.say(wire.Typing(a_chat(world, link.user), world.draw() < 0.7))


def watch(world: World) -> None:
    link = a_link(world)
    if link is not None:
        link.watch(world.chance.sample(list(world.data.accounts), world.chance.randint(0, 4)))


def lazy(world: World) -> None:
    """A device stops to read for a while, or goes on."""
    if world.links:
        link = world.chance.choice(world.links)
        link.lazy = not link.lazy
        if not link.lazy:
            link.read_all()


def log_out(world: World) -> None:
    """Nothing may come after it; then the same person logs in again, as another device."""
    device = world.chance.choice(world.devices)
    link, core = device.link, world.core
    if link is None or device.name in world.ended:
        return
    world.ended[device.name] = core

    def done(result: Any) -> None:
        here = link.session in core.hub.of(link.user)
        if result is None and here and link.session.state is not State.CLOSED:
            world.fail(f"{device} is logged out, and connected")
        link.ended = result is None and world.heard(core, link.core)
        world.part_with(link, logged_out=result is None)
        world.log_in_anew(device)

    world.call(f"log out {device}", core.auth.logout(Actor(device.user, device.name)), done)


def resend(world: World) -> None:
    link = a_link(world)
    if link is not None:
        link.resend()


# --- groups -----------------------------------------------------------------------------


def create(world: World) -> None:
    if len(groups(world)) >= 2:
        return
    actor = someone(world)
    others = world.chance.sample(list(world.data.accounts), world.chance.randint(0, 3))
    world.call(f"create {actor} {others}", world.core.groups.create(actor, "Tea", others))


def _managed(world: World) -> tuple[Actor, str] | None:
    """Somebody and a group of its, mostly one that it manages."""
    found = groups(world)
    if not found:
        return None
    chat = world.chance.choice(found)
    log = world.truth.logs[chat]
    managers = [u for u, role in log.roles.items() if log.active(u) and role is not Role.MEMBER]
    user = world.chance.choice(
        managers if managers and world.draw() < 0.8 else list(world.data.accounts)
    )
    return Actor(user, "d0"), chat


def add(world: World) -> None:
    if (found := _managed(world)) is not None:
        actor, chat = found
        wanted = world.chance.sample(list(world.data.accounts), world.chance.randint(1, 2))
        world.call(f"add {actor} {wanted}", world.core.groups.add(actor, chat, wanted))


def remove(world: World) -> None:
    if (found := _managed(world)) is not None:
        actor, chat = found
        _remove(world, actor, chat, world.chance.choice(list(world.data.accounts)))


def leave(world: World) -> None:
    actor = someone(world)
    mine = [chat for chat in groups(world) if world.truth.active(chat, actor.user)]
    if mine:
        _remove(world, actor, world.chance.choice(mine), actor.user)


def _remove(world: World, actor: Actor, chat: str, user: str) -> None:
    core = world.core

    def done(result: Any) -> None:
        if result is None and not world.truth.active(chat, user):
            world.gone[chat, user] = core

    work = core.groups.remove(actor, chat, user)
    world.call(f"remove {actor.user} {chat[-4:]} {user}", work, done)


def role(world: World) -> None:
    if (found := _managed(world)) is not None:
        actor, chat = found
        wanted = world.chance.choice(list(Role))
        user = world.chance.choice(list(world.data.accounts))
        work = world.core.groups.set_role(actor, chat, user, wanted)
        world.call(f"role {actor.user} {user} {wanted}", work)


def announce(world: World) -> None:
    if (found := _managed(world)) is not None:
        actor, chat = found
        wish = GroupChange(announce=world.draw() < 0.5, title=world.chance.choice(WORDS))
        world.call(f"change {actor.user} {wish}", world.core.groups.change(actor, chat, wish))


def invite(world: World) -> None:
    if (found := _managed(world)) is not None:
        actor, chat = found

        def done(result: Any) -> None:
            if not isinstance(result, Answer):
                world.codes.append(result.code)

        world.call(f"invite {actor.user}", world.core.groups.invite(actor, chat), done)


def join(world: World) -> None:
    if world.codes:
        actor = someone(world)
        code = world.chance.choice(world.codes)
        world.call(f"join {actor.user} {code}", world.core.groups.join(actor, code))


# --- people -----------------------------------------------------------------------------


def block(world: World) -> None:
    one, other = world.chance.sample(list(world.data.accounts), 2)
    on = world.draw() < 0.6
    if (one, other) in world.blocking:
        return
    world.blocking[one, other] = world.core
    world.blocked_at[one, other] = world.core
    world.blocks[one, other] = (None, world.step_number)

    def done(result: Any) -> None:
        world.blocking.pop((one, other), None)
        if not isinstance(result, Answer):
            world.blocks[one, other] = (on, world.step_number)

    people, actor = world.core.people, Actor(one, "d0")
    work = people.block(actor, other) if on else people.unblock(actor, other)
    world.call(f"block {one} {other} {on}", work, done)


def privacy(world: World) -> None:
    actor = someone(world)
    wish = PrivacyChange(
        receipts=world.draw() < 0.5, last_seen=world.chance.choice(list(Visibility))
    )
    work = world.core.people.change(actor, ProfileChange(privacy=wish))
    world.call(f"privacy {actor.user} {wish}", work)


def look(world: World) -> None:
    """Reading while things change: no more than that it answers, and shows nothing foreign."""
    actor, histories = someone(world), world.core.histories
    chat = my_chat(world, actor.user) or a_chat(world, actor.user)
    work = world.chance.choice(
        (
            lambda: histories.lines(actor, 50, None),
            lambda: histories.show(actor, chat),
            lambda: histories.history(actor, chat, None, None, 10),
            lambda: histories.history(actor, chat, None, 1, 3),
            lambda: histories.search(actor, world.chance.choice(WORDS), None, None, None, 5),
        )
    )
    world.call(f"look {actor.user} {chat}", work())


def tick(world: World) -> None:
    world.core.tick()


def pass_time(world: World) -> None:
    world.clock.pass_seconds(world.chance.choice((0.1, 1.0, 7.0)))
    world.core.tick()


def pass_much_time(world: World) -> None:
    """Long enough for a room that nobody uses to be forgotten."""
    # Cursors are written within a moment, calls answered; nobody waits a minute for that.
    if not any(core.loop.stalled or core.cursors for core in world.cores):
        world.clock.pass_seconds(61.0)
        world.core.tick()


def go_on(world: World) -> None:
    loop = world.core.loop
    for _ in range(len(loop.stalled)):
        loop.resume(world.chance.randrange(len(loop.stalled)))


def crash(world: World) -> None:
    world.crash()


Action = Callable[["World"], None]

ACTIONS: tuple[tuple[int, str, Action], ...] = (
    (8, "", connect),
    (30, "", send),
    (20, "", ack),
    (10, "", tick),
    (5, "", pass_time),
    (6, "", resend),
    (10, "delay", go_on),
    (4, "drop", drop),
    (5, "repeat", repeat),
    (5, "reuse", reuse),
    (8, "post", post),
    (2, "beyond", beyond),
    (4, "rewind", rewind),
    (6, "typing", typing),
    (6, "watch", watch),
    (6, "lazy", lazy),
    (12, "groups", create),
    (6, "groups", add),
    (6, "groups", remove),
    (4, "groups", leave),
    (6, "roles", role),
    (5, "announce", announce),
    (4, "invites", invite),
    (6, "invites", join),
    (8, "blocks", block),
    (4, "privacy", privacy),
    (5, "look", look),
    (3, "log_out", log_out),
    (3, "rooms", pass_much_time),
    (2, "crash", crash),
)
