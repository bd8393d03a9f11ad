"""From a change of one table to the groups that want it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from tidewire.core.change import Change, ChangeKind, Relation
from tidewire.core.filter_index import Doubt, FilterIndex, Node
from tidewire.core.predicate import Cell, Predicate
from tidewire.engine.change_group import Binding, ChangeGroup
from tidewire.engine.change_plan import Plan, make_plan
from tidewire.engine.decisions import Decisions
from tidewire.engine.table_views import TableViews
from tidewire.protocol.pgoutput.row import UNCHANGED, column_text, split_row

PLANNED_WANTS_MAX = 20_000
"""How many wants the plans hold that are kept ready per table; then they begin anew."""

UNANCHORED_MAX = 1_000
"""Distinct filters per table that every one of its changes must be tried on."""

_KINDS = (ChangeKind.INSERT, ChangeKind.UPDATE, ChangeKind.DELETE)

Recompiled = Mapping[Binding, tuple[Predicate, ...] | None]
"""Predicates for a relation whose types are not the catalogue's; None: it cannot match."""


class TableRoute:
    """All bindings of one table, indexed for the version of it that the stream shows.

    Attributes:
        oid: The table.
        bindings: Who wants its changes.
        relation: The version it is indexed for; None before its first change.
    """

    def __init__(self, oid: int, decisions: Decisions) -> None:
        self.oid = oid
        self.bindings: dict[Binding, None] = {}
        self.relation: Relation | None = None
        self._views = TableViews(oid, decisions)
        self._leavers = 0
        self._plans: dict[Hashable, Plan] = {}
        self._planned_wants = 0
        self._planned_version = -1
        self._index: FilterIndex[Binding] | None = None
        self._indexed: dict[Binding, tuple[Predicate, ...]] = {}
        self._unanchored: Counter[Hashable] = Counter()

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
        self._leavers += binding.hears_leaves
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
        self._leavers -= binding.hears_leaves
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
        self._views.show(relation)
        self._plans.clear()
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

    def looks_at_former(self, change: Change) -> bool:
        """Whether the old row is to be matched too: it is whole, and leaves are wanted."""
        return self._leavers > 0 and change.kind is ChangeKind.UPDATE and change.old_is_full

    def match_former(self, change: Change) -> tuple[list[Node[Binding]], list[Doubt[Binding]]]:
        """The same as `match` for the whole old row, as far as leaves are wanted.

        Raises:
            ProtocolViolationError: The row is none of the relation's.
        """
        assert self._index is not None
        assert change.old is not None
        hits, doubts = self._index.match(split_row(change.old))
        return (
            [node for node in hits if _hears_leaves(node)],
            [doubt for doubt in doubts if _hears_leaves(doubt.node)],
        )

    def plan(
        self,
        change: Change,
        hits: Sequence[Node[Binding]],
        former_hits: Sequence[Node[Binding]],
        version: int,
    ) -> Plan:
        """Who is offered a change that meets these nodes.

        Args:
            change: Of this table, in the version that it is indexed for.
            hits: As `match` found them, doubts settled.
            former_hits: As `match_former` found them, doubts settled.
            version: Of the subscriptions now.
        """
        if version != self._planned_version or self._planned_wants > PLANNED_WANTS_MAX:
            self._plans.clear()
            self._planned_wants, self._planned_version = 0, version
        key = (_KINDS.index(change.kind), change.old_is_full, *hits, None, *former_hits)
        plan = self._plans.get(key)
        if plan is None:
            plan = make_plan(change, hits, former_hits, self._views.view, version)
            self._plans[key] = plan
            self._planned_wants += 1 + plan.size
        return plan

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


def _hears_leaves(node: Node[Binding]) -> bool:
    return any(binding.hears_leaves for binding in node.targets)


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
