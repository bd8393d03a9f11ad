"""The newest transactions of one history, in memory, bounded by bytes and by count."""

from __future__ import annotations

from bisect import bisect_left

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
        # Lists whose first `_head` items are gone: a page begins anywhere, and a deque is slow
        # in its middle.
        self._ring: list[Transaction | None] = []
        self._sizes: list[int] = []
        self._head = 0

    def __len__(self) -> int:
        return len(self._ring) - self._head

    @property
    def oldest(self) -> Transaction | None:
        """The transaction that would make room next."""
        return self._ring[self._head] if len(self) else None

    def append(self, transaction: Transaction, size: int | None = None) -> None:
        """Keep `transaction`, which committed after all that are here.

        Args:
            transaction: The newest.
            size: Its size, as `bytes_of` has it, where the caller knows it already.
        """
        size = bytes_of(transaction) if size is None else size
        self._ring.append(transaction)
        self._sizes.append(size)
        self.bytes += size
        while self.bytes > self._bytes_max or len(self._ring) - self._head > self._count_max:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        head = self._head
        dropped = self._ring[head]
        assert dropped is not None
        self.floor = last_place(dropped)
        self.bytes -= self._sizes[head]
        self._ring[head] = None
        self._head = head = head + 1
        if 2 * head > len(self._ring):
            del self._ring[:head]
            del self._sizes[:head]
            self._head = 0

    def page_after(self, place: Place) -> list[Transaction]:
        """The next transactions that hold something behind `place`; empty when none does.

        `place` must not lie before the floor.
        """
        assert place >= self.floor
        ring = self._ring
        first = index = self._index_behind(place)
        changes = size = 0
        while index < len(ring) and changes < PAGE_CHANGES_MAX and size < PAGE_BYTES_MAX:
            changes += len(_there(ring[index]).changes)
            size += self._sizes[index]
            index += 1
        return [_there(kept) for kept in ring[first:index]]

    def all_after(self, place: Place) -> list[Transaction]:
        """Every transaction behind `place`, which must not lie before the floor."""
        assert place >= self.floor
        return [_there(kept) for kept in self._ring[self._index_behind(place) :]]

    def _index_behind(self, place: Place) -> int:
        ring = self._ring
        index = bisect_left(ring, place[0], lo=self._head, key=_commit_lsn)
        if index < len(ring) and last_place(_there(ring[index])) <= place:
            index += 1
        return index


def _there(kept: Transaction | None) -> Transaction:
    assert kept is not None  # only behind the head
    return kept


def _commit_lsn(kept: Transaction | None) -> int:
    return _there(kept).commit_lsn
