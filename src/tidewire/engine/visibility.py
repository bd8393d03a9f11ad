"""Asks who may see the rows of a batch, all in one question, and puts the answers together.

What was answered is kept with the step until it is delivered: when viewers come meanwhile, only
they are asked about. A verdict belongs to one `RowPolicy`, and a new state of the catalogue that
says something else of it has another: no row is judged by a former policy.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from tidewire.core.catalog import Catalog
from tidewire.core.change import ChangeKind
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.core.row_policy import RowPolicy
from tidewire.engine.change_batch import Judged, Step
from tidewire.engine.change_plan import Guarded
from tidewire.engine.outcome import Sight
from tidewire.engine.stats import Stats
from tidewire.ports.authorizer import Authorizer, RowQuestion, RowVerdict

logger = logging.getLogger(__name__)

_NOBODY: frozenset[bytes] = frozenset()
_UNKNOWN = Judged(_NOBODY, _NOBODY, _NOBODY)


class Unanswered(msgspec.Struct, frozen=True):
    """A question, and where its answer goes."""

    question: RowQuestion
    into: dict[RowPolicy, Judged]


class Visibility:
    """Who may see what of the rows of a batch."""

    def __init__(self, authorizer: Authorizer, stats: Stats) -> None:
        self._authorizer = authorizer
        self._stats = stats

    def unanswered(self, steps: Iterable[Step], catalog: Catalog) -> list[Unanswered]:
        """What must be asked before these steps can be delivered as planned."""
        return [
            missing
            for step in steps
            if step.plan is not None and step.plan.guarded
            for missing in _missing(step, catalog)
        ]

    async def ask(self, missing: Sequence[Unanswered]) -> None:
        """Have the questions answered and keep the answers.

        Raises:
            DatabaseUnavailableError: Nothing was judged; ask again.
        """
        questions = [each.question for each in missing]
        try:
            verdicts = await self._authorizer.judge(questions)
            assert len(verdicts) == len(questions)
        except DatabaseUnavailableError:
            raise
        except Exception:
            # Whatever went wrong, nobody sees a row unjudged and the stream does not stop.
            logger.exception("rows could not be judged", extra={"rows": len(questions)})
            verdicts = [RowVerdict(_NOBODY, failed=question.keys) for question in questions]
        self._stats.rows_judged_total += len(questions)
        for each, verdict in zip(missing, verdicts, strict=True):
            self._stats.rows_hidden_total += not verdict.visible
            policy = each.question.policy
            each.into[policy] = _merged(each.into.get(policy), each.question.keys, verdict)


def sights(step: Step, policy: RowPolicy) -> Iterator[tuple[Sight, Sight, frozenset[bytes]]]:
    """(new row, old row, viewer keys) of all who saw or see something of a step by a policy.

    Who was not asked about sees nothing.
    """
    change = step.change
    new = step.new_judged.get(policy, _UNKNOWN)
    if change.kind is ChangeKind.DELETE:
        new = step.old_judged.get(policy, _UNKNOWN)
    if change.kind is not ChangeKind.UPDATE or not change.old_is_full:
        # Without a whole old row: its key is the new one's, or it cannot be judged.
        is_known = change.kind is not ChangeKind.UPDATE or change.old is None
        old_sight = Sight.VISIBLE if is_known else Sight.HIDDEN
        yield Sight.VISIBLE, old_sight, new.visible
        if new.failed:
            yield Sight.FAILED, old_sight, new.failed
        return
    old = step.old_judged.get(policy, _UNKNOWN)
    if not new.failed and not old.failed and new.visible == old.visible:
        yield Sight.VISIBLE, Sight.VISIBLE, new.visible
        return
    yield from _crossed(new, old)


def _crossed(new: Judged, old: Judged) -> Iterator[tuple[Sight, Sight, frozenset[bytes]]]:
    everyone = new.visible | new.failed | old.visible | old.failed
    for new_sight, of_new in (
        (Sight.VISIBLE, new.visible),
        (Sight.FAILED, new.failed),
        (Sight.HIDDEN, everyone - new.visible - new.failed),
    ):
        for old_sight, of_old in (
            (Sight.VISIBLE, of_new & old.visible),
            (Sight.FAILED, of_new & old.failed),
            (Sight.HIDDEN, of_new - old.visible - old.failed),
        ):
            if of_old:
                yield new_sight, old_sight, of_old


def _missing(step: Step, catalog: Catalog) -> Iterator[Unanswered]:
    assert step.plan is not None
    change = step.change
    table = catalog.tables[change.relation.oid]
    for guarded in step.plan.guarded:
        policy = guarded.policy
        for row, fallback, wanted, into in _images(step, guarded):
            known = into.get(policy)
            if known is not None and (known.asked is wanted or wanted <= known.asked):
                continue
            keys = wanted if known is None else wanted - known.asked
            if keys:
                question = RowQuestion(
                    table, change.relation, policy, row, fallback, keys, step.xid
                )
                yield Unanswered(question, into)


def _images(
    step: Step, guarded: Guarded
) -> Iterator[tuple[bytes, bytes | None, frozenset[bytes], dict[RowPolicy, Judged]]]:
    """(row, fallback, who is to be asked about, where the answer goes) of each whole image."""
    change = step.change
    old = change.old if change.old_is_full else None
    if change.new is not None:
        yield change.new, old, guarded.new_keys, step.new_judged
    if old is not None:
        yield old, None, guarded.old_keys, step.old_judged


def _merged(known: Judged | None, keys: frozenset[bytes], verdict: RowVerdict) -> Judged:
    # Nothing that was not asked about, and nothing that failed, whatever the answer says.
    failed = verdict.failed
    visible = verdict.visible if not failed else verdict.visible - failed
    if known is None:
        return Judged(keys, visible, failed)
    return Judged(known.asked | keys, known.visible | visible, known.failed | failed)
