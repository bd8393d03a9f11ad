"""TupleData taken apart, by both twins."""

from __future__ import annotations

from types import EllipsisType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.rows import make_row
from tidewire.core.errors import ProtocolViolationError
from tidewire.protocol.pgoutput import compiled
from tidewire.protocol.pgoutput.row import UNCHANGED, Unchanged, column_text, row_end, split_row

pytestmark = pytest.mark.usefixtures("renderer")
both_in_turn = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

values = st.lists(st.none() | st.just(...) | st.binary(max_size=20), max_size=8)
BROKEN = [
    b"", b"\0", b"\0\1", b"\0\1t", b"\0\1t\0\0\0", b"\0\1t\0\0\0\2x", b"\0\1t\xff\xff\xff\xff",
    b"\0\1b\0\0\0\1x", b"\0\1z", b"\0\2n", b"\xff\xffn",
]  # fmt: skip


def wanted(value: bytes | EllipsisType | None) -> bytes | Unchanged | None:
    return UNCHANGED if isinstance(value, EllipsisType) else value


@both_in_turn
@given(values)
def test_a_row_splits_into_what_it_was_made_of(row: list[bytes | EllipsisType | None]) -> None:
    data = make_row(*row)
    assert split_row(data) == [wanted(value) for value in row]
    assert [column_text(data, i) for i in range(len(row))] == [wanted(value) for value in row]
    assert row_end(b"xy" + data + b"rest", 2) == 2 + len(data)


@pytest.mark.parametrize("data", BROKEN)
def test_broken_rows_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolationError):
        split_row(data)
    with pytest.raises(ProtocolViolationError):
        row_end(data, 0)
    with pytest.raises(ProtocolViolationError):
        column_text(data, max(len(data), 1) - 1 if data[:1] == b"\xff" else 1)


def test_bytes_behind_the_row_are_refused() -> None:
    with pytest.raises(ProtocolViolationError):
        split_row(make_row(b"1") + b"x")


@pytest.mark.parametrize("index", [-1, 2, 70000])
def test_a_column_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(ProtocolViolationError):
        column_text(make_row(b"1", b"2"), index)


@both_in_turn
@given(st.binary(max_size=30), st.integers(0, 5))
def test_the_twins_agree_on_any_bytes(data: bytes, index: int) -> None:
    def outcome() -> list[object]:
        results: list[object] = []
        for call in (
            lambda: split_row(data), lambda: column_text(data, index), lambda: row_end(data, index)
        ):  # fmt: skip
            try:
                results.append(call())
            except ProtocolViolationError:
                results.append("refused")
        return results

    compiled.use_compiled()
    first = outcome()
    compiled.use_python()
    assert outcome() == first
