"""From a change of one table to the groups that want it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping, Sequence

from tidewire.core.catalog import Catalog
from tidewire.core.change import Change, ChangeKind, Relation
from tidewire.core.filter_index import Doubt, FilterIndex, Node
from tidewire.core.predicate import Cell, Predicate
from tidewire.engine.change_frames import ChangeShape
from tidewire.engine.change_group import Binding, ChangeGroup, ShapeKey
from tidewire.ports.authorizer import Authorizer
from tidewire.protocol.pgoutput.row import UNCHANGED, column_text, split_row

SHAPES_MAX = 512
"""Distinct sets of columns kept ready per table; more are made anew when needed."""

UNANCHORED_MAX = 1_000
"""Distinct filters per table that every one of its changes must be tried on."""

Recompiled = Mapping[Binding, tuple[Predicate, ...] | None]
"""Predicates for a relation whose types are not the catalogue's; None: it cannot match."""


class TableRoute:
    """All bindings of one table, indexed for the version of it that the stream shows.

    Attributes:
        oid: The table.
        bindings: Who wants its changes.
        relation: The version it is indexed for; None before its first change.
    """

    def __init__(self, oid: int, authorizer: Authorizer) -> None:
        self.oid = oid
        self.bindings: dict[Binding, None] = {}
        self.relation: Relation | None = None
        self._authorizer = authorizer
        self._index: FilterIndex[Binding] | None = None
        self._indexed: dict[Binding, tuple[Predicate, ...]] = {}
        self._unanchored: Counter[Hashable] = Counter()
        self._catalog: Catalog | None = None
        self._shapes: dict[ShapeKey, ChangeShape | None] = {}
        self._shapes_by_columns: OrderedDict[tuple[frozenset[str], bool], ChangeShape] = (
            OrderedDict()
        )

    @property
    def groups(self) -> list[ChangeGroup]:
        """Everyone who has a binding here, once each."""
        return list(dict.fromkeys(binding.group for binding in self.bindings))

    def has_room_for(self, predicates: Sequence[Predicate]) -> bool:
        """Whether a filter can be added within the bound on filters that no index helps."""
        identity = _unanchored_identity(predicates)
        return (
            identity is None
            or identity in self._unanchored
            or len(self._unanchored) < UNANCHORED_MAX
        )

    def add(self, binding: Binding) -> None:
        """Let a binding take part. Its rows are matched from the next change on."""
        self.bindings[binding] = None
        identity = _unanchored_identity(binding.predicates)
        if identity is not None:
            self._unanchored[identity] += 1
        if self._index is None or self.relation is None:
            return
        if fits(binding, self.relation):
            self._enter(self._index, binding, binding.predicates)
        else:
            self._index = None  # its predicates need compiling, which has to wait

    def discard(self, binding: Binding) -> None:
        """Undo `add`. Absent is fine."""
        if binding not in self.bindings:
            return
        del self.bindings[binding]
        identity = _unanchored_identity(binding.predicates)
        if identity is not None:
            self._unanchored[identity] -= 1
            if not self._unanchored[identity]:
                del self._unanchored[identity]
        predicates = self._indexed.pop(binding, None)
        if self._index is not None and predicates is not None:
            self._index.discard(predicates, binding)

    def is_indexed_for(self, relation: Relation) -> bool:
        """Whether changes of this version can be matched now."""
        return self._index is not None and self.relation is relation

    def misfits(self, relation: Relation) -> list[Binding]:
        """Bindings whose predicates were compiled for other types than this version has."""
        return [binding for binding in self.bindings if not fits(binding, relation)]

    def index_for(self, relation: Relation, recompiled: Recompiled) -> bool:
        """Index all bindings for a version of the table.

        Args:
            relation: The version.
            recompiled: Predicates of `misfits`, as far as they were found.

        Returns:
            False when a misfit is missing there; then nothing changed.
        """
        missing = [b for b in self.misfits(relation) if b not in recompiled]
        if missing:
            return False
        positions = {column.name: place for place, column in enumerate(relation.columns)}
        index: FilterIndex[Binding] = FilterIndex(positions)
        self._indexed = {}
        self.relation = relation
        self._forget_shapes()
        for binding in self.bindings:
            predicates = binding.predicates if fits(binding, relation) else recompiled.get(binding)
            if predicates is not None:
                self._enter(index, binding, predicates)
        self._index = index
        return True

    def match(self, change: Change) -> tuple[list[Node[Binding]], list[Doubt[Binding]]]:
        """Nodes that a change meets, and those for which the database must be asked.

        Raises:
            ProtocolViolationError: The row is none of the relation's.
        """
        assert self._index is not None
        assert self.relation is change.relation
        return self._index.match(_judged_row(change))

    def shape(self, key: ShapeKey, catalog: Catalog) -> ChangeShape | None:
        """How changes look to a role with a selection; None when it may see nothing."""
        if catalog is not self._catalog:
            self._forget_shapes()
            self._catalog = catalog
        try:
            return self._shapes[key]
        except KeyError:
            pass
        if len(self._shapes) >= SHAPES_MAX:
            self._shapes.clear()
        shape = self._shapes[key] = self._make_shape(key, catalog)
        return shape

    def _make_shape(self, key: ShapeKey, catalog: Catalog) -> ChangeShape | None:
        role, select = key
        table = catalog.tables.get(self.oid)
        if table is None or self.relation is None:
            return None
        decision = self._authorizer.read_decision(catalog, table, role)
        if not decision.rows:
            return None
        columns = decision.columns
        if decision.has_whole_table:
            present = {column.name for column in table.columns}
            columns |= {c.name for c in self.relation.columns if c.name not in present}
        primary_key = frozenset(c.name for c in table.columns if c.is_primary_key)
        if select is not None:
            columns &= select | primary_key
        # Who sees the same columns and may read the whole key shares one shape.
        kind = (columns, primary_key <= decision.columns)
        shape = self._shapes_by_columns.get(kind)
        if shape is None:
            shape = self._shapes_by_columns[kind] = ChangeShape(
                self.relation, table, catalog.types, columns, readable=decision.columns
            )
            if len(self._shapes_by_columns) > SHAPES_MAX:
                self._shapes_by_columns.popitem(last=False)
        return shape

    def _forget_shapes(self) -> None:
        self._shapes.clear()
        self._shapes_by_columns.clear()

    def _enter(
        self,
        index: FilterIndex[Binding],
        binding: Binding,
        predicates: tuple[Predicate, ...],
    ) -> None:
        index.add(predicates, binding)
        self._indexed[binding] = predicates


