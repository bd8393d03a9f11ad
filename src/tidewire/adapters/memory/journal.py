"""The newest transactions, in memory, bounded by bytes and by count."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from tidewire.core.change import Change, Transaction
from tidewire.core.errors import PositionLostError
from tidewire.core.lsn import Lsn
from tidewire.core.position import Position

BYTES_MAX = 64 * 1024 * 1024
COUNT_MAX = 65_536

_TRANSACTION_OVERHEAD_BYTES = 200
_CHANGE_OVERHEAD_BYTES = 150


def bytes_of(transaction: Transaction) -> int:
    """About how much memory a transaction holds: its rows and what Python adds."""
    rows = sum(
        len(change.new or b"") + len(change.old or b"")
        if isinstance(change, Change)
        else len(change.content)
        for change in transaction.changes
    )
    return _TRANSACTION_OVERHEAD_BYTES + _CHANGE_OVERHEAD_BYTES * len(transaction.changes) + rows


class MemoryJournal:
    """The port `Journal` as a ring: the oldest transactions make room for the newest.

    It begins empty in the middle of a history, so it vouches for nothing before its first
    transaction: `floor` then lies just before that one, and while it is empty every position
    is lost. `append` costs O(1) per transaction, `read_after` as much as it gives.
    """

    def __init__(self, *, bytes_max: int = BYTES_MAX, count_max: int = COUNT_MAX) -> None:
        """Args: bounds on what is kept; a transaction larger than `bytes_max` is not kept."""
        assert bytes_max > 0
        assert count_max > 0
        self._bytes_max = bytes_max
        self._count_max = count_max
        self._epoch = ""
        self._clear()

    def _clear(self) -> None:
        self._ring: deque[Transaction] = deque()
        self._bytes = 0
        self._floor: Position | None = None
        self._last: Position | None = None

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def floor(self) -> Position | None:
        """See `Journal.floor`."""
        return self._floor

    @property
    def last(self) -> Position | None:
        """See `Journal.last`."""
        return self._last

    def begin_epoch(self, epoch: str) -> None:
        """See `Journal.begin_epoch`."""
        assert epoch
        if epoch != self._epoch:
            self._epoch = epoch
            self._clear()

    def append(self, transactions: Sequence[Transaction]) -> None:
        """See `Journal.append`. `begin_epoch` comes first."""
        assert self._epoch, "append before begin_epoch"
        for transaction in transactions:
            self._append_one(transaction)
        self._drop_oldest()

    def read_after(self, position: Position) -> Iterator[Transaction]:
        """See `Journal.read_after`: what was kept at the time of the call."""
        if self._floor is None or position.epoch != self._epoch:
            raise PositionLostError("the journal holds nothing of that history")
        if position.commit_lsn < self._floor.commit_lsn:
            raise PositionLostError("the journal no longer reaches back that far")
        found: list[Transaction] = []
        for transaction in reversed(self._ring):
            if transaction.commit_lsn <= position.commit_lsn:
                break
            found.append(transaction)
        return reversed(found)

    def _append_one(self, transaction: Transaction) -> None:
        commit_lsn = transaction.commit_lsn
        if self._last is not None and commit_lsn <= self._last.commit_lsn:
            return
        if self._floor is None:
            self._floor = Position(self._epoch, Lsn(commit_lsn - 1))
        self._last = Position(self._epoch, commit_lsn, max(0, len(transaction.changes) - 1))
        self._ring.append(transaction)
        self._bytes += bytes_of(transaction)

    def _drop_oldest(self) -> None:
        while len(self._ring) > self._count_max or self._bytes > self._bytes_max:
            dropped = self._ring.popleft()
            self._bytes -= bytes_of(dropped)
            self._floor = Position(self._epoch, dropped.commit_lsn)
