from __future__ import annotations

import json

import pytest

from tests.support.changes import TYPES, insert, relation_of, table, update
from tidewire.core.change import ReplicaIdentity
from tidewire.core.errors import ProtocolViolationError
from tidewire.engine.change_frames import NOT_RENDERED, ChangeShape, commit_timestamp

EVERY = frozenset({"id", "status", "note"})


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, b"1970-01-01T00:00:00.000Z"), (999, b"1970-01-01T00:00:00.000Z"),
        (1_000, b"1970-01-01T00:00:00.001Z"), (-1, b"1969-12-31T23:59:59.999Z"),
        (1_790_763_072_345_999, b"2026-09-30T10:11:12.345Z"),
    ],
)  # fmt: skip
def test_timestamps_have_milliseconds_and_a_z(microseconds: int, text: bytes) -> None:
    assert commit_timestamp(microseconds) == text


def test_names_are_escaped() -> None:
    odd = table(name='we"ird\n', columns=(('c"\\', 23),), key=('c"\\',))
    shape = ChangeShape(
        relation_of(odd), odd, TYPES, frozenset({'c"\\'}), readable=frozenset({'c"\\'})
    )
    data = json.loads(shape.data(insert(relation_of(odd), b"1"), b"T"))
    assert data["table"] == 'we"ird\n'
    assert data["record"] == {'c"\\': 1}
    assert data["columns"] == [{"name": 'c"\\', "type": "int4"}]


def test_an_update_without_identity_has_an_empty_old_record() -> None:
    of = table()
    nothing = relation_of(of, ReplicaIdentity.NOTHING)
    nothing_key = type(nothing)(
        nothing.oid, nothing.schema, nothing.name, nothing.identity,
        tuple(type(c)(c.name, c.type_oid) for c in nothing.columns),
    )  # fmt: skip
    shape = ChangeShape(nothing_key, of, TYPES, EVERY, readable=EVERY)
    data = json.loads(shape.data(update(nothing_key, b"1", b"a", b"b"), b"T"))
    assert data["old_record"] == {}


def test_an_oversized_old_row_counts_too_and_its_long_columns_go() -> None:
    of = table()
    full = relation_of(of, ReplicaIdentity.FULL)
    shape = ChangeShape(full, of, TYPES, EVERY, readable=EVERY)
    change = update(full, b"1", b"a", b"b", old=(b"1", b"a", b"x" * 1_100_000))
    data = json.loads(shape.data(change, b"T"))
    assert data["errors"] == ["Error 413: Payload Too Large"]
    assert data["record"] == data["old_record"] == {"id": 1, "status": "a"}
    assert len(data["columns"]) == 3


def test_a_row_of_another_table_is_refused_and_can_be_told_as_an_error() -> None:
    of = table()
    shape = ChangeShape(relation_of(of), of, TYPES, EVERY, readable=EVERY)
    wrong = insert(relation_of(of), b"1")
    with pytest.raises(ProtocolViolationError):
        shape.data(wrong, b"T")
    told = json.loads(shape.error_data(wrong, b"T", NOT_RENDERED))
    assert told["errors"] == [NOT_RENDERED]
    assert told["record"] == {}
