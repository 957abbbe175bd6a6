"""An instance as a process, to be killed, stopped, or hung: its directory and nothing else.

    python -m tests.support.zookeeper_instance HOSTS ROOT NAME ADDRESS EPOCH USERS SECONDS

Announces user0, user1 … and says `ready`. Then it does what it is told, line by line:
`hang SECONDS` blocks its event loop, `announce USERS` enters so many and says `announced`,
`end` closes the directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import backends
from tests.support.need import ROOT
from whatsapp import config
from whatsapp.errors import StartupError
from whatsapp.interfaces import Instance


class Child:
    """The process, from outside."""

    def __init__(self, settings: config.DirectorySection, instance: Instance, users: int) -> None:
        told = (instance.name, instance.address, instance.epoch, users)
        arguments = [settings.hosts, settings.root, *told, settings.session_timeout_seconds]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zookeeper_instance", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def says(self) -> str:
        """Its next line; empty once it has ended."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


@contextlib.contextmanager
def child(settings: config.DirectorySection, instance: Instance, users: int = 1) -> Iterator[Child]:
    """The process, once it has announced its users; killed at the end."""
    started = Child(settings, instance, users)
    try:
        said = started.says()
        assert said == "ready", said
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


async def main() -> None:
    hosts, root, name, address, epoch, users, seconds = sys.argv[1:]
    settings = config.DirectorySection(
        backend="zookeeper", hosts=hosts, root=root, session_timeout_seconds=float(seconds)
    )
    instance = Instance(name=name, address=address, epoch=int(epoch))
    try:
        async with backends.directory("zookeeper").open_directory(settings, instance) as directory:
            await directory.announce([f"user{number}" for number in range(int(users))])
            print("ready", flush=True)
            while (line := await asyncio.to_thread(sys.stdin.readline)).strip() not in {"", "end"}:
                word, number = line.split()
                if word == "announce":
                    await directory.announce([f"user{each}" for each in range(int(number))])
                    print("announced", flush=True)
                else:
                    time.sleep(float(number))  # the loop is to hang
    except StartupError as error:
        print(error.cause, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
