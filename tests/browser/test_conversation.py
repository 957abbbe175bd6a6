"""Two people talk: everything that one sees of the other."""

from __future__ import annotations

import re

from playwright.async_api import expect


async def test_ticks_tell_how_far_a_message_has_come(person):
    ann, bob = await person("Ann"), await person("Bob")
    await ann.log_in()
    await ann.begin_chat(bob)
    await ann.offline()
    await ann.say("hello")
    await ann.sees_state("hello", "queued")
    await ann.online()
    await ann.sees_state("hello", "stored")
    await bob.log_in()
    await expect(bob.chat_line("Ann")).to_contain_text("hello")
    await expect(bob.chat_line("Ann").get_by_label("1 unread")).to_be_visible()
    await expect(bob.page).to_have_title("(1) Tidings")
    await ann.sees_state("hello", "delivered")
    await bob.open_chat("Ann")
    await bob.sees("hello")
    await ann.sees_state("hello", "read")
    await expect(bob.page).to_have_title("Tidings")


async def test_a_talk(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.say("Are you there?")
    await bob.open_chat("Ann")
    await bob.sees_below_title("online")
    await bob.field().press_sequentially("Ye")
    await ann.sees_below_title("typing …")
    await bob.say("Yes!")
    await ann.sees("Yes!")
    await ann.sees_below_title("online")
    await bob.sees_state("Yes!", "read")
    # Many at once stay in order, on both sides.
    words = [f"word {n}" for n in range(12)]
    for word in words:
        await ann.field().fill(word)
        await ann.field().press("Enter")
    for one in (ann, bob):
        shown = one.messages().get_by_test_id("message-text")
        await expect(shown).to_have_text(["Are you there?", "Yes!", *words])
    assert await ann.stored_texts(ann.chat_with(bob)) == ["Are you there?", "Yes!", *words]


async def test_who_goes_was_last_seen(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.sees_below_title("online")
    await bob.page.close()
    await ann.sees_below_title(re.compile(r"^last seen today at \d\d:\d\d$"))


async def test_a_reply_quotes_and_leads_to_what_it_answers(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.say("Tea or coffee?")
    await bob.open_chat("Ann")
    await bob.message_menu("Tea or coffee?", "Reply")
    await expect(bob.field()).to_be_focused()
    await bob.say("Tea, please")
    quote = ann.message("Tea, please").get_by_role("button", name="Answers you")
    await expect(quote).to_contain_text("Tea or coffee?")
    await quote.click()
    marked = ann.page.locator(".marked", has_text="Tea or coffee?")
    await expect(marked).to_be_visible()
    stored = await bob.stored(bob.chat_with(ann))
    assert [entry.reply_to for entry in stored] == [None, 1]


async def test_a_reply_can_be_called_off(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.say("one")
    await ann.message_menu("one", "Reply")
    await ann.field().press("Escape")
    await expect(ann.page.get_by_role("button", name="Do not reply")).to_be_hidden()
    await ann.say("two")
    await ann.sees_state("two", "delivered")
    assert [entry.reply_to for entry in await ann.stored(ann.chat_with(bob))] == [None, None]


async def test_a_draft_stays_with_its_chat(people):
    ann, bob, cyd = await people("Ann", "Bob", "Cyd")
    for other in (bob, cyd):
        await ann.begin_chat(other)
        await ann.say(f"Dear {other.name}")
        await ann.sees_state(f"Dear {other.name}", "delivered")
    await ann.field().fill("not yet")
    await ann.open_chat("Bob")
    await expect(ann.field()).to_have_value("")
    await expect(ann.chat_line("Cyd")).to_contain_text("Draft: not yet")
    await ann.page.reload()
    await ann.open_chat("Cyd")
    await expect(ann.field()).to_have_value("not yet")


async def test_what_was_typed_right_before_a_reload_is_there_after_it(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    for n in range(5):
        await ann.field().fill(f"thought {n}")
        await ann.page.reload()
        await expect(ann.field()).to_have_value(f"thought {n}")


async def test_search_leads_to_the_message(people):
    ann, bob = await people("Ann", "Bob")
    chat = ann.chat_with(bob)
    for n in range(70):
        await bob.post(chat, f"filler {n}" if n != 5 else "The Crème is in the jar")
    await expect(ann.chat_line("Bob")).to_contain_text("filler 69")
    await ann.page.get_by_role("button", name="Search messages").click()
    await ann.page.get_by_role("searchbox", name="Search messages").fill("creme ja")
    hits = ann.page.get_by_role("list", name="Found messages").get_by_role("button")
    await expect(hits).to_have_count(1)
    await expect(hits.locator("mark")).to_have_text(["Crème", "jar"])
    await hits.click()
    found = ann.page.locator(".marked", has_text="The Crème is in the jar")
    await expect(found).to_be_in_viewport()
    # And from within the chat: only this chat.
    await ann.page.get_by_role("button", name="Search in this chat").click()
    await expect(ann.page.get_by_role("button", name="In Bob")).to_be_visible()
    await ann.page.get_by_role("searchbox", name="Search messages").fill("zebra")
    await expect(ann.page.get_by_text("Nothing found")).to_be_visible()


async def test_links_can_be_pressed_and_nothing_else(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    text = "see https://example.org/a_(b)?q=1&r=2, www.example.com. javascript:alert(1)"
    await ann.say(text)
    await ann.sees(text)
    links = ann.message(text).get_by_role("link")
    await expect(links).to_have_count(2)
    assert await links.first.get_attribute("href") == "https://example.org/a_(b)?q=1&r=2"
    assert await links.last.get_attribute("href") == "https://www.example.com/"
    for link in await links.all():
        assert await link.get_attribute("rel") == "noopener noreferrer nofollow"
        assert await link.get_attribute("target") == "_blank"


async def test_writing_from_right_to_left(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.say("שלום, מה שלומך?")
    await bob.open_chat("Ann")
    shown = bob.message("שלום, מה שלומך?").get_by_test_id("message-text")
    await expect(shown).to_be_visible()
    direction = "(element) => getComputedStyle(element.closest('[dir]')).direction"
    assert await shown.evaluate(direction) == "rtl"
    await ann.field().fill("אבג")
    assert await ann.field().evaluate("(element) => getComputedStyle(element).direction") == "rtl"


async def test_emoji_and_line_breaks(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.field().press_sequentially("first")
    await ann.field().press("Shift+Enter")
    await ann.field().press_sequentially("second  👩‍👩‍👧 👍🏽")
    await ann.field().press("Enter")
    await ann.page.get_by_role("button", name="Emoji").click()
    await ann.page.get_by_role("group", name="Emoji").get_by_role("button", name="🎉").click()
    await expect(ann.field()).to_have_value("🎉")
    await ann.field().press("Enter")
    await bob.open_chat("Ann")
    texts = bob.messages().get_by_test_id("message-text")
    await expect(texts).to_have_count(2)
    assert await texts.first.inner_text() == "first\nsecond  👩‍👩‍👧 👍🏽"
    # A few emoji alone are shown large.
    sizes = [
        await text.evaluate("(element) => parseFloat(getComputedStyle(element).fontSize)")
        for text in await texts.all()
    ]
    assert sizes[1] > 2 * sizes[0]
