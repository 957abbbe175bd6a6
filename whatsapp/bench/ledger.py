"""What was acknowledged and what was received, and whether the two agree.

While a scenario runs, everything is only written down, which costs a tenth of a microsecond;
it is judged at the end, so that the judge needs no shortcuts.

    lost         acknowledged, and not received by somebody who should have; a hole in the seqs
    doubled      one seq pushed twice to a device, or one message stored under two seqs
    misordered   a seq after a higher one, or a sender's message before an earlier one of it
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import pairwise

from msgspec import Struct

from whatsapp.bench.frames import NUMBERS


class Verdict(Struct, frozen=True, kw_only=True):
    """How many messages went wrong, and how many were looked at."""

    acknowledged: int = 0
    received: int = 0
    lost: int = 0
    doubled: int = 0
    misordered: int = 0
    errors: int = 0

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.misordered or self.errors)

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            **{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        )


class Record:
    """What one device saw of one chat. `begun`: the seq that it had before."""

    __slots__ = ("acked_keys", "acked_seqs", "begun", "keys", "repeats", "seqs", "told")

    def __init__(self, begun: int = 0) -> None:
        self.begun = begun
        self.seqs = array("q")
        self.keys = array("q")
        self.acked_seqs = array("q")
        self.acked_keys = array("q")
        # What was pushed after the last `received` of a connection comes again on the next one.
        self.told = self.repeats = 0

    def pushed(self, seq: int, key: int) -> None:
        """A message came. `key` says whose and which; below 0 it is none of ours."""
        if self.told < seq <= self.repeats and seq in self.seqs:
            return
        self.seqs.append(seq)
        self.keys.append(key)

    def acknowledged(self, seq: int, key: int) -> None:
        """`sent` came for a message of this device's own."""
        self.acked_seqs.append(seq)
        self.acked_keys.append(key)

    @property
    def last_acknowledged(self) -> int:
        return self.acked_seqs[-1] if self.acked_seqs else 0

    def leaving(self) -> None:
        """This connection says nothing more; all so far was told as received."""
        self.told = self.seqs[-1] if self.seqs else self.begun

    def reconnected(self) -> None:
        """What came since `leaving` may come again; a client drops it by its seq."""
        self.repeats = self.seqs[-1] if self.seqs else 0


class Ledger:
    """The records of all devices, by chat."""

    def __init__(self) -> None:
        self._chats: dict[str, list[Record]] = {}
        self.errors = 0

    def record(self, chat: str, begun: int = 0) -> Record:
        """A new device's record of this chat."""
        record = Record(begun)
        self._chats.setdefault(chat, []).append(record)
        return record

    def judge(self) -> Verdict:
        total = Verdict(errors=self.errors)
        for records in self._chats.values():
            total += _judge_chat(records)
        return total


def _judge_chat(records: list[Record]) -> Verdict:
    acked = [seq for record in records for seq in record.acked_seqs]
    keys = [key for record in records for key in record.acked_keys]
    places = dict(zip(keys, acked, strict=True))
    lost = 0
    # One message under two seqs, or two messages under one.
    doubled = len(keys) - len(places) + len(acked) - len(set(acked))
    misordered = sum(_disorder(record.acked_seqs) for record in records)
    misordered += sum(_sender_disorder(record.acked_keys) for record in records)
    for record in records:
        have = set(record.seqs)
        doubled += len(record.seqs) - len(have)
        ours = [key for key in record.keys if key >= 0]
        doubled += len(ours) - len(set(ours)) if len(record.seqs) == len(have) else 0
        misordered += _disorder(record.seqs) + _sender_disorder(ours)
        lost += _missing(record, have, acked)
        # Pushed in another place than the sender was told.
        pushed = zip(record.keys, record.seqs, strict=True)
        misordered += sum(1 for key, seq in pushed if places.get(key, seq) != seq)
    received = sum(len(record.seqs) for record in records)
    return Verdict(
        acknowledged=len(acked),
        received=received,
        lost=lost,
        doubled=doubled,
        misordered=misordered,
    )


def _missing(record: Record, have: set[int], acked: Iterable[int]) -> int:
    """Entries that this device has neither received nor sent, though it should have."""
    have = have | set(record.acked_seqs)
    wanted = {seq for seq in acked if seq > record.begun}
    if have:
        wanted.update(range(record.begun + 1, max(have) + 1))
    return len(wanted - have)


def _disorder(seqs: array[int]) -> int:
    return sum(later < earlier for earlier, later in pairwise(seqs))


def _sender_disorder(keys: Iterable[int]) -> int:
    """Steps back or over in the numbering that each sender gave its messages.

    A message that is missing altogether is a loss, and seen there; a step over one that
    comes later is seen when that one comes.
    """
    last: dict[int, int] = {}
    count = 0
    for key in keys:
        sender, number = divmod(key, NUMBERS)
        count += number < last.get(sender, 0)
        last[sender] = max(number, last.get(sender, 0))
    return count
