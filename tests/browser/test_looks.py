"""Every main view, in light and dark, wide and narrow: axe-core finds nothing grave in it.

A picture of each is left in the test's folder (or in the one that SHOTS names), for people.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.person import DESKTOP, PHONE
from tests.support.need import need_node_package

GRAVE = {"serious", "critical"}
RUN_AXE = """() => axe.run(document, { resultTypes: ['violations'] })
  .then(({ violations }) => violations.map(({ id, impact, help, nodes }) =>
    ({ id, impact, help, at: nodes.slice(0, 3).map(({ html }) => html.slice(0, 200)) })))"""


class Eye:
    """Looks at one view after the other; `found` is what is wrong with them."""

    def __init__(self, page, folder, prefix):
        self.page = page
        self.folder = Path(folder)
        self.prefix = prefix
        self.found = {}
        self.axe = (need_node_package("axe-core") / "axe-core" / "axe.min.js").read_text()

    async def look(self, name):
        await self.page.screenshot(
            path=self.folder / f"{self.prefix}-{name}.png", animations="disabled"
        )
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(self.axe)
        grave = [one for one in await self.page.evaluate(RUN_AXE) if one["impact"] in GRAVE]
        if grave:
            self.found[name] = grave
        # Nothing sticks out sideways.
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        if await self.page.evaluate(wide) > 0:
            self.found[f"{name}, width"] = "wider than the window"


async def furnish(ann, bob, cyd):
    """A world worth looking at."""
    chat = ann.chat_with(bob)
    await bob.calls.change(about="At the harbour, mostly")
    await bob.post(chat, "Good morning! The boat leaves at ten.")
    await ann.post(chat, "I bring the tea. Map: https://example.org/pier?map=1")
    await ann.calls.post_over_http(chat, "looks-reply-1", "Ten it is", reply_to=1)
    await bob.post(chat, "مرحبا، أراك لاحقا")
    await ann.post(chat, "🎉")
    await bob.post(
        chat,
        "A longer one, so that one sees how lines break when there is more to say than"
        " fits into one of them.\n\nAnd a second paragraph.",
    )
    info = await cyd.calls.create_group("Saturday on the water", [ann.user, bob.user])
    await cyd.post(info.chat, "Who has a spare life jacket?")
    await bob.post(info.chat, "I have two, one of them small.")
    await ann.post(info.chat, "Then we are complete.")
    await cyd.post(ann.chat_with(cyd), "Did you see the forecast?")


@pytest.mark.parametrize(
    "scheme, viewport", [("light", DESKTOP), ("dark", PHONE)], ids=["light-desktop", "dark-phone"]
)
async def test_every_view(person, scheme, viewport, tmp_path):
    phone = viewport is PHONE
    options = {"color_scheme": scheme, "viewport": viewport, "reduced_motion": "reduce"}
    if phone:
        options |= {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    ann = await person("Ann", **options)
    bob, cyd = await person("Bob Marten"), await person("Cyd Lind")
    await furnish(ann, bob, cyd)
    await ann.open()
    page = ann.page
    eye = Eye(
        page, os.environ.get("SHOTS", tmp_path), f"{scheme}-{'phone' if phone else 'desktop'}"
    )

    await expect(page.get_by_role("button", name="Log in", exact=True)).to_be_visible()
    await eye.look("login")
    await page.get_by_role("button", name="Create an account").click()
    await eye.look("register")
    await page.get_by_role("button", name="Log in", exact=True).click()
    await ann.fill_login()
    await expect(ann.chat_line("Saturday on the water")).to_be_visible()
    await expect(ann.chat_line("Cyd Lind")).to_be_visible()
    await ann.synced()
    await eye.look("list")

    await ann.open_chat("Bob Marten")
    await ann.sees("🎉")
    await eye.look("chat")
    await (await ann.open_details()).get_by_text("At the harbour, mostly").wait_for()
    await eye.look("person")
    await page.go_back()
    await ann.sees("Ten it is")
    if not phone:
        await ann.message("Ten it is").hover()
        await ann.message("Ten it is").get_by_role("button", name="Message options").click()
        await eye.look("menu")
        await page.get_by_role("menuitem", name="Info").click()
        await expect(ann.dialog().get_by_role("heading", name="Message info")).to_be_visible()
        await eye.look("message-info")
        await page.keyboard.press("Escape")
        await ann.message_menu("Ten it is", "Reply")
    await page.get_by_role("button", name="Emoji").click()
    await ann.field().fill("typing")
    await eye.look("composer")
    if phone:
        await page.get_by_role("button", name="Back to chats").click()

    await ann.open_chat("Saturday on the water")
    await ann.sees("Then we are complete.")
    await eye.look("group")
    await ann.open_details()
    await expect(page.get_by_role("region", name="Members").get_by_role("listitem")).to_have_count(
        3
    )
    await eye.look("group-details")
    await page.goto(ann.url + "/#/new")
    await expect(page.get_by_role("heading", name="New chat")).to_be_visible()
    await page.get_by_role("searchbox", name="Find people").fill(bob.user[:6])
    await expect(page.get_by_role("list", name="People")).to_be_visible()
    await eye.look("new-chat")
    await page.goto(ann.url + "/#/group")
    await page.get_by_role("searchbox", name="Find people to add").fill("bob")
    await page.get_by_role("button").filter(has_text=bob.user).click()
    await eye.look("new-group")
    await page.goto(ann.url + "/#/settings")
    await expect(page.get_by_role("switch", name="Read receipts")).to_be_visible()
    await eye.look("settings")
    await page.get_by_role("button", name="Change password").click()
    await eye.look("password")
    await page.keyboard.press("Escape")
    await page.goto(ann.url + "/#/devices")
    await expect(page.get_by_text("This device")).to_be_visible()
    await eye.look("devices")
    await page.goto(ann.url + "/#/search")
    await page.get_by_role("searchbox", name="Search messages").fill("one")
    await expect(page.get_by_role("list", name="Found messages")).to_be_visible()
    await eye.look("search")
    await ann.offline()
    await expect(ann.banner()).to_be_visible()
    await eye.look("offline")
    assert eye.found == {}
