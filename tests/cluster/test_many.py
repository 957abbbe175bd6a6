"""One, three and ten instances write to one group at once: one log, without holes, in order."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.cluster.trio import show
from tests.faults.flood import History, Record, log_by_rest, problems
from tests.support.cluster import instances
from tests.support.peer import Peer, client_session

pytestmark = [pytest.mark.external, pytest.mark.slow, pytest.mark.timeout(100)]

WRITERS = 10
EACH = 20


@pytest.mark.parametrize("names", ["a", "abc", "abcdefghij"])
async def test_all_write_to_one_group(tmp_path, names):
    history = History()
    async with instances(tmp_path, names) as running, client_session() as http:
        users = [f"user{number}" for number in range(WRITERS)]
        peers = [
            await Peer(http, running[number % len(running)].url, user).register()
            for number, user in enumerate(users)
        ]
        body = {"title": "club", "members": users[1:]}
        chat = (await peers[0].ask("POST", "/v1/groups", body))["chat"]
        await asyncio.gather(*(peer.online() for peer in peers))

        async def write(peer: Peer) -> None:
            sent = history.sent[peer.user, chat] = []
            for number in range(EACH):
                sent.append(f"{peer.user}-{number:08}")
                await peer.send(sent[-1], f"text {number}", chat=chat)
            for number in range(EACH):
                sent_frame = await peer.next("sent", "error", timeout_seconds=60)
                assert sent_frame["type"] == "sent", sent_frame
                one = chat, sent_frame["seq"], peer.user, sent_frame["id"], f"text {number}"
                history.acknowledged.append(Record(*one))

        began = time.monotonic()
        await asyncio.gather(*(write(peer) for peer in peers))
        acknowledged = time.monotonic() - began
        # Every frame that comes is checked for order by the peer; all of them have to come.
        for peer in peers:
            for _ in range((WRITERS - 1) * EACH):
                await peer.take(
                    lambda frame: frame["type"] == "message" and frame["kind"] == "text", 60
                )
        delivered = time.monotonic() - began
        log = await log_by_rest(peers[0], chat)
        assert sum(one is not None for one in log) == WRITERS * EACH
        assert problems(history, {chat: log}) == []
        for peer in peers:
            await peer.leave()
    show(
        f"{len(names)} instances, {WRITERS * EACH} messages to one group",
        acknowledged_s=acknowledged,
        delivered_s=delivered,
        acknowledged_per_s=WRITERS * EACH / acknowledged,
    )
