"""The web client in Debian's Chromium, against a real server. One browser for all tests here."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.browser.person import DESKTOP, WATCH_POLICY, Person
from tests.support.need import need
from tests.support.server import Server

# Where something is waited for, it comes in a few milliseconds; a machine may be busy.
EXPECT_MS = 15_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BROWSER = {
    "viewport": DESKTOP,
    "locale": "en-GB",
    "timezone_id": "UTC",
    "service_workers": "block",
}
# People share the server; each has a name of their own.
numbers = itertools.count(1)

expect.set_options(timeout=EXPECT_MS)

People = Callable[..., Awaitable[list[Person]]]


def pytest_collection_modifyitems(items):
    """All of them in one loop: the browser lives in it."""
    here = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            item.add_marker(here, append=False)
            item.add_marker(pytest.mark.external)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = need("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_server(tmp_path_factory) -> AsyncIterator[Server]:
    """For the many tests that do nothing to the server itself."""
    data = tmp_path_factory.mktemp("browser") / "data"
    async with Server(data, "--no-rate-limits") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def own_server(tmp_path) -> AsyncIterator[Server]:
    """For a test that kills it, fills it, or counts what it counts."""
    async with Server(tmp_path / "data", "--no-rate-limits") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def gather(browser) -> AsyncIterator[Callable[..., Awaitable[Person]]]:
    """Make somebody with an account at a server; options go to the browser's context.

    At the end all of them go, and none of their pages may have complained.
    """
    async with contextlib.AsyncExitStack() as stack:
        people: list[Person] = []

        async def make(
            url: str, name: str, *, user: str = "", registered: bool = True, **options
        ) -> Person:
            chosen = {**BROWSER, **options}
            context = await browser.new_context(**chosen)
            stack.push_async_callback(context.close)
            await context.add_init_script(WATCH_POLICY)
            context.set_default_timeout(EXPECT_MS)
            own = f"{name.lower().split()[0]}.{next(numbers):03}"
            person = Person(url, user or own, name, context)
            stack.push_async_callback(person.calls.close)
            people.append(person)
            if registered:
                await person.register()
            return person

        yield make
    complaints = {one.user: told for one in people if (told := one.unexpected())}
    assert complaints == {}


@pytest_asyncio.fixture(loop_scope="session")
async def person(shared_server, gather) -> Callable[..., Awaitable[Person]]:
    """Make somebody with an account, not logged in."""

    async def make(name: str, **options) -> Person:
        one: Person = await gather(shared_server.url, name, **options)
        return one

    return make


@pytest_asyncio.fixture(loop_scope="session")
async def people(person) -> People:
    """Make several people with accounts, logged in in their browsers."""

    async def make(*names: str, **options) -> list[Person]:
        made = [await person(name, **options) for name in names]
        for one in made:
            await one.log_in()
        return made

    return make
