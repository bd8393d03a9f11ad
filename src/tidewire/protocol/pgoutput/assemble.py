"""Whole transactions out of single messages.

One `Assembler` lives as long as one connection: PostgreSQL describes every table anew on the
next one.
"""

from __future__ import annotations

from tidewire.core.change import Change, ChangeKind, LogicalMessage, Relation, Transaction
from tidewire.core.errors import ProtocolViolationError
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgoutput.decode import decode
from tidewire.protocol.pgoutput.messages import (
    Begin,
    Commit,
    EmittedMessage,
    RowChange,
    Truncate,
)

OUR_PREFIX = "tidewire."
"""Logical messages with this at the head of their prefix are kept, all others dropped."""

_MESSAGE_KIND = ord("M")


class Assembler:
    """Collects the changes of a transaction until it commits.

    Bounded: beyond `changes_max` changes or `bytes_max` bytes a transaction's changes are
    dropped and it comes out as `overflowed`, so that one giant transaction cannot fill memory.
    """

    def __init__(self, *, changes_max: int = 100_000, bytes_max: int = 256 << 20) -> None:
        self._changes_max = changes_max
        self._bytes_max = bytes_max
        self._relations: dict[int, Relation] = {}
        self._begin: Begin | None = None
        self._changes: list[Change | LogicalMessage] = []
        self._bytes = 0
        self._overflowed = False

    @property
    def is_between_transactions(self) -> bool:
        """Whether everything received so far has come out."""
        return self._begin is None

    def receive(self, data: bytes) -> Transaction | None:
        """Take one pgoutput message; gives the transaction that it completes.

        Raises:
            ProtocolViolationError: It is no message, or not one that may come here.
        """
        message = decode(data)
        if isinstance(message, RowChange):
            relation = self._relation(message.relation_oid)
            self._add(
                Change(message.kind, relation, message.new, message.old, message.old_is_full),
                len(data),
            )
        elif isinstance(message, Begin):
            self._start(message)
        elif isinstance(message, Commit):
            return self._finish(message)
        elif isinstance(message, Relation):
            self._relations[message.oid] = message
        elif isinstance(message, Truncate):
            for oid in message.relation_oids:
                self._add(Change(ChangeKind.TRUNCATE, self._relation(oid), None, None), len(data))
        elif isinstance(message, EmittedMessage):
            return self._take_message(message, len(data))
        return None  # Origin and TypeName tell nothing that is used

    def skip(self, kind: int) -> None:
        """Take note of a message that was too large to be read at all.

        Args:
            kind: Its first byte. A logical message is passed over: ours are small.
        """
        if kind != _MESSAGE_KIND:
            self._require_begin()
            self._overflow()

    def _start(self, begin: Begin) -> None:
        if self._begin is not None:
            raise ProtocolViolationError("a transaction began within another")
        self._begin = begin

    def _finish(self, commit: Commit) -> Transaction:
        begin = self._require_begin()
        transaction = Transaction(
            commit_lsn=commit.commit_lsn,
            end_lsn=commit.end_lsn,
            xid=begin.xid,
            committed_at_us=commit.committed_at_us,
            changes=tuple(self._changes),
            overflowed=self._overflowed,
        )
        self._begin = None
        self._changes = []
        self._bytes = 0
        self._overflowed = False
        return transaction

    def _require_begin(self) -> Begin:
        if self._begin is None:
            raise ProtocolViolationError("a change outside of a transaction")
        return self._begin

    def _relation(self, oid: int) -> Relation:
        relation = self._relations.get(oid)
        if relation is None:
            raise ProtocolViolationError(f"a change of table {oid}, which was not described")
        return relation

    def _add(self, change: Change | LogicalMessage, size: int) -> None:
        if self._begin is None:
            self._require_begin()
        if self._overflowed:
            return
        self._bytes += size
        self._changes.append(change)
        if len(self._changes) > self._changes_max or self._bytes > self._bytes_max:
            self._overflow()

    def _overflow(self) -> None:
        self._overflowed = True
        self._changes = []

    def _take_message(self, message: EmittedMessage, size: int) -> Transaction | None:
        if not message.prefix.startswith(OUR_PREFIX):
            return None
        kept = LogicalMessage(message.prefix, message.content)
        if message.is_transactional:
            self._add(kept, size)
            return None
        # It stands between transactions. Its LSN is the place behind its record, where the
        # commit record of the next transaction may begin; one byte less is its own.
        return Transaction(
            commit_lsn=Lsn(max(message.lsn - 1, 0)),
            end_lsn=message.lsn,
            xid=0,
            committed_at_us=0,
            changes=(kept,),
        )
