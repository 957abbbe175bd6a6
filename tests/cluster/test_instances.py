"""An instance dies, stands still, is restarted, under load: nothing acknowledged is lost.

And nothing is there twice, and nothing out of order. Figures are printed, not judged.
"""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.cluster.trio import SESSION_SECONDS, Trio, show, trio, until

pytestmark = [pytest.mark.external, pytest.mark.slow, pytest.mark.timeout(100)]

# What a user sees of an instance that is gone: the time-out of its session, and a good margin.
OFFLINE_SECONDS_MAX = SESSION_SECONDS + 6
LOAD_SECONDS = 2.0
# The silence after which a link is given up, and some more.
LINK_SECONDS = 4.0


async def offline(together: Trio, watcher: int, user: str, since: float) -> float:
    """When the watcher saw the user go (s after `since`)."""
    device = together.devices[watcher]

    def seen() -> list[float]:
        return [
            at
            for at, frame in device.presences
            if at > since and frame["user"] == user and not frame["online"]
        ]

    await until(seen, OFFLINE_SECONDS_MAX, f"{user} offline")
    return seen()[0] - since


async def test_killed_under_load(tmp_path):
    async with trio(tmp_path) as together:
        devices = await together.people()
        # carol and frank are on c; frank will stay away, and erin, a contact of his, sees it.
        await devices[4].leave()
        devices[4].watch = ["frank"]
        await devices[4].come()
        await asyncio.sleep(LOAD_SECONDS)
        moved = devices[2]
        until_then = len(together.seen.acknowledged)
        killed = time.monotonic()
        await devices[5].leave()
        await together["c"].kill9()
        await until(lambda: moved.welcomed_at > killed, 20, "moved")
        away = moved.welcomed_at - killed
        gone = await offline(together, 4, "frank", killed)
        await asyncio.sleep(LOAD_SECONDS)
        await devices[5].come(0)
        settled = await together.complete()
        assert len(together.seen.acknowledged) > until_then > 0
        assert await together.verdict("a") == []
        assert await together.verdict("b") == []
        show(
            "kill -9",
            acknowledged=len(together.seen.acknowledged),
            user_elsewhere_s=away,
            seen_offline_s=gone,
            settled_s=settled,
        )


async def test_stopped_and_continued(tmp_path):
    """A zombie: its links and its session have ended, and it does not know."""
    async with trio(tmp_path) as together:
        devices = await together.people()
        await asyncio.sleep(LOAD_SECONDS)
        stopped = time.monotonic()
        together["c"].signal(signal.SIGSTOP)
        try:
            moved = [devices[2], devices[5]]
            await until(lambda: all(one.welcomed_at > stopped for one in moved), 20, "moved")
            away = max(one.welcomed_at for one in moved) - stopped
            await asyncio.sleep(
                max(0.0, stopped + SESSION_SECONDS + LINK_SECONDS - time.monotonic())
            )
        finally:
            together["c"].signal(signal.SIGCONT)
        continued = time.monotonic()
        await until(together.all_linked, 30, "linked again")
        linked = time.monotonic() - continued
        # Somebody comes to it, and is found there.
        await devices[0].leave()
        await devices[0].come(2)
        await asyncio.sleep(LOAD_SECONDS)
        settled = await together.complete()
        assert await together.verdict("a") == []
        assert await together.verdict("c") == []
        show(
            "stopped and continued",
            acknowledged=len(together.seen.acknowledged),
            users_elsewhere_s=away,
            linked_again_s=linked,
            settled_s=settled,
        )


async def test_restarted_one_after_the_other(tmp_path):
    async with trio(tmp_path) as together:
        await together.people()
        ends = []
        for name in together.servers:
            await asyncio.sleep(1)
            asked = time.monotonic()
            assert await together[name].terminate() == 0
            ends.append(time.monotonic() - asked)
            await together.start(name)
        await together.linked()
        settled = await together.complete()
        assert await together.verdict("a") == []
        assert "drain timed out" not in "".join(one.log for one in together.servers.values())
        show(
            "restarted one by one",
            acknowledged=len(together.seen.acknowledged),
            end_s_max=max(ends),
            settled_s=settled,
        )
