"""Sorting questions into as few calls as can be."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import msgspec

from tidewire.adapters.postgres.row_security.images import Values
from tidewire.core.row_policy import RowPolicy, Tier

ROWS_MAX = 256
"""Rows of one call."""

KEYS_MAX = 128
"""Viewers of one call that has a statement for each: many of them are no slow policy yet."""

PAIRS_MAX = 100_000
"""Viewers times rows of one call that judges them as sets."""

ORDERS_MAX = 64
"""Sets of viewers whose order is remembered."""

CALL_COST_PAIRS = 200
"""What a call costs, in decisions of tier SETS."""


class Pending(msgspec.Struct, frozen=True):
    """One image that the database is asked about.

    Attributes:
        place: Of its question.
        values: What is handed over, one for each column of the policy or of the primary key.
        keys: Viewers that are asked about.
        xid: Transaction that wrote it.
    """

    place: int
    values: Values
    keys: frozenset[bytes]
    xid: int = 0


class Job(msgspec.Struct, frozen=True):
    """One call: some images, and everybody who is asked about for any of them.

    Attributes:
        policy: What decides.
        tier: SETS, LOOP or BY_KEY.
        pendings: The images.
        keys: The viewers.
    """

    policy: RowPolicy
    tier: Tier
    pendings: tuple[Pending, ...]
    keys: tuple[bytes, ...]

    def halves(self) -> tuple[Job, Job]:
        """The same with half of the images each."""
        middle = len(self.pendings) // 2
        return (
            make_job(self.policy, self.tier, self.pendings[:middle]),
            make_job(self.policy, self.tier, self.pendings[middle:]),
        )

    def as_loop(self) -> Job:
        """The same by a statement for each viewer."""
        return Job(self.policy, Tier.LOOP, self.pendings, self.keys)


def make_job(policy: RowPolicy, tier: Tier, pendings: Iterable[Pending]) -> Job:
    """One call for all of `pendings`."""
    kept = tuple(pendings)
    return Job(policy, tier, kept, _in_order(_union(kept)))


def _union(pendings: Iterable[Pending]) -> frozenset[bytes]:
    """Everybody who is asked about; the very set where it is one."""
    sets = {id(pending.keys): pending.keys for pending in pendings}
    if len(sets) == 1:
        return next(iter(sets.values()))
    return frozenset[bytes]().union(*sets.values())


@functools.lru_cache(maxsize=ORDERS_MAX)
def _in_order(keys: frozenset[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(keys))


def plan_jobs(policy: RowPolicy, tier: Tier, pendings: list[Pending]) -> list[Job]:
    """Calls for the images of one policy.

    A statement for each viewer costs the same for one row as for many, so there everything goes
    together. Sets cost by the pair, so images are put together where that judges few pairs that
    nobody asked about.
    """
    jobs: list[Job] = []
    for part in _parts(tier, pendings):
        rows_max = ROWS_MAX
        keys = len(_union(part))
        if tier is Tier.SETS:
            rows_max = max(1, min(ROWS_MAX, PAIRS_MAX // max(1, keys)))
        for start in range(0, len(part), rows_max):
            job = make_job(policy, tier, part[start : start + rows_max])
            if tier is Tier.SETS or len(job.keys) <= KEYS_MAX:
                jobs.append(job)
                continue
            jobs += (
                Job(policy, tier, job.pendings, job.keys[first : first + KEYS_MAX])
                for first in range(0, len(job.keys), KEYS_MAX)
            )
    return jobs


def _parts(tier: Tier, pendings: list[Pending]) -> list[list[Pending]]:
    if tier is not Tier.SETS:
        return [pendings]
    by_keys: dict[frozenset[bytes], list[Pending]] = {}
    for pending in pendings:
        by_keys.setdefault(pending.keys, []).append(pending)
    parts: list[list[Pending]] = []
    joint: set[bytes] = set()
    asked = 0
    for keys, group in by_keys.items():
        union = joint | keys
        pairs = len(keys) * len(group)
        if parts and len(union) * (len(parts[-1]) + len(group)) <= asked + pairs + CALL_COST_PAIRS:
            parts[-1] += group
            joint, asked = union, asked + pairs
        else:
            parts.append(list(group))
            joint, asked = set(keys), pairs
    return parts
