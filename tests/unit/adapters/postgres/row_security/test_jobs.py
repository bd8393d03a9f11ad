from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.adapters.postgres.row_security import jobs
from tidewire.adapters.postgres.row_security.jobs import KEYS_MAX, ROWS_MAX, Pending, plan_jobs
from tidewire.core.row_policy import RowPolicy, Tier

POLICY = RowPolicy(1, "anon", "true", Tier.LOOP)
KEYS = [b"%d" % number for number in range(12)]


def pending(place: int, keys: frozenset[bytes]) -> Pending:
    return Pending(place, (), keys)


@given(
    st.sampled_from([Tier.SETS, Tier.LOOP, Tier.BY_KEY]),
    st.lists(st.frozensets(st.sampled_from(KEYS), min_size=1), min_size=1, max_size=40),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(1, 30),
)
def test_every_row_is_asked_about_for_each_of_its_viewers_exactly_once(
    tier: Tier, asked: list[frozenset[bytes]], keys_max: int, rows_max: int, pairs_max: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "KEYS_MAX", keys_max)
        patch.setattr(jobs, "ROWS_MAX", rows_max)
        patch.setattr(jobs, "PAIRS_MAX", pairs_max)
        planned = plan_jobs(POLICY, tier, [pending(n, keys) for n, keys in enumerate(asked)])
    pairs = [
        (each.place, key)
        for job in planned
        for each in job.pendings
        for key in job.keys
        if key in each.keys
    ]
    assert sorted(pairs) == sorted((n, key) for n, keys in enumerate(asked) for key in keys)
    assert all(len(job.pendings) <= rows_max for job in planned)


def test_viewers_of_a_loop_are_parted_and_rows_are_kept_together() -> None:
    keys = frozenset(b"%d" % number for number in range(2 * KEYS_MAX))
    planned = plan_jobs(POLICY, Tier.LOOP, [pending(n, keys) for n in range(ROWS_MAX)])
    assert [(len(job.keys), len(job.pendings)) for job in planned] == [(KEYS_MAX, ROWS_MAX)] * 2


def test_sets_are_put_together_where_that_wastes_little() -> None:
    few = [pending(n, frozenset(KEYS[n : n + 2])) for n in range(10)]
    assert len(plan_jobs(POLICY, Tier.SETS, few)) == 1
    many = [
        pending(n, frozenset(b"%d-%d" % (n, number) for number in range(500))) for n in range(4)
    ]
    assert len(plan_jobs(POLICY, Tier.SETS, many)) == 4


def test_halves_are_the_whole() -> None:
    (job,) = plan_jobs(POLICY, Tier.LOOP, [pending(n, frozenset({b"a"})) for n in range(5)])
    one, other = job.halves()
    assert one.pendings + other.pendings == job.pendings
