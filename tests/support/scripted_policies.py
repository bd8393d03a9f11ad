"""An authorizer whose policies are Python functions of claims and row, for routing tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tidewire.core.catalog import Catalog, Table
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.core.row_policy import RowPolicy, Tier
from tidewire.ports.authorizer import ReadDecision, RowQuestion, RowVerdict
from tidewire.protocol.pgoutput.row import UNCHANGED, split_row

Row = dict[str, Any]
Rule = Callable[[dict[str, Any], Row], bool]


class ScriptedPolicy(RowPolicy):
    """A policy that says who sees a row by calling `rule` with the claims of a key."""

    __slots__ = ("rule",)

    def __init__(
        self,
        rule: Rule,
        *,
        oid: int,
        role: str = "anon",
        tier: Tier = Tier.SETS,
        claims: frozenset[str] | None = frozenset({"sub"}),
        kept: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(oid, role, "", tier, claims=claims, kept=kept)
        self.rule = rule


def own(column: str, claim: str = "sub") -> Rule:
    """The policy ``column = claim``."""
    return lambda claims, row: row[column] is not None and row[column] == claims.get(claim)


class ScriptedAuthorizer:
    """Privileges from the catalogue, policies as a test says: by state, role and table.

    Attributes:
        policies: (role, table oid) to the policy in force, for catalogues without their own.
        by_catalog: The same for one state of the catalogue, by its fingerprint.
        asked: Every question, batch by batch.
        hold: While it is unset, answers wait.
        asking: Set when something was asked.
    """

    def __init__(self) -> None:
        self.policies: dict[tuple[str, int], ScriptedPolicy] = {}
        self.by_catalog: dict[str, dict[tuple[str, int], ScriptedPolicy]] = {}
        self.asked: list[list[RowQuestion]] = []
        self.hold: asyncio.Event | None = None
        self.asking = asyncio.Event()
        self.failures = 0
        self.error: Exception | None = None

    def read_decision(self, catalog: Catalog, table: Table, role: str) -> ReadDecision:
        access = (catalog.access.get(role) or {}).get(table.oid)
        if access is None:
            return ReadDecision(frozenset(), rows=False, reason="no access")
        policies = self.by_catalog.get(catalog.fingerprint, self.policies)
        policy = None
        if table.has_row_security and not access.bypasses_row_security:
            policy = policies.get((role, table.oid))
            if policy is None:
                return ReadDecision(access.columns, rows=False, reason="no policy")
        return ReadDecision(
            access.columns, rows=True, has_whole_table=access.has_whole_table, policy=policy
        )

    async def judge(self, questions: Sequence[RowQuestion]) -> list[RowVerdict]:
        self.asking.set()
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailableError("away")
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        self.asked.append(list(questions))
        return [self._verdict(question) for question in questions]

    def _verdict(self, question: RowQuestion) -> RowVerdict:
        policy = question.policy
        assert isinstance(policy, ScriptedPolicy)
        row = row_of(question)
        visible, failed = set(), set()
        for key in question.keys:
            try:
                if policy.rule(msgspec.json.decode(key), row):
                    visible.add(key)
            except ValueError:
                failed.add(key)
        return RowVerdict(frozenset(visible), frozenset(failed))


def row_of(question: RowQuestion) -> Row:
    """The image as texts by column name."""
    cells = split_row(question.row)
    old = split_row(question.fallback) if question.fallback is not None else None
    names = [column.name for column in question.relation.columns]
    texts = {}
    for place, (name, cell) in enumerate(zip(names, cells, strict=True)):
        value = old[place] if cell is UNCHANGED and old is not None else cell
        texts[name] = value.decode() if isinstance(value, bytes) else None
    return texts
