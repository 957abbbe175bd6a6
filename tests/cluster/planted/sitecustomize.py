"""Bugs for a server process, planted before it starts; Python imports this file by its name.

PLANTED says which. Without it nothing is done.
"""

from __future__ import annotations

import os
import time


def deaf() -> None:
    """Hints of entries are lost on the way, and nobody ever looks again."""
    from whatsapp.cluster import Cluster
    from whatsapp.looks import Looks

    Cluster.said = lambda *_: None  # type: ignore[method-assign]
    for name in ("at", "everywhere", "everywhere_at", "chat"):
        setattr(Looks, name, lambda *_: None)


def early() -> None:
    """A message is acknowledged before it is stored."""
    from whatsapp.journal import Journal
    from whatsapp.sending import Sending

    commit, answer = Journal._commit, Sending._answer

    async def commit_late(self, batch, drafts):
        for pending, draft in zip(batch, drafts, strict=True):
            if isinstance(pending, Sending):
                answer(pending, draft.entry(pending.room.head + 1), dup=False)
        await commit(self, batch, drafts)

    Journal._commit = commit_late  # type: ignore[method-assign]
    Sending._answer = lambda *_, **__: None  # type: ignore[method-assign]


def fast() -> None:
    """The clock of this machine is five seconds ahead."""
    now_ns = time.time_ns
    time.time_ns = lambda: now_ns() + 5_000_000_000


if name := os.environ.get("PLANTED"):
    {"deaf": deaf, "early": early, "fast": fast}[name]()
