"""What each role may receive of each table, by the catalogue in force."""

from __future__ import annotations

from tidewire.core.catalog import Catalog
from tidewire.core.row_policy import RowPolicy, Tier
from tidewire.engine.cohorts import KeyRule, rule_of
from tidewire.ports.authorizer import Authorizer, ReadDecision

_NO_NAMES: frozenset[str] = frozenset()
_NO_TABLE = ReadDecision(_NO_NAMES, rows=False, reason="the table is not published")


class Decisions:
    """An authorizer's decisions, each asked for once per state of the catalogue.

    Attributes:
        catalog: The state in force.
    """

    def __init__(self, authorizer: Authorizer, catalog: Catalog) -> None:
        self.catalog = catalog
        self._authorizer = authorizer
        self._known: dict[tuple[str, int], ReadDecision] = {}
        # By table and role: names it could read that the table has no more.
        self._gone: dict[int, dict[str, frozenset[str]]] = {}

    def of(self, role: str, table_oid: int) -> ReadDecision:
        """What a role may receive of a table; nothing of one that is not published."""
        key = (role, table_oid)
        decision = self._known.get(key)
        if decision is None:
            table = self.catalog.tables.get(table_oid)
            decision = self._known[key] = (
                _NO_TABLE
                if table is None
                else self._authorizer.read_decision(self.catalog, table, role)
            )
        return decision

    def policy(self, role: str, table_oid: int) -> RowPolicy | None:
        """The policy by which rows must be judged one by one; None when there is none to ask."""
        decision = self.of(role, table_oid)
        policy = decision.policy
        return None if not decision.rows or policy is None or is_blind(policy) else policy

    def gone_columns(self, role: str, table_oid: int) -> frozenset[str]:
        """Columns that the table had, that the role could read then, and that are no more.

        For rows that were written before they were dropped or renamed. A column that was not
        readable when it was last seen is not among them, whatever has been granted since.
        """
        if not self.of(role, table_oid).has_whole_table:
            return _NO_NAMES
        return self._gone.get(table_oid, {}).get(role, _NO_NAMES)

    def adopt(self, catalog: Catalog) -> list[tuple[str, int]]:
        """Put another state of the catalogue in force.

        Returns:
            (role, table) pairs that were asked about, and whose viewers are told apart by other
            claims than before.
        """
        former = {pair: self._rule(*pair) for pair in self._known}
        self._note_gone_columns(self.catalog, catalog)
        self.catalog = catalog
        self._known = {}
        return [pair for pair, rule in former.items() if self._rule(*pair) != rule]

    def _rule(self, role: str, table_oid: int) -> KeyRule | None:
        policy = self.policy(role, table_oid)
        return None if policy is None else rule_of(policy)

    def _note_gone_columns(self, old: Catalog, new: Catalog) -> None:
        for oid in [oid for oid in self._gone if oid not in new.tables]:
            del self._gone[oid]
        for oid, table in new.tables.items():
            before = old.tables.get(oid)
            if before is None or before.columns == table.columns:
                continue
            present = {column.name for column in table.columns}
            known = self._gone.get(oid, {})
            roles = {
                role: (known.get(role, _NO_NAMES) | _readable(old, role, oid)) - present
                for role in old.access
            }
            self._gone[oid] = {role: names for role, names in roles.items() if names}


def is_blind(policy: RowPolicy) -> bool:
    """Whether nobody sees anything by it, whoever he is."""
    return policy.tier is Tier.HIDDEN


def _readable(catalog: Catalog, role: str, oid: int) -> frozenset[str]:
    access = (catalog.access.get(role) or {}).get(oid)
    return _NO_NAMES if access is None else access.columns
