"""How long to wait before the next try."""

from __future__ import annotations

import random


def backoff_s(attempt: int, *, first_s: float, longest_s: float, rng: random.Random) -> float:
    """Seconds to wait after `attempt` failures in a row: doubling, bounded, with jitter.

    The jitter takes away up to a half, so that many servers do not come back at one moment.
    """
    doubled = first_s * 2.0 ** min(attempt, 32)
    return min(doubled, longest_s) * rng.uniform(0.5, 1.0)
