"""What is where in ZooKeeper, and what is in it. Pure: no kazoo, no waiting.

    <root>/joins               its version counts the starts of instances: a fence (see below)
    <root>/sweeper             ephemeral: somebody sweeps
    <root>/instances/<name>    ephemeral, one per instance: {"address": …, "epoch": …}
    <root>/users/<bucket>/<user>    "one@1763973000000 two@1763973111111": instances and epochs

Why user entries are not ephemerals: a session that owns more than 2 MiB of their paths ends
in a transaction so large that ZooKeeper cannot start again (ZOOKEEPER-4306). An entry whose
(instance, epoch) is not alive counts as absent, and is swept in time.

Why a fence: whoever sweeps decides by what it read a moment ago. An instance that comes back
with its epoch finds its entries in place and only reads them. So each join moves the version
of `joins`, and each sweeping transaction checks that it has not moved.

Why buckets: the answer to "which children" may not exceed 1 MB, which is some 20,000 users.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import msgspec
from msgspec import Struct

from whatsapp.interfaces import Instance

BUCKETS = 1024
# A transaction must stay under ZooKeeper's 1 MiB for a packet, with room to spare.
OPERATIONS_MAX = 300
BYTES_MAX = 262_144

Place = tuple[str, int]  # an instance and its epoch
T = TypeVar("T")


class Nodes:
    """Paths."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.joins = f"{root}/joins"
        self.sweeper = f"{root}/sweeper"
        self.instances = f"{root}/instances"
        self.users = f"{root}/users"
        self.buckets = [f"{self.users}/{number:03x}" for number in range(BUCKETS)]

    def instance(self, name: str) -> str:
        return f"{self.instances}/{name}"

    def user(self, user: str) -> str:
        return f"{self.buckets[zlib.crc32(user.encode()) % BUCKETS]}/{user}"


class Write(Struct, frozen=True):
    """One operation on one entry, by the version that was read.

    `version` None: create. `data` empty: delete.
    """

    path: str
    data: bytes
    version: int | None


class _Told(Struct):
    address: str
    epoch: int


def instance_data(instance: Instance) -> bytes:
    return msgspec.json.encode(_Told(instance.address, instance.epoch))


def read_instance(name: str, data: bytes) -> Instance | None:
    """None where it is nothing of ours."""
    try:
        told = msgspec.json.decode(data, type=_Told)
    except msgspec.MsgspecError:
        return None
    return Instance(name=name, address=told.address, epoch=told.epoch)


def entry_data(places: Iterable[Place]) -> bytes:
    return " ".join(f"{name}@{epoch}" for name, epoch in places).encode()


def read_entry(data: bytes) -> list[Place]:
    """The places in an entry; what cannot be read is left out."""
    places = []
    for part in data.decode("utf-8", "replace").split():
        name, _, epoch = part.rpartition("@")
        if name and epoch.isascii() and epoch.isdigit():
            places.append((name, int(epoch)))
    return places


def wanted_write(
    path: str, found: tuple[bytes, int] | None, own: Place, *, here: bool
) -> Write | None:
    """What makes an entry say whether its user is at `own`; None where it does already.

    Places of earlier starts of the same instance are dropped on the way.
    """
    if found is None:
        return Write(path, entry_data([own]), None) if here else None
    data, version = found
    places = read_entry(data)
    kept = [place for place in places if place[0] != own[0]] + ([own] if here else [])
    if sorted(kept) == sorted(places):
        return None
    return Write(path, entry_data(kept), version)


def swept_write(path: str, found: tuple[bytes, int], alive: set[Place]) -> Write | None:
    """What takes the dead out of an entry; None where there are none."""
    data, version = found
    places = read_entry(data)
    kept = [place for place in places if place in alive]
    return Write(path, entry_data(kept), version) if len(kept) < len(places) or not kept else None


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(things)
    while batch := list(islice(rest, size)):
        yield batch


def transactions(writes: Sequence[Write]) -> Iterator[list[Write]]:
    """Cut so that none is too large."""
    cut: list[Write] = []
    size = 0
    for write in writes:
        weight = len(write.path) + len(write.data) + 64
        if cut and (len(cut) >= OPERATIONS_MAX or size + weight > BYTES_MAX):
            yield cut
            cut, size = [], 0
        cut.append(write)
        size += weight
    if cut:
        yield cut
