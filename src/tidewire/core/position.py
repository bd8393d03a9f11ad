"""Where a change stands in the one order of all changes."""

from __future__ import annotations

import msgspec

from tidewire.core.errors import InvalidRequestError
from tidewire.core.lsn import Lsn


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
