"""How long to wait before trying again."""

from __future__ import annotations

import random


class Backoff:
    """Full jitter: each wait is drawn evenly between 0 and a bound that doubles.

    So many clients that lost one server do not come back at one moment.
    """

    def __init__(self, base_s: float, max_s: float, chance: random.Random) -> None:
        self._base_s = base_s
        self._max_s = max_s
        self._chance = chance
        self.attempt = 0
        """How many waits were drawn since the last success."""

    def next_delay_s(self) -> float:
        """Seconds to wait now."""
        # Past 2^30 the bound has been met by any base of a nanosecond or more.
        bound_s = min(self._max_s, self._base_s * 2 ** min(self.attempt, 30))
        self.attempt += 1
        return self._chance.uniform(0.0, bound_s)

    def reset(self) -> None:
        """It worked: start from the base again."""
        self.attempt = 0
