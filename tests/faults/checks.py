"""What must hold of a world: at every rest, and at the end, when everything is well again.

The model is `Truth`; the rules are said here once more, as plainly as possible and without
the code under test.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from tests.faults.clients import Link, Wish
from tests.faults.truth import Log, seen_by
from whatsapp.errors import Answer
from whatsapp.model import Actor, Entry, Member, Role, Visibility, direct_chat, is_group, pair
from whatsapp.session import State
from whatsapp.wire import Receipt
from whatsapp.words import parse

if TYPE_CHECKING:
    from tests.faults.core import Core
    from tests.faults.world import World


# --- at every rest ------------------------------------------------------------------------


def at_rest(world: World) -> None:
    """What the session says of itself must add up."""
    for link in world.links:
        session = link.session
        outstanding = sum(
            session._positions[chat] - acked for chat, acked in session._acked.items()
        )
        if session.outstanding != outstanding:
            world.fail(f"{link.device}: {session.outstanding} outstanding, not {outstanding}")
        asleep = link.core.asleep
        if session.state is State.CLOSED and link.open and not link.busy and not asleep:
            world.fail(f"{link.device}: closed by the server, and its connection was not told")


def hidden_as_it_must_be(world: World, entry: Entry) -> None:
    """An entry is hidden if its reader had blocked its author before it was sent."""
    users = pair(entry.chat)
    if users is None or entry.kind != "text" or users[0] == users[1]:
        return
    peer = users[0] if entry.sender == users[1] else users[1]
    said_at = world.said_at.get((entry.chat, entry.sender, entry.id))
    on, since = world.block_of(peer, entry.sender, world.committing)
    if said_at is None:
        return  # the same id with other content came first
    if on is not None and since < said_at and entry.hidden != on:
        world.fail(f"{entry} hidden={entry.hidden}, and {peer} blocks its author: {on}")


def may_send(world: World, user: str, wish: Wish) -> bool:
    """Was it allowed all the time since it was said?"""
    log = world.truth.logs.get(wish.chat)
    if log is None or not log.active(user) or world.changed_at[wish.chat] >= wish.step:
        return False
    return not (log.announce and log.roles[user] is Role.MEMBER)


def acked_up_to(world: World, chat: str, user: str) -> int:
    """What the user's devices have acknowledged; its own entries right after that count."""
    at, entries = world.ack_max.get((chat, user), 0), world.truth.logs[chat].entries
    while at < len(entries) and entries[at].sender == user:
        at += 1
    return at


def receipt(world: World, link: Link, frame: Receipt) -> None:
    author, chat, reader = link.user, frame.chat, frame.user
    log = world.truth.logs.get(chat)
    if log is None or max(frame.received, frame.read) > len(log.entries):
        world.fail(f"{author} was told {frame}, beyond the head")
        return
    most, read = acked_up_to(world, chat, reader), world.read_max.get((chat, reader), 0)
    if frame.received > most or frame.read > read:
        world.fail(f"{author} was told {frame}, but {reader} said {most}, {read}")
    mine = [
        entry
        for entry in log.entries[: frame.received]
        if entry.sender == author and not entry.hidden and log.span(reader, entry.seq)
    ]
    if reader == author or not mine:
        world.fail(f"{author} was told {frame}, and wrote nothing there")
    on, since = world.block_of(reader, author, link.core)
    if on is True and since < world.step_number and not is_group(chat):
        world.fail(f"{author} was told {frame} by somebody who blocks it")


# --- at the end ---------------------------------------------------------------------------


def still_missing(world: World) -> str:
    """What has not arrived yet; empty when all has."""
    for core in world.cores:
        if left := _left_in(world, core):
            return left
    for device in world.devices:
        link = device.link
        if device.absent:
            continue
        missing = "no link" if link is None else _missing_of(world, link)
        if missing:
            return f"{device}: {missing}"
    return world.under_way()


def _left_in(world: World, core: Core) -> str:
    if core.loop.stalled or core.loop.tasks:
        return "calls are under way"
    muted = sum(not device.acks for device in world.devices)
    for name, count in (
        ("journal", len(core.journal)),
        ("cursors", len(core.cursors)),
        ("catch-up", max(0, len(core.catchup) - muted)),
        ("acknowledgements", len(core.acks)),
        ("receipts", len(core.receipts._direct) + len(core.receipts._group)),
        ("typing", len(core.presences._typing)),
        ("changed", len(core.presences._changed)),
    ):
        if count:
            return f"{count} left in {name}"
    return ""


def _missing_of(world: World, link: Link) -> str:
    device = link.device
    if not link.welcomed or link.busy or link.inbox or link.unread:
        return "frames are on their way"
    if link.waiting:
        return f"no answer to {link.waiting}"
    if device.outbox:
        return f"not sent: {list(device.outbox.values())}"
    if not device.acks:
        return ""
    if not link.synced:
        return "not synced"
    if any(link.unacked[chat] for chat in link.unacked if world.truth.active(chat, device.user)):
        return f"not acknowledged: {link.unacked}"
    if link.session.outstanding:
        return f"{link.session.outstanding} outstanding"
    return _not_arrived(world, link)


