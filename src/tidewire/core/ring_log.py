"""The newest transactions of one history, in memory, bounded by bytes and by count."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from tidewire.core.change import Change, Transaction
from tidewire.core.position import Place, last_place

BYTES_MAX = 64 * 1024 * 1024
COUNT_MAX = 65_536

PAGE_CHANGES_MAX = 1000
PAGE_BYTES_MAX = 512 * 1024
"""Bounds of one page; a transaction is never cut, so one larger than this is a page alone."""

TRANSACTION_OVERHEAD_BYTES = 200
CHANGE_OVERHEAD_BYTES = 150


def bytes_of(transaction: Transaction) -> int:
    """About how much memory a transaction holds: its rows and what Python adds."""
    changes = transaction.changes
    size = TRANSACTION_OVERHEAD_BYTES + CHANGE_OVERHEAD_BYTES * len(changes)
    for change in changes:
        if isinstance(change, Change):
            if change.new is not None:
                size += len(change.new)
            if change.old is not None:
                size += len(change.old)
        else:
            size += len(change.content)
    return size


class RingLog:
    """Transactions with rising commit positions; the oldest make room for the newest.

    Everything behind `floor` is here. `append` costs O(1), a page what it gives and a search.

    Attributes:
        floor: The last change that is not here, or the place just before the history began.
        bytes: About how much memory is held.
    """

    def __init__(self, *, bytes_max: int = BYTES_MAX, count_max: int = COUNT_MAX) -> None:
        """Args: bounds on what is kept; a transaction larger than `bytes_max` is not kept."""
        assert bytes_max > 0
        assert count_max > 0
        self._bytes_max = bytes_max
        self._count_max = count_max
        self.reset((0, 0))

    def reset(self, floor: Place) -> None:
        """Forget everything; what is appended next comes right behind `floor`."""
        self.floor = floor
        self.bytes = 0
        self._ring: deque[Transaction] = deque()
        self._sizes: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def oldest(self) -> Transaction | None:
        """The transaction that would make room next."""
        return self._ring[0] if self._ring else None

    def append(self, transaction: Transaction, size: int | None = None) -> None:
        """Keep `transaction`, which committed after all that are here.

        Args:
            transaction: The newest.
            size: Its size, as `bytes_of` has it, where the caller knows it already.
        """
        ring = self._ring
        assert not ring or transaction.commit_lsn > ring[-1].commit_lsn
        size = bytes_of(transaction) if size is None else size
        ring.append(transaction)
        self._sizes.append(size)
        self.bytes += size
        while len(ring) > self._count_max or self.bytes > self._bytes_max:
            self.bytes -= self._sizes.popleft()
            self.floor = last_place(ring.popleft())

    def page_after(self, place: Place) -> list[Transaction]:
        """The next transactions that hold something behind `place`; empty when none does.

        `place` must not lie before the floor.
        """
        assert place >= self.floor
        ring = self._ring
        index = bisect_left(ring, place[0], key=_commit_lsn)
        if index < len(ring) and last_place(ring[index]) <= place:
            index += 1
        page: list[Transaction] = []
        changes = size = 0
        while index < len(ring) and changes < PAGE_CHANGES_MAX and size < PAGE_BYTES_MAX:
            transaction = ring[index]
            page.append(transaction)
            changes += len(transaction.changes)
            size += self._sizes[index]
            index += 1
        return page

    def all_after(self, place: Place) -> list[Transaction]:
        """Every transaction behind `place`, which must not lie before the floor."""
        assert place >= self.floor
        return [kept for kept in self._ring if last_place(kept) > place]


def _commit_lsn(transaction: Transaction) -> int:
    return transaction.commit_lsn
