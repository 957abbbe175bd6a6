"""Wrong input and bad luck: said in plain words, nothing lost."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from playwright.async_api import expect
from yarl import URL

from tests.browser.person import PASSWORD
from tests.support.terminal import ChatList

TEXT_BYTES_MAX = 16_384


async def begin_account(one, user, password, name=""):
    page = one.page
    await page.get_by_role("button", name="Create an account").click()
    await page.get_by_label("User name or phone number").fill(user)
    await page.get_by_label("Your name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Create account", exact=True).click()


async def test_a_new_account(person):
    ann = await person("Ann", registered=False)
    await ann.open()
    await begin_account(ann, ann.user, PASSWORD, "Ann of the Hill")
    await ann.at_home()
    await expect(ann.page.get_by_text("No chats yet")).to_be_visible()
    await ann.page.get_by_role("button", name="Settings").click()
    await expect(ann.page.get_by_role("button", name="Ann of the Hill")).to_be_visible()
    # Log out by hand: nothing stays.
    await ann.page.get_by_role("button", name="Log out").click()
    await ann.dialog().get_by_role("button", name="Log out", exact=True).click()
    await expect(ann.page.get_by_label("User name or phone number")).to_have_value("")


@pytest.mark.parametrize(
    "user, password, told",
    [
        ("taken", PASSWORD, "This user name is taken."),
        ("x", PASSWORD, "3 to 32 letters"),
        ("new.one", "short", "At least 8 characters."),
        ("new.one", "password1", "password"),
        ("new.one", "", "Enter your password."),
    ],
)
async def test_an_account_that_cannot_be(person, user, password, told):
    ann = await person("Ann")
    ann.allow_status(400, 409, 422)
    await ann.open()
    await begin_account(ann, ann.user if user == "taken" else user, password)
    await expect(ann.page.get_by_role("alert")).to_contain_text(told)
    await expect(ann.page.get_by_role("button", name="Create account", exact=True)).to_be_enabled()


async def test_a_wrong_password(person):
    ann = await person("Ann")
    ann.allow_status(401)
    await ann.open()
    await ann.fill_login("not the password")
    told = "The user name or the password is wrong."
    await expect(ann.page.get_by_role("alert")).to_have_text(told)
    await expect(ann.page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    await ann.fill_login()
    await ann.at_home()


async def test_a_text_that_is_too_long(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    send = ann.page.get_by_role("button", name="Send", exact=True)
    await ann.field().fill("é" * (TEXT_BYTES_MAX // 2) + "ab")
    await expect(ann.page.get_by_text("Too long by 2 bytes.")).to_be_visible()
    await expect(send).to_be_disabled()
    await ann.field().press("Enter")
    await ann.field().press("Backspace")
    await ann.field().press("Backspace")
    await expect(ann.page.get_by_text("0 bytes left.")).to_be_visible()
    await send.click()
    await expect(ann.messages().get_by_role("img", name="Delivered")).to_be_visible()
    texts = await ann.stored_texts(ann.chat_with(bob))
    assert [len(text.encode()) for text in texts] == [TEXT_BYTES_MAX]


async def test_a_login_that_was_ended_elsewhere(people):
    ann, bob = await people("Ann", "Bob")
    ann.allow_status(401)
    await ann.begin_chat(bob)
    await ann.say("before")
    await ann.sees_state("before", "delivered")
    await ann.offline()
    await ann.say("not lost")
    await ann.sees_state("not lost", "queued")
    for device in await ann.calls.devices():
        if not device.current:
            await ann.calls.end_device(device.device)
    await ann.online()
    notice = "Log in again: your chats and unsent messages are still here."
    await expect(ann.page.get_by_text(notice)).to_be_visible()
    await ann.page.get_by_label("Password").fill(PASSWORD)
    await ann.page.get_by_role("button", name="Log in", exact=True).click()
    await expect(ann.chat_line("Bob")).to_contain_text("not lost")
    await ann.chat_line("Bob").click()
    await ann.sees_state("not lost", "delivered")
    assert await ann.stored_texts(ann.chat_with(bob)) == ["before", "not lost"]


@pytest.mark.parametrize("times", [[n // 7 + 1 for n in range(420)], [2] * 200 + [1] * 50])
async def test_chats_of_the_same_time_are_all_listed(person, times):
    ann, chats = await person("Ann"), ChatList(times)

    async def listed(route):
        asked = URL(route.request.url).query
        before = int(asked["before"]) if "before" in asked else None
        infos = await chats.chats(limit=int(asked["limit"]), before_ms=before)
        await route.fulfill(json=msgspec.to_builtins(infos))

    await ann.context.route("**/v1/chats?*", listed)
    await ann.log_in()
    lines = ann.page.get_by_role("navigation", name="List of chats").get_by_role("link")
    await expect(lines).to_have_count(len(times))


async def test_who_comes_after_somebody_else_finds_nothing_of_theirs(people):
    ann, bob = await people("Ann", "Bob")
    ann.allow_status(401)  # the other tab takes the lead while the first one logs out
    await ann.begin_chat(bob)
    await ann.say("hello")
    await ann.sees_state("hello", "delivered")
    other = await ann.open()
    await ann.open_chat("Bob", other)
    await other.get_by_role("button", name="Search messages").click()
    await other.get_by_role("searchbox", name="Search messages").fill("what Ann looks for")
    await ann.message("hello", other).hover()
    await ann.message("hello", other).get_by_role("button", name="Message options").click()
    await expect(other.get_by_role("menu")).to_be_visible()
    await ann.field().fill("what Bob is never to see")
    await ann.page.get_by_role("button", name="Settings").click()
    await ann.page.get_by_role("button", name="Log out").click()
    await ann.dialog().get_by_role("button", name="Log out", exact=True).click()
    await ann.page.get_by_label("User name or phone number").fill(bob.user)
    await ann.page.get_by_label("Password").fill(PASSWORD)
    await ann.page.get_by_role("button", name="Log in", exact=True).click()
    for page in (ann.page, other):
        await ann.at_home(page)
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(page.get_by_test_id("chat-head")).to_have_count(0)
        await expect(ann.chat_line("Ann", page)).to_contain_text("hello")
        await ann.open_chat("Ann", page)
        await expect(ann.field(page)).to_have_value("")
        await page.get_by_role("button", name="Search messages", exact=True).click()
        await expect(page.get_by_role("searchbox", name="Search messages")).to_have_value("")


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_off(person, hours):
    ann, bob = await person("Ann"), await person("Bob")
    real = dt.datetime.now(dt.UTC)
    await ann.context.clock.set_system_time(real + dt.timedelta(hours=hours))
    await ann.log_in()
    await bob.log_in()
    await ann.begin_chat(bob)
    await ann.synced()
    await ann.offline()
    await ann.say("what time is it?")
    await ann.sees_state("what time is it?", "queued")
    shown = ann.message("what time is it?").locator("time")
    told = dt.datetime.fromisoformat(await shown.get_attribute("datetime"))
    assert abs(told - real) < dt.timedelta(minutes=5)
    await ann.online()
    await ann.sees_state("what time is it?", "delivered")
    (entry,) = await ann.stored(ann.chat_with(bob))
    stamp = dt.datetime.fromtimestamp(entry.time / 1000, dt.UTC)
    await expect(shown).to_have_text(stamp.strftime("%H:%M"))


@pytest.mark.parametrize("path", ["/#/c/nobody", "/#/c/g%3Anothing", "/#/nonsense", "/#join=gone"])
async def test_addresses_that_lead_nowhere(person, path):
    ann = await person("Ann")
    ann.allow_status(400, 404)
    await ann.open(path)
    await ann.fill_login()
    await expect(ann.page.get_by_role("button", name="New chat")).to_be_attached()
    await ann.page.keyboard.press("Escape")
    await ann.page.goto(ann.url + "/#/")
    await ann.at_home()
