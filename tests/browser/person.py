"""Somebody at the web client: one browser context of their own, their account, their hands.

Everything is found as a person finds it: by role and label. What the browser complains of, on
any page at any time, is gathered; a test that expects a complaint says so with `allow`.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, WebError, expect

from whatsapp.calls import Calls

PASSWORD = "correct horse battery"
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

# A violation of the page's own policy is told as an event, too: it must not stay unseen.
WATCH_POLICY = """
addEventListener('securitypolicyviolation', (event) => {
  console.error('policy violated:', event.violatedDirective, event.blockedURI);
});
"""
# What the browser says of any answer that is no success, and of any network that is away.
REFUSED = "Failed to load resource: the server responded with a status of {status} "
AWAY = (
    r"Failed to load resource: net::ERR_",
    r"WebSocket connection to '.*' failed",
)

# Most tests do without: it would fetch the whole page a second time.
NO_WORKER = "Service Worker registration blocked by Playwright"

STATES = {
    "queued": "Waiting to be sent",
    "stored": "Sent",
    "delivered": "Delivered",
    "read": "Read",
    "failed": "Not sent",
}


class Person:
    """One user at one browser. `calls` is the same user at REST, on a device of its own."""

    def __init__(self, url: str, user: str, name: str, context: BrowserContext) -> None:
        self.url = url
        self.user = user
        self.name = name
        self.context = context
        self.calls = Calls(url)
        self.page: Page
        self.complaints: list[str] = []
        self._allowed = [re.compile(NO_WORKER)]
        context.on("console", self._console)
        context.on("weberror", self._broken)
        context.on("page", self._opened)

    # --- the browser -----------------------------------------------------------------

    def allow(self, *patterns: str) -> None:
        """Complaints that this test brings about on purpose."""
        self._allowed.extend(map(re.compile, patterns))

    def allow_status(self, *codes: int) -> None:
        self.allow(*(re.escape(REFUSED.format(status=code)) for code in codes))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._complain(f"{message.type}: {message.text} ({message.location['url']})")

    def _broken(self, error: WebError) -> None:
        self._complain(f"exception: {error.error}")

    def _opened(self, page: Page) -> None:
        page.on("dialog", lambda dialog: self._complain(f"dialog: {dialog.message}"))

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def unexpected(self) -> list[str]:
        return [
            text
            for text in self.complaints
            if not any(pattern.search(text) for pattern in self._allowed)
        ]

    async def open(self, path: str = "/") -> Page:
        """A new tab; the first one is `page`."""
        tab = await self.context.new_page()
        if not hasattr(self, "page"):
            self.page = tab
        await tab.goto(self.url + path)
        return tab

    async def offline(self) -> None:
        self.allow(*AWAY)
        await self.context.set_offline(True)

    async def online(self) -> None:
        await self.context.set_offline(False)

    # --- the account -----------------------------------------------------------------

    async def register(self) -> None:
        """The account, and a login at REST."""
        await self.calls.register(self.user, PASSWORD, name=self.name)
        await self.calls.login(self.user, PASSWORD, device="script")

    async def log_in(self, path: str = "/") -> None:
        await self.open(path)
        await self.fill_login()
        await self.at_home()

    async def fill_login(self, password: str = PASSWORD) -> None:
        await self.page.get_by_label("User name or phone number").fill(self.user)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Log in", exact=True).click()

    async def at_home(self, page: Page | None = None) -> None:
        at = page or self.page
        await expect(at.get_by_role("heading", name="Tidings", exact=True)).to_be_visible()
        await expect(at.get_by_role("button", name="New chat")).to_be_visible()

    async def synced(self) -> None:
        """The connection is live, and what was missed is here."""
        await expect(self.banner()).to_have_count(0)

    # --- chats -----------------------------------------------------------------------

    def chat_with(self, other: Person) -> str:
        return ":".join(sorted([self.user, other.user]))

    def chat_line(self, title: str, page: Page | None = None) -> Locator:
        """The chat's line in the list."""
        at = page or self.page
        exactly = re.compile(rf"^{re.escape(title)}$")
        lines = at.get_by_role("navigation", name="List of chats").get_by_role("link")
        return lines.filter(has=at.locator(".chat-title", has_text=exactly))

    async def open_chat(self, title: str, page: Page | None = None) -> None:
        await self.chat_line(title, page).click()
        await expect((page or self.page).get_by_test_id("chat-head")).to_contain_text(title)

    async def begin_chat(self, other: Person) -> None:
        """By the search for people."""
        await self.page.get_by_role("button", name="New chat").click()
        await self.page.get_by_role("searchbox", name="Find people").fill(other.user)
        people = self.page.get_by_role("list", name="People")
        await people.get_by_role("button").filter(has_text=other.user).click()
        await expect(self.page.get_by_test_id("chat-head")).to_contain_text(other.name)

    def field(self, page: Page | None = None) -> Locator:
        return (page or self.page).get_by_role("textbox", name="Message", exact=True)

    async def say(self, text: str, page: Page | None = None) -> None:
        await self.field(page).fill(text)
        await self.field(page).press("Enter")
        await expect(self.field(page)).to_have_value("")

    def messages(self, page: Page | None = None) -> Locator:
        shown = (page or self.page).get_by_role("region", name="Messages", exact=True)
        return shown.get_by_role("article")

    def message(self, text: str, page: Page | None = None) -> Locator:
        """The one message with exactly this text."""
        at = page or self.page
        exactly = at.get_by_test_id("message-text").and_(at.get_by_text(text, exact=True))
        return self.messages(page).filter(has=exactly)

    def events(self) -> Locator:
        shown = self.page.get_by_role("region", name="Messages", exact=True)
        return shown.locator(".event")

    async def sees(self, text: str, page: Page | None = None) -> None:
        await expect(self.message(text, page)).to_be_visible()

    async def sees_event(self, text: str) -> None:
        await expect(self.events().filter(has_text=text)).to_be_visible()

    async def sees_state(self, text: str, state: str, page: Page | None = None) -> None:
        """How far one's own message has come, as the ticks tell."""
        tick = self.message(text, page).get_by_role("img", name=STATES[state], exact=True)
        await expect(tick).to_be_visible()

    async def sees_below_title(self, text: str | re.Pattern[str]) -> None:
        await expect(self.page.get_by_test_id("chat-state")).to_have_text(text)

    async def message_menu(self, text: str, action: str) -> None:
        await self.message(text).hover()
        await self.message(text).get_by_role("button", name="Message options").click()
        await self.page.get_by_role("menuitem", name=action, exact=True).click()

    async def open_details(self) -> Locator:
        await self.page.get_by_test_id("chat-head").click()
        return self.page.get_by_role("complementary", name="About this chat")

    def banner(self) -> Locator:
        """What is said of lasting troubles; a phone shows it in another place."""
        return self.page.get_by_test_id("banner").filter(visible=True)

    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def toast(self) -> Locator:
        return self.page.locator(".toast")

    # --- what the server has ---------------------------------------------------------

    async def post(self, chat: str, text: str) -> int:
        """A message from this user's other device; its seq."""
        return (await self.calls.post_over_http(chat, str(uuid.uuid4()), text)).seq

    async def stored(self, chat: str) -> list[Any]:
        """All entries of a chat, oldest first."""
        return [item async for item in self.calls.history(chat, after=0)]

    async def stored_texts(self, chat: str) -> list[str]:
        return [item.text for item in await self.stored(chat) if item.kind == "text"]
