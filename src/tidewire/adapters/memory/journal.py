"""The newest transactions, in memory alone."""

from __future__ import annotations

from collections.abc import Sequence

from tidewire.core.change import Transaction
from tidewire.core.clock import Clock
from tidewire.core.errors import PositionLostError
from tidewire.core.lsn import Lsn
from tidewire.core.position import Position, last_place
from tidewire.core.ring_log import BYTES_MAX, COUNT_MAX, RingLog
from tidewire.ports.journal import JournalStatus


class MemoryJournal:
    """The port `Journal` as a ring: the oldest transactions make room for the newest.

    Everything is as durable as it ever gets at once, and nothing outlives the process.
    """

    def __init__(
        self, clock: Clock, *, bytes_max: int = BYTES_MAX, count_max: int = COUNT_MAX
    ) -> None:
        """Args: bounds on what is kept; a transaction larger than `bytes_max` is not kept."""
        self._clock = clock
        self._ring = RingLog(bytes_max=bytes_max, count_max=count_max)
        self._epoch = ""
        self._last: Position | None = None
        self._covered = Lsn(0)

    @property
    def floor(self) -> Position | None:
        """See `Journal.floor`."""
        lsn, seq = self._ring.floor
        return Position(self._epoch, Lsn(lsn), seq) if self._epoch else None

    @property
    def last(self) -> Position | None:
        """See `Journal.last`."""
        return self._last

    @property
    def covered(self) -> Lsn:
        """See `Journal.covered`."""
        return self._covered

    @property
    def durable(self) -> Lsn:
        """See `Journal.durable`."""
        return self._covered

    @property
    def is_full(self) -> bool:
        """See `Journal.is_full`."""
        return False

    @property
    def status(self) -> JournalStatus:
        """See `Journal.status`."""
        oldest = self._ring.oldest
        reach_s = self._clock.wall_s() - oldest.committed_at_us / 1e6 if oldest else 0.0
        return JournalStatus("memory", memory_bytes=self._ring.bytes, reach_s=max(0.0, reach_s))

    async def open(self) -> None:
        """See `Journal.open`: there is nothing to do."""

    async def begin(self, epoch: str, *, start: Lsn) -> None:
        """See `Journal.begin`."""
        assert epoch
        if epoch == self._epoch and start <= self._covered:
            return
        self._epoch = epoch
        self._covered = start
        self._last = None
        self._ring.reset((max(0, start - 1), 0))

    def append(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        """See `Journal.append`."""
        assert self._epoch, "append before begin"
        known = self._last.commit_lsn if self._last is not None else self._ring.floor[0]
        new: list[Transaction] = []
        for transaction in transactions:
            if transaction.commit_lsn > known:
                known = transaction.commit_lsn
                self._ring.append(transaction)
                new.append(transaction)
        if new:
            self._last = Position(self._epoch, Lsn(known), last_place(new[-1])[1])
            self.cover(new[-1].end_lsn)
        return new

    def cover(self, lsn: Lsn) -> None:
        """See `Journal.cover`."""
        self._covered = max(self._covered, lsn)

    async def sync(self) -> None:
        """See `Journal.sync`: there is nothing to do."""

    async def read_after(self, position: Position) -> list[Transaction]:
        """See `Journal.read_after`."""
        if not self._epoch or position.epoch != self._epoch:
            raise PositionLostError("the journal holds nothing of that history")
        if position.place < self._ring.floor:
            raise PositionLostError("the journal no longer reaches back that far")
        return self._ring.page_after(position.place)

    async def close(self) -> None:
        """See `Journal.close`: there is nothing to do."""