def fits(binding: Binding, relation: Relation) -> bool:
    """Whether the binding's predicates were compiled for the types of this version."""
    if not binding.type_oids:
        return True
    present = {column.name: column.type_oid for column in relation.columns}
    return all(present.get(name) == oid for name, oid in binding.type_oids.items())


def _unanchored_identity(predicates: Sequence[Predicate]) -> Hashable | None:
    """What tells this filter from others, if it is one that every change must be tried on."""
    if not predicates or any(predicate.anchor is not None for predicate in predicates):
        return None
    return frozenset(predicate.identity for predicate in predicates)


def _judged_row(change: Change) -> Sequence[Cell]:
    """The row that filters look at: the new one, or what there is of a deleted one (6.6)."""
    row = change.new if change.kind is not ChangeKind.DELETE else change.old
    if row is None:
        return [UNCHANGED] * len(change.relation.columns)
    cells: list[Cell] = list(split_row(row))
    if change.kind is ChangeKind.DELETE and not change.old_is_full:
        # A key's row has NULL in every other column, which says nothing of what was there.
        return [
            cell if column.is_key else UNCHANGED
            for cell, column in zip(cells, change.relation.columns, strict=True)
        ]
    if change.old_is_full and change.old is not None and UNCHANGED in cells:
        # The untouched value stands in the full old row.
        return [
            column_text(change.old, place) if cell is UNCHANGED else cell
            for place, cell in enumerate(cells)
        ]
    return cells
