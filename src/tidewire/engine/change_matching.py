"""Finds out which filters the changes of a batch meet, and what the database must be asked."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from tidewire.core.change import Change, ChangeKind
from tidewire.core.filter_index import Doubt, Node
from tidewire.core.predicate import Predicate
from tidewire.engine.change_batch import Step
from tidewire.engine.change_group import Binding
from tidewire.engine.predicate_compiler import to_comparison
from tidewire.engine.subscriptions import Subscriptions
from tidewire.ports.catalog_source import Comparison

logger = logging.getLogger(__name__)

Answers = dict[Comparison, bool | None]
"""What the database said; None: it could not evaluate that."""


_NOTHING: tuple[list[Node[Binding]], list[Doubt[Binding]]] = ([], [])


class ChangeMatching:
    """Matches the steps of a batch against the filters of the moment, and plans them."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    def match(self, steps: Iterable[Step], answers: Answers) -> list[Comparison]:
        """Note each step's hits and plan; give what the database must be asked first.

        The steps know their routes.

        Plans are complete only when nothing must be asked.
        """
        questions: dict[Comparison, None] = {}
        for step in steps:
            change = step.change
            step.plan = None
            if step.route is None or change.kind is ChangeKind.TRUNCATE:
                continue
            try:
                hits, doubts = step.route.match(change)
                former_hits, former_doubts = _NOTHING
                if step.route.looks_at_former(change):
                    former_hits, former_doubts = step.route.match_former(change)
            except Exception:
                # One table's row must not stop the stream of all; its subscribers are told.
                logger.exception("a change cannot be matched", extra=_table_of(change))
                step.problem = "a change could not be matched"
                continue
            if doubts:
                hits = self._with_settled(hits, doubts, change, answers, questions)
            if former_doubts:
                former_hits = self._with_settled(
                    former_hits, former_doubts, change, answers, questions
                )
            step.hits, step.former_hits = hits, former_hits
            self.plan(step)
        return list(questions)

    def plan(self, step: Step) -> None:
        """Plan a matched step for those who are there now."""
        if step.route is not None and (step.hits or step.former_hits):
            version = self._subscriptions.version
            step.plan = step.route.plan(step.change, step.hits, step.former_hits, version)

    def _with_settled(
        self,
        hits: list[Node[Binding]],
        doubts: list[Doubt[Binding]],
        change: Change,
        answers: Answers,
        questions: dict[Comparison, None],
    ) -> list[Node[Binding]]:
        """The hits, and the nodes of those doubts that the answers settle for them."""
        settled = [d.node for d in doubts if self._is_met(d, change, answers, questions)]
        return hits + settled

    def _is_met(
        self,
        doubt: Doubt[Binding],
        change: Change,
        answers: Answers,
        questions: dict[Comparison, None],
    ) -> bool:
        """Whether the answers settle a doubt for its node; what is open goes to the questions."""
        for predicate, value in doubt.open:
            asked = [
                to_comparison(question, change.relation.oid)
                for question in predicate.questions(value)
            ]
            unknown = [comparison for comparison in asked if comparison not in answers]
            if unknown:
                questions.update(dict.fromkeys(unknown))
                return False
            told = [answers[comparison] for comparison in asked]
            if None in told:
                self._fail_all(doubt.node, predicate)
                return False
            if not predicate.conclude([bool(answer) for answer in told]):
                return False
        return True

    def _fail_all(self, node: Node[Binding], predicate: Predicate) -> None:
        """End the groups of a filter that the database could not evaluate."""
        condition = predicate.condition
        problem = (
            f"The filter {condition.operator.value} on column {condition.column} could not be "
            "evaluated; no more changes are sent"
        )
        for group in dict.fromkeys(binding.group for binding in node.targets):
            logger.warning("a filter failed", extra={"topic": group.topic.key})
            self._subscriptions.fail(group, problem)


def _table_of(change: Change) -> dict[str, str]:
    return {"table": f"{change.relation.schema}.{change.relation.name}"}
