"""A clock that stands until a test moves it."""

from __future__ import annotations

START_MS = 1_764_000_000_000


class ManualClock:
    """`Clock`."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return START_MS + int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    def pass_seconds(self, seconds: float) -> None:
        self.seconds += seconds

    def pass_days(self, days: float) -> None:
        self.seconds += days * 86_400
