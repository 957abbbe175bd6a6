"""A flood of wrong logins, as a process of its own: what it costs must not look like the server's.

    python -m tests.faults.logins http://127.0.0.1:8080 --seconds 60

Each attempt is for another user, as of somebody with a list of them: after a few wrong passwords
one user alone would be answered without a look at the password. When it is told to end (SIGTERM),
or its time is up, it prints how often each status came.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import signal
from collections import Counter
from urllib.parse import urlsplit

CONNECTIONS = 100
# A client that was told `busy` asks again; a rude one, so soon.
REFUSED_SECONDS = 0.05
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


async def flood(url: str, seconds: float) -> Counter[int]:
    """How often each status came."""
    to, counts, users = urlsplit(url), Counter[int](), itertools.count()

    def request() -> bytes:
        attempt = {"user": f"user{next(users)}", "password": "a wrong one", "device": "flood"}
        body = json.dumps(attempt)
        head = f"POST /v1/login HTTP/1.1\r\nHost: {to.netloc}\r\nContent-Length: {len(body)}"
        return f"{head}\r\n\r\n{body}".encode()

    async def one() -> None:
        reader, writer = await asyncio.open_connection(to.hostname, to.port)
        try:
            while True:
                writer.write(request())
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
                status = int(head.split(b" ", 2)[1])
                counts[status] += 1
                if status != 401:
                    await asyncio.sleep(REFUSED_SECONDS)
        finally:
            writer.close()

    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    tasks = [asyncio.create_task(one()) for _ in range(CONNECTIONS)]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(told.wait(), seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counts


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("url")
    options.add_argument("--seconds", type=float, default=60.0)
    given = options.parse_args()
    print(dict(asyncio.run(flood(given.url, given.seconds))))
