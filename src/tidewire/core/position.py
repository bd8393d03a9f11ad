"""Where a change stands in the one order of all changes.

A position depends on nothing but the write-ahead log, so every run and every server computes the
same one for a change: `commit_lsn` is the commit record's place, `seq` counts what the transaction
holds for us, row changes and our own logical messages alike, from 0, in the order of the log. A
TRUNCATE counts once for each table. Two things would make it another count, and must not change
within one epoch: which logical messages are kept (`protocol.pgoutput.assemble.OUR_PREFIX`), and
the plugin's options (publication, protocol version). A transaction that is too large to gather
has no changes to count; its one place is seq 0.
"""

from __future__ import annotations

import msgspec

from tidewire.core.change import Transaction
from tidewire.core.errors import InvalidRequestError
from tidewire.core.lsn import Lsn

Place = tuple[int, int]
"""Commit LSN and seq: a `Position` where the epoch is known. Orders as the position does."""


class Position(msgspec.Struct, frozen=True, order=True, gc=False):
    """The place of a change: total order within one epoch.

    Attributes:
        epoch: Names one unbroken history: system identifier and incarnation of the slot.
            Positions of different epochs must not be compared.
        commit_lsn: Where the change's transaction committed.
        seq: Index of the change within its transaction, from 0.
    """

    epoch: str
    commit_lsn: Lsn
    seq: int = 0

    @property
    def place(self) -> Place:
        """The position within its epoch."""
        return self.commit_lsn, self.seq

    def to_cursor(self) -> str:
        """The opaque text that goes out to clients."""
        return f"{self.epoch}.{self.commit_lsn:x}.{self.seq:x}"

    @classmethod
    def from_cursor(cls, cursor: str) -> Position:
        """Read what `to_cursor` wrote.

        Raises:
            InvalidRequestError: `cursor` is not one of ours.
        """
        epoch, _, rest = cursor.partition(".")
        lsn, _, seq = rest.partition(".")
        try:
            numbers = int(lsn, 16), int(seq, 16)
        except ValueError:
            numbers = (-1, -1)
        if not epoch or not (0 <= numbers[0] < 1 << 64 and 0 <= numbers[1] < 1 << 63):
            raise InvalidRequestError("not a position")
        return cls(epoch, Lsn(numbers[0]), numbers[1])


def last_place(transaction: Transaction) -> Place:
    """Where the last change of a transaction stands; seq 0 for one without changes."""
    changes = transaction.changes
    return transaction.commit_lsn, len(changes) - 1 if changes else 0
