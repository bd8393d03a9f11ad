"""Who may see what, without policies: privileges alone."""

from __future__ import annotations

from collections.abc import Sequence

from tidewire.core.catalog import Catalog, Table
from tidewire.ports.authorizer import ReadDecision, RowQuestion, RowVerdict

_NO_COLUMNS: frozenset[str] = frozenset()


class PolicyFreeAuthorizer:
    """Allows the columns that a role may SELECT, and no row that a policy might hide.

    A table with row security delivers only to roles that row security does not bind.
    """

    def read_decision(self, catalog: Catalog, table: Table, role: str) -> ReadDecision:
        """Decide from one state of the catalogue, without a query."""
        access = (catalog.access.get(role) or {}).get(table.oid)
        if access is None:
            return ReadDecision(_NO_COLUMNS, rows=False, reason="the role has no access")
        if table.has_row_security and not access.bypasses_row_security:
            return ReadDecision(access.columns, rows=False, reason="row security binds the role")
        return ReadDecision(access.columns, rows=True, has_whole_table=access.has_whole_table)

    async def judge(self, questions: Sequence[RowQuestion]) -> list[RowVerdict]:
        """Nobody may see a row that is asked about: no decision of this one asks."""
        return [RowVerdict(frozenset()) for _ in questions]
