"""What hints do to logins, accounts and presence."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet
from tests.support.world import FAIL_BEFORE
from whatsapp import wire
from whatsapp.model import Actor


@pytest.fixture
def fleet():
    fleet = Fleet("ann", "bob", names="ab")
    fleet.tick()
    return fleet


def test_where_the_store_did_not_say_the_token_is_asked_for_anew(fleet):
    laptop = fleet["b"].connect("ann", "laptop")
    fleet["a"].next("end", FAIL_BEFORE)
    results = fleet["a"].begin(fleet["a"].core.auth.end_device(Actor("ann", "x"), "laptop"))
    fleet.run()
    assert results[0].code == "unavailable"
    assert laptop.closed is not None
    assert laptop.closed[0] == wire.CLOSE_REVOKED
    fleet["b"].drop(laptop)
    again = fleet["b"].connect("ann", "laptop")  # it has not ended: its token is good
    assert again.closed is None


def test_forgetting_all_reads_everything_anew(fleet):
    core = fleet["b"].core
    fleet["b"].do(core.accounts.find(["ann"]))
    fleet["b"].do(core.accounts.blocks("ann"))
    core.cluster.effects.forget_all()
    assert core.accounts.cached("ann") is None
    assert core.accounts.cached_blocks("ann") is None
