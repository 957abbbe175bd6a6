"""Everything without a mouse, and heard without a screen."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.person import PASSWORD

TABS_MAX = 40
# What has the focus: what it is called, and whether one sees that it has it.
FOCUSED = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const label = element.getAttribute('aria-label')
    ?? element.labels?.[0]?.textContent ?? element.textContent;
  return { name: label.trim(),
    seen: element.matches(':focus-visible')
      && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 };
}"""


async def tab_to(page, name, key="Tab"):
    """Press Tab until something of that name has the focus; all on the way must show it."""
    passed = []
    for _ in range(TABS_MAX):
        await page.keyboard.press(key)
        focused = await page.evaluate(FOCUSED)
        if await page.evaluate("document.activeElement === document.body"):
            continue
        assert focused["seen"], focused
        if name in focused["name"]:
            return
        passed.append(focused["name"])
    raise AssertionError(f"no way to {name}: {passed}")


async def test_from_login_to_search_by_keyboard(person):
    ann, bob = await person("Ann"), await person("Bob")
    chat = ann.chat_with(bob)
    for text in ("first", "second"):
        await bob.post(chat, text)
    await ann.open()
    page, keys = ann.page, ann.page.keyboard
    await tab_to(page, "User name")
    await keys.type(ann.user)
    await tab_to(page, "Password")
    await keys.type(PASSWORD)
    await keys.press("Enter")
    await ann.at_home()
    await expect(ann.chat_line("Bob")).to_be_visible()

    # The chat; the field to write in has the focus.
    await tab_to(page, "Bob")
    await keys.press("Enter")
    await expect(ann.field()).to_be_focused()
    await keys.type("hello Bob")
    await keys.press("Enter")
    await ann.sees_state("hello Bob", "stored")

    # To a message and its menu: a reply.
    await tab_to(page, "Messages", "Shift+Tab")
    await keys.press("ArrowUp")
    await keys.press("ArrowUp")
    await keys.press("Enter")
    await expect(page.get_by_role("menuitem", name="Reply")).to_be_focused()
    await keys.press("Enter")
    await expect(ann.field()).to_be_focused()
    await keys.type("to the second")
    await keys.press("Enter")
    await expect(ann.message("to the second").locator(".quote-text")).to_have_text("second")
    await ann.sees_state("to the second", "stored")
    assert [entry.reply_to for entry in await ann.stored(chat)] == [None, None, None, 2]

    # Search, and back.
    await tab_to(page, "Search messages", "Shift+Tab")
    await keys.press("Enter")
    await expect(page.get_by_role("searchbox", name="Search messages")).to_be_focused()
    await keys.type("first")
    found = page.get_by_role("list", name="Found messages")
    await expect(found.get_by_role("button")).to_have_count(1)
    await tab_to(page, "first")
    await keys.press("Enter")
    await expect(page.locator(".line:focus", has_text="first")).to_be_visible()


async def test_what_comes_in_is_announced(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.sees_below_title("online")
    await bob.post(ann.chat_with(bob), "can you hear me?")
    spoken = ann.page.get_by_role("log", name="New messages")
    await expect(spoken).to_have_text("Bob: can you hear me?")
    assert await spoken.get_attribute("aria-live") == "polite"


async def test_a_dialog_keeps_the_focus_and_gives_it_back(people):
    (ann,) = await people("Ann")
    page, keys = ann.page, ann.page.keyboard
    await page.get_by_role("button", name="Settings").click()
    await expect(page.get_by_role("heading", name="Settings")).to_be_focused()
    await tab_to(page, "Change password")
    await keys.press("Enter")
    await expect(ann.dialog()).to_be_visible()
    await tab_to(page, "Present password")
    await keys.press("Escape")
    await expect(ann.dialog()).to_have_count(0)
    await expect(page.get_by_role("button", name="Change password")).to_be_focused()
