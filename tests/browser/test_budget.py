"""Small enough for a slow line, and there at once."""

from __future__ import annotations

from playwright.async_api import expect

from whatsapp import page_routes

SCRIPTS_BYTES_MAX = 80 * 1024
# It is a fifth of a second on an idle machine.
USABLE_SECONDS_MAX = 5.0


async def test_scripts_as_they_travel(person):
    ann = await person("Ann")
    sizes: dict[str, int] = {}
    ann.context.on(
        "response",
        lambda answer: sizes.setdefault(answer.url, int(answer.headers["content-length"])),
    )
    await ann.open()
    await expect(ann.page.get_by_role("button", name="Log in", exact=True)).to_be_visible()
    scripts = {url.removeprefix(ann.url): size for url, size in sizes.items() if ".js" in url}
    assert set(scripts) - {"/sw.js"} == {
        address
        for address in page_routes.addresses()
        if address.endswith(".js") and address != "/sw.js"
    }
    assert sum(scripts.values()) <= SCRIPTS_BYTES_MAX


async def test_usable_soon(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.say("hello")
    await ann.sees_state("hello", "delivered")
    await ann.page.reload()
    await expect(ann.field()).to_be_editable()
    await ann.sees("hello")
    assert await ann.page.evaluate("performance.now()") < USABLE_SECONDS_MAX * 1000
