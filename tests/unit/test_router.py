"""Every frame in every state, and every error as a frame or a close."""

from __future__ import annotations

import logging
from typing import get_args

import pytest

from tests.support.world import FAIL_BEFORE, WAIT, WAIT_AFTER, World
from whatsapp import wire
from whatsapp.errors import (
    BadRequest,
    Busy,
    Forbidden,
    NotFound,
    ProtocolViolation,
    RateLimited,
    Unavailable,
)
from whatsapp.model import Actor
from whatsapp.router import TABLE
from whatsapp.session import State
from whatsapp.wire import Error, Hello, Ping, Pong, Read, Received, Send, Typing, Watch, Welcome

CHAT = "ann:bob"
FRAMES = (
    Hello(token="token of ann-phone"),
    Send(id="id-of-a-client", text="hello", chat=CHAT),
    Received(CHAT, 1),
    Read(CHAT, 1),
    Typing(CHAT, on=True),
    Watch(["bob"]),
    Ping(n=7),
)


@pytest.fixture
def world():
    world = World("ann", "bob")
    world.post("bob", "ann", "first")
    return world


def kinds(peer):
    return [type(frame).__name__ for frame in peer.take()]


def test_the_frames_are_all_there_are():
    assert {type(frame) for frame in FRAMES} == set(get_args(wire.AnyClientFrame))
    assert set(TABLE) == set(State)


def test_who_is_refused_as_busy_is_held_before_the_next_frame():
    world = World("ann", "bob", drafts_max=1)
    released = world.loop.promise()

    async def hold() -> None:
        await released

    world.core.router._hold = hold
    world.post("ann", "bob", "zero")
    world.next("append", WAIT_AFTER)
    ann, bob = world.connect("ann"), world.connect("bob")
    for number in range(2):
        assert world.say(ann, Send(id=f"id-of-one-{number}", text="hello", chat=CHAT)) == [None]
    handled = world.say(ann, Send(id="id-of-one-2", text="hello", chat=CHAT))
    # It hears of it at once, and others are not held.
    assert (ann.error(), handled) == (Busy.code, [])
    assert world.say(bob, Ping(n=7)) == [None]
    released.set_result(None)
    world.loop.run()
    assert handled == [None]
    # Nor is who was refused for another reason.
    assert world.say(ann, Send(id="short", text="hello", chat=CHAT)) == [None]
    assert ann.error() == BadRequest.code
    world.go_on()


# ------------------------------------------------------------------------ state by frame


def test_the_first_frame_is_hello(world):
    peer = world.connect("ann")
    assert kinds(peer)[0] == "Welcome"
    assert peer.session.state is State.LIVE


@pytest.mark.parametrize("frame", FRAMES[1:], ids=lambda frame: type(frame).__name__)
def test_before_hello_everything_else_ends_the_connection(world, frame):
    peer = world.open()
    world.say(peer, frame)
    assert peer.closed[0] == wire.CLOSE_NO_HELLO
    assert world.data.logs[CHAT].entries[-1].text == "first"


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_before_the_positions_are_known_nothing_is_taken(world, frame):
    """The connection hands in one frame after the other, so this cannot be, and is refused."""
    world.next("of_user", WAIT)
    peer = world.connect("ann")
    assert world.core.hub.online("ann")
    world.say(peer, frame)
    assert peer.closed[0] == wire.CLOSE_NO_HELLO
    world.go_on()
    assert peer.session.state is State.CLOSED


