from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import make_row
from tidewire.adapters.postgres.row_security.images import array_literal, layout_of, values_at
from tidewire.core.catalog import Table, TableColumn
from tidewire.core.change import Relation, RelationColumn, ReplicaIdentity
from tidewire.core.row_policy import PolicyColumn, RowPolicy, Tier
from tidewire.ports.authorizer import RowQuestion

ID, OWNER, NAME = ("id", 23), ("owner", 2950), ("name", 25)


def policy(*streamed: tuple[str, int]) -> RowPolicy:
    return RowPolicy(
        1,
        "anon",
        "true",
        Tier.SETS,
        columns=(PolicyColumn("owner", 2950, "pg_catalog.uuid"),),
        key=(PolicyColumn("id", 23, "pg_catalog.int4"),),
        streamed=streamed,
    )


def relation(*columns: tuple[str, int]) -> Relation:
    described = tuple(RelationColumn(name, oid) for name, oid in columns)
    return Relation(1, "public", "t", ReplicaIdentity.DEFAULT, described)


@pytest.mark.parametrize(
    ("now", "then", "columns", "key"),
    [
        ((ID, OWNER, NAME), (ID, OWNER, NAME), (1,), (0,)),
        ((ID, OWNER, NAME), (ID, OWNER), (1,), (0,)),
        ((ID, OWNER), (ID, OWNER, NAME), None, (0,)),
        ((ID, OWNER), (ID, ("owner", 25)), None, (0,)),
        ((ID, OWNER, ("editor", 2950)), (ID, ("editor", 2950), OWNER), None, (0,)),
        ((ID, OWNER), (("id", 20), OWNER), None, None),
        ((NAME, ID, OWNER), (ID, OWNER), None, (0,)),
    ],
)
def test_columns_are_found_by_name_as_long_as_names_surely_mean_the_same(
    now: tuple, then: tuple, columns: tuple | None, key: tuple | None
) -> None:
    layout = layout_of(policy(*now), relation(*then))
    assert (layout.columns, layout.key) == (columns, key)


def question(row: bytes, fallback: bytes | None = None) -> RowQuestion:
    table = Table(1, "public", "t", (TableColumn("id", 23),))
    return RowQuestion(table, relation(ID), policy(ID), row, fallback, frozenset())


def test_an_unchanged_value_is_taken_from_the_old_row_or_is_not_known() -> None:
    row, old = make_row(b"1", ..., None), make_row(b"1", b"large", b"x")
    assert values_at(question(row, old), (0, 1, 2)) == (b"1", b"large", None)
    assert values_at(question(row), (0, 2)) == (b"1", None)
    assert values_at(question(row), (0, 1)) is None
    assert values_at(question(row, row), (1,)) is None


def read_literal(text: str, delimiter: str) -> list[str | None]:
    """An array literal, read as PostgreSQL reads one of one dimension."""
    values: list[str | None] = []
    position, end = 1, len(text) - 1
    while position < end:
        if text.startswith("NULL", position):
            values.append(None)
            position += 4
        else:
            assert text[position] == '"'
            position, value = position + 1, ""
            while text[position] != '"':
                position += text[position] == "\\"
                value += text[position]
                position += 1
            values.append(value)
            position += 1
        assert position == end or text[position] == delimiter
        position += 1
    return values


@given(st.lists(st.none() | st.text(alphabet='ab,;"\\{} NUL')), st.sampled_from(",;"))
def test_array_literals_hold_any_value(values: list[str | None], delimiter: str) -> None:
    cells = [None if value is None else value.encode() for value in values]
    assert read_literal(array_literal(cells, delimiter), delimiter) == values
