"""Messages from bytes: those that a real PostgreSQL sent, and bytes that nobody should send."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import make_row
from tests.vectors.pgoutput.record import read_messages
from tidewire.core.change import ChangeKind, Relation, ReplicaIdentity
from tidewire.core.errors import ProtocolViolationError
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgoutput.decode import decode
from tidewire.protocol.pgoutput.messages import (
    Begin,
    Commit,
    EmittedMessage,
    Origin,
    RowChange,
    Truncate,
    TypeName,
)

RECORDED = read_messages()


def test_the_recorded_stream_holds_every_kind_of_message() -> None:
    kinds = {type(decode(message)) for message in RECORDED}
    assert kinds == {
        Begin, Commit, Origin, Relation, TypeName, RowChange, Truncate, EmittedMessage,
    }  # fmt: skip


def test_begin_and_commit() -> None:
    begin = decode(b"B" + struct.pack("!QqI", 7, 1_000_000, 42))
    assert begin == Begin(Lsn(7), 946_684_801_000_000, 42)
    commit = decode(b"C\0" + struct.pack("!QQq", 7, 9, -1))
    assert commit == Commit(Lsn(7), Lsn(9), 946_684_799_999_999)


def test_origin_and_type() -> None:
    assert decode(b"O" + struct.pack("!Q", 5) + b"far\0") == Origin(Lsn(5), "far")
    assert decode(b"Y" + struct.pack("!I", 9) + b"\0int4\0") == TypeName(9, "pg_catalog", "int4")


def test_relation() -> None:
    columns = b"\x01id\0" + struct.pack("!Ii", 23, -1) + b"\0v\0" + struct.pack("!Ii", 1043, 24)
    data = b"R" + struct.pack("!I", 77) + b"public\0t\0f\0\x02" + columns
    relation = decode(data)
    assert isinstance(relation, Relation)
    assert (relation.oid, relation.schema, relation.name) == (77, "public", "t")
    assert relation.identity is ReplicaIdentity.FULL
    seen = [(c.name, c.type_oid, c.type_modifier, c.is_key) for c in relation.columns]
    assert seen == [("id", 23, -1, True), ("v", 1043, 24, False)]
    assert decode(data) is not relation, "each description is a version of its own"


def test_rows_come_as_they_are() -> None:
    new, old = make_row(b"1", None), make_row(b"0", ...)
    oid = struct.pack("!I", 3)
    assert decode(b"I" + oid + b"N" + new) == RowChange(ChangeKind.INSERT, 3, new, None)
    assert decode(b"U" + oid + b"N" + new) == RowChange(ChangeKind.UPDATE, 3, new, None)
    assert decode(b"U" + oid + b"K" + old + b"N" + new) == RowChange(
        ChangeKind.UPDATE, 3, new, old, old_is_full=False
    )
    assert decode(b"U" + oid + b"O" + old + b"N" + new) == RowChange(
        ChangeKind.UPDATE, 3, new, old, old_is_full=True
    )
    assert decode(b"D" + oid + b"K" + old) == RowChange(ChangeKind.DELETE, 3, None, old)
    assert decode(b"D" + oid + b"O" + old) == RowChange(
        ChangeKind.DELETE, 3, None, old, old_is_full=True
    )


def test_truncate_and_message() -> None:
    assert decode(b"T" + struct.pack("!IBII", 2, 3, 10, 11)) == Truncate((10, 11), True, True)
    message = b"M\x01" + struct.pack("!Q", 8) + b"tidewire.x\0" + struct.pack("!I", 2) + b"hi"
    assert decode(message) == EmittedMessage(True, Lsn(8), "tidewire.x", b"hi")


@pytest.mark.parametrize("kind", [b"S", b"E", b"c", b"A", b"b", b"P", b"K", b"r", b"p"])
def test_messages_of_later_protocols_are_refused_by_name(kind: bytes) -> None:
    with pytest.raises(ProtocolViolationError, match="was not asked for"):
        decode(kind + bytes(40))


@pytest.mark.parametrize(
    "data",
    [b"", b"X", b"I", b"I\0\0\0\1N", b"I\0\0\0\1K\0\0", b"U\0\0\0\1K\0\1", b"D\0\0\0\1N\0\0",
     b"T\0\0\0\2\0\0\0\0\1", b"T\xff\xff\xff\xff\0", b"B", b"C\0", b"R\0\0\0\1public",
     b"M\1", b"B" + bytes(21), b"R\0\0\0\1s\0t\0z\0\0"],
)  # fmt: skip
def test_broken_messages_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolationError):
        decode(data)


@given(st.binary(max_size=64))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    try_to_decode(data)


@given(st.sampled_from("BCORYIUDTM"), st.binary(max_size=64))
def test_random_bodies_never_raise_anything_else(kind: str, body: bytes) -> None:
    try_to_decode(kind.encode() + body)


@given(st.sampled_from(RECORDED), st.data())
def test_mutated_messages_never_raise_anything_else(message: bytes, data: st.DataObject) -> None:
    mutated = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(mutated) - 1))
        mutated[index] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(mutated)))
    try_to_decode(bytes(mutated))
    try_to_decode(bytes(mutated[:cut]))


def try_to_decode(data: bytes) -> None:
    with contextlib.suppress(ProtocolViolationError):
        decode(data)
