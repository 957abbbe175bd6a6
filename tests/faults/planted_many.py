"""Bugs of several instances, planted one at a time, as `planted.py` does it for one.

Each takes away one of the things that heal what was not heard, or one of the rules by which
instances agree.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from msgspec.structs import replace

from tests.faults.planted import Plant, _replaced
from whatsapp import routes
from whatsapp.cluster import Cluster
from whatsapp.hearing import Hearing
from whatsapp.hub import Hub
from whatsapp.looks import Looks
from whatsapp.presence import Presences
from whatsapp.routes import Post
from whatsapp.sending import Sending
from whatsapp.wire import Receipt, encode


def _nothing(*_: object, **__: object) -> None:
    """Instead of what is planted."""


def what_did_not_fit_is_forgotten() -> AbstractContextManager[None]:
    return _replaced((Post, "_miss", _nothing))


def no_second_look_at_who_connects() -> AbstractContextManager[None]:
    return _replaced((Looks, "at", _nothing))


def no_look_when_a_link_is_renewed() -> AbstractContextManager[None]:
    return _replaced((Cluster, "lost", _nothing), (Cluster, "linked", _nothing))


def a_gap_of_hints_is_not_noticed() -> AbstractContextManager[None]:
    said = Hearing._said

    def as_the_next(self, name, hint):
        room = self._rooms.get(hint.entry.chat)
        if room is not None and hint.entry.seq > room.head:
            self._hub.follow(room, hint.entry, hint.change)
        else:
            said(self, name, hint)

    return _replaced((Hearing, "_said", as_the_next))


def an_older_connection_elsewhere_stays() -> AbstractContextManager[None]:
    return _replaced((Hearing, "_here", _nothing))


def a_logout_is_not_told() -> AbstractContextManager[None]:
    return _replaced((Cluster, "ended", _nothing))


def a_block_is_not_told() -> AbstractContextManager[None]:
    return _replaced((Cluster, "forget", _nothing))


def routes_are_kept() -> AbstractContextManager[None]:
    return _replaced((routes, "ROUTE_SECONDS", 1_000.0), (Hearing, "_came", _nothing))


def a_group_costs_a_hint_for_each_member() -> AbstractContextManager[None]:
    to_users = Post.to_users

    def one_by_one(self, users, hint, chat=""):
        for user in users:
            to_users(self, (user,), hint, chat)

    return _replaced((Post, "to_users", one_by_one))


def hints_go_nowhere_without_a_directory() -> AbstractContextManager[None]:
    return _replaced((Post, "_everywhere", lambda _: set()))


def receipts_as_they_come() -> AbstractContextManager[None]:
    def show(self, name, hint):
        frame = encode(Receipt(hint.chat, hint.reader, hint.received, hint.read))
        self._hub.tell_all(hint.authors, frame)

    return _replaced((Hearing, "_receipted", show))


def presence_is_not_told_again() -> AbstractContextManager[None]:
    return _replaced((Presences, "elsewhere", _nothing))


def membership_of_another_time() -> AbstractContextManager[None]:
    """The store is not told as of which change of the chat its writer was a member."""
    admit = Sending.admit

    def at_any_time(self):
        return replace(admit(self), epoch=sys.maxsize)

    return _replaced((Sending, "admit", at_any_time))


def nobody_minds_who_cannot_be_heard() -> AbstractContextManager[None]:
    return _replaced((Cluster, "_mind_if_deaf", _nothing))


def who_leaves_does_not_hear_of_it() -> AbstractContextManager[None]:
    follow = Hub.follow

    def to_those_who_stay(self, room, entry, change):
        follow(self, room, entry, change)
        return list(room.active())

    return _replaced((Hub, "follow", to_those_who_stay))


# Each with the features of a world that soon shows it; none: as it happens.
PLANTS_OF_MANY: dict[Plant, tuple[str, ...]] = {
    what_did_not_fit_is_forgotten: ("full",),
    no_second_look_at_who_connects: (),
    no_look_when_a_link_is_renewed: ("links",),
    a_gap_of_hints_is_not_noticed: ("groups", "links", "roles"),
    an_older_connection_elsewhere_stays: (),
    a_logout_is_not_told: ("log_out", "devices"),
    a_block_is_not_told: (),
    routes_are_kept: (),
    a_group_costs_a_hint_for_each_member: (),
    hints_go_nowhere_without_a_directory: (),
    receipts_as_they_come: (),
    presence_is_not_told_again: ("watch", "full", "privacy"),
    membership_of_another_time: ("groups", "links"),
    nobody_minds_who_cannot_be_heard: ("parts",),
    who_leaves_does_not_hear_of_it: ("groups",),
}
