"""Rows as JSON, by the compiled renderer or its pure-Python twin.

Both give the same bytes; which one runs is decided in `compiled`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Protocol

from tidewire.core.catalog import TypeInfo
from tidewire.core.change import Relation
from tidewire.protocol.pgoutput.compiled import choice
from tidewire.protocol.pgoutput.row import UNCHANGED, column_text, malformed_row
from tidewire.protocol.pgoutput.shape import Shape, key_prefix, shape_of
from tidewire.protocol.pgoutput.text_values import ValueRenderer, renderer_of

_read_length = struct.Struct("!I").unpack_from


def renderer_name() -> str:
    """Which renderer new `RowRenderer`s use: ``cython`` or ``python``."""
    return "python" if choice.module is None else "cython"


class _Plan(Protocol):
    def render(self, row: bytes, fallback: bytes | None = None) -> bytes: ...


class _RenderRow(Protocol):
    def __call__(self, row: bytes, fallback: bytes | None = None) -> bytes: ...


class RowRenderer:
    """Renders the rows of one relation, all of its columns or some.

    Make one per (relation, columns) and keep it; rendering costs no allocation but the result.

    Attributes:
        columns_json: ``[{"name":…,"type":…},…]`` of the columns it renders.
        render: Gives one row (TupleData) as a JSON object. An unchanged TOAST value comes from
            `fallback`, the full old row, or is left out. Raises ProtocolViolationError when the
            bytes are no row of this relation.
    """

    columns_json: bytes
    render: _RenderRow

    def __init__(
        self,
        relation: Relation,
        types: Mapping[int, TypeInfo],
        columns: frozenset[str] | None = None,
    ) -> None:
        """Work out how the relation's rows render.

        Args:
            relation: The version of the table that the rows were written with.
            types: Data types by oid; one that is missing renders as a string.
            columns: Names to render; None for all.
        """
        included = [
            column if columns is None or column.name in columns else None
            for column in relation.columns
        ]
        names = [None if column is None else key_prefix(column.name) for column in included]
        keys = [
            name if column.is_key else None
            for name, column in zip(names, relation.columns, strict=True)
        ]
        shapes = [shape_of(column.type_oid, types) for column in relation.columns]
        self.columns_json = json.dumps(
            [
                {"name": column.name, "type": _type_name(column.type_oid, types)}
                for column in included
                if column is not None
            ],
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()
        self.render = _plan(names, shapes).render
        self._key_names = keys
        self._shapes = shapes
        self._key_plan: _Plan | None = None

    def render_key(self, row: bytes) -> bytes:
        """Give the columns of the replica identity as a JSON object, the others left out.

        Raises:
            ProtocolViolationError: The bytes are no row of this relation.
        """
        if self._key_plan is None:
            self._key_plan = _plan(self._key_names, self._shapes)
        return self._key_plan.render(row)


def _type_name(type_oid: int, types: Mapping[int, TypeInfo]) -> str:
    info = types.get(type_oid)
    return "unknown" if info is None else info.name


def _plan(names: list[bytes | None], shapes: list[Shape]) -> _Plan:
    if choice.module is not None:
        return choice.module.RowPlan(names, shapes)
    return PythonRowPlan(names, shapes)


class PythonRowPlan:
    """The pure-Python twin of `_render.RowPlan`."""

    def __init__(self, names: list[bytes | None], shapes: list[Shape]) -> None:
        self._plan: list[tuple[int, bytes | None, ValueRenderer]] = [
            (index, name, renderer_of(shape))
            for index, (name, shape) in enumerate(zip(names, shapes, strict=True))
        ]

    def render(self, row: bytes, fallback: bytes | None = None) -> bytes:
        """See `RowRenderer.render`."""
        try:
            rendered = self._render(row, fallback)
        except (IndexError, ValueError, struct.error) as error:
            raise malformed_row() from error
        if not rendered.isascii():
            rendered = _as_utf8(rendered)
        return rendered

    def _render(self, row: bytes, fallback: bytes | None) -> bytes:
        plan = self._plan
        if (row[0] << 8 | row[1]) != len(plan):
            raise malformed_row()
        values: list[bytes] = []
        add = values.append
        read = _read_length
        position = 2
        # A length that leaves the row makes the next index fail, or the check behind the loop.
        for index, name, render in plan:
            kind = row[position]
            if kind == 116:  # t
                start = position + 5
                position = start + read(row, position + 1)[0]
                if name is not None:
                    add(name + render(row[start:position]))
                continue
            position += 1
            if kind == 110:  # n
                if name is not None:
                    add(name + b"null")
            elif kind != 117:  # u
                raise malformed_row()
            elif name is not None and fallback is not None:
                old = column_text(fallback, index)
                if old is not None and old is not UNCHANGED:
                    add(name + render(old))
        if position != len(row):
            raise malformed_row()
        return b"{" + b",".join(values) + b"}"


def _as_utf8(rendered: bytes) -> bytes:
    """Replace what is no UTF-8, which a database in SQL_ASCII may hold."""
    try:
        rendered.decode()
    except UnicodeDecodeError:
        return rendered.decode("utf-8", "replace").encode()
    return rendered