@pytest.mark.parametrize(
    "frame, answers",
    [
        (FRAMES[0], ["Error"]),
        (FRAMES[1], ["Sent"]),
        (FRAMES[2], []),
        (FRAMES[3], []),
        (FRAMES[4], []),
        (FRAMES[5], ["Presence"]),
        (FRAMES[6], ["Pong"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_then_every_frame_has_its_answer(world, frame, answers):
    peer = world.connect("ann")
    peer.take()
    world.say(peer, frame)
    assert kinds(peer) == answers
    assert peer.closed is None


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_after_the_close_nothing_is_looked_at(world, frame):
    peer = world.connect("ann")
    peer.session.close(1000, "over")
    peer.take()
    world.say(peer, frame)
    assert kinds(peer) == []
    assert len(world.data.logs[CHAT].entries) == 1


def test_a_ping_is_answered_with_its_number_and_the_time(world):
    peer = world.connect("ann")
    world.say(peer, Ping(n=7))
    world.say(peer, Ping())
    assert peer.take(Pong) == [Pong(world.clock.now_ms(), 7), Pong(world.clock.now_ms())]


# --------------------------------------------------------------------------------- hello


def test_the_welcome_says_what_there_is(world):
    [welcome] = world.connect("ann").take(Welcome)
    assert (welcome.user, welcome.device, welcome.instance) == ("ann", "ann-phone", "here")
    assert (welcome.time, welcome.durable) == (world.clock.now_ms(), False)
    assert welcome.limits == wire.Limits(65_536, 16_384, 512, 30)


def test_the_token_may_come_in_the_header(world):
    world.drop(world.connect("ann"))
    peer = world.open()
    peer.session.header_token = "token of ann-phone"
    world.say(peer, Hello())
    assert kinds(peer)[0] == "Welcome"
    assert peer.session.header_token is None


@pytest.mark.parametrize("token", [None, "", "wrong", "x" * 10_000])
def test_without_a_good_token_the_connection_ends(world, token):
    peer = world.open()
    world.say(peer, Hello(token=token))
    assert peer.closed[0] == wire.CLOSE_NO_TOKEN


def test_too_many_cursors_end_the_connection(world):
    cursors = {f"ann:user{number}": 1 for number in range(wire.HELLO_CURSORS_MAX + 1)}
    peer = world.connect("ann", cursors=cursors)
    assert (peer.error(), peer.closed[0]) == ("bad_request", wire.CLOSE_NO_HELLO)


def test_nobody_is_kept_out_because_the_directory_is_away(world):
    world.next("announce", FAIL_BEFORE)
    assert kinds(world.connect("ann")) == ["Welcome", "Messages", "Synced"]


@pytest.mark.parametrize("call", ["by_token", "of_user"])
def test_where_the_store_is_away_the_client_comes_back_later(world, call):
    world.next(call, FAIL_BEFORE)
    peer = world.connect("ann")
    [error] = peer.take(Error)
    assert (error.code, error.retryable) == ("unavailable", True)
    assert peer.closed[0] == wire.CLOSE_GOING_AWAY
    world.drop(peer)
    assert kinds(world.connect("ann"))[0] == "Welcome"


def test_a_connection_that_ended_while_its_token_was_read_is_not_known(world):
    world.next("by_token", WAIT)
    peer = world.connect("ann")
    peer.session.state = State.CLOSED
    world.go_on()
    assert kinds(peer) == []
    assert not world.core.hub.online("ann")


def test_a_device_that_was_logged_out_meanwhile_is_closed(world):
    world.drop(world.connect("ann"))
    world.core.auth.logins._by_hash.clear()
    world.core.auth.logins._by_user.clear()
    world.next("by_token", WAIT)
    peer = world.open()
    world.say(peer, Hello(token="token of ann-phone"))
    world.do(world.core.auth.logout(Actor("ann", "ann-phone")))
    world.go_on()
    assert peer.closed[0] in {wire.CLOSE_REVOKED, wire.CLOSE_NO_TOKEN}


# -------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "data, code, re",
    [
        (b'{"type":"nonsense"}', "bad_request", None),
        (b'{"type":"ping","more":1,"n":5}', "bad_request", 5),
        (b'{"type":"send","id":"id-of-a-client","text":7}', "bad_request", "id-of-a-client"),
        (b"[]", "bad_request", None),
        (b'{"type":"received","chat":"ann:bob","seq":-1}', "bad_request", None),
    ],
)
def test_what_is_no_frame_of_ours_is_refused_and_the_connection_stays(world, data, code, re):
    peer = world.connect("ann")
    world.say(peer, data)
    [error] = peer.take(Error)
    assert (error.code, error.re) == (code, re)
    assert peer.closed is None


def test_what_is_no_json_ends_the_connection(world):
    peer = world.connect("ann")
    world.say(peer, b"{")
    assert peer.closed[0] == wire.CLOSE_BROKEN_FRAME


def test_before_hello_what_is_no_frame_ends_the_connection(world):
    peer = world.open()
    world.say(peer, b'{"type":"nonsense"}')
    assert (peer.error(), peer.closed[0]) == ("bad_request", wire.CLOSE_NO_HELLO)


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    "error, code, retryable, after_ms",
    [
        (BadRequest("no"), "bad_request", False, None),
        (Forbidden("no"), "forbidden", False, None),
        (NotFound("no"), "not_found", False, None),
        (RateLimited("no", retry_after_ms=50), "rate_limited", True, 50),
        (Busy("no"), "busy", True, None),
        (Unavailable("no"), "unavailable", True, None),
        (ZeroDivisionError("secret"), "internal", True, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_a_handler_is_a_frame(  # noqa: PLR0917
    world, monkeypatch, caplog, error, code, retryable, after_ms, later
):
    peer = world.connect("ann")

    async def fail_later():
        raise error

    def fail(session, frame):
        if later:
            return fail_later()
        raise error

    monkeypatch.setattr(world.core.conversations, "send", fail)
    with caplog.at_level(logging.ERROR):
        world.say(peer, FRAMES[1])
    [frame] = peer.take(Error)
    assert (frame.code, frame.re, frame.retryable) == (code, "id-of-a-client", retryable)
    assert frame.retry_after_ms == after_ms
    assert "secret" not in frame.message
    assert ("handler failed" in caplog.text) == (code == "internal")
    assert peer.closed is None


def test_a_violation_ends_the_connection(world, monkeypatch):
    peer = world.connect("ann")

    def fail(session, frame):
        raise ProtocolViolation(1234, "no")

    monkeypatch.setattr(world.core.conversations, "send", fail)
    world.say(peer, FRAMES[1])
    assert peer.closed == (1234, "no")
