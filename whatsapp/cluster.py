"""One conversation over several instances: what this one tells the others, and hears of them.

An entry that is committed here goes, as one hint, to each other instance on which a reader
is. Theirs is the same road as ours from there: `hub.py` offers it to their sessions, and what
does not fit is *behind* and is read from the log. So a hint that is lost is healed like
everything else; what is needed is only to notice. Who may have missed something looks again
(`looks.py`):

- an instance, at all its sessions: when a link ends or comes back, when an instance dies, when
  the directory was away;
- a session that has just connected, once more after `SECOND_LOOK_SECONDS`: somebody may have
  asked the directory just before it was in there;
- a chat, when its next hint leaves a gap, or its sender knows that one did not fit.

While the directory is away, hints go to all instances (`routes.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from whatsapp.clock import Clock, Scheduler
from whatsapp.errors import Answer
from whatsapp.hearing import Effects, Hearing, here
from whatsapp.hints import (
    Bye,
    Came,
    Ended,
    Forget,
    Grown,
    Moved,
    Receipted,
    Said,
    Typed,
    pack,
)
from whatsapp.hub import Hub
from whatsapp.interfaces import Directory, Instance
from whatsapp.looks import Looks
from whatsapp.metrics import Metrics
from whatsapp.model import Change, Entry
from whatsapp.room import Room, Rooms
from whatsapp.routes import Post
from whatsapp.session import Session, State

log = logging.getLogger(__name__)

# Longer than a route is kept and a directory lags, and within the 5 s that a message may take.
SECOND_LOOK_SECONDS = 4.0
# After a link ended: time for what its instance had committed to be readable everywhere.
LOST_SECONDS = 0.5
# While an instance cannot be heard: how often what it would tell us to forget is forgotten, and
# how often what it may have written is looked for. Within the 5 s that a message may take.
DEAF_FORGET_SECONDS = 1.0
DEAF_LOOK_SECONDS = 3.0
# Which instances live is asked anew so often, also where nobody said that it has changed.
LEARN_SECONDS = 5.0
# Clocks further apart than this are told: times that users see differ by as much.
CLOCKS_APART_MS_MAX = 1000


class Cluster:
    """See the head of this file. Nothing here waits for another instance.

    It is whole once `hear` was called: with what hints do to modules that are built after it.
    """

    effects: Effects
    heard: Callable[[str, Iterable[bytes]], None]
    _hearing: Hearing

    def __init__(  # noqa: PLR0913 — built in one place, by keyword
        self,
        *,
        post: Post,
        looks: Looks,
        directory: Directory,
        me: str,
        rooms: Rooms,
        hub: Hub,
        clock: Clock,
        scheduler: Scheduler,
        metrics: Metrics,
    ) -> None:
        self._post = post
        self._looks = looks
        self._directory = directory
        self._me = me
        self._rooms = rooms
        self._hub = hub
        self._clock = clock
        self._scheduler = scheduler
        self._metrics = metrics
        self._live: dict[str, Instance] = {}
        self._met: dict[str, int] = {}  # the epoch with which an instance was last linked
        self._astray: set[str] = set()  # lost without goodbye, and not linked since
        self._arrived: list[Session] = []
        self._to_learn = True
        self._learned_at = clock.monotonic()
        self._was_healthy = True
        self._forgotten_at = 0.0
        self._deaf_looked_at = clock.monotonic()
        self._was_deaf = False
        directory.on_change(self._directory_changed)

    def waiting(self) -> dict[str, int]:
        """How many wait to be sent and looked at; see `gauges.py`."""
        return {"hints": len(self._post), "looks": len(self._looks)}

    def hear(self, effects: Effects) -> None:
        """From now on hints have effects."""
        self.effects = effects
        self._looks.look_again = self._look_again
        self._hearing = Hearing(
            post=self._post,
            looks=self._looks,
            directory=self._directory,
            me=self._me,
            rooms=self._rooms,
            hub=self._hub,
            effects=effects,
            scheduler=self._scheduler,
            metrics=self._metrics,
        )
        self.heard = self._hearing.heard

    # --- telling ---------------------------------------------------------------------

    def said(self, entry: Entry, change: Change | None, readers: Iterable[str]) -> None:
        """An entry was committed here."""
        self._post.to_users(tuple(readers), Said(entry, change), entry.chat)

    def grown(self, chat: str) -> None:
        """Something may have been committed here without our having been told."""
        room = self._rooms.get(chat)
        if room is not None:
            self._post.to_users(room.active(), Grown((chat,)), chat)

    def receipted(
        self, room: Room, reader: str, received: int, read: int, authors: Sequence[str]
    ) -> None:
        """`reader` has this much of the authors' messages, as far as they may know.

        Told to where its other devices are, too: a later receipt from there must not be less.
        """
        hint = Receipted(room.chat, reader, received, read, tuple(authors))
        self._post.to_users((*authors, reader), hint)

    def moved(self, room: Room, user: str) -> None:
        """The user has read up to its cursor: for its devices elsewhere."""
        hint = Moved(room.chat, user, room.received.get(user, 0), room.read.get(user, 0))
        self._post.to_users((user,), hint)

    def typed(self, chat: str, user: str, readers: Iterable[str], *, on: bool) -> None:
        self._post.to_users(tuple(readers), Typed(chat, user, on))

    def arrived(self, session: Session) -> None:
        """The session said who it is: an older one of its device, elsewhere, has to end."""
        self._announce_soon(session)
        self._looks.at(session, self._clock.monotonic() + SECOND_LOOK_SECONDS)

    def ended(self, user: str, devices: Collection[str], sure: bool) -> None:  # noqa: FBT001 — a callback
        """These devices were logged out here. Not `sure`: the store did not say."""
        self._post.to_all(Ended(user, tuple(devices), sure))

    def forget(self, user: str) -> None:
        """Profile, blocks or existence of this user changed here."""
        self._post.to_all(Forget((user,)))

    def bye(self) -> None:
        """Going away: nobody needs to look for what we may not have told."""
        self._post.to_all(Bye(), lasting=False)

    # --- instances come and go -------------------------------------------------------

    def linked(self, name: str) -> None:
        """A link is there. The same run of it as before: neither side has heard the other.

        Also another run may have gone on before, for others or for itself alone, unheard here.
        """
        epoch = self._post.links.epoch(name)
        self._hearing.leaving.discard(name)
        if self._met.get(name) == epoch:
            # It may use its old end of the link for a moment: each side tells the other.
            self._post.missed_all(name)
            self._missed()
        elif name in self._astray:
            self._missed()
        self._astray.discard(name)
        self._met[name] = epoch
        offset_ms = self._post.links.offset_ms(name)
        if abs(offset_ms) > CLOCKS_APART_MS_MAX:
            log.warning(
                "clocks differ peer=%s offset_ms=%d cause=%s cure=%s",
                name,
                offset_ms,
                "the clock of one of the machines is wrong",
                "let NTP set the clocks of all machines",
            )
        self._post.tick()

    def lost(self, name: str) -> None:
        """A link is gone, and with it what was under way, unless it has said goodbye."""
        if name in self._hearing.leaving:
            self._hearing.leaving.discard(name)
            return
        self._astray.add(name)
        self.effects.forget_all()
        self.effects.elsewhere()
        self._looks.everywhere_at(self._clock.monotonic() + LOST_SECONDS)

    def tick(self) -> None:
        """Several times a second."""
        healthy = self._directory.healthy()
        if healthy and not self._was_healthy:
            self._post.routes.clear()
            self.effects.elsewhere()
            self._looks.everywhere()
            # Our users are entered again only now, and old answers are kept for a moment.
            self._looks.everywhere_at(self._clock.monotonic() + SECOND_LOOK_SECONDS)
            self._to_learn = True
        self._was_healthy = healthy
        now = self._clock.monotonic()
        due = self._to_learn or self._post.strange or now - self._learned_at >= LEARN_SECONDS
        if healthy and due:
            self._learned_at = now
            self._scheduler.spawn(self._learn())
        self._mind_if_deaf()
        self._post.tick()
        self._looks.tick()

    def _missed(self) -> None:
        """Anything may have been told that was not heard here."""
        self.effects.forget_all()
        self.effects.elsewhere()
        self._looks.everywhere()

    def _directory_changed(self) -> None:
        self._to_learn = True
        if not self._directory.healthy():
            self._was_healthy = False  # also where it is back before the next tick

    async def _learn(self) -> None:
        """Which instances live now?"""
        self._to_learn = False
        try:
            instances = await self._directory.instances()
        except Answer:
            self._to_learn = True
            return
        before, self._live = self._live, {instance.name: instance for instance in instances}
        self._post.live(self._live)
        self._post.links.know(instances)
        if any(self._live.get(name) != instance for name, instance in before.items()):
            self._post.routes.clear()
            self.effects.elsewhere()

    async def _look_again(self, session: Session) -> None:
        self._announce_soon(session)  # the first time it may not have been heard
        await self.effects.look_again(session)

    def _mind_if_deaf(self) -> None:
        """Somebody lives whom we cannot hear.

        It may change what we keep in memory, and write to our users: both are read anew.
        """
        now = self._clock.monotonic()
        if len(self._post.links.names()) >= len(self._live) - 1:
            self._deaf_looked_at = now
            if self._was_deaf:
                # Only now each hears what the other says of the devices that are there.
                self._was_deaf = False
                self._missed()
            return
        if now - self._forgotten_at >= DEAF_FORGET_SECONDS:
            self._forgotten_at = now
            self.effects.forget_all()
        if now - self._deaf_looked_at >= DEAF_LOOK_SECONDS:
            self._deaf_looked_at = now
            self._was_deaf = True
            self._looks.everywhere()

    def _announce_soon(self, session: Session) -> None:
        if not self._arrived:
            self._scheduler.soon(self._announce_all)
        self._arrived.append(session)

    def _announce_all(self) -> None:
        arrived, self._arrived = self._arrived, []
        self._scheduler.spawn(self._announce(arrived))

    async def _announce(self, sessions: Sequence[Session]) -> None:
        """Tell the other instances of these users which device is where now."""
        sessions = [session for session in sessions if session.state is not State.CLOSED]
        users = dict.fromkeys(session.user for session in sessions)  # in the same order each run
        self._post.to_all(Came(tuple(users)), lasting=False)
        places = await self._post.locate(users)
        if not places:
            return
        for session in sessions:
            known, unknown = self._post.routes.split([session.user])
            self._post.to(tuple(places if unknown else known), pack(here(session)))