def _not_arrived(world: World, link: Link) -> str:
    device = link.device
    for chat in world.truth.chats_of(device.user):
        if not world.truth.active(chat, device.user):
            continue
        head = world.truth.head(chat)
        if missing := not_arrived(world, link, chat, head):
            return missing
        # Its own messages: on the other devices of the user they must be, too.
        if link.session.position(chat) != head:
            return f"{chat} pushed up to {link.session.position(chat)} of {head}"
    return ""


def not_arrived(world: World, link: Link, chat: str, head: int) -> str:
    """The first entry of others up to `head` that a member's device does not have."""
    device, log = link.device, world.truth.logs[chat]
    have = device.have.get(chat, set())
    for entry in log.entries[log.spans[device.user][-1].first - 1 : head]:
        if entry.seq not in have and entry.sender != device.user:
            return f"does not have {entry}"
    return ""


def at_the_end(world: World) -> None:
    sessions = sum(core.hub.count for core in world.cores)
    if sessions != len(world.links) or not all(core.journal.quiet for core in world.cores):
        world.fail(f"{sessions} sessions of {len(world.links)} links")
    for chat, log in world.truth.logs.items():
        _check_stores(world, chat, log)
    for user in world.data.accounts:
        _check_reading(world, user)
    for link in world.links:
        _check_presence(world, link)
    for link in world.links:
        for (chat, user), since in link.typing.items():
            if since and world.still_types(since) and not _relation(world, chat):
                world.fail(f"{link.device} still sees {user} typing in {chat}")


def _relation(world: World, chat: str) -> bool:
    """Did one of the two of a direct chat ever block the other? Then typing may just stop."""
    users = pair(chat)
    return users is None or any({one, other} == set(users) for one, other in world.blocks)


def _check_stores(world: World, chat: str, log: Log) -> None:
    """What the store and the core keep, against what was written down."""
    stored = world.data.logs[chat]
    if stored.entries != log.entries:
        world.fail(f"the log of {chat} is not what was committed")
    kept: list[tuple[str, dict[str, Member]]] = [("store", stored.members)]
    rooms = [
        room
        for core in world.cores
        if (room := core.rooms.get(chat)) is not None and world.follows(core, room)
    ]
    for room in rooms:
        kept.append(("room", room.members))
        if (room.head, room.epoch) != (len(log.entries), log.epoch):
            world.fail(f"room of {chat} at {room.head}, {room.epoch}, not {len(log.entries)}")
        if (room.announce, room.title) != (log.announce, log.title):
            world.fail(f"room of {chat}: {room.announce} {room.title!r}")
    for where, members in kept:
        for user, spans in log.spans.items():
            member = members.get(user)
            seen = [] if member is None else [*member.spans, (member.joined, member.left or None)]
            if seen != [(span.first, span.last) for span in spans]:
                world.fail(f"{where} of {chat}: {user} sees {seen}, not {spans}")
            elif is_group(chat) and member is not None and _wrong_role(member, log):
                world.fail(f"{where} of {chat}: {user} is {member.role}")
    for user, member in stored.members.items():
        most = acked_up_to(world, chat, user)
        if member.received > most or member.read > world.read_max.get((chat, user), 0):
            world.fail(f"{chat}: {user} stored at {member.received}, {member.read}; said {most}")
        for room in rooms:
            here = (room.received.get(user, 0), room.read.get(user, 0))
            if world.many:
                # What others acknowledged elsewhere is told to authors only, and may be told
                # before it is written; written it may never be, where an instance dies.
                if here[0] > most or here[1] > world.read_max.get((chat, user), 0):
                    world.fail(f"{chat}: {user} at {here}, said {most}")
            elif here != (member.received, member.read):
                world.fail(f"{chat}: {user} at {here}, stored {member.received}, {member.read}")


def _wrong_role(member: Member, log: Log) -> bool:
    return member.active and member.role is not log.roles[member.user]


def _check_presence(world: World, link: Link) -> None:
    for user in link.watching:
        told = link.shown.get(user)
        online = _shows(world, user, link.user) and any(core.hub.of(user) for core in world.cores)
        wrong = told is None or told.online != online
        # Nobody is told when two become contacts of each other.
        contacts = Visibility.CONTACTS in _visibilities(world, user, link.user)
        if wrong and not contacts and _surely_related(world, user, link.user):
            world.fail(f"{link.device} sees {told}, but {user} online={online}")


def _visibilities(world: World, *users: str) -> set[Visibility]:
    return {world.data.accounts[user].last_seen_visible for user in users}


def _surely_related(world: World, one: str, other: str) -> bool:
    pairs = (one, other), (other, one)
    return all(world.blocks.get(pair, (False, 0))[0] is not None for pair in pairs)


def _shows(world: World, subject: str, viewer: str) -> bool:
    blocked = world.data.blocks
    if viewer in blocked.get(subject, ()) or subject in blocked.get(viewer, ()):
        return False
    return subject == viewer or all(
        _shows_to(world, one, other) for one, other in ((subject, viewer), (viewer, subject))
    )


