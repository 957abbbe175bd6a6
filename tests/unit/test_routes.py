"""Where users are, as far as it is known; and what is remembered of hints that did not fit."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet
from tests.support.world import WAIT
from whatsapp.hints import Bye, Grown, Typed, unpack
from whatsapp.routes import ROUTE_SECONDS, Post


@pytest.fixture
def fleet():
    fleet = Fleet("ann", "bob", names="ab")
    fleet.tick()
    fleet["b"].connect("bob")
    for _ in range(50):
        fleet.tick()
    fleet.net.sent.clear()
    return fleet


def post_of(fleet: Fleet) -> Post:
    cluster = fleet["a"].core.cluster
    assert cluster is not None
    return cluster._post


def hint(number: int) -> Typed:
    return Typed(f"ann:bob{number}", "ann", on=True)


def test_a_route_is_asked_for_once_and_kept_for_a_moment(fleet):
    post = post_of(fleet)
    for number in range(3):
        post.to_users(["bob", "ann"], hint(number))
        fleet.run()
    assert fleet["a"].calls.count("locate") == 1
    assert post.routes.split(["bob", "ann", "cid"]) == ({"b"}, ["cid"])
    fleet.clock.pass_seconds(ROUTE_SECONDS + 0.1)
    assert post.routes.split(["bob"]) == (set(), ["bob"])


def test_what_comes_after_one_that_waits_waits_too(fleet):
    post = post_of(fleet)
    fleet["a"].next("locate", WAIT)
    post.to_users(["bob"], hint(0))
    fleet.run()
    for number in (1, 2):
        post.to_users(["bob"], hint(number))
    fleet.run()
    assert fleet.net.sent == []
    assert len(post) == 2
    fleet["a"].go_on()
    assert [unpack(data) for _, _, data in fleet.net.sent] == [hint(n) for n in range(3)]
    assert len(post) == 0


def test_a_route_that_ends_while_others_are_asked_for_is_used(fleet):
    post = post_of(fleet)
    post.to_users(["bob"], hint(1))
    fleet.run()
    fleet["a"].next("locate", WAIT)
    post.to_users(["bob", "ann"], hint(2))
    fleet.run()
    fleet.clock.pass_seconds(ROUTE_SECONDS + 0.1)
    fleet["a"].go_on()
    assert [unpack(data) for _, _, data in fleet.net.sent] == [hint(1), hint(2)]


def test_a_route_is_as_old_as_the_question(fleet):
    post = post_of(fleet)
    fleet["a"].next("locate", WAIT)
    post.to_users(["bob"], hint(1))
    fleet.run()
    fleet.clock.pass_seconds(ROUTE_SECONDS + 0.1)
    fleet["a"].go_on()
    assert [unpack(data) for _, _, data in fleet.net.sent] == [hint(1)]
    assert post.routes.split(["bob"]) == (set(), ["bob"])


def test_too_many_that_did_not_fit_are_told_as_everything(fleet, monkeypatch):
    monkeypatch.setattr("whatsapp.routes.MISSED_CHATS_MAX", 2)
    post = post_of(fleet)
    fleet.net.full.add("b")
    for number in range(4):
        post.to(["b"], b"x", f"chat {number}")
    fleet.net.full.clear()
    post.tick()
    assert [unpack(data) for _, _, data in fleet.net.sent] == [Grown(None)]


def test_too_many_that_wait_are_told_as_everything(fleet, monkeypatch):
    monkeypatch.setattr("whatsapp.routes.HELD_MAX", 2)
    post = post_of(fleet)
    fleet["a"].next("locate", WAIT)
    for number in range(4):
        post.to_users(["bob"], hint(number), "ann:bob")
    fleet.run()
    post.tick()
    assert Grown(None) in [unpack(data) for _, _, data in fleet.net.sent]


def test_of_an_instance_that_is_gone_nothing_is_remembered(fleet):
    post = post_of(fleet)
    fleet.net.full.add("b")
    post.to(["b"], b"x", "ann:bob")
    post.live(["a"])
    fleet.net.full.clear()
    post.tick()
    assert fleet.net.sent == []
    post.to_all(Bye())
    assert [unpack(data) for _, _, data in fleet.net.sent] == [Bye()]


def test_of_an_instance_that_is_not_known_yet_it_is_remembered(fleet):
    post = post_of(fleet)
    post.live(["a"])
    fleet.net.full.add("b")
    post.to(["b"], b"x", "ann:bob")
    fleet.net.full.clear()
    post.live(["a", "b"])
    post.tick()
    assert [unpack(data) for _, _, data in fleet.net.sent] == [Grown(("ann:bob",))]
