"""Keeps transactions for those who come back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tidewire.core.change import Transaction
from tidewire.core.position import Position


class Journal(Protocol):
    """An ordered, bounded store of whole transactions of one epoch.

    Promise: what `append` returned for is kept until retention passes it; a transaction at or
    before the last one is dropped as already known, so a source may repeat itself.
    """

    @property
    def floor(self) -> Position | None:
        """Everything after this position is still here; None while empty and nothing dropped."""
        ...

    @property
    def last(self) -> Position | None:
        """Position of the last transaction appended; None before the first."""
        ...

    def begin_epoch(self, epoch: str) -> None:
        """Start a history. Another epoch than the present one empties the journal."""
        ...

    def append(self, transactions: Sequence[Transaction]) -> None:
        """Keep whole transactions, oldest first."""
        ...

    def read_after(self, position: Position) -> Iterator[Transaction]:
        """Whole transactions with a commit after `position`, oldest first.

        Raises:
            PositionLostError: `position` is before the floor or of another epoch.
        """
        ...
