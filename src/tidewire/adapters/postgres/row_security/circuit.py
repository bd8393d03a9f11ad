"""Keeps viewers out for a while whose policy raises every time, so that they slow nobody else.

A failure counts only where the same row was judged without one for somebody else: a row that
fails for everybody says nothing of the viewers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

import msgspec

from tidewire.core.clock import Clock
from tidewire.core.row_policy import RowPolicy

FAILURES_MAX = 3
"""Failures in a row after which a viewer is kept out."""

HOLD_S = 10.0
"""How long a viewer is kept out, and a policy that took too long."""

ENTRIES_MAX = 10_000
"""Viewers remembered; the one remembered longest is forgotten first."""


class _Entry(msgspec.Struct):
    failures: int = 0
    until_s: float = 0.0


class Circuit:
    """Remembers who failed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[tuple[RowPolicy, bytes], _Entry] = OrderedDict()
        self._policies: OrderedDict[RowPolicy, float] = OrderedDict()

    def held(self, policy: RowPolicy, keys: frozenset[bytes]) -> frozenset[bytes]:
        """Which of these viewers are kept out now."""
        now_s = self._clock.monotonic_s()
        if self._policies.get(policy, 0.0) > now_s:
            return keys
        if not self._entries:
            return frozenset()
        return frozenset(
            key
            for key in keys
            if (entry := self._entries.get((policy, key))) is not None and entry.until_s > now_s
        )

    def hold_policy(self, policy: RowPolicy) -> None:
        """Keep everybody out whom a policy binds: it takes too long."""
        self._policies[policy] = self._clock.monotonic_s() + HOLD_S
        if len(self._policies) > ENTRIES_MAX:
            self._policies.popitem(last=False)

    def note(self, policy: RowPolicy, failed: Collection[bytes], asked: Iterable[bytes]) -> None:
        """Count what one call said of one policy.

        Args:
            policy: Which.
            failed: Viewers that failed on a row which was judged for somebody else.
            asked: All viewers of the call; who did not fail begins anew.
        """
        if self._entries:
            for key in asked:
                if key not in failed:
                    self._entries.pop((policy, key), None)
        for key in failed:
            entry = self._entries.setdefault((policy, key), _Entry())
            entry.failures += 1
            if entry.failures >= FAILURES_MAX:
                entry.until_s = self._clock.monotonic_s() + HOLD_S
        while len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)
