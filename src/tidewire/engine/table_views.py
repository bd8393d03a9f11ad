"""How one table looks to each role, in the version of it that the stream shows."""

from __future__ import annotations

from collections import OrderedDict

from tidewire.core.catalog import Catalog, Table
from tidewire.core.change import Relation
from tidewire.engine.change_frames import ChangeShape
from tidewire.engine.change_group import ShapeKey
from tidewire.engine.change_plan import View
from tidewire.engine.decisions import Decisions, is_blind

SHAPES_MAX = 512
"""Distinct sets of columns kept ready per table; more are made anew when needed."""


class TableViews:
    """Views of one table, made on first use and kept while catalogue and version are the same."""

    def __init__(self, oid: int, decisions: Decisions) -> None:
        self._oid = oid
        self._decisions = decisions
        self._relation: Relation | None = None
        self._catalog: Catalog | None = None
        self._views: dict[ShapeKey, View | None] = {}
        self._shapes: OrderedDict[tuple[frozenset[str], bool], ChangeShape] = OrderedDict()

    def show(self, relation: Relation) -> None:
        """Show rows of this version from now on."""
        self._relation = relation
        self._forget()

    def view(self, key: ShapeKey) -> View | None:
        """How changes look to a role with a selection; None when it may see nothing."""
        if self._decisions.catalog is not self._catalog:
            self._forget()
            self._catalog = self._decisions.catalog
        try:
            return self._views[key]
        except KeyError:
            pass
        if len(self._views) >= SHAPES_MAX:
            self._views.clear()
        view = self._views[key] = self._make_view(key)
        return view

    def _make_view(self, key: ShapeKey) -> View | None:
        role, select = key
        table = self._decisions.catalog.tables.get(self._oid)
        if table is None or self._relation is None:
            return None
        decision = self._decisions.of(role, self._oid)
        policy = decision.policy
        if not decision.rows or (policy is not None and is_blind(policy)):
            return None
        columns = decision.columns | self._decisions.gone_columns(role, self._oid)
        primary_key = frozenset(c.name for c in table.columns if c.is_primary_key)
        if select is not None:
            columns &= select | primary_key
        shape = self._shape(self._relation, table, columns, readable=decision.columns)
        return View(shape, policy, primary_key)

    def _shape(
        self, relation: Relation, table: Table, columns: frozenset[str], *, readable: frozenset[str]
    ) -> ChangeShape:
        """Who sees the same columns and may read the whole key shares one shape."""
        primary_key = {column.name for column in table.columns if column.is_primary_key}
        kind = (columns, primary_key <= readable)
        shape = self._shapes.get(kind)
        if shape is None:
            types = self._decisions.catalog.types
            shape = ChangeShape(relation, table, types, columns, readable=readable)
            self._shapes[kind] = shape
            if len(self._shapes) > SHAPES_MAX:
                self._shapes.popitem(last=False)
        return shape

    def _forget(self) -> None:
        self._views.clear()
        self._shapes.clear()
