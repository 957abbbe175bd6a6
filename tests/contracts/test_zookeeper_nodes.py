"""What the ZooKeeper directory writes, without ZooKeeper."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.zookeeper_nodes import (
    BYTES_MAX,
    OPERATIONS_MAX,
    Nodes,
    Write,
    entry_data,
    instance_data,
    read_entry,
    read_instance,
    swept_write,
    transactions,
    wanted_write,
)
from whatsapp.interfaces import Instance

names = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
places = st.lists(st.tuples(names, st.integers(0, 2**63)), max_size=8)
OWN = ("one", 2)


@given(places)
def test_places_are_read_as_they_were_written(given_places):
    assert read_entry(entry_data(given_places)) == given_places


@given(st.binary(max_size=100))
def test_what_is_nothing_of_ours_is_left_out(data):
    assert all(name and epoch >= 0 for name, epoch in read_entry(data))
    assert read_instance("one", data) is None


def test_an_instance_is_read_as_it_was_written():
    one = Instance(name="one", address="host:9", epoch=17)
    assert read_instance("one", instance_data(one)) == one


@pytest.mark.parametrize(
    "found, here, written",
    [
        (None, True, Write("/u", b"one@2", None)),
        (None, False, None),
        ((b"one@2", 4), True, None),
        ((b"one@2", 4), False, Write("/u", b"", 4)),
        ((b"one@1", 4), True, Write("/u", b"one@2", 4)),
        ((b"one@1", 4), False, Write("/u", b"", 4)),
        ((b"two@7", 4), True, Write("/u", b"two@7 one@2", 4)),
        ((b"two@7", 4), False, None),
        ((b"one@2 two@7", 4), False, Write("/u", b"two@7", 4)),
        ((b"", 4), True, Write("/u", b"one@2", 4)),
    ],
)
def test_an_entry_is_made_to_agree(found, here, written):
    assert wanted_write("/u", found, OWN, here=here) == written


def test_the_dead_are_taken_out():
    alive = {("one", 2), ("two", 7)}
    assert swept_write("/u", (b"one@2 two@7", 3), alive) is None
    assert swept_write("/u", (b"one@1 two@7", 3), alive) == Write("/u", b"two@7", 3)
    assert swept_write("/u", (b"one@1", 3), alive) == Write("/u", b"", 3)
    assert swept_write("/u", (b"", 3), alive) == Write("/u", b"", 3)


@given(st.lists(st.integers(0, BYTES_MAX), max_size=40), st.integers(0, 1000))
def test_transactions_are_bounded_and_lose_nothing(sizes, small):
    writes = [Write("/u", bytes(size), None) for size in sizes] + [Write("/u", b"x", 1)] * small
    cut = list(transactions(writes))
    assert [write for some in cut for write in some] == writes
    assert all(0 < len(some) <= OPERATIONS_MAX for some in cut)
    assert all(
        len(some) == 1 or sum(len(write.data) for write in some) <= BYTES_MAX for some in cut
    )


def test_no_bucket_is_much_fuller_than_the_others():
    nodes = Nodes("/root")
    counts: dict[str, int] = {}
    for number in range(100_000):
        bucket = nodes.user(f"user{number}").rpartition("/")[0]
        counts[bucket] = counts.get(bucket, 0) + 1
    assert len(counts) == len(nodes.buckets)
    assert max(counts.values()) < 200
