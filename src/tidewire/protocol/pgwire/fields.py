"""The fields of single server messages.

Each function may raise IndexError, ValueError or struct.error on bytes that are no such message.

Source: PostgreSQL manual, "Message Formats", "Error and Notice Message Fields".
"""

from __future__ import annotations

from tidewire.protocol.pgwire.events import ServerReport


def read_report(body: bytes) -> ServerReport:
    """An ErrorResponse or NoticeResponse."""
    fields: dict[str, str] = {}
    for field in body.split(b"\0"):
        if field:
            fields[chr(field[0])] = field[1:].decode("utf-8", "replace")
    return ServerReport(
        severity=fields.get("V") or fields.get("S", "ERROR"),
        code=fields.get("C", ""),
        message=fields.get("M", ""),
        detail=fields.get("D", ""),
    )


def read_parameter(body: bytes) -> tuple[str, str]:
    """A ParameterStatus: name and value."""
    name, value, rest = body.split(b"\0")
    if rest:
        raise ValueError("bytes after the parameter")
    return name.decode("utf-8", "replace"), value.decode("utf-8", "replace")


def read_columns(body: bytes) -> tuple[str, ...]:
    """A RowDescription: the names."""
    names: list[str] = []
    position = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        end = body.index(b"\0", position)
        names.append(body[position:end].decode("utf-8", "replace"))
        position = end + 19
    if position != len(body):
        raise ValueError("a row description of another length than it says")
    return tuple(names)


def read_row(body: bytes) -> tuple[str | None, ...]:
    """A DataRow: values as text."""
    values: list[str | None] = []
    position = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        length = int.from_bytes(body[position : position + 4], "big", signed=True)
        position += 4
        if length < 0:
            values.append(None)
            continue
        values.append(body[position : position + length].decode("utf-8", "replace"))
        position += length
    if position != len(body):
        raise ValueError("a row of another length than it says")
    return tuple(values)
