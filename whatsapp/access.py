"""As whom a command talks to a server, and how it ends where that does not work.

A saved login (`saved.py`) first; else a password, from WHATSAPP_PASSWORD or the demo's, as a
device of its own that is logged out at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from whatsapp import errors, model
from whatsapp.calls import Calls, ConnectionLost, Offline
from whatsapp.client import Client, Ended, OutboxInUse
from whatsapp.saved import SCRIPT, Logins, demo_password, password_given

T = TypeVar("T")

EXIT_USAGE = 2
EXIT_TEMPORARY = 75  # EX_TEMPFAIL of sysexits.h: the same again, later, is right
EXIT_CREDENTIALS = 77  # EX_NOPERM
EXIT_TERMINATED = 128 + signal.SIGTERM


class Failed(errors.StartupError):
    """What a command ends with: cause, cure, and the exit code for scripts."""

    def __init__(self, cause: str, cure: str, exit_code: int = 1) -> None:
        super().__init__(cause, cure)
        self.exit_code = exit_code


class Who(Struct, frozen=True):
    """A user at a server. No user: the one that has a login there. `folder`: as in `Logins`."""

    url: str
    user: str | None = None
    folder: Path | None = None

    @property
    def logins(self) -> Logins:
        return Logins(self.url, self.folder)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do it. SIGTERM ends it in good order too; our errors become `Failed`."""

    async def until_terminated() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        terminated = False

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        loop.add_signal_handler(signal.SIGTERM, terminate)
        try:
            return await task
        except asyncio.CancelledError:
            if terminated:
                sys.exit(EXIT_TERMINATED)
            raise

    with explained():
        return asyncio.run(until_terminated())


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What the library and the server say, with a cure and an exit code."""
    try:
        yield
    except Offline as error:
        cure = "Start one with `whatsapp serve`, or name another one with --server."
        raise Failed(str(error), cure, EXIT_TEMPORARY) from error
    except ConnectionLost as error:
        raise Failed(str(error), "Try again.", EXIT_TEMPORARY) from error
    except (errors.Unauthorized, errors.BadCredentials) as error:
        cure = "Log in with `whatsapp login --as USER`, or set WHATSAPP_PASSWORD."
        raise Failed(error.message, cure, EXIT_CREDENTIALS) from error
    except errors.Answer as error:
        cure = "Try again later." if error.retryable else ""
        raise Failed(error.message, cure, EXIT_TEMPORARY if error.retryable else 1) from error
    except Ended as error:
        cure = "Log in again with `whatsapp login`."
        raise Failed(str(error), cure, EXIT_CREDENTIALS) from error


def user_of(who: Who) -> str:
    """The user that was named, or the only one with a login."""
    if who.user:
        return model.user_id(who.user)
    users = who.logins.users()
    if len(users) == 1:
        return users[0]
    if users:
        raise Failed(
            f"several users have a login at {who.logins.url}: {', '.join(sorted(users))}",
            "Name one with --as.",
            EXIT_USAGE,
        )
    raise Failed(
        f"nobody has a login at {who.logins.url}",
        "Log in with `whatsapp login --as USER`, or name a user with --as and set "
        "WHATSAPP_PASSWORD.",
        EXIT_CREDENTIALS,
    )


def _password(who: Who, user: str) -> str:
    found = password_given() or demo_password(who.logins.url, user)
    if found is None:
        raise Failed(
            f"{user} has no login at {who.logins.url}",
            f"Log in with `whatsapp login --as {user}`, or set WHATSAPP_PASSWORD.",
            EXIT_CREDENTIALS,
        )
    return found


def device_name(what: str) -> str:
    """As in "chat on my-laptop"."""
    return f"{what} on {platform.node() or 'this machine'}"[: model.NAME_CHARACTERS_MAX]


@contextlib.asynccontextmanager
async def calls_of(who: Who) -> AsyncIterator[Calls]:
    """REST as this user. A chat that is open with the same login is not disturbed."""
    user = user_of(who)
    for slot in who.logins.logged_in(user, SCRIPT):
        login = slot.login()
        calls = Calls(who.logins.url, token=login.token if login else None)
        async with _closing(calls):
            calls.user = user
            try:
                await calls.profile()
            except errors.Unauthorized:
                continue
            yield calls
            return
    calls = Calls(who.logins.url)
    async with _closing(calls):
        await calls.login(user, _password(who, user), device=device_name("script"))
        try:
            yield calls
        finally:
            with contextlib.suppress(errors.WhatsAppError):
                await calls.logout()


@contextlib.asynccontextmanager
async def client_of(who: Who) -> AsyncIterator[Client]:
    """A connection as this user: with a saved login that no other program is using."""
    user = user_of(who)
    for slot in who.logins.logged_in(user, SCRIPT):
        try:
            client = Client(who.logins.url, outbox=slot.path)
        except OutboxInUse:
            continue
        async with client:
            try:
                await client.login(user, password_given() or "", device=device_name("script"))
            except (errors.BadCredentials, errors.Unauthorized):
                continue
            yield client
            return
    async with Client(who.logins.url) as client:
        await client.login(user, _password(who, user), device=device_name("script"))
        try:
            yield client
        finally:
            with contextlib.suppress(errors.WhatsAppError):
                await client.logout()


@contextlib.asynccontextmanager
async def _closing(calls: Calls) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await calls.close()
