"""What becomes of a change for one who subscribed: the rule, as a table.

An UPDATE is judged twice, by its old row and by its new one, both by the entry's filter and by
what the subscriber may see. INSERT and DELETE have one row and follow the same table, the row
that they do not have counting as visible.

Source: wire specification 6.3, 6.6, 6.8, and the change of it that docs/concepts/changes.md
describes: leaves and entries, and no old row for those who could not see it.
"""

from __future__ import annotations

import enum


class Sight(enum.IntEnum):
    """Whether someone may see an image of a row. Integers, because an enum's hash is slow."""

    VISIBLE = 0
    HIDDEN = 1
    FAILED = 2  # the policy raised


class Met(enum.IntEnum):
    """Which rows of a change meet an entry's filter."""

    NEW = 0  # the new one; nobody asked about the old one
    BOTH = 1
    ENTERS = 2  # the new one, not the old one
    LEAVES = 3  # the old one, not the new one
    STAYS = 4  # both, and the entry wants to hear of leaves only


class Outcome(enum.IntEnum):
    """How a change is told."""

    PLAIN = 0  # as it happened
    CUT = 1  # an UPDATE without its old row
    ENTERED = 2  # an UPDATE by which the row came into the filter
    ENTERED_CUT = 3  # an UPDATE by which the row came into sight
    LEFT = 4  # an UPDATE by which the row left the filter or the sight: a DELETE with its key
    KEY = 5  # a DELETE with its key only
    FAILED = 6  # Error 500


def outcome_of(met: Met, new: Sight, old: Sight) -> Outcome | None:
    """How an entry's subscriber is told of a change; None: not at all.

    Args:
        met: Which rows meet the entry's filter.
        new: What the subscriber may see of the new row.
        old: The same of the old row.
    """
    return _OUTCOMES[met][new][old]


def _work_out(met: Met, new: Sight, old: Sight) -> Outcome | None:
    if met is Met.LEAVES:
        return _when_gone(old)
    if new is Sight.FAILED:
        return Outcome.FAILED
    if new is Sight.VISIBLE:
        return _when_seen(met, old)
    return _when_gone(old) if met in (Met.BOTH, Met.STAYS) else None


def _when_seen(met: Met, old: Sight) -> Outcome | None:
    if met is Met.STAYS:
        return None
    could_see = old is Sight.VISIBLE
    if met is Met.NEW or (met is Met.BOTH and could_see):
        return Outcome.PLAIN if could_see else Outcome.CUT
    return Outcome.ENTERED if could_see else Outcome.ENTERED_CUT


def _when_gone(old: Sight) -> Outcome | None:
    if old is Sight.VISIBLE:
        return Outcome.LEFT
    # Whether the row was shown to him cannot be said: better told than kept by mistake.
    return Outcome.FAILED if old is Sight.FAILED else None


_OUTCOMES = [[[_work_out(met, new, old) for old in Sight] for new in Sight] for met in Met]
