"""ZooKeeper servers for tests: real ones, on free ports of this machine, in a folder of the test.

Found by `zkServer.sh` beside its `lib` folder, or where a system package puts the jars.
"""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.support.daemon import Daemon, free_port
from tests.support.need import need

JARS = Path("/usr/share/java")
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
START_SECONDS_MAX = 60.0
TICK_MS = 500


def class_path() -> str:
    """The jars; where there are none, the test is skipped."""
    names = ["zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop", "snappy-java"]
    names += ["metrics-core", "commons-cli", "commons-io", "audience-annotations"]
    jars = [JARS / f"{name}.jar" for name in names] + sorted(JARS.glob("netty-*.jar"))
    if not jars[0].exists():
        home = Path(need("zkServer.sh")).resolve().parents[1]
        jars = [*home.glob("lib/*.jar"), *home.glob("*.jar")]
    return ":".join(str(jar) for jar in jars if jar.exists())


class ZooKeeperServer(Daemon):
    """One server, alone or (`ensemble`, its number in it) with others."""

    def __init__(
        self, folder: Path, port: int | None = None, *, number: int = 0, heap: str = "256m"
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.number = number
        self.heap = heap
        self.ensemble: list[str] = []

    @classmethod
    def start(cls, folder: Path, port: int | None = None) -> Self:
        server = cls(folder, port)
        server.run()
        return server

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, *, wait: bool = True) -> None:
        """Start it; again, after `stop` or `kill`, on the same data."""
        java, jars = need("java"), class_path()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "myid").write_text(str(self.number))
        lines = [
            f"dataDir={self.folder}",
            f"clientPort={self.port}",
            "clientPortAddress=127.0.0.1",
            f"tickTime={TICK_MS}",
            "admin.enableServer=false",
            "4lw.commands.whitelist=*",
            "maxClientCnxns=0",
            "initLimit=20",
            "syncLimit=20",
            *self.ensemble,
        ]
        settings = self.folder / "zoo.cfg"
        settings.write_text("\n".join(lines) + "\n")
        # `preAllocSize`: the log is made in steps of so many KiB; 64 MiB are slow and large.
        options = [f"-Xmx{self.heap}", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        options += [
            "-Dzookeeper.preAllocSize=1024",
            "-Xshare:auto",
            "-Djava.net.preferIPv4Stack=true",
        ]
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [java, *options, "-cp", jars, MAIN, str(settings)],
                stdout=output,
                stderr=output,
                cwd=self.folder,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        end = time.monotonic() + START_SECONDS_MAX
        while "Mode:" not in self.ask("srvr"):
            assert self.process is not None
            output = (self.folder / "output").read_text(errors="replace")
            assert self.process.poll() is None, output[-2000:]
            assert time.monotonic() < end, output[-2000:]
            time.sleep(0.05)

    def ask(self, word: str) -> str:
        """A four-letter word, such as `srvr`; nothing where it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as asked:
                asked.sendall(word.encode())
                return b"".join(iter(lambda: asked.recv(65536), b"")).decode()
        except OSError:
            return ""


class Ensemble:
    """Three servers that elect a leader."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        self.servers = [
            ZooKeeperServer(folder / str(number), number=number) for number in range(1, count + 1)
        ]
        members = [
            f"server.{server.number}=127.0.0.1:{free_port()}:{free_port()}"
            for server in self.servers
        ]
        for server in self.servers:
            server.ensemble = members

    @classmethod
    def start(cls, folder: Path) -> Self:
        ensemble = cls(folder)
        ensemble.run()
        return ensemble

    def run(self) -> None:
        for server in self.servers:
            server.run(wait=False)
        for server in self.servers:
            server.wait_until_ready()

    @property
    def hosts(self) -> str:
        return ",".join(server.hosts for server in self.servers)

    def followers(self) -> list[ZooKeeperServer]:
        return [server for server in self.servers if "follower" in server.ask("srvr")]

    def stop(self) -> None:
        for server in self.servers:
            server.stop()
