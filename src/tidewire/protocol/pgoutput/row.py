"""TupleData, the stream's encoding of one row, taken apart.

Layout: a 16-bit column count, then per column a kind byte: ``n`` NULL, ``u`` unchanged TOAST
value (not sent), ``t`` text with a 32-bit length before it. Binary (``b``) is never asked for
and refused. Every length is checked against the bytes that are there.

Source: PostgreSQL manual, "Logical Replication Message Formats", TupleData.
"""

from __future__ import annotations

import enum

from tidewire.core.errors import ProtocolViolationError
from tidewire.protocol.pgoutput.compiled import choice


class Unchanged(enum.Enum):
    """The type of `UNCHANGED`, so that a type checker can tell it apart."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED
"""A TOAST value that the update did not touch and the log therefore does not hold."""

_TEXT, _NULL, _UNCHANGED = b"tnu"


def split_row(data: bytes) -> list[bytes | Unchanged | None]:
    """Every column of a row: its text, None for NULL, `UNCHANGED` when not sent.

    Raises:
        ProtocolViolationError: `data` is no TupleData in text form.
    """
    if choice.module is not None:
        return choice.module.split_row(data, UNCHANGED)
    values: list[bytes | Unchanged | None] = []
    try:
        position = 2
        for _ in range(data[0] << 8 | data[1]):
            kind = data[position]
            position += 1
            if kind == _TEXT:
                start = position + 4
                position = start + int.from_bytes(data[position:start], "big")
                values.append(data[start:position])
            else:
                values.append(_without_text(kind))
    except IndexError as error:
        raise malformed_row() from error
    if position != len(data):
        raise malformed_row()
    return values


def column_text(data: bytes, index: int) -> bytes | Unchanged | None:
    """One column of a row, without making the others.

    Args:
        data: TupleData.
        index: Which column, from 0.

    Raises:
        ProtocolViolationError: `data` is no TupleData, or has no such column.
    """
    if choice.module is not None:
        return choice.module.column_text(data, index, UNCHANGED)
    try:
        if not 0 <= index < (data[0] << 8 | data[1]):
            raise malformed_row()
        position = 2
        for _ in range(index):
            position = _after_column(data, position)
        kind = data[position]
        if kind != _TEXT:
            return _without_text(kind)
        start = position + 5
        end = start + int.from_bytes(data[position + 1 : start], "big")
    except IndexError as error:
        raise malformed_row() from error
    if start > len(data) or end > len(data):
        raise malformed_row()
    return data[start:end]


def row_end(data: bytes, start: int) -> int:
    """Where the TupleData that begins at `start` ends within `data`.

    Raises:
        ProtocolViolationError: It does not end there.
    """
    if choice.module is not None:
        return choice.module.row_end(data, start)
    try:
        position = start + 2
        for _ in range(data[start] << 8 | data[start + 1]):
            position = _after_column(data, position)
    except IndexError as error:
        raise malformed_row() from error
    if position > len(data):
        raise malformed_row()
    return position


def malformed_row() -> ProtocolViolationError:
    """The one refusal of a row. Says nothing of its content: row data goes into no log."""
    return ProtocolViolationError("malformed row in the replication stream")


def _after_column(data: bytes, position: int) -> int:
    kind = data[position]
    if kind == _TEXT:
        start = position + 5
        return start + int.from_bytes(data[position + 1 : start], "big")
    _without_text(kind)
    return position + 1


def _without_text(kind: int) -> Unchanged | None:
    if kind == _NULL:
        return None
    if kind == _UNCHANGED:
        return UNCHANGED
    raise malformed_row()
