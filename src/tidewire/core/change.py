"""What the database tells: relations, changes of rows, whole transactions."""

from __future__ import annotations

import enum

import msgspec

from tidewire.core.lsn import Lsn


class ChangeKind(enum.Enum):
    """What happened to a row, or to a table at once."""

    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    TRUNCATE = "TRUNCATE"


class ReplicaIdentity(enum.Enum):
    """How much of an old row the log holds. Source: `pg_class.relreplident`."""

    DEFAULT = "d"
    NOTHING = "n"
    FULL = "f"
    INDEX = "i"


class RelationColumn(msgspec.Struct, frozen=True, gc=False):
    """One column as the stream describes it.

    Attributes:
        name: Column name.
        type_oid: `pg_type.oid`.
        type_modifier: `atttypmod`, -1 when there is none.
        is_key: Whether it is part of the replica identity.
    """

    name: str
    type_oid: int
    type_modifier: int = -1
    is_key: bool = False


class Relation(msgspec.Struct, frozen=True, eq=False):
    """A table's shape at one place of the log: one version of it.

    A table that is altered gets a new `Relation`; every change points to the version that it
    was written with, so rows before and after the alteration both decode right. Compared by
    identity.

    Attributes:
        oid: `pg_class.oid`.
        schema: Schema name.
        name: Table name.
        identity: What old rows hold.
        columns: In the order of the row tuples that follow.
    """

    oid: int
    schema: str
    name: str
    identity: ReplicaIdentity
    columns: tuple[RelationColumn, ...]


class Change(msgspec.Struct, frozen=True, eq=False):
    """One row change, its rows still in the stream's own encoding.

    `new` and `old` are TupleData as the stream carries it (column count, then per column a
    kind byte and its text); protocol.pgoutput.row splits and renders it on demand, so a
    change that nobody asked for costs nothing more.

    Attributes:
        kind: What happened.
        relation: The table's shape for these very bytes.
        new: Row after the change; None for DELETE and TRUNCATE.
        old: Row before it, or its key columns only, or None when the log has neither.
        old_is_full: Whether `old` is the whole row (REPLICA IDENTITY FULL) and not a key.
    """

    kind: ChangeKind
    relation: Relation
    new: bytes | None
    old: bytes | None
    old_is_full: bool = False


class LogicalMessage(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A `pg_logical_emit_message` seen in the stream.

    Attributes:
        prefix: Who it is for; ours start with ``tidewire.``.
        content: Its bytes.
    """

    prefix: str
    content: bytes


class Transaction(msgspec.Struct, frozen=True, eq=False):
    """A committed transaction, whole, in commit order.

    Attributes:
        commit_lsn: Where it committed; its place in the order of all transactions.
        end_lsn: The first byte after it; what may be acknowledged once it is kept.
        xid: Transaction id, 32 bits as the stream has it; 0 for a message outside of one.
        committed_at_us: Microseconds since 1970-01-01 UTC.
        changes: Row changes and messages in the order they were made. A `Change`'s `seq` in a
            `Position` is its index here.
        overflowed: The transaction passed the assembler's bound and `changes` was dropped:
            subscribers of every table must be told to refetch.
    """

    commit_lsn: Lsn
    end_lsn: Lsn
    xid: int
    committed_at_us: int
    changes: tuple[Change | LogicalMessage, ...]
    overflowed: bool = False
