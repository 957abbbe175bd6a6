"""A network with one other machine on it, of which the cable can be pulled (Linux, root)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.need import need

CLONE_NEWNET = 0x40000000


class OtherMachine:
    """`address` is ours on that network, `other` its own; nothing else can reach them."""

    def __init__(self, number: int) -> None:
        self._name = f"chaos{number}"
        self._here, self._there = f"ch{number}a", f"ch{number}b"
        # A network for documentation and the like (RFC 2544); nobody's.
        net = f"198.18.{number % 256}"
        self.address, self.other = f"{net}.1", f"{net}.2"

    def set_up(self) -> None:
        for line in (
            f"netns add {self._name}",
            f"link add {self._here} type veth peer name {self._there}",
            f"link set {self._there} netns {self._name}",
            f"addr add {self.address}/24 dev {self._here}",
            f"link set {self._here} up",
            f"-n {self._name} addr add {self.other}/24 dev {self._there}",
            f"-n {self._name} link set {self._there} up",
        ):
            _ip(line)

    def tear_down(self) -> None:
        for line in (f"link del {self._here}", f"netns del {self._name}"):
            with contextlib.suppress(OSError):
                _ip(line)

    def pull(self) -> None:
        """No packet passes, and nobody is told."""
        _ip(f"-n {self._name} link set {self._there} down")

    def plug(self) -> None:
        _ip(f"-n {self._name} link set {self._there} up")

    def socket(self) -> socket.socket:
        """A socket of the other machine, not connected."""
        made: list[socket.socket] = []

        def make() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/run/netns/{self._name}").open("rb") as there:
                if libc.setns(there.fileno(), CLONE_NEWNET):  # of this thread alone
                    return
            made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            raise OSError("the other network cannot be entered")
        return made[0]


def _ip(line: str) -> None:
    command = [need("ip"), *line.split()]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip())


@contextlib.contextmanager
def other_machine() -> Iterator[OtherMachine]:
    """Skips where this user may not make one."""
    if sys.platform != "linux":
        pytest.skip("skipped, because network namespaces are Linux's")
    machine = OtherMachine(os.getpid() % 30_000)
    try:
        machine.set_up()
    except OSError as error:
        machine.tear_down()
        pytest.skip(f"skipped, because network namespaces cannot be made here: {error}")
    try:
        yield machine
    finally:
        machine.tear_down()
