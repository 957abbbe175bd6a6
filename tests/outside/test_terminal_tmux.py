"""`whatsapp chat` in a real terminal, tmux's, against a server that is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import ROOT, Serving, serving
from tests.support.need import need

SECONDS_MAX = 30.0


class Tmux:
    """A terminal of 80 by 24 on a tmux server of its own."""

    def __init__(self, home: Path) -> None:
        self._tmux = need("tmux")
        self._socket = f"whatsapp-{uuid.uuid4().hex[:12]}"
        self._environment = {n: t for n, t in os.environ.items() if not n.startswith("WHATSAPP_")}
        self._environment |= {"HOME": str(home), "XDG_DATA_HOME": str(home), "LC_ALL": "C.UTF-8"}
        self._environment.pop("TMUX", None)

    def start(self, *arguments: str) -> None:
        """Run `whatsapp` in it; the terminal stays when that has ended."""
        command = " ".join([sys.executable, "-m", "whatsapp", *arguments])
        shell = f"cd {ROOT} && {command}; echo ended with $?; exec sleep 60"
        self._run("-f", os.devnull, "new-session", "-d", "-x", "80", "-y", "24", shell)

    def keys(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def types(self, text: str) -> None:
        self._run("send-keys", "-l", text)

    def screen(self) -> str:
        return self._run("capture-pane", "-p")

    def sees(self, *texts: str) -> str:
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            screen = self.screen()
            if all(text in screen for text in texts):
                return screen
            time.sleep(0.1)
        raise AssertionError(f"{texts} not seen on:\n{self.screen()}")

    def end(self) -> None:
        subprocess.run(
            [self._tmux, "-L", self._socket, "kill-server"], env=self._environment, check=False
        )

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._tmux, "-u", "-L", self._socket, *arguments],
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Serving]:
    with serving("--demo", "--store", "memory", "--port", "0", home=tmp_path) as server:
        yield server


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    there = Tmux(tmp_path)
    try:
        yield there
    finally:
        there.end()


@pytest.mark.external
def test_alice_talks_to_bob_of_the_demo(demo: Serving, tmux: Tmux):
    tmux.start("chat", "--server", demo.url, "--as", "alice")
    tmux.sees("Alice", "connected", "Bob", "Weekend")
    tmux.types("/go bob")
    tmux.keys("Enter")
    tmux.sees("Bob  online", "So I can try everything alone?")
    tmux.types("first")
    tmux.keys("M-Enter")
    tmux.types("second")
    tmux.keys("C-j")
    tmux.types("third \u4e2d\u6587")
    tmux.keys("Enter")
    # What bob answers quotes all three lines: both ways to begin a new line work.
    screen = tmux.sees("\u2503 You: first second third", "You wrote: first")
    rows = screen.splitlines()
    assert max(map(len, rows)) <= 80
    assert "\u2713\u2713" in screen
    tmux.keys("F1")
    tmux.sees("previous, next chat")
    tmux.keys("Escape")
    time.sleep(0.5)  # what follows an escape at once is Alt and a letter
    tmux.keys("C-f")
    tmux.sees("Search in all chats")
    tmux.types("tickets")
    tmux.keys("Enter")
    tmux.sees("Carol: And I have the tickets")
    tmux.keys("Enter")
    tmux.sees("Are you coming on Saturday?")
    tmux.keys("C-q")
    # The terminal is as it was before.
    screen = tmux.sees("ended with 0")
    assert "connected" not in screen


@pytest.mark.external
def test_a_login_screen_that_is_quit_leaves_the_terminal_in_order(demo: Serving, tmux: Tmux):
    tmux.start("chat", "--server", demo.url)
    tmux.sees("user id", "password", "If this is the demo:", "carol")
    tmux.types("dora")
    tmux.keys("Enter")
    tmux.types("a good password")
    assert "a good" not in tmux.sees("\u2022\u2022\u2022\u2022")
    tmux.keys("C-q")
    tmux.sees("ended with 0")
