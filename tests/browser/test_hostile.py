"""Whatever others call themselves and write, it is text."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

ATTACKS = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "\"'><svg onload=alert(1)>",
    "&lt;b&gt;bold&lt;/b&gt; <b>bold</b>",
    "${alert(1)} {{constructor.constructor('alert(1)')()}}",
]
LINKS = [
    "javascript:alert(1)",
    'https://example.org/"onmouseover="alert(1)',
    "http://javascript:alert(1)@x/<script>",
    "data:text/html,<script>alert(1)</script>",
]
# Nothing of an attack may have become an element or an attribute.
INJECTED = """() => [...document.querySelectorAll(
  '#app img, #app script, #app b, #app iframe, #app [onerror], #app [onload], #app [onmouseover]'
)].map((element) => element.outerHTML)
  .concat([...document.querySelectorAll('a')].map((a) => a.protocol)
    .filter((protocol) => protocol !== 'http:' && protocol !== 'https:'))"""


async def unharmed(one):
    assert await one.page.evaluate(INJECTED) == []


async def test_texts(people):
    ann, bob = await people("Ann", "Bob")
    for text in ATTACKS + LINKS:
        await bob.post(ann.chat_with(bob), text)
    await ann.open_chat("Bob")
    shown = ann.messages().get_by_test_id("message-text")
    await expect(shown).to_have_text(ATTACKS + LINKS, use_inner_text=True)
    await unharmed(ann)
    # Quoted, and found.
    await ann.message_menu(ATTACKS[0], "Reply")
    await ann.say("what?")
    await expect(ann.message("what?").locator(".quote-text")).to_have_text(ATTACKS[0])
    await ann.page.get_by_role("button", name="Search messages").click()
    await ann.page.get_by_role("searchbox", name="Search messages").fill("alert")
    hits = ann.page.get_by_role("list", name="Found messages").get_by_role("button")
    await expect(hits.first).to_be_visible()
    await unharmed(ann)


@pytest.mark.parametrize("attack", ATTACKS[:3])
async def test_names_abouts_and_titles(people, attack):
    ann, bob = await people("Ann", "Bob")
    await bob.calls.change(name=attack, about=attack)
    await bob.post(ann.chat_with(bob), "hi")
    info = await bob.calls.create_group(attack, [ann.user])
    await bob.calls.change_group(info.chat, about=attack)
    lines = ann.page.get_by_role("navigation", name="List of chats").get_by_role("link")
    await expect(lines).to_have_count(2)
    for chat in (ann.chat_with(bob), info.chat):
        await ann.page.locator(f'[data-chat="{chat}"]').click()
        await expect(ann.page.get_by_test_id("chat-head")).to_contain_text(attack)
        details = await ann.open_details()
        await expect(details.locator(".about")).to_have_text(attack)
        await expect(details.locator(".profile-name")).to_have_text(attack)
        await unharmed(ann)
        await details.get_by_role("button", name="Close details").click()
