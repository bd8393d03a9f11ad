"""What pgoutput says, message by message, as values.

Source: PostgreSQL manual, "Logical Replication Message Formats", protocol version 1.
"""

from __future__ import annotations

import msgspec

from tidewire.core.change import ChangeKind
from tidewire.core.lsn import Lsn


class Begin(msgspec.Struct, frozen=True, gc=False):
    """A transaction begins; all of it follows, up to `Commit`.

    Attributes:
        final_lsn: Where it committed.
        committed_at_us: Microseconds since 1970-01-01 UTC.
        xid: Transaction id, 32 bits.
    """

    final_lsn: Lsn
    committed_at_us: int
    xid: int


class Commit(msgspec.Struct, frozen=True, gc=False):
    """The transaction is complete.

    Attributes:
        commit_lsn: Where it committed.
        end_lsn: The first byte after it.
        committed_at_us: Microseconds since 1970-01-01 UTC.
    """

    commit_lsn: Lsn
    end_lsn: Lsn
    committed_at_us: int


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The transaction came from another server by replication.

    Attributes:
        commit_lsn: Where it committed there.
        name: Name of the origin.
    """

    commit_lsn: Lsn
    name: str


class TypeName(msgspec.Struct, frozen=True, gc=False):
    """A type that is not built in, named before the relation that uses it.

    Attributes:
        oid: `pg_type.oid`.
        schema: Its schema.
        name: Its name.
    """

    oid: int
    schema: str
    name: str


class RowChange(msgspec.Struct, frozen=True, gc=False):
    """An Insert, Update or Delete.

    Attributes:
        kind: Which of them.
        relation_oid: Table; its Relation message came before.
        new: TupleData after the change; None for a delete.
        old: TupleData before it, whole or its key; None when the log has neither.
        old_is_full: Whether `old` is the whole row.
    """

    kind: ChangeKind
    relation_oid: int
    new: bytes | None
    old: bytes | None
    old_is_full: bool = False


class Truncate(msgspec.Struct, frozen=True, gc=False):
    """Tables were emptied.

    Attributes:
        relation_oids: Which.
        cascades: Whether CASCADE was said.
        restarts_identity: Whether RESTART IDENTITY was said.
    """

    relation_oids: tuple[int, ...]
    cascades: bool
    restarts_identity: bool


class EmittedMessage(msgspec.Struct, frozen=True, gc=False):
    """A `pg_logical_emit_message`.

    Attributes:
        is_transactional: Whether it belongs to the transaction around it; else it stands alone.
        lsn: Where it stands in the log.
        prefix: Who it is for.
        content: Its bytes.
    """

    is_transactional: bool
    lsn: Lsn
    prefix: str
    content: bytes
