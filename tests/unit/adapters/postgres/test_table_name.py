"""Names of tables as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.adapters.postgres.table_name import NAME_BYTES_MAX, TableName, parse_table_name
from tidewire.core.errors import InvalidRequestError

_names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1
).filter(lambda text: len(text.encode()) <= NAME_BYTES_MAX)


@given(_names, _names)
def test_a_quoted_name_round_trips(schema: str, name: str) -> None:
    table = TableName(schema, name)
    assert parse_table_name(str(table)) == table


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("trips", "public", "trips"),
        ("Trips", "public", "trips"),
        (" app . trips ", "app", "trips"),
        ('app."Trips"', "app", "Trips"),
        ('"a.b"."c""d"', "a.b", 'c"d'),
        ("größe.wert_1$", "größe", "wert_1$"),
    ],
)
def test_parts_are_read_as_sql_does(text: str, schema: str, name: str) -> None:
    assert parse_table_name(text) == TableName(schema, name)


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a.b.c", '"open', '""', "a b", "1a", "a;drop table b", "a-b", "x" * 64],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="not a table's name"):
        parse_table_name(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        table = parse_table_name(text)
    except InvalidRequestError:
        return
    assert parse_table_name(str(table)) == table