def _shows_to(world: World, one: str, other: str) -> bool:
    visible = world.data.accounts[one].last_seen_visible
    if visible is not Visibility.CONTACTS:
        return visible is Visibility.EVERYONE
    log = world.truth.logs.get(direct_chat(one, other))
    said = {e.sender for e in log.entries if not e.hidden} if log else set()
    return {one, other} <= said


# --- reading ------------------------------------------------------------------------------


def _ask(world: World, work: Coroutine[Any, Any, Any]) -> Any:
    """The answer, or the code of the refusal."""
    answers: list[Any] = []

    def done(result: Any, error: BaseException | None) -> None:
        answers.append(error.code if isinstance(error, Answer) else error or result)

    world.core.loop.start(work, done)
    world.core.loop.run()
    return answers[0] if answers else "no answer"


def _check_reading(world: World, user: str) -> None:
    actor, histories = Actor(user, "d0"), world.core.histories
    lines = []
    for chat, log in world.truth.logs.items():
        page = _ask(world, histories.history(actor, chat, None, None, 200))
        if user not in log.spans:
            if page != "not_found":
                world.fail(f"stranger {user} reads {chat}: {page}")
            continue
        visible = log.visible(user)
        _check_pages(world, actor, chat, visible)
        _check_info(world, user, chat, _ask(world, histories.show(actor, chat)), "show")
        last = _last(visible, user)
        if last is not None:
            lines.append((-last.time_ms, chat))
    listed = _ask(world, histories.lines(actor, 50, None))
    if [info.chat for info in listed] != [chat for _, chat in sorted(lines)]:
        world.fail(f"{user} lists {[info.chat for info in listed]}, not {sorted(lines)}")
    for info in listed:
        _check_info(world, user, info.chat, info, "list")
    _check_search(world, actor)


def _check_pages(world: World, actor: Actor, chat: str, visible: list[Entry]) -> None:
    histories, chance = world.core.histories, world.chance
    limit = chance.randint(1, 8)
    at = chance.randint(0, world.truth.head(chat) + 2)
    below = [entry for entry in visible if entry.seq < at]
    above = [entry for entry in visible if entry.seq > at]
    for what, (before, after), expected, more in (
        ("newest", (None, None), visible[-limit:], len(visible) > limit),
        (f"before {at}", (at, None), below[-limit:], len(below) > limit),
        (f"after {at}", (None, at), above[:limit], len(above) > limit),
    ):
        answer = _ask(world, histories.history(actor, chat, before, after, limit))
        if answer.messages != [seen_by(entry, actor.user) for entry in expected]:
            world.fail(f"{actor.user} reads {what} of {chat}: {answer}, not {expected}")
        elif answer.more != more:
            world.fail(f"{actor.user} reads {what} of {chat}: more={answer.more}")


def _last(visible: list[Entry], user: str) -> Entry | None:
    shown = [entry for entry in visible if not entry.hidden or entry.sender == user]
    return shown[-1] if shown else None


def _check_info(world: World, user: str, chat: str, info: Any, what: str) -> None:
    log = world.truth.logs[chat]
    visible = log.visible(user)
    last = _last(visible, user)
    stored = world.data.logs[chat].members[user]
    at = (stored.received, stored.read)
    if world.many:
        # What was told before it was written may never be, where an instance dies.
        most = (acked_up_to(world, chat, user), world.read_max.get((chat, user), 0))
        at = (max(at[0], min(info.received, most[0])), max(at[1], min(info.read, most[1])))
    unread = sum(
        entry.seq > at[1] and entry.sender != user and not entry.hidden
        for entry in visible
        if log.active(user)
    )
    if info.last != (None if last is None else seen_by(last, user)):
        world.fail(f"{what} {user} {chat}: last {info.last}, not {last}")
    if info.unread != unread:
        world.fail(f"{what} {user} {chat}: unread {info.unread}, not {unread}")
    if (info.received, info.read) != at:
        world.fail(f"{what} {user} {chat}: {info.received}, {info.read}, not {at}")
    head = len(log.entries) if log.active(user) else log.spans[user][-1].last
    if info.head != head:
        world.fail(f"{what} {user} {chat}: head {info.head}, not {head}")


def _check_search(world: World, actor: Actor) -> None:
    query = world.chance.choice(("te", "tea", "train 1", "arger", '"tea time"', "日"))
    terms = parse(query)
    expected = [
        entry
        for entry in reversed(world.truth.commits)
        if entry.kind == "text"
        and world.truth.active(entry.chat, actor.user)
        and world.truth.logs[entry.chat].span(actor.user, entry.seq)
        and (not entry.hidden or entry.sender == actor.user)
        and terms.match(entry.text)
    ]
    limit = world.chance.randint(1, 20)
    found = _ask(world, world.core.histories.search(actor, query, None, None, None, limit))
    if [hit.message for hit in found.results] != [seen_by(e, actor.user) for e in expected[:limit]]:
        world.fail(f"{actor.user} finds {found} for {query}, not {expected[:limit]}")
    elif found.more != (len(expected) > limit):
        world.fail(f"{actor.user} searches {query}: more={found.more}")
