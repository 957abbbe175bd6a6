"""Hashes, their queue, and the list of what everybody tries first."""

from __future__ import annotations

import asyncio
import threading
import unicodedata

import argon2
import pytest

from whatsapp import config
from whatsapp.errors import Busy
from whatsapp.passwords import Passwords, common_passwords

CHEAP = config.Auth(password_memory_kib=8)


@pytest.fixture
async def passwords():
    async with Passwords(CHEAP) as opened:
        yield opened


async def test_the_right_password_is_right_and_others_are_wrong(passwords):
    hashed = await passwords.hash("tulips in may")
    assert await passwords.verify(hashed, "tulips in may")
    assert not await passwords.verify(hashed, "tulips in june")
    assert not await passwords.verify(hashed, "")


async def test_the_same_password_hashes_differently_each_time(passwords):
    assert await passwords.hash("tulips in may") != await passwords.hash("tulips in may")


async def test_hashes_are_argon2id_with_the_parameters_of_the_settings(passwords):
    hashed = await passwords.hash("tulips in may")
    assert hashed.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert "m=47104,t=1,p=1" in Passwords(config.Auth())._nobody


async def test_nobodys_hash_costs_what_any_other_costs(passwords):
    nobody = argon2.extract_parameters(passwords._nobody)
    assert nobody == argon2.extract_parameters(await passwords.hash("tulips in may"))
    assert not await passwords.verify("", "tulips in may")
    assert not await passwords.verify("", "")


async def test_nobodys_hash_is_computed_and_not_merely_refused(passwords):
    # A malformed one would be refused at once, and its quickness would tell.
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        passwords._hasher.verify(passwords._nobody, b"tulips in may")


async def test_what_is_no_hash_verifies_nothing(passwords):
    assert not await passwords.verify("plain text", "plain text")


async def test_letters_that_look_the_same_are_the_same(passwords):
    composed = unicodedata.normalize("NFC", "zwölf Bären")
    hashed = await passwords.hash(composed)
    assert await passwords.verify(hashed, unicodedata.normalize("NFD", composed))


async def test_half_a_surrogate_pair_is_a_password_like_any_other(passwords):
    hashed = await passwords.hash("\ud800 and more")
    assert await passwords.verify(hashed, "\ud800 and more")


async def test_other_parameters_ask_for_a_new_hash(passwords):
    hashed = await passwords.hash("tulips in may")
    assert not passwords.needs_rehash(hashed)
    async with Passwords(config.Auth(password_memory_kib=16)) as later:
        assert later.needs_rehash(hashed)
        assert await later.verify(hashed, "tulips in may")


class Held(Passwords):
    """Its workers stand still until `gate` opens."""

    def __init__(self, settings):
        super().__init__(settings)
        self.gate = threading.Event()
        self.threads = set()

    def _verify(self, hashed, password):
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(30)
        return super()._verify(hashed, password)


async def test_beyond_the_queue_it_is_busy_and_says_for_how_long():
    settings = config.Auth(password_memory_kib=8, password_workers=2, password_queue_max=3)
    async with Held(settings) as held:
        waiting = [asyncio.create_task(held.verify("", "x")) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as refused:
            await held.verify("", "x")
        assert refused.value.retry_after_ms == 300
        held.gate.set()
        assert await asyncio.gather(*waiting) == [False] * 5
        assert not await held.verify("", "x")
        assert len(held.threads) <= 2


async def test_who_gives_up_waiting_makes_room():
    settings = config.Auth(password_memory_kib=8, password_workers=1, password_queue_max=1)
    async with Held(settings) as held:
        running, queued = (asyncio.create_task(held.verify("", "x")) for _ in range(2))
        await asyncio.sleep(0)
        queued.cancel()
        await asyncio.wait([queued])
        another = asyncio.create_task(held.verify("", "x"))
        await asyncio.sleep(0)
        held.gate.set()
        assert await running is False
        assert await another is False


async def test_the_loop_goes_on_while_a_password_is_hashed():
    async with Held(CHEAP) as held:
        task = asyncio.create_task(held.verify("", "x"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        held.gate.set()
        await task


async def test_closing_ends_the_threads():
    passwords = Passwords(CHEAP)
    await passwords.hash("tulips in may")
    await passwords.close()
    assert not [t for t in passwords._pool._threads if t.is_alive()]


def test_the_common_ones_are_some_hundreds_folded_and_long_enough_to_matter():
    common = common_passwords()
    assert len(common) >= 300
    assert {"password", "12345678", "iloveyou", "qwertyuiop"} <= common
    assert all(word == word.lower() and len(word) >= 8 for word in common)
