"""A chat with ten thousand messages: as quick as a short one, and as small in memory."""

from __future__ import annotations

import time

import pytest_asyncio
from playwright.async_api import expect

from tests.support.backends import append, opened, say
from tests.support.server import Server

MESSAGES = 10_000
BATCH = 500
ROWS_MAX = 120
ELEMENTS_MAX = 4_000
# It takes a fifth of that; what is looked for is work that grows with the chat.
OPEN_SECONDS_MAX = 5.0
PAGES_UP = 6

# Scroll near the top, and tell where something that is in view stands at that moment.
LOOK_UP = """(box) => {
  box.scrollTop = 400;
  const top = box.getBoundingClientRect().top;
  const line = [...box.querySelectorAll('.line')]
    .find((one) => one.getBoundingClientRect().top > top + 100);
  return { key: line.dataset.key, at: line.getBoundingClientRect().top,
    first: Number(box.querySelector('.line').dataset.seq) };
}"""
IS_LONGER = (
    """({ first }) => Number(document.querySelector('.messages .line').dataset.seq) < first"""
)
WHERE_IS = "(box, key) => box.querySelector(`[data-key='${key}']`).getBoundingClientRect().top"


@pytest_asyncio.fixture(loop_scope="session")
async def filled(tmp_path):
    """A server whose ann has written to bob ten thousand times."""
    data = tmp_path / "data"
    async with opened("sqlite", data) as stores:
        for begin in range(1, MESSAGES + 1, BATCH):
            numbers = range(begin, begin + BATCH)
            now_ms = time.time_ns() // 1_000_000 - MESSAGES * 1000
            await append(stores, *[say(f"number {n}", time_ms=now_ms + n * 1000) for n in numbers])
    async with Server(data, "--no-rate-limits") as server:
        yield server


async def test_opening_and_scrolling(filled, gather):
    ann = await gather(filled.url, "Ann", user="ann")
    await gather(filled.url, "Bob", user="bob")
    await ann.log_in()
    began = time.monotonic()
    await ann.open_chat("Bob")
    await ann.sees(f"number {MESSAGES}")
    assert time.monotonic() - began < OPEN_SECONDS_MAX
    await ann.sees_below_title("bob")

    box = ann.page.get_by_role("region", name="Messages", exact=True)
    for _ in range(PAGES_UP):
        stood = await box.evaluate(LOOK_UP)
        await ann.page.wait_for_function(IS_LONGER, arg=stood)
        assert abs(await box.evaluate(WHERE_IS, stood["key"]) - stood["at"]) <= 2
        assert await ann.page.locator(".line").count() <= ROWS_MAX
    assert await ann.page.evaluate("document.querySelectorAll('*').length") <= ELEMENTS_MAX

    # What comes in meanwhile does not move what one reads; the end is one key away.
    stood = await box.evaluate(LOOK_UP)
    await ann.page.wait_for_function(IS_LONGER, arg=stood)
    await ann.post("ann:bob", "the newest")
    await expect(ann.chat_line("Bob")).to_contain_text("the newest")
    assert abs(await box.evaluate(WHERE_IS, stood["key"]) - stood["at"]) <= 2
    await ann.page.get_by_role("button", name="To the newest message").click()
    await expect(ann.message("the newest")).to_be_in_viewport()

    # A search reaches far back, and the way to the end stays open.
    await ann.page.get_by_role("button", name="Search messages").click()
    await ann.page.get_by_role("searchbox", name="Search messages").fill('"number 42"')
    hits = ann.page.get_by_role("list", name="Found messages").get_by_role("button")
    await hits.filter(has_text="number 42").first.click()
    await expect(ann.message("number 42")).to_be_in_viewport()
    await ann.say("back to now")
    await expect(ann.message("back to now")).to_be_in_viewport()
    assert await ann.page.locator(".line").count() <= ROWS_MAX
