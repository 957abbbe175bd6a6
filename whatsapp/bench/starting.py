"""`ready`: how long a person waits from `whatsapp serve` to the first page."""

from __future__ import annotations

import http.client
import time

from whatsapp.bench.figures import Figure
from whatsapp.bench.scene import Outcome, Plan
from whatsapp.bench.server import served
from whatsapp.errors import StartupError

OK = 200


def run(plan: Plan, core: int | None) -> Outcome:
    """Start a server of our own, in an empty folder, and get its page."""
    began = time.perf_counter()
    with served(plan.store, core=core, loop=plan.loop) as target:
        ready = time.perf_counter() - began
        connection = http.client.HTTPConnection(target.host, target.port, timeout=30)
        connection.request("GET", "/")
        status = connection.getresponse().status
        page = time.perf_counter() - began
        connection.close()
    if status != OK:
        raise StartupError(f"the page was answered with {status}", "See the server's log.")
    return Outcome(
        about="from the process's start, with an empty folder",
        figures=[
            Figure(name="until it says that it is ready", value=ready, unit="s"),
            Figure(name="until the first page", value=page, unit="s"),
        ],
    )
