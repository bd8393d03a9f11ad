"""Judging ``column = claim`` here: an index from the column's text to the viewers that see it."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from tidewire.core.policy_local import Unsure, wanted_text
from tidewire.core.row_policy import LocalRule, RowPolicy

INDEXES_MAX = 256
"""Pairs of a policy and a set of viewers whose index is kept."""

NOBODY: frozenset[bytes] = frozenset()


class LocalIndex(msgspec.Struct, frozen=True):
    """Viewers by the value that they may see.

    Attributes:
        by_value: Keys of viewers by the column's text.
        unsure: Viewers of whom PostgreSQL has to say it.
    """

    by_value: dict[bytes, frozenset[bytes]]
    unsure: frozenset[bytes]


class LocalIndexes:
    """Indexes, kept for the sets of viewers that are asked about again and again."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[RowPolicy, frozenset[bytes]], LocalIndex] = OrderedDict()

    def of(self, policy: RowPolicy, keys: frozenset[bytes]) -> LocalIndex:
        """The index of these viewers."""
        index = self._known.get((policy, keys))
        if index is None:
            assert policy.local is not None
            index = self._known[policy, keys] = make_index(policy.local, keys)
            if len(self._known) > INDEXES_MAX:
                self._known.popitem(last=False)
        return index


def make_index(rule: LocalRule, keys: frozenset[bytes]) -> LocalIndex:
    """Sort viewers by the value that the rule has them see."""
    by_value: dict[bytes, set[bytes]] = {}
    unsure: set[bytes] = set()
    for key in keys:
        wanted = wanted_text(rule, key)
        if isinstance(wanted, Unsure):
            unsure.add(key)
        elif wanted is not None:
            by_value.setdefault(wanted, set()).add(key)
    return LocalIndex(
        {value: frozenset(found) for value, found in by_value.items()}, frozenset(unsure)
    )
