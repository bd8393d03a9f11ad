"""From a row of the stream to the values that a policy reads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from tidewire.core.change import Relation
from tidewire.core.row_policy import PolicyColumn, RowPolicy
from tidewire.ports.authorizer import RowQuestion
from tidewire.protocol.pgoutput.row import UNCHANGED, column_text

LAYOUTS_MAX = 1_024
"""Pairs of a policy and a table's version whose layout is remembered."""

Values = tuple[bytes | None, ...]


class Layout(msgspec.Struct, frozen=True):
    """Where a policy's columns stand in the rows of one version of its table.

    Attributes:
        columns: Places of the policy's columns; None when the image cannot be judged, because
            columns were dropped, renamed or retyped since.
        key: Places of the primary key; None when it cannot be told.
    """

    columns: tuple[int, ...] | None
    key: tuple[int, ...] | None


class Layouts:
    """Layouts, remembered."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[RowPolicy, Relation], Layout] = OrderedDict()

    def of(self, question: RowQuestion) -> Layout:
        """The layout of the row in question."""
        key = question.policy, question.relation
        layout = self._known.get(key)
        if layout is None:
            layout = self._known[key] = layout_of(*key)
            if len(self._known) > LAYOUTS_MAX:
                self._known.popitem(last=False)
        return layout


def layout_of(policy: RowPolicy, relation: Relation) -> Layout:
    """Find a policy's columns in a version of its table.

    Columns are found by name. That is right as long as the version's columns are the first of
    the present ones: what was added since stands behind them. Else a name may mean another column
    than it did, so the image is not judged.
    """
    then = tuple((column.name, column.type_oid) for column in relation.columns)
    key = _places(policy.key, relation)
    if key is not None and (not key or list(key) != sorted(key)):
        key = None
    if policy.streamed[: len(then)] != then:
        return Layout(None, key)
    return Layout(_places(policy.columns, relation), key)


def values_at(question: RowQuestion, places: Sequence[int]) -> Values | None:
    """The values at some places; None when one is neither in the row nor in its fallback."""
    values: list[bytes | None] = []
    for place in places:
        value = column_text(question.row, place)
        if value is UNCHANGED:
            value = UNCHANGED
            if question.fallback is not None:
                value = column_text(question.fallback, place)
            if value is UNCHANGED:
                return None
        values.append(value)
    return tuple(values)


def array_literal(values: Sequence[bytes | None], delimiter: str) -> str:
    """Values of one column as an array literal. NULL stays NULL.

    Raises:
        UnicodeDecodeError: A value is no UTF-8.
    """
    return "{" + delimiter.join(map(_element, values)) + "}"


def _element(value: bytes | None) -> str:
    if value is None:
        return "NULL"
    return '"' + value.decode().replace("\\", "\\\\").replace('"', '\\"') + '"'


def _places(columns: Sequence[PolicyColumn], relation: Relation) -> tuple[int, ...] | None:
    places = {(column.name, column.type_oid): n for n, column in enumerate(relation.columns)}
    found = [places.get((column.name, column.type_oid)) for column in columns]
    known = tuple(place for place in found if place is not None)
    return known if len(known) == len(found) else None
