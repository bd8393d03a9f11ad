"""The ways in which judging could quietly go wrong: each must turn a test red."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from tests.support.scripted_policies import ScriptedAuthorizer
from tests.unit.engine import test_visibility as tests
from tidewire.core.catalog import Catalog, Table
from tidewire.core.row_policy import RowPolicy
from tidewire.engine import visibility
from tidewire.engine.change_batch import Judged, Step
from tidewire.engine.outcome import Sight
from tidewire.ports.authorizer import ReadDecision, RowQuestion, RowVerdict

Mutation = Callable[[pytest.MonkeyPatch], None]


def skip_the_old_image(patch: pytest.MonkeyPatch) -> None:
    def crossed(new: Judged, old: Judged) -> Iterator[Any]:
        yield Sight.VISIBLE, Sight.VISIBLE, new.visible

    patch.setattr(visibility, "_crossed", crossed)


def take_the_new_image_for_the_old(patch: pytest.MonkeyPatch) -> None:
    images = visibility._images

    def new_only(step: Step, guarded: Any) -> Iterator[Any]:
        for row, fallback, keys, into in images(step, guarded):
            yield step.change.new or row, fallback, keys, into

    patch.setattr(visibility, "_images", new_only)


def judge_by_key(patch: pytest.MonkeyPatch) -> None:
    """All questions about a row are answered by the newest image of it there is."""
    judge = ScriptedAuthorizer.judge

    async def by_key(self: Any, questions: list[RowQuestion]) -> list[RowVerdict]:
        newest = {question.relation.oid: question.row for question in questions}
        return await judge(
            self, [msgspec.structs.replace(q, row=newest[q.relation.oid]) for q in questions]
        )

    patch.setattr(ScriptedAuthorizer, "judge", by_key)


def forget_column_privileges(patch: pytest.MonkeyPatch) -> None:
    decide = ScriptedAuthorizer.read_decision

    def all_columns(self: Any, catalog: Catalog, table: Table, role: str) -> ReadDecision:
        columns = frozenset(column.name for column in table.columns)
        decision = decide(self, catalog, table, role)
        return msgspec.structs.replace(decision, columns=columns)

    patch.setattr(ScriptedAuthorizer, "read_decision", all_columns)


def group_by_too_few_claims(patch: pytest.MonkeyPatch) -> None:
    key = RowPolicy.viewer_key

    def fewer(self: RowPolicy, claims: Any) -> bytes:
        first = sorted(name for name in claims if name != "sub")
        return key(self, {"sub": "ann"} | {name: claims[name] for name in first})

    patch.setattr(RowPolicy, "viewer_key", fewer)


def keep_the_former_policy(patch: pytest.MonkeyPatch) -> None:
    """What was asked of one policy counts for the next."""
    missing = visibility._missing

    def careless(step: Step, catalog: Catalog) -> Iterator[Any]:
        known = step.new_judged or step.old_judged
        if known and step.plan is not None:
            for guarded in step.plan.guarded:
                step.new_judged.setdefault(guarded.policy, next(iter(known.values())))
        yield from missing(step, catalog)

    patch.setattr(visibility, "_missing", careless)


def deliver_unjudged(patch: pytest.MonkeyPatch) -> None:
    def everyone(step: Step, policy: RowPolicy) -> Iterator[Any]:
        assert step.plan is not None
        for guarded in step.plan.guarded:
            yield Sight.VISIBLE, Sight.VISIBLE, guarded.old_keys

    patch.setattr("tidewire.engine.change_delivery.sights", everyone)


CASES: list[tuple[Mutation, Callable[[], Awaitable[None]]]] = [
    (skip_the_old_image, tests.test_an_update_into_sight_hides_the_old_row),
    (skip_the_old_image, tests.test_an_update_out_of_sight_is_a_leave_for_those_who_ask),
    (take_the_new_image_for_the_old, tests.test_an_update_into_sight_hides_the_old_row),
    (
        judge_by_key,
        tests.test_each_change_is_judged_by_its_own_rows_and_not_by_the_present_one,
    ),
    (forget_column_privileges, tests.test_columns_are_masked_in_every_outcome),
    (group_by_too_few_claims, tests.test_an_insert_reaches_who_may_see_it_and_nobody_else),
    (keep_the_former_policy, tests.test_a_policy_that_changes_while_it_is_asked_is_asked_again),
    (deliver_unjudged, tests.test_an_insert_reaches_who_may_see_it_and_nobody_else),
]


@pytest.mark.parametrize(
    ("mutation", "test"), CASES, ids=[f"{m.__name__}-{t.__name__[5:25]}" for m, t in CASES]
)
def test_a_mutation_turns_a_test_red(
    mutation: Mutation, test: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(test())
    mutation(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):  # a row too few is a failed unpacking
        asyncio.run(test())
