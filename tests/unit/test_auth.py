"""Registration, login, tokens, devices, passwords, the end of an account."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from msgspec.structs import replace

from tests.support.registry import CHEAP, PASSWORD, open_registry
from whatsapp import config
from whatsapp.errors import (
    Answer,
    BadCredentials,
    BadRequest,
    Busy,
    Forbidden,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
    UserExists,
    WeakPassword,
)
from whatsapp.model import Actor
from whatsapp.passwords import Passwords

ADDRESS = "192.0.2.1"


@pytest.fixture
async def world():
    async with open_registry() as registry:
        yield registry


def register(world, user="ann", password=PASSWORD, name=None, invite=None):
    return world.auth.register(user, password, name, invite, ADDRESS)


def login(world, user="ann", password=PASSWORD, device=None):
    return world.auth.login(user, password, device, ADDRESS)


async def is_dead(world, token):
    """Neither from memory nor from the store."""
    if world.auth.known(token) is not None:
        return False
    try:
        await world.auth.authenticate(token)
    except Unauthorized:
        return True
    return False


async def fail(error=Unavailable):
    raise error("the store is away")


# ---------------------------------------------------------------------- registration


async def test_a_user_registers_and_is_called_as_it_typed_its_id(world):
    account = await register(world, "Ann.Lee")
    assert (account.user, account.name) == ("ann.lee", "Ann.Lee")
    assert account.created_ms == world.clock.now_ms()
    stored = (await world.stores.accounts.find(["ann.lee"]))["ann.lee"]
    assert stored == account
    assert PASSWORD not in stored.password_hash


async def test_a_name_may_be_given_and_is_cleaned(world):
    assert (await register(world, name="  Ann Lee ")).name == "Ann Lee"


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "bell\a"])
async def test_a_bad_name_is_refused(world, name):
    with pytest.raises(BadRequest):
        await register(world, name=name)


@pytest.mark.parametrize("user", ["", "an", "-ann", "ann lee", "änn", "x" * 33, "+12"])
async def test_a_bad_id_is_refused(world, user):
    with pytest.raises(BadRequest):
        await register(world, user)


async def test_an_id_is_taken_once_in_any_case(world):
    await register(world)
    with pytest.raises(UserExists, match="choose another"):
        await register(world, "ANN")


async def test_of_two_at_once_one_gets_the_id(world):
    results = await asyncio.gather(register(world), register(world), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Account", "UserExists"]


async def test_the_id_of_an_erased_user_stays_taken(world):
    actor, _ = await world.ann()
    await world.auth.erase(actor, PASSWORD)
    with pytest.raises(UserExists):
        await register(world)


@pytest.mark.parametrize(
    "password,sentence",
    [
        ("", "at least 8 characters"),
        ("7 chars", "at least 8 characters"),
        ("ä" * 513, "at most 1024 bytes"),
        ("password123", "everybody tries first"),
        ("PassWord123", "everybody tries first"),
        ("Annabella", "not your user id"),
    ],
)
async def test_a_weak_password_is_refused_with_what_to_do(world, password, sentence):
    with pytest.raises(WeakPassword, match=sentence):
        await register(world, "annabella", password)
    assert await world.stores.accounts.find(["annabella"]) == {}


@pytest.mark.parametrize("password", ["lowercase only", "tulipsinmay", "ä" * 512, "ffffgggg"])
async def test_there_are_no_rules_of_composition(world, password):
    await register(world, password=password)
    assert (await login(world, password=password)).user == "ann"


async def test_the_operator_may_ask_for_longer_passwords(world):
    auth = world.with_settings(password_characters_min=14)
    with pytest.raises(WeakPassword, match="at least 14"):
        await auth.register("ann", PASSWORD, None, None, ADDRESS)


async def test_closed_means_closed_but_not_for_the_operator(world):
    auth = world.with_settings(registration="closed", invite_codes=("let me in",))
    with pytest.raises(Forbidden, match="no registrations"):
        await auth.register("ann", PASSWORD, None, "let me in", ADDRESS)
    assert (await auth.add_user("ann", PASSWORD, "Ann")).name == "Ann"


@pytest.mark.parametrize("codes", [(), ("summer", "größe")])
@pytest.mark.parametrize(
    "invite,sentence", [(None, "needs an invitation"), ("", "not valid"), ("Summer", "not valid")]
)
async def test_without_a_valid_invitation_there_is_no_account(world, codes, invite, sentence):
    auth = world.with_settings(registration="invite", invite_codes=codes)
    with pytest.raises(Forbidden, match=sentence):
        await auth.register("ann", PASSWORD, None, invite, ADDRESS)


@pytest.mark.parametrize("invite", ["summer", "größe"])
async def test_any_of_the_invitations_will_do(world, invite):
    auth = world.with_settings(registration="invite", invite_codes=("summer", "größe"))
    assert (await auth.register("ann", PASSWORD, None, invite, ADDRESS)).user == "ann"


async def test_registrations_are_limited_by_address():
    rates = config.Rates(logins_burst=2, logins_per_minute=1)
    async with open_registry(rates=rates) as world:
        await register(world, "ann")
        with pytest.raises(UserExists):
            await register(world, "ann")
        with pytest.raises(RateLimited):
            await register(world, "bob")
        await world.auth.register("bob", PASSWORD, None, None, "192.0.2.2")


# ---------------------------------------------------------------------- login


async def test_a_login_makes_a_device_with_a_token(world):
    await register(world)
    answer = await login(world, "ANN", device=" Ann's phone ")
    [device] = await world.stores.devices.of_user("ann")
    assert (answer.user, answer.device) == ("ann", device.device)
    assert device.name == "Ann's phone"
    assert device.created_ms == device.last_seen_ms == world.clock.now_ms()
    assert device.token_hash == hashlib.sha256(answer.token.encode()).digest()
    assert world.auth.known(answer.token) == Actor("ann", answer.device)


@pytest.mark.parametrize("name", [None, "", "   "])
async def test_a_device_without_a_name_is_unnamed(world, name):
    await register(world)
    await login(world, device=name)
    [device] = await world.stores.devices.of_user("ann")
    assert device.name == "unnamed device"


@pytest.mark.parametrize("name", ["x" * 65, "\x00"])
async def test_a_bad_device_name_is_refused_before_any_work(world, name):
    await register(world)
    with pytest.raises(BadRequest, match="device's name"):
        await login(world, device=name)
    assert world.passwords.verified == []


async def test_unknown_erased_and_wrong_get_one_answer_after_one_verification_each(world):
    await register(world)
    gone, _ = await world.enter("gone")
    await world.auth.erase(gone, PASSWORD)
    messages = set()
    for user in ("ann", "nobody", "gone"):
        world.passwords.verified.clear()
        with pytest.raises(BadCredentials) as refused:
            await login(world, user, "wrong password")
        messages.add((refused.value.message, refused.value.retry_after_ms))
        assert len(world.passwords.verified) == 1, user
    assert len(messages) == 1


async def test_unknown_and_wrong_are_delayed_alike(world):
    await register(world)
    answers: dict[str, list[tuple[str, int | None]]] = {}
    for user in ("ann", "nobody"):
        answers[user] = []
        for _ in range(8):
            with pytest.raises(Answer) as refused:
                await login(world, user, "wrong password")
            answers[user].append((refused.value.message, refused.value.retry_after_ms))
    assert answers["ann"] == answers["nobody"]
    assert answers["ann"][5][1] == 1000


async def test_during_the_delay_not_even_the_right_password_is_looked_at(world):
    await register(world)
    for _ in range(5):
        with pytest.raises(BadCredentials):
            await login(world, password="wrong password")
    world.passwords.verified.clear()
    with pytest.raises(RateLimited, match="too many wrong passwords"):
        await login(world)
    assert world.passwords.verified == []


async def test_a_login_after_the_delay_forgets_the_wrong_passwords(world):
    await register(world)
    for _ in range(2):
        for _ in range(5):
            with pytest.raises(BadCredentials):
                await login(world, password="wrong password")
        world.clock.pass_seconds(1)
        await login(world)


async def test_guesses_at_the_same_time_learn_no_more_than_one_after_the_other(world):
    await register(world)
    guesses = ["wrong password"] * 30 + [PASSWORD]
    results = await asyncio.gather(
        *(login(world, password=guess) for guess in guesses), return_exceptions=True
    )
    kinds = [type(result) for result in results]
    assert kinds.count(BadCredentials) == 5
    assert kinds.count(RateLimited) == 26


async def test_many_right_logins_at_the_same_time_all_succeed(world):
    await register(world)
    answers = await asyncio.gather(*(login(world) for _ in range(20)))
    assert len({answer.token for answer in answers}) == 20


async def test_live_devices_do_not_notice_the_delay(world):
    actor, token = await world.ann()
    for _ in range(6):
        with pytest.raises(Answer):
            await login(world, password="wrong password")
    assert world.auth.known(token) == actor
    await world.auth.change_password(actor, PASSWORD, "roses in june")


async def test_logins_are_limited_by_address():
    rates = config.Rates(logins_burst=3, logins_per_minute=60)
    async with open_registry(rates=rates) as world:
        await world.auth.add_user("ann", PASSWORD)
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8::3"):
            await world.auth.login("ann", PASSWORD, None, address)
        with pytest.raises(RateLimited, match="your address") as refused:
            await world.auth.login("ann", PASSWORD, None, "2001:db8::4")
        assert refused.value.retry_after_ms == 1000
        await world.auth.login("ann", PASSWORD, None, "2001:db8:1::1")


async def test_busy_passes_through_and_counts_as_nothing(world):
    await register(world)
    world.passwords.during = lambda: fail(Busy)
    with pytest.raises(Busy):
        await login(world)
    assert await world.stores.devices.of_user("ann") == []


async def test_above_the_limit_the_longest_unused_device_goes(world):
    auth = world.auth = world.with_settings(devices_per_user_max=3)
    devices = []
    for _ in range(3):
        world.clock.pass_seconds(100)
        devices.append(await world.ann())
    world.clock.pass_seconds(100)
    assert auth.known(devices[0][1]) is not None, "the first one is in use"
    newest = await world.ann()
    assert world.revoked == [("ann", [devices[1][0].device])]
    assert await is_dead(world, devices[1][1])
    for actor, token in (devices[0], devices[2], newest):
        assert auth.known(token) == actor


async def test_a_login_ends_devices_that_have_expired(world):
    old, _ = await world.ann()
    world.clock.pass_days(31)
    new, _ = await world.ann()
    left = await world.stores.devices.of_user("ann")
    assert [device.device for device in left] == [new.device]
    assert world.revoked == [("ann", [old.device])]


async def test_a_login_that_overlaps_a_change_of_the_password_does_not_survive_it(world):
    actor, _ = await world.ann()

    async def change():
        await world.auth.change_password(actor, PASSWORD, "roses in june")

    world.passwords.during = change
    with pytest.raises(BadCredentials, match="just been changed"):
        await login(world)
    left = await world.stores.devices.of_user("ann")
    assert [device.device for device in left] == [actor.device]


async def test_a_login_that_overlaps_the_end_of_the_account_fails(world):
    actor, _ = await world.ann()
    world.passwords.during = lambda: world.auth.remove_user(actor.user)
    with pytest.raises(BadCredentials):
        await login(world)


async def test_a_login_writes_a_new_hash_where_the_parameters_have_changed(world):
    async with Passwords(config.Auth(password_memory_kib=16)) as former:
        hashed = await former.hash(PASSWORD)
    await register(world)
    await world.accounts.edit("ann", lambda a: replace(a, password_hash=hashed))
    await login(world)
    await world.scheduler.settled()
    account = await world.accounts.fresh("ann")
    assert "$m=8," in account.password_hash
    await login(world)


async def test_a_new_hash_never_overwrites_a_new_password(world):
    async with Passwords(config.Auth(password_memory_kib=16)) as former:
        hashed = await former.hash(PASSWORD)
    await register(world)
    await world.accounts.edit("ann", lambda a: replace(a, password_hash=hashed))
    old = await world.accounts.fresh("ann")
    await world.auth.set_password("ann", "roses in june")
    await world.auth._rehash(old, PASSWORD)
    await login(world, password="roses in june")


async def test_a_login_while_the_hash_is_renewed_succeeds(world):
    await register(world)
    same_password = await world.passwords.hash(PASSWORD)

    async def renew():
        await world.accounts.edit("ann", lambda a: replace(a, password_hash=same_password))

    world.passwords.during = renew
    answer = await login(world)
    assert world.auth.known(answer.token) is not None


async def test_a_hash_that_cannot_be_renewed_now_is_renewed_later(world):
    await register(world)
    account = await world.accounts.fresh("ann")
    world.account_store.at["find"] = fail
    await world.auth._rehash(account, PASSWORD)
    await login(world)


# ---------------------------------------------------------------------- tokens


async def test_a_token_survives_a_restart(world):
    actor, token = await world.ann()
    restarted = world.with_settings()
    assert restarted.known(token) is None
    assert await restarted.authenticate(token) == actor
    assert restarted.known(token) == actor
    assert await restarted.authenticate(token) == actor
    assert world.device_store.calls.count("by_token") == 1


@pytest.mark.parametrize(
    "token", [None, 7, b"bytes", ["list"], {"$gt": ""}, "", "x", "x" * 129, "ä" * 40, "\ud800"]
)
async def test_what_is_no_token_is_unauthorized(world, token):
    await world.ann()
    assert world.auth.known(token) is None
    with pytest.raises(Unauthorized, match="log in again"):
        await world.auth.authenticate(token)


async def test_what_cannot_be_a_token_does_not_trouble_the_store(world):
    assert await is_dead(world, "x" * 129)
    assert "by_token" not in world.device_store.calls


async def test_a_token_unused_for_thirty_days_ends(world):
    actor, token = await world.ann()
    world.clock.pass_days(29.9)
    assert world.auth.known(token) == actor
    world.clock.pass_days(30.1)
    assert await is_dead(world, token)
    assert await world.stores.devices.of_user("ann") == []
    assert world.revoked == [("ann", [actor.device])]


async def test_a_token_ends_after_half_a_year_of_daily_use(world):
    actor, token = await world.ann()
    for _ in range(180):
        world.clock.pass_days(1)
        assert world.auth.known(token) == actor
    world.clock.pass_days(0.1)
    assert await is_dead(world, token)


async def test_an_expired_token_is_dead_after_a_restart_too(world):
    _, token = await world.ann()
    world.clock.pass_days(31)
    world.auth = world.with_settings()
    assert await is_dead(world, token)
    assert await world.stores.devices.of_user("ann") == []


async def test_use_that_was_written_keeps_a_token_alive_over_a_restart(world):
    actor, token = await world.ann()
    world.clock.pass_days(20)
    world.auth.saw(actor)
    await world.auth.flush()
    world.clock.pass_days(20)
    assert await world.with_settings().authenticate(token) == actor


async def test_a_device_that_ends_while_its_token_is_looked_up_is_refused(world):
    actor, token = await world.ann()
    world.auth = world.with_settings()
    world.device_store.at["by_token"] = lambda: world.auth.logout(actor)
    with pytest.raises(Unauthorized):
        await world.auth.authenticate(token)
    assert await is_dead(world, token)
    assert not world.auth.alive(actor)


async def test_what_another_instance_ended_is_forgotten_here(world):
    actor, token = await world.ann()
    await world.stores.devices.end("ann", [actor.device])
    assert world.auth.known(token) == actor
    world.auth.drop("ann", [actor.device])
    assert await is_dead(world, token)
    assert world.revoked == [("ann", [actor.device])]


# ---------------------------------------------------------------------- devices


async def test_logout_ends_this_device_alone(world):
    one, token = await world.ann()
    other, other_token = await world.ann()
    await world.auth.logout(one)
    await world.auth.logout(one)
    assert await is_dead(world, token)
    assert not world.auth.alive(one)
    assert world.auth.known(other_token) == other
    assert world.auth.alive(other)
    assert set(world.revoked[0][1]) == {one.device}


async def test_devices_are_listed_oldest_first_with_their_last_use(world):
    one, token = await world.ann("phone")
    world.clock.pass_seconds(10)
    two, _ = await world.ann("laptop")
    created_ms = world.clock.now_ms()
    world.clock.pass_seconds(5)
    world.auth.known(token)
    first, second = await world.auth.devices(two)
    assert (first.device, first.name, first.current) == (one.device, "phone", False)
    assert (second.device, second.name, second.current) == (two.device, "laptop", True)
    assert first.last_seen == world.clock.now_ms()
    assert second.created == second.last_seen == created_ms


async def test_expired_devices_are_not_listed(world):
    await world.ann("old")
    world.clock.pass_days(31)
    actor = Actor("ann", "any")
    assert await world.auth.devices(actor) == []


async def test_a_device_may_end_another_one_of_its_user(world):
    one, token = await world.ann()
    other, _ = await world.ann()
    await world.auth.end_device(other, one.device)
    assert await is_dead(world, token)
    assert world.revoked == [("ann", [one.device])]
    with pytest.raises(NotFound, match="no such device"):
        await world.auth.end_device(other, one.device)


async def test_nobody_ends_the_device_of_somebody_else(world):
    ann, token = await world.ann()
    bob, _ = await world.enter("bob")
    with pytest.raises(NotFound):
        await world.auth.end_device(bob, ann.device)
    assert world.auth.known(token) == ann
    assert world.auth.alive(ann)
    assert all(user == "bob" for user, _ in world.revoked)


async def test_if_the_end_is_in_doubt_sockets_close_and_the_store_is_asked(world):
    actor, token = await world.ann()
    world.device_store.at["end"] = fail
    with pytest.raises(Unavailable):
        await world.auth.logout(actor)
    assert world.revoked == [("ann", [actor.device])]
    assert await is_dead(world, token)


# ---------------------------------------------------------------------- passwords


async def test_a_new_password_ends_the_other_devices(world):
    actor, token = await world.ann()
    others = [await world.ann() for _ in range(2)]
    await world.auth.change_password(actor, PASSWORD, "roses in june")
    assert world.auth.known(token) == actor
    [(user, devices)] = world.revoked
    assert user == "ann"
    assert set(devices) == {other.device for other, _ in others}
    for _, dead in others:
        assert await is_dead(world, dead)
    with pytest.raises(BadCredentials):
        await login(world)
    await login(world, password="roses in june")


async def test_changing_the_password_needs_the_old_one_and_a_good_new_one(world):
    actor, _ = await world.ann()
    with pytest.raises(BadCredentials):
        await world.auth.change_password(actor, "wrong password", "roses in june")
    with pytest.raises(WeakPassword):
        await world.auth.change_password(actor, PASSWORD, "short")
    await login(world)


async def test_a_stolen_device_cannot_try_passwords_without_end(world):
    actor, _ = await world.ann()
    for attempt in (world.auth.change_password(actor, "wrong", "roses in june") for _ in range(5)):
        with pytest.raises(BadCredentials):
            await attempt
    with pytest.raises(RateLimited):
        await world.auth.change_password(actor, PASSWORD, "roses in june")
    with pytest.raises(RateLimited):
        await world.auth.erase(actor, PASSWORD)
    await login(world)


async def test_of_two_changes_from_one_password_one_holds(world):
    actor, _ = await world.ann()
    results = await asyncio.gather(
        world.auth.change_password(actor, PASSWORD, "roses in june"),
        world.auth.change_password(actor, PASSWORD, "asters in october"),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["BadCredentials", "NoneType"]


async def test_the_operator_sets_a_password_and_all_devices_end(world):
    _, token = await world.ann()
    for _ in range(5):
        with pytest.raises(BadCredentials):
            await login(world, password="wrong password")
    await world.auth.set_password("ann", "roses in june")
    assert await is_dead(world, token)
    await login(world, password="roses in june")
    with pytest.raises(WeakPassword):
        await world.auth.set_password("ann", "ann")
    with pytest.raises(NotFound):
        await world.auth.set_password("nobody", "roses in june")


# ---------------------------------------------------------------------- the end


async def test_an_erased_user_leaves_its_groups_first_and_is_gone(world):
    actor, token = await world.ann()
    await world.auth.erase(actor, PASSWORD)
    assert world.told == [("erased", "ann", "still there"), ("gone", "ann")]
    assert world.revoked == [("ann", [actor.device])]
    assert await is_dead(world, token)
    assert (await world.accounts.find(["ann"]))["ann"].erased
    assert await world.stores.devices.of_user("ann") == []
    with pytest.raises(BadCredentials):
        await login(world)


async def test_erasing_needs_the_password(world):
    actor, token = await world.ann()
    with pytest.raises(BadCredentials):
        await world.auth.erase(actor, "wrong password")
    assert world.auth.known(token) == actor
    assert world.told == []


async def test_an_erasure_that_fails_on_the_way_may_be_repeated(world):
    actor, _ = await world.ann()
    world.device_store.at["of_user"] = fail
    with pytest.raises(Unavailable):
        await world.auth.erase(actor, PASSWORD)
    assert await world.accounts.fresh("ann") is not None
    await world.auth.erase(actor, PASSWORD)
    assert await world.accounts.fresh("ann") is None


async def test_who_logs_in_while_the_account_ends_is_out_too(world):
    actor, _ = await world.ann()
    tokens = []

    async def late():
        tokens.append(await login(world))

    world.device_store.at["end"] = late
    await world.auth.erase(actor, PASSWORD)
    assert await is_dead(world, tokens[0].token)
    assert world.revoked[-1] == ("ann", [tokens[0].device])


async def test_the_operator_removes_a_user(world):
    await world.ann()
    await world.auth.remove_user("ann")
    assert world.told[-1] == ("gone", "ann")
    for user in ("ann", "nobody"):
        with pytest.raises(NotFound):
            await world.auth.remove_user(user)


# ---------------------------------------------------------------------- upkeep


async def stored_use(world, actor):
    [found] = [
        d for d in await world.stores.devices.of_user(actor.user) if d.device == actor.device
    ]
    return found.last_seen_ms


async def test_use_is_written_at_most_once_a_minute(world):
    actor, token = await world.ann()
    for _ in range(10 * 60):
        world.clock.pass_seconds(1)
        world.auth.known(token)
        world.auth.tick()
        await world.scheduler.settled()
    assert await stored_use(world, actor) == world.clock.now_ms()
    assert world.device_store.calls.count("saw") == 10


async def test_use_that_could_not_be_written_is_written_later(world):
    actor, token = await world.ann()
    world.clock.pass_seconds(100)
    world.auth.known(token)
    world.device_store.at["saw"] = fail
    world.auth.tick()
    world.auth.tick()
    await world.scheduler.settled()
    assert world.device_store.calls.count("saw") == 1
    world.auth.tick()
    await world.scheduler.settled()
    assert world.device_store.calls.count("saw") == 2
    assert await stored_use(world, actor) == world.clock.now_ms()


async def test_with_nothing_to_write_nothing_is_written(world):
    await world.ann()
    world.auth.tick()
    await world.auth.flush()
    assert "saw" not in world.device_store.calls


def test_the_test_settings_differ_in_cost_alone():
    assert config.Auth(password_memory_kib=8) == CHEAP
