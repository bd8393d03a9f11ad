"""The port `Journal` in memory and on disk.

Theory of operation. The newest transactions are in a ring in memory, all that retention allows in
segment files. `append` encodes into buffers and never touches the disk; `sync` has a worker
thread write and sync them. What is read comes from the ring where that reaches back far enough,
else block by block from the files.

The disk may fail or fill up. Then the alarm is raised, what waits to be written is given up,
and the ring goes on alone; the source is told to forget, so the database's log is not held back.
From time to time everything that the ring still has is written to a new segment. If it reaches
back to what is on disk, nothing was lost; else the files no longer count, and the floor is the
ring's.

After a kill the torn end of the last segment is cut off. It was not durable, so the stream brings
it again. Should more be missing than that, because the disk brings back something else than was
written, `begin` finds that the database has forgotten what the journal does not know, and empties
it: a position that cannot be served is refused, never answered with a hole. Damage in an older
segment is found when it is read: that segment and those before it are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from tidewire.adapters.files.disk_log import DiskLog
from tidewire.adapters.files.disk_reader import DiskReader, UnreadableError
from tidewire.adapters.files.file_layer import FileLayer, SystemFiles
from tidewire.adapters.files.limits import FileJournalLimits
from tidewire.adapters.files.segment_files import SegmentFiles
from tidewire.core.change import Transaction
from tidewire.core.clock import Clock
from tidewire.core.errors import PositionLostError
from tidewire.core.lsn import Lsn
from tidewire.core.position import Place, Position
from tidewire.core.ring_log import (
    CHANGE_OVERHEAD_BYTES,
    TRANSACTION_OVERHEAD_BYTES,
    RingLog,
)
from tidewire.ports.journal import JournalStatus

logger = logging.getLogger(__name__)

_READ_ROUNDS_MAX = 3


class FileJournal:
    """Implements `ports.journal.Journal`; see the head of this file."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        limits: FileJournalLimits | None = None,
        layer: FileLayer | None = None,
    ) -> None:
        """Touches nothing yet; `open` comes first.

        Args:
            folder: Where the segments lie. Nobody else's files should.
            clock: Where the time comes from.
            limits: Bounds and times.
            layer: The file system, or one that fails on purpose.
        """
        self._limits = limits = limits or FileJournalLimits()
        self._clock = clock
        self._ring = RingLog(bytes_max=limits.memory_bytes, count_max=limits.memory_count)
        self._files = SegmentFiles(folder, layer or SystemFiles())
        self._disk = DiskLog(self._files, self._ring, clock, limits)
        self._reader = DiskReader(self._files)
        self._is_loaded = False
        self._is_closed = False

    # ---------------------------------------------------------------- what there is to say

    @property
    def floor(self) -> Position | None:
        """See `Journal.floor`."""
        if not self._disk.epoch:
            return None
        lsn, seq = self._floor
        return Position(self._disk.epoch, Lsn(lsn), seq)

    @property
    def last(self) -> Position | None:
        """See `Journal.last`."""
        last = self._disk.last
        return Position(self._disk.epoch, Lsn(last[0]), last[1]) if last is not None else None

    @property
    def covered(self) -> Lsn:
        """See `Journal.covered`."""
        return Lsn(self._disk.covered)

    @property
    def durable(self) -> Lsn:
        """See `Journal.durable`."""
        return Lsn(self._disk.covered if self._disk.alarm else self._disk.durable)

    @property
    def is_full(self) -> bool:
        """See `Journal.is_full`."""
        return self._disk.unsynced_bytes >= self._limits.unsynced_bytes

    @property
    def status(self) -> JournalStatus:
        """See `Journal.status`."""
        disk = self._disk
        return JournalStatus(
            "files",
            alarm=disk.alarm,
            memory_bytes=self._ring.bytes,
            disk_bytes=disk.bytes,
            segments=len(disk.segments),
            reach_s=self._reach_s(),
            unsynced_bytes=disk.unsynced_bytes,
            syncs_total=disk.counts.syncs,
            sync_seconds_total=disk.counts.sync_s,
            failures_total=disk.counts.failures,
            damages_total=disk.counts.damages,
        )

    @property
    def _floor(self) -> Place:
        segments = self._disk.segments
        return min(self._ring.floor, segments[0].floor) if segments else self._ring.floor

    def _reach_s(self) -> float:
        began_us = [segment.header.made_at_us for segment in self._disk.segments[:1]]
        if self._ring.oldest is not None:
            began_us.append(self._ring.oldest.committed_at_us)
        return max(0.0, self._clock.wall_s() - min(began_us) / 1e6) if began_us else 0.0

    # ---------------------------------------------------------------- writing

    async def open(self) -> None:
        """Take the folder for this process alone; it is made if it is not there.

        Raises:
            SetupError: Another process holds the folder, or it cannot be used.
        """
        self._files.take()

    async def begin(self, epoch: str, *, start: Lsn) -> None:
        """See `Journal.begin`."""
        assert epoch
        disk = self._disk
        await disk.settle()
        if not self._is_loaded:
            self._is_loaded = True
            await disk.load()
        if epoch == disk.epoch:
            if start <= disk.covered:
                return
            logger.error(
                "the database has forgotten what the journal does not know: it begins anew",
                extra={"known_lsn": str(self.covered), "start_lsn": str(start)},
            )
        disk.begin_anew(epoch, (max(0, start - 1), 0), start)

    def append(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        """See `Journal.append`."""
        disk, ring = self._disk, self._ring
        assert disk.epoch, "append before begin"
        known = disk.last[0] if disk.last is not None else self._floor[0]
        new: list[Transaction] = []
        for transaction in transactions:
            if transaction.commit_lsn <= known:
                continue
            known = transaction.commit_lsn
            size = disk.add(transaction)
            if size is not None:
                size += TRANSACTION_OVERHEAD_BYTES
                size += CHANGE_OVERHEAD_BYTES * len(transaction.changes)
            ring.append(transaction, size)
            new.append(transaction)
        if disk.alarm:
            disk.check_ring()
        return new

    def cover(self, lsn: Lsn) -> None:
        """See `Journal.cover`."""
        self._disk.covered = max(self._disk.covered, lsn)

    async def sync(self) -> None:
        """See `Journal.sync`."""
        if self._disk.epoch and not self._is_closed:
            await self._disk.sync()

    async def close(self) -> None:
        """See `Journal.close`."""
        if not self._is_closed:
            self._is_closed = True
            await self._reader.close()
            await self._disk.close()

    # ---------------------------------------------------------------- reading

    async def read_after(self, position: Position) -> list[Transaction]:
        """See `Journal.read_after`."""
        place = position.place
        for _ in range(_READ_ROUNDS_MAX):
            self._require(position)
            if place >= self._ring.floor:
                return self._ring.page_after(place)
            try:
                page = await self._reader.page_after(self._disk.segments.copy(), place)
            except UnreadableError as error:
                self._disk.drop_damaged(error.segment)
                continue  # and find out whether the position is lost with it
            if page:
                return page
            # What comes next is on its way to the disk: too large for the ring, or many.
            await self.sync()
        raise PositionLostError("the journal cannot be read at that place")

    def _require(self, position: Position) -> None:
        """Refuse a position that cannot be served."""
        if not self._disk.epoch or position.epoch != self._disk.epoch:
            raise PositionLostError("the journal holds nothing of that history")
        if position.place < self._floor:
            raise PositionLostError("the journal no longer reaches back that far")
