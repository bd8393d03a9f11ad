"""One pgoutput message from its bytes.

Protocol version 1, text format. Messages of later versions (transactions streamed while they
run, two-phase commit) are never asked for and refused by name.

Source: PostgreSQL manual, "Logical Replication Message Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from tidewire.core.change import ChangeKind, Relation, RelationColumn, ReplicaIdentity
from tidewire.core.errors import ProtocolViolationError
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgoutput.messages import (
    Begin,
    Commit,
    EmittedMessage,
    Origin,
    RowChange,
    Truncate,
    TypeName,
)
from tidewire.protocol.pgoutput.row import row_end

OutputMessage = (
    Begin | Commit | Origin | Relation | TypeName | RowChange | Truncate | EmittedMessage
)

POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01 UTC in microseconds since 1970-01-01."""

_BEGIN = struct.Struct("!xQqI")
_COMMIT = struct.Struct("!xxQQq")  # the second byte holds flags, none of them used

_KEY_ROW, _OLD_ROW, _NEW_ROW = b"KON"

_LATER_PROTOCOLS = {
    b"S": "Stream Start",
    b"E": "Stream Stop",
    b"c": "Stream Commit",
    b"A": "Stream Abort",
    b"b": "Begin Prepare",
    b"P": "Prepare",
    b"K": "Commit Prepared",
    b"r": "Rollback Prepared",
    b"p": "Stream Prepare",
}


def decode(data: bytes) -> OutputMessage:
    """Read one message.

    A Relation message gives a new `Relation` each time, also when nothing changed.

    Raises:
        ProtocolViolationError: `data` is no message of protocol version 1. Rows are not looked
            into here, except to find where an old row ends; rendering does.
    """
    reader = _READERS.get(data[:1])
    if reader is None:
        name = _LATER_PROTOCOLS.get(data[:1])
        if name is not None:
            raise ProtocolViolationError(f"pgoutput sent {name}, which was not asked for")
        raise ProtocolViolationError(f"unknown pgoutput message {data[:1]!r}")
    try:
        return reader(data)
    except (IndexError, ValueError, struct.error) as error:
        raise ProtocolViolationError(f"malformed pgoutput message {data[:1]!r}") from error


class _Cursor:
    """Reads fields one after the other; ValueError when the bytes end too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 1

    def integer(self, size: int) -> int:
        end = self._position + size
        if end > len(self._data):
            raise ValueError("the message ends too soon")
        value = int.from_bytes(self._data[self._position : end], "big")
        self._position = end
        return value

    def signed(self) -> int:
        value = self.integer(4)
        return value - (1 << 32) if value >> 31 else value

    def lsn(self) -> Lsn:
        return Lsn(self.integer(8))

    def text(self) -> str:
        end = self._data.index(b"\0", self._position)
        # Names in a SQL_ASCII database need not be UTF-8; that must not stop the stream.
        value = self._data[self._position : end].decode("utf-8", "replace")
        self._position = end + 1
        return value

    def content(self, size: int) -> bytes:
        start = self._position
        self._position += size
        if self._position > len(self._data):
            raise ValueError("the message ends too soon")
        return self._data[start : self._position]

    def finish(self) -> None:
        if self._position != len(self._data):
            raise ValueError("bytes after the message")


def _begin(data: bytes) -> Begin:
    lsn, moment, xid = _BEGIN.unpack(data)
    return Begin(Lsn(lsn), moment + POSTGRES_EPOCH_US, xid)


def _commit(data: bytes) -> Commit:
    commit_lsn, end_lsn, moment = _COMMIT.unpack(data)
    return Commit(Lsn(commit_lsn), Lsn(end_lsn), moment + POSTGRES_EPOCH_US)


def _origin(data: bytes) -> Origin:
    cursor = _Cursor(data)
    message = Origin(cursor.lsn(), cursor.text())
    cursor.finish()
    return message


def _type_name(data: bytes) -> TypeName:
    cursor = _Cursor(data)
    message = TypeName(cursor.integer(4), cursor.text() or "pg_catalog", cursor.text())
    cursor.finish()
    return message


def _relation(data: bytes) -> Relation:
    cursor = _Cursor(data)
    oid = cursor.integer(4)
    schema = cursor.text() or "pg_catalog"
    name = cursor.text()
    identity = ReplicaIdentity(chr(cursor.integer(1)))
    columns = tuple(_relation_column(cursor) for _ in range(cursor.integer(2)))
    cursor.finish()
    return Relation(oid, schema, name, identity, columns)


def _relation_column(cursor: _Cursor) -> RelationColumn:
    is_key = bool(cursor.integer(1) & 1)
    name = cursor.text()
    type_oid = cursor.integer(4)
    return RelationColumn(name, type_oid, cursor.signed(), is_key)


def _insert(data: bytes) -> RowChange:
    if len(data) < 8 or data[5] != _NEW_ROW:
        raise ValueError("an insert without a new row")
    return RowChange(ChangeKind.INSERT, int.from_bytes(data[1:5], "big"), data[6:], None)


def _update(data: bytes) -> RowChange:
    oid = int.from_bytes(data[1:5], "big")
    mark = data[5]
    if mark == _NEW_ROW:
        _require_row(data, 6)
        return RowChange(ChangeKind.UPDATE, oid, data[6:], None)
    if mark not in (_KEY_ROW, _OLD_ROW):
        raise ValueError("an update without a new row")
    end = row_end(data, 6)
    if data[end] != _NEW_ROW:
        raise ValueError("an update without a new row")
    _require_row(data, end + 1)
    return RowChange(ChangeKind.UPDATE, oid, data[end + 1 :], data[6:end], mark == _OLD_ROW)


def _delete(data: bytes) -> RowChange:
    oid = int.from_bytes(data[1:5], "big")
    mark = data[5]
    if mark not in (_KEY_ROW, _OLD_ROW):
        raise ValueError("a delete without an old row")
    _require_row(data, 6)
    return RowChange(ChangeKind.DELETE, oid, None, data[6:], mark == _OLD_ROW)


def _require_row(data: bytes, start: int) -> None:
    if len(data) < start + 2:
        raise ValueError("the row is missing")


def _truncate(data: bytes) -> Truncate:
    cursor = _Cursor(data)
    count = cursor.integer(4)
    flags = cursor.integer(1)
    if len(data) != 6 + 4 * count:
        raise ValueError("a truncate of another length than it says")
    oids = tuple(cursor.integer(4) for _ in range(count))
    return Truncate(oids, bool(flags & 1), bool(flags & 2))


def _message(data: bytes) -> EmittedMessage:
    cursor = _Cursor(data)
    is_transactional = bool(cursor.integer(1) & 1)
    lsn = cursor.lsn()
    prefix = cursor.text()
    content = cursor.content(cursor.integer(4))
    cursor.finish()
    return EmittedMessage(is_transactional, lsn, prefix, content)


_READERS: dict[bytes, Callable[[bytes], OutputMessage]] = {
    b"B": _begin,
    b"C": _commit,
    b"O": _origin,
    b"R": _relation,
    b"Y": _type_name,
    b"I": _insert,
    b"U": _update,
    b"D": _delete,
    b"T": _truncate,
    b"M": _message,
}
