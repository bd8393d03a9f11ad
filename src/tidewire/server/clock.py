"""The machine's own clock."""

from __future__ import annotations

import time


class SystemClock:
    """Implements `core.clock.Clock`."""

    def monotonic_s(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def wall_s(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()
