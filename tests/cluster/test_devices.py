"""One device on two instances, and logging out across them: sockets close where they are."""

from __future__ import annotations

import time

import pytest

from tests.cluster.trio import show, trio
from tests.support.peer import PASSWORD, Peer

pytestmark = [pytest.mark.external, pytest.mark.slow, pytest.mark.timeout(60)]

# What is promised is one second; the machine of a test may be slow.
CLOSED_SECONDS_MAX = 10.0


async def test_sockets_close_on_other_instances(tmp_path):
    async with trio(tmp_path) as together:
        a, b, c = together.urls
        alice = await (await Peer(together.http, a, "alice").register()).online()
        took = {}

        second = Peer(together.http, b, "alice")
        second.token, second.device = alice.token, alice.device
        began = time.monotonic()
        await second.online()
        assert await alice.closed(CLOSED_SECONDS_MAX) == 4009
        took["replaced_s"] = time.monotonic() - began

        for what in ("revoked", "password"):
            phone = Peer(together.http, c, "alice")
            await phone.login(what)
            await phone.online()
            began = time.monotonic()
            if what == "revoked":
                await second.ask("DELETE", f"/v1/devices/{phone.device}")
            else:
                change = {"old": PASSWORD, "new": "roses in the rain"}
                await second.ask("POST", "/v1/me/password", change)
            assert await phone.closed(CLOSED_SECONDS_MAX) == 4010
            took[f"{what}_s"] = time.monotonic() - began
        assert second.connected
        await second.leave()
        show("closed on another instance", **took)
