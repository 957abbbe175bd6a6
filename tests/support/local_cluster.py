"""`make cluster`: three instances behind a proxy, on services of their own, on this machine.

The instances are what `whatsapp serve` starts, the proxy is HAProxy with deploy/haproxy.cfg.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from tests.support.foreground import run, say
from tests.support.need import ROOT, need
from tests.support.services import alone, services, usual_port

FOLDER = ROOT / ".cache" / "cluster"
NAMES = ("a", "b", "c")
PROXY_PORT = 8080
READY_SECONDS_MAX = 60.0
TELL_EVERY_SECONDS = 5.0
# From the signal to the end of an instance: its drain, and the two seconds after it.
END_SECONDS_MAX = 15.0
RESTART_SECONDS = 5.0
LOG_LINES = 15


class Program:
    """A process with a log file and an address that says when it is ready."""

    def __init__(
        self, name: str, command: list[str], health: str, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.health = health
        self.log = log
        self._command = command
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_at = 0.0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=ROOT, env=self._environment,
            )  # fmt: skip

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def ended(self, seconds: float = END_SECONDS_MAX) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> None:
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self.ended()
        except subprocess.TimeoutExpired:
            say(f"{self.name} did not end in {END_SECONDS_MAX:.0f} s: killed")
            self.kill()
            self.ended()

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def wait_until_ready(self) -> None:
        """Until it answers 200; the time is bounded, and the reason for its end is told."""
        began = told = time.monotonic()
        while (answer := self.answer()) != "200":
            assert self._process is not None
            now = time.monotonic()
            code = self._process.poll()
            assert code is None, f"{self.name} ended with {code}:\n{self.last_lines()}"
            late = f"{self.name} is not ready after {now - began:.0f} s: {answer}"
            assert now - began < READY_SECONDS_MAX, f"{late}\n{self.last_lines()}"
            if now - told >= TELL_EVERY_SECONDS:
                told = now
                say(f"  {late}")
            time.sleep(0.1)

    def answer(self) -> str:
        """To a look at its health: the status, with the body where that is not 200."""
        try:
            with urllib.request.urlopen(self.health, timeout=2) as answer:
                return str(answer.status)
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read(500).decode(errors='replace')}"
        except OSError as error:
            return str(error)

    def last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"the last lines of {self.log}:", *(f"  | {line}" for line in lines)])

    def keep_up(self) -> None:
        """Start it again some seconds after its end, as a service manager would."""
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return
        now = time.monotonic()
        if not self._ended_at:
            self._ended_at = now
            say(f"{self.name} ended with {code}; it starts again in {RESTART_SECONDS:.0f} s")
        elif now - self._ended_at >= RESTART_SECONDS:
            self._ended_at = 0.0
            self.start()
            say(f"{self.name} starts again: pid {self.pid}")


class LocalCluster:
    """Three instances and the proxy; started and stopped together."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, proxy_port: int, ports: list[int]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.url = f"http://127.0.0.1:{proxy_port}"
        self.urls = {
            name: f"http://127.0.0.1:{port}" for name, port in zip(NAMES, ports, strict=True)
        }
        self.instances = [
            Program(
                name,
                [sys.executable, "-m", "whatsapp", "serve", "--port", str(port)],
                f"{self.urls[name]}/readyz",
                folder / f"{name}.log",
                {
                    "WHATSAPP_DIRECTORY_INSTANCE": name,
                    "WHATSAPP_SERVER_TRUSTED_PROXIES": "127.0.0.1",
                    "WHATSAPP_STORAGE_DATA": str(folder / name),
                    **environment,
                },
            )
            for name, port in zip(NAMES, ports, strict=True)
        ]
        settings = folder / "haproxy.cfg"
        servers = [
            f"server {name} 127.0.0.1:{port}" for name, port in zip(NAMES, ports, strict=True)
        ]
        settings.write_text(proxy_settings(f"bind 127.0.0.1:{proxy_port}", servers))
        self.proxy = Program(
            "the proxy",
            [need("haproxy"), "-db", "-f", str(settings)],
            f"{self.url}/docs",
            folder / "haproxy.log",
            {},
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """All of it is ready inside; the instances drain at the same time, at the end."""
        everything = [*self.instances, self.proxy]
        try:
            for program in self.instances:
                program.start()
            for program in self.instances:
                program.wait_until_ready()
                say(f"  {program.name} is ready")
            self.proxy.start()
            self.proxy.wait_until_ready()
            yield self
        finally:
            for program in everything:
                program.ask_to_stop()
            for program in everything:
                program.stop()

    def keep_up(self) -> None:
        for program in [*self.instances, self.proxy]:
            program.keep_up()

    def lines(self) -> list[str]:
        """For a person: what runs, and what to try."""
        b = self.instances[1]
        rows = [
            f"  {program.name}  {self.urls[program.name]}  pid {program.pid:<7}  {program.log}"
            for program in self.instances
        ]
        return [
            "",
            f"Three instances behind {self.url}/",
            *rows,
            "",
            "Try, with the page open twice, as two people:",
            f"  curl -s {self.urls['a']}/readyz         what an instance lacks, if anything",
            f"  curl -s {self.urls['b']}/metrics | grep whatsapp_connections",
            f"  kill {b.pid}       b drains: its users move to a and c, nothing is lost",
            f"  kill -9 {b.pid}    b dies: the same, a moment later",
            f"It starts again {RESTART_SECONDS:.0f} s after its end. Ctrl-C stops everything.",
        ]


def proxy_settings(bind: str, servers: list[str]) -> str:
    """deploy/haproxy.cfg with other addresses, which need no names to be looked up."""
    text = (ROOT / "deploy" / "haproxy.cfg").read_text()
    text = re.sub(r"^resolvers names\n(?:    .*\n)+", "", text, flags=re.MULTILINE)
    text = text.replace(" resolvers names init-addr last,libc,none", "")
    text = re.sub(r"^    bind .*$", f"    {bind}", text, flags=re.MULTILINE)
    head, _, _ = text.partition("    server ")
    return head + "".join(f"    {server}\n" for server in servers)


@contextlib.contextmanager
def scene(store: str, folder: Path) -> Iterator[Callable[[], None]]:
    with contextlib.ExitStack() as stack:
        need("haproxy")
        stack.enter_context(alone(folder))
        environment: Mapping[str, str] = {"WHATSAPP_STORAGE_BACKEND": store}
        if store == "mongo":
            environment = stack.enter_context(services(folder / "services")).environment
        say("starting three instances …")
        cluster = LocalCluster(
            folder,
            environment,
            proxy_port=usual_port(PROXY_PORT),
            ports=[usual_port(0) for _ in NAMES],
        )
        stack.enter_context(cluster.running())
        say(*cluster.lines())
        if store != "mongo":
            say(f"With {store} they know nothing of each other: this only tries out the proxy.")
        yield cluster.keep_up


def main() -> int:
    reader = argparse.ArgumentParser(prog="make cluster")
    reader.add_argument("--store", choices=["mongo", "memory"], default="mongo")
    reader.add_argument("--folder", type=Path, default=FOLDER)
    chosen = reader.parse_args()
    return run(lambda: scene(chosen.store, chosen.folder))


if __name__ == "__main__":
    raise SystemExit(main())
