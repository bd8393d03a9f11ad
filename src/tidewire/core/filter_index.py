"""Which subscriptions a row concerns, at a cost that follows the matches and not their number.

Theory of operation. Predicates that must all hold form one node; equal sets of predicates are
one node with many targets. A node hangs on one of its predicates, its anchor, and is found by
the row's value there: equality (a dictionary) before ranges (a sorted list) before a scan over
all nodes without either. The node's other predicates are tried only when its anchor is met.

Bounds: a match costs one look-up per (column, kind of anchor), one step per node that is found,
and one per node without anchor; how many of the last may be added is the caller's to limit.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from tidewire.core.column_type import Key
from tidewire.core.filter import Operator
from tidewire.core.predicate import Anchor, AnchorKind, Cell, Predicate

T = TypeVar("T", bound=Hashable)


class Node(Generic[T]):
    """Targets that want the same rows.

    Attributes:
        targets: Who wants them, in the order they were added.
        rest: (position, predicate) of all that the anchor does not settle.
    """

    __slots__ = ("anchor", "anchor_position", "identity", "rest", "targets")

    def __init__(
        self,
        identity: Hashable,
        rest: tuple[tuple[int, Predicate], ...],
        anchor: Anchor | None,
        anchor_position: int,
    ) -> None:
        self.identity = identity
        self.rest = rest
        self.anchor = anchor
        self.anchor_position = anchor_position
        self.targets: dict[T, None] = {}


class Doubt(Generic[T]):
    """A node that matches if the database agrees.

    Attributes:
        node: The node.
        open: (predicate, value) of all that the database must judge.
    """

    __slots__ = ("node", "open")

    def __init__(self, node: Node[T], open_: list[tuple[Predicate, bytes]]) -> None:
        self.node = node
        self.open = open_


class _Range(Generic[T]):
    """Nodes of one column and operator by their one key, sorted."""

    __slots__ = ("buckets", "key", "keys", "operator", "position")

    def __init__(self, position: int, operator: Operator, key: Key) -> None:
        self.position = position
        self.operator = operator
        self.key = key
        self.keys: list[Any] = []
        self.buckets: list[dict[Node[T], None]] = []

    def add(self, key: Any, node: Node[T]) -> None:
        place = bisect_left(self.keys, key)
        if place == len(self.keys) or self.keys[place] != key:
            self.keys.insert(place, key)
            self.buckets.insert(place, {})
        self.buckets[place][node] = None

    def discard(self, key: Any, node: Node[T]) -> None:
        place = bisect_left(self.keys, key)
        self.buckets[place].pop(node)
        if not self.buckets[place]:
            del self.keys[place], self.buckets[place]

    def met_by(self, text: bytes) -> list[dict[Node[T], None]]:
        value = self.key(text)
        if self.operator is Operator.GT:
            return self.buckets[: bisect_left(self.keys, value)]
        if self.operator is Operator.GTE:
            return self.buckets[: bisect_right(self.keys, value)]
        if self.operator is Operator.LT:
            return self.buckets[bisect_right(self.keys, value) :]
        return self.buckets[bisect_left(self.keys, value) :]


class _Equal(Generic[T]):
    """Nodes of one column by each key that meets them."""

    __slots__ = ("key", "nodes", "position")

    def __init__(self, position: int, key: Key) -> None:
        self.position = position
        self.key = key
        self.nodes: dict[Any, dict[Node[T], None]] = {}


class FilterIndex(Generic[T]):
    """Predicates on the rows of one relation, and who wants what meets them."""

    def __init__(self, positions: Mapping[str, int]) -> None:
        """Begin empty.

        Args:
            positions: Place of each column in the rows that will be matched.
        """
        self._positions = positions
        self._nodes: dict[Hashable, Node[T]] = {}
        self._scan: dict[Node[T], None] = {}
        self._equal: dict[tuple[int, Key], _Equal[T]] = {}
        self._ranges: dict[tuple[int, Operator], _Range[T]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, predicates: Sequence[Predicate], target: T) -> None:
        """Let `target` have rows that meet all predicates; none means every row.

        Raises:
            KeyError: A predicate names a column that the relation has not.
        """
        identity = frozenset(predicate.identity for predicate in predicates)
        node = self._nodes.get(identity)
        if node is None:
            node = self._make_node(identity, predicates)
            self._nodes[identity] = node
            self._hang(node)
        node.targets[target] = None

    def discard(self, predicates: Sequence[Predicate], target: T) -> None:
        """Undo `add`. Absent is fine."""
        identity = frozenset(predicate.identity for predicate in predicates)
        node = self._nodes.get(identity)
        if node is None:
            return
        node.targets.pop(target, None)
        if not node.targets:
            del self._nodes[identity]
            self._unhang(node)

    def match(self, row: Sequence[Cell]) -> tuple[list[Node[T]], list[Doubt[T]]]:
        """Nodes that match a row, and those for which the database must be asked.

        Args:
            row: The row's values, in the order of `positions`.
        """
        hits: list[Node[T]] = []
        doubts: list[Doubt[T]] = []
        for equal in self._equal.values():
            cell = row[equal.position]
            if type(cell) is bytes:
                found = equal.nodes.get(equal.key(cell))
                if found:
                    _try_nodes(found, row, hits, doubts)
        for ranged in self._ranges.values():
            cell = row[ranged.position]
            if type(cell) is bytes:
                for bucket in ranged.met_by(cell):
                    _try_nodes(bucket, row, hits, doubts)
        if self._scan:
            _try_nodes(self._scan, row, hits, doubts)
        return hits, doubts

    def _make_node(self, identity: Hashable, predicates: Sequence[Predicate]) -> Node[T]:
        best = min(predicates, key=_anchor_rank, default=None)
        anchored = best if best is not None and best.anchor is not None else None
        rest = tuple(
            (self._positions[predicate.column], predicate)
            for predicate in predicates
            if predicate is not anchored
        )
        if anchored is None:
            return Node(identity, rest, None, -1)
        return Node(identity, rest, anchored.anchor, self._positions[anchored.column])

    def _hang(self, node: Node[T]) -> None:
        anchor = node.anchor
        if anchor is None:
            self._scan[node] = None
        elif not anchor.keys:
            pass  # an empty list, which nothing meets
        elif anchor.kind is AnchorKind.EQUAL:
            place = (node.anchor_position, anchor.key)
            equal = self._equal.get(place)
            if equal is None:
                equal = self._equal[place] = _Equal(*place)
            for key in anchor.keys:
                equal.nodes.setdefault(key, {})[node] = None
        else:
            where = (node.anchor_position, anchor.operator)
            ranged = self._ranges.get(where)
            if ranged is None:
                ranged = self._ranges[where] = _Range(*where, anchor.key)
            ranged.add(anchor.keys[0], node)

    def _unhang(self, node: Node[T]) -> None:
        anchor = node.anchor
        if anchor is None:
            del self._scan[node]
        elif not anchor.keys:
            pass
        elif anchor.kind is AnchorKind.EQUAL:
            place = (node.anchor_position, anchor.key)
            equal = self._equal[place]
            for key in anchor.keys:
                del equal.nodes[key][node]
                if not equal.nodes[key]:
                    del equal.nodes[key]
            if not equal.nodes:
                del self._equal[place]
        else:
            where = (node.anchor_position, anchor.operator)
            self._ranges[where].discard(anchor.keys[0], node)
            if not self._ranges[where].keys:
                del self._ranges[where]


def _anchor_rank(predicate: Predicate) -> int:
    anchor = predicate.anchor
    if anchor is None:
        return 1_000
    if anchor.kind is AnchorKind.RANGE:
        return 999
    return len(anchor.keys)


def _try_nodes(
    nodes: Mapping[Node[T], None],
    row: Sequence[Cell],
    hits: list[Node[T]],
    doubts: list[Doubt[T]],
) -> None:
    for node in nodes:
        if not node.rest:
            hits.append(node)
            continue
        open_: list[tuple[Predicate, bytes]] | None = None
        for position, predicate in node.rest:
            cell = row[position]
            verdict = predicate.judge(cell)
            if verdict is None:
                assert type(cell) is bytes  # NULL and absence are always judged here
                open_ = [*(open_ or ()), (predicate, cell)]
            elif not verdict:
                break
        else:
            if open_ is None:
                hits.append(node)
            else:
                doubts.append(Doubt(node, open_))
