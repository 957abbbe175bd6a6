"""What was written reaches the server once, in order, whatever happens in between."""

from __future__ import annotations

import re

import aiohttp
from playwright.async_api import expect

from tests.browser.person import AWAY

THREE = ["one", "two", "three"]
CONNECTIONS = re.compile(r"^whatsapp_connections (\d+)", re.MULTILINE)


async def sent_once(one, chat, texts):
    await expect(one.messages().get_by_role("img", name="Waiting to be sent")).to_have_count(0)
    for text in texts:
        await expect(one.message(text)).to_have_count(1)
    assert await one.stored_texts(chat) == texts


async def worker_is_there(one):
    """The page's own files are kept for being without a network."""
    await one.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await one.page.wait_for_function(
        "caches.keys().then((names) => names.length === 1 && caches.open(names[0]))"
        ".then((cache) => cache && cache.match('/')).then(Boolean)"
    )


async def test_written_and_reloaded_without_a_network(people):
    ann, bob = await people("Ann", "Bob", service_workers="allow")
    await worker_is_there(ann)
    await ann.begin_chat(bob)
    await ann.offline()
    for text in THREE:
        await ann.say(text)
        await ann.sees_state(text, "queued")
    await expect(ann.banner()).to_contain_text("3 messages wait")
    await ann.page.reload()
    for text in THREE:
        await ann.sees_state(text, "queued")
    await ann.online()
    await bob.open_chat("Ann")
    await bob.sees("three")
    for text in THREE:
        await ann.sees_state(text, "read")
    await sent_once(ann, ann.chat_with(bob), THREE)
    await ann.synced()


async def test_a_waiting_message_can_be_taken_back(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.offline()
    for text in THREE:
        await ann.say(text)
    await ann.message_menu("two", "Delete")
    await expect(ann.message("two")).to_have_count(0)
    await ann.online()
    await ann.sees_state("three", "delivered")
    await sent_once(ann, ann.chat_with(bob), ["one", "three"])


async def test_the_server_dies_and_comes_back(own_server, gather):
    ann, bob = [await gather(own_server.url, name) for name in ("Ann", "Bob")]
    for one in (ann, bob):
        one.allow(*AWAY)
        await one.log_in()
    await ann.begin_chat(bob)
    await ann.say("before")
    await bob.open_chat("Ann")
    await ann.sees_state("before", "read")
    port = own_server.url.rpartition(":")[2]
    await own_server.kill9()
    await ann.say("from ann")
    await bob.say("from bob")
    await ann.sees_state("from ann", "queued")
    await bob.sees_state("from bob", "queued")
    own_server._flags = (*own_server._flags, "--port", port)
    await own_server.restart()
    # "Now" is there while the next try is seconds away; else it tries by itself.
    for one in (ann, bob):
        await one.page.evaluate("dispatchEvent(new Event('online'))")
    await bob.sees("from ann")
    await ann.sees("from bob")
    await ann.sees_state("from ann", "read")
    await bob.sees_state("from bob", "read")
    texts = await ann.stored_texts(ann.chat_with(bob))
    assert texts[0] == "before"
    assert sorted(texts[1:]) == ["from ann", "from bob"]
    for one in (ann, bob):
        await expect(one.messages().get_by_test_id("message-text")).to_have_text(texts)


async def test_reloaded_right_after_each_enter(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.say("zero")
    await ann.sees_state("zero", "delivered")
    for text in THREE:
        await ann.field().fill(text)
        await ann.field().press("Enter")
        await ann.page.reload()
        await expect(ann.field()).to_have_value("")
    for text in THREE:
        await ann.sees_state(text, "delivered")
    await sent_once(ann, ann.chat_with(bob), ["zero", *THREE])


async def connections(url):
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
        found = CONNECTIONS.search(await answer.text())
    assert found is not None
    return int(found[1])


async def test_two_tabs_share_one_connection(own_server, gather):
    ann, bob = [await gather(own_server.url, name) for name in ("Ann", "Bob")]
    await ann.log_in()
    second = await ann.open()
    await ann.at_home(second)
    await bob.post(ann.chat_with(bob), "to both")
    for tab in (ann.page, second):
        await ann.open_chat("Bob", tab)
        await ann.sees("to both", tab)
    # What one tab says, the other shows, ticks and all.
    await ann.say("from the second", second)
    await ann.sees_state("from the second", "stored")
    await ann.sees_state("from the second", "stored", second)
    assert await connections(own_server.url) == 1
    # The tab with the connection closes: the other one takes over.
    await ann.page.close()
    await bob.post(ann.chat_with(bob), "to the one that is left")
    await ann.sees("to the one that is left", second)
    await ann.say("still here", second)
    await ann.sees_state("still here", "stored", second)
    assert await connections(own_server.url) == 1


FULL = """() => {
const add = IDBObjectStore.prototype.add;
window.full = true;
IDBObjectStore.prototype.add = function (...given) {
  if (window.full && this.name === 'outbox') {
    throw new DOMException('no room', 'QuotaExceededError');
  }
  return add.apply(this, given);
};
}"""


async def test_a_browser_without_room_keeps_the_text_in_the_field(people):
    ann, bob = await people("Ann", "Bob")
    await ann.begin_chat(bob)
    await ann.page.evaluate(FULL)
    await ann.field().fill("precious")
    await ann.field().press("Enter")
    await expect(ann.page.get_by_role("alert")).to_contain_text("no room")
    await expect(ann.field()).to_have_value("precious")
    await ann.page.evaluate("window.full = false")
    await ann.field().press("Enter")
    await ann.sees_state("precious", "delivered")
    await sent_once(ann, ann.chat_with(bob), ["precious"])
