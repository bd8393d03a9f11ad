"""A transaction of the stream as bytes, with rows as they came.

    transaction   commit LSN, end LSN, xid, time of commit, flags, number of items, items
    item          what it is (8 bits), table version (32), two lengths (32 each), two texts

The two texts of a change are its new and its old row in the stream's own encoding; those of a
logical message are prefix and content. A table version is the number of a `RELATION` record
of the same segment.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import msgspec

from tidewire.core.change import (
    Change,
    ChangeKind,
    LogicalMessage,
    Relation,
    RelationColumn,
    ReplicaIdentity,
    Transaction,
)
from tidewire.core.lsn import Lsn
from tidewire.protocol.journal.records import DamagedError

_HEAD = struct.Struct("<QQIqBI")
_ITEM = struct.Struct("<BIII")

_OVERFLOWED = 1

_INSERT, _UPDATE, _DELETE = ChangeKind.INSERT, ChangeKind.UPDATE, ChangeKind.DELETE
_KINDS = (_INSERT, _UPDATE, _DELETE, ChangeKind.TRUNCATE)
_MESSAGE = 4
_KIND_BITS = 0x07
_HAS_NEW = 0x10
_HAS_OLD = 0x20
_OLD_IS_FULL = 0x40

_RelationFields = tuple[int, str, str, str, list[tuple[str, int, int, bool]]]


def encode_relation(relation: Relation) -> bytes:
    """The body of a `RELATION` record."""
    columns = [(c.name, c.type_oid, c.type_modifier, c.is_key) for c in relation.columns]
    fields = (relation.oid, relation.schema, relation.name, relation.identity.value, columns)
    return msgspec.msgpack.encode(fields)


def decode_relation(body: bytes) -> Relation:
    """Read what `encode_relation` wrote, as a new `Relation`.

    Raises:
        DamagedError: It is something else.
    """
    try:
        oid, schema, name, identity, columns = msgspec.msgpack.decode(body, type=_RelationFields)
        kept = tuple(RelationColumn(*column) for column in columns)
        return Relation(oid, schema, name, ReplicaIdentity(identity), kept)
    except (msgspec.MsgspecError, ValueError) as error:
        raise DamagedError("a table's description is damaged") from error


def encode_transaction(transaction: Transaction, number_of: Callable[[Relation], int]) -> bytes:
    """One transaction.

    Args:
        transaction: To be written.
        number_of: The number of a table's version within the segment.
    """
    changes = transaction.changes
    parts = [
        _HEAD.pack(
            transaction.commit_lsn,
            transaction.end_lsn,
            transaction.xid,
            transaction.committed_at_us,
            _OVERFLOWED if transaction.overflowed else 0,
            len(changes),
        )
    ]
    pack = _ITEM.pack
    relation, number = None, 0
    for item in changes:
        if isinstance(item, Change):
            if item.relation is not relation:
                relation = item.relation
                number = number_of(relation)
            kind = item.kind
            # Compared by identity: hashing an enum's member costs more than all of these.
            what = 0 if kind is _INSERT else 1 if kind is _UPDATE else 2 if kind is _DELETE else 3
            new, old = item.new, item.old
            if new is None:
                new = b""
            else:
                what |= _HAS_NEW
            if old is None:
                old = b""
            else:
                what |= _HAS_OLD
            if item.old_is_full:
                what |= _OLD_IS_FULL
            parts += (pack(what, number, len(new), len(old)), new, old)
        else:
            prefix = item.prefix.encode()
            parts += (pack(_MESSAGE, 0, len(prefix), len(item.content)), prefix, item.content)
    return b"".join(parts)


def outline_of(blob: bytes) -> tuple[int, int, int]:
    """Commit LSN, end LSN and number of items, without reading anything else.

    Raises:
        DamagedError: `blob` is too short to be a transaction.
    """
    if len(blob) < _HEAD.size:
        raise DamagedError("a transaction is cut short")
    commit_lsn, end_lsn, _, _, _, count = _HEAD.unpack_from(blob)
    return commit_lsn, end_lsn, count


def decode_transaction(blob: bytes, relations: Sequence[Relation]) -> Transaction:
    """Read what `encode_transaction` wrote.

    Args:
        blob: One whole transaction.
        relations: Versions of tables by number; changes point to these very objects.

    Raises:
        DamagedError: It is something else.
    """
    try:
        commit_lsn, end_lsn, xid, committed_at_us, flags, count = _HEAD.unpack_from(blob)
        items: list[Change | LogicalMessage] = []
        position = _HEAD.size
        for _ in range(count):
            fields: tuple[int, int, int, int] = _ITEM.unpack_from(blob, position)
            what, number, first_size, second_size = fields
            middle = position + _ITEM.size + first_size
            first = blob[position + _ITEM.size : middle]
            position = middle + second_size
            second = blob[middle:position]
            if what == _MESSAGE:
                items.append(LogicalMessage(first.decode(), second))
                continue
            kind, relation = _KINDS[what & _KIND_BITS], relations[number]
            new = first if what & _HAS_NEW else None
            old = second if what & _HAS_OLD else None
            items.append(Change(kind, relation, new, old, bool(what & _OLD_IS_FULL)))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise DamagedError("a transaction is damaged") from error
    if position != len(blob):
        raise DamagedError("a transaction has another length than it says")
    is_overflowed = bool(flags & _OVERFLOWED)
    return Transaction(
        Lsn(commit_lsn), Lsn(end_lsn), xid, committed_at_us, tuple(items), is_overflowed
    )
