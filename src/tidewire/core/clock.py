"""Time as a value that is passed in, so that a test can own it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def monotonic_s(self) -> float:
        """Seconds of a clock that never goes back; for durations and deadlines."""
        ...

    def wall_s(self) -> float:
        """Seconds since 1970-01-01 UTC; for timestamps and token expiry."""
        ...
