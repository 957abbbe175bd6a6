"""The plain model: what is really in the logs, and who may see what of it.

Written down at the moment a store commits, from the drafts alone, so it does not depend on
what the core or the store believe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from whatsapp.model import Draft, Duplicate, Entry, Outcome, Role, Stale, Stored, is_group, pair
from whatsapp.wire import Item, Message

Fail = Callable[[str], None]


@dataclass
class Span:
    """The seqs from `first` to `last` (None: no end yet)."""

    first: int
    last: int | None = None

    def has(self, seq: int) -> bool:
        return self.first <= seq and (self.last is None or seq <= self.last)


@dataclass
class Log:
    """One chat."""

    entries: list[Entry] = field(default_factory=list)
    by_id: dict[tuple[str, str], Entry] = field(default_factory=dict)
    spans: dict[str, list[Span]] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    announce: bool = False
    title: str = ""
    epoch: int = 0

    def active(self, user: str) -> bool:
        spans = self.spans.get(user)
        return spans is not None and spans[-1].last is None

    def span(self, user: str, seq: int) -> Span | None:
        """The span of `user` in which `seq` lies."""
        return next((span for span in reversed(self.spans.get(user, ())) if span.has(seq)), None)

    def visible(self, user: str) -> list[Entry]:
        return [entry for entry in self.entries if self.span(user, entry.seq)]


class Truth:
    """All logs."""

    def __init__(self, fail: Fail) -> None:
        self.logs: dict[str, Log] = {}
        self.commits: list[Entry] = []
        self.committed_hooks: list[Callable[[Draft, Entry, Log], None]] = []
        self._fail = fail

    def head(self, chat: str) -> int:
        return len(self.logs[chat].entries) if chat in self.logs else 0

    def active(self, chat: str, user: str) -> bool:
        return chat in self.logs and self.logs[chat].active(user)

    def chats_of(self, user: str) -> list[str]:
        """Those that the user is, or ever was, a member of."""
        return [chat for chat, log in self.logs.items() if user in log.spans]

    def committed(self, drafts: Sequence[Draft], outcomes: Sequence[Outcome]) -> None:
        for draft, outcome in zip(drafts, outcomes, strict=True):
            if isinstance(outcome, Stored):
                self._stored(draft, outcome.entry)
            elif isinstance(outcome, Duplicate):
                first = self.logs[draft.chat].by_id.get((draft.sender, draft.id))
                if first != outcome.entry:
                    self._fail(f"duplicate {outcome.entry} of {first}")
            else:
                assert isinstance(outcome, Stale)

    def _stored(self, draft: Draft, entry: Entry) -> None:
        log = self.logs.get(draft.chat)
        if log is None:
            log = self.logs[draft.chat] = Log()
            for user in pair(draft.chat) or ():
                log.spans[user] = [Span(1)]
        if entry.seq != len(log.entries) + 1:
            self._fail(f"seq {entry.seq} of {entry.chat} after {len(log.entries)}")
        if (entry.sender, entry.id) in log.by_id:
            self._fail(f"{entry.id} of {entry.sender} stored twice")
        if draft.kind == "text":
            self._may_write(log, draft)
        log.entries.append(entry)
        log.by_id[entry.sender, entry.id] = entry
        self.commits.append(entry)
        self._change(log, draft, entry.seq)
        for hook in self.committed_hooks:
            hook(draft, entry, log)

    def _may_write(self, log: Log, draft: Draft) -> None:
        if not log.active(draft.sender):
            self._fail(f"{draft.sender} wrote in {draft.chat} and is no member")
        if log.announce and log.roles.get(draft.sender) is Role.MEMBER:
            self._fail(f"{draft.sender} wrote in {draft.chat}, where only admins do")
        if draft.hidden and is_group(draft.chat):
            self._fail(f"hidden entry in group {draft.chat}")

    @staticmethod
    def _change(log: Log, draft: Draft, seq: int) -> None:
        change = draft.change
        if change is None:
            return
        log.epoch = seq
        for user, role in change.joins:
            if not log.active(user):
                log.spans.setdefault(user, []).append(Span(seq))
                log.roles[user] = role
        for user in change.leaves:
            if log.active(user):
                log.spans[user][-1].last = seq
        log.roles |= dict(change.roles)
        if change.announce is not None:
            log.announce = change.announce
        if change.title is not None:
            log.title = change.title


def seen_by(entry: Entry, user: str) -> Item:
    """What `user` may see of an entry, said once more without the code under test."""
    if entry.hidden and entry.sender != user:
        return Item(chat=entry.chat, seq=entry.seq, time=entry.time_ms, kind="void")
    event = entry.event
    return Item(
        chat=entry.chat,
        seq=entry.seq,
        time=entry.time_ms,
        kind=entry.kind,
        id=entry.id,
        sender=entry.sender,
        text=entry.text if entry.kind == "text" else None,
        reply_to=entry.reply_to or None,
        users=(event.users or None) if event else None,
        title=event.title if event else None,
        about=event.about if event else None,
        user=event.user if event else None,
        role=event.role if event else None,
        on=event.on if event else None,
    )


def as_item(frame: Message) -> Item:
    return Item(**{name: getattr(frame, name) for name in Item.__struct_fields__})
