"""The part of a journal that is on disk: segments, filled, synced, dropped, and what fails.

Belongs to the event loop and never blocks it: bytes are gathered here, a thread writes them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

import msgspec

from tidewire.adapters.files.limits import FileJournalLimits
from tidewire.adapters.files.segment import Segment
from tidewire.adapters.files.segment_files import SegmentFiles, Writing
from tidewire.core.change import Transaction
from tidewire.core.clock import Clock
from tidewire.core.position import Place, last_place
from tidewire.core.ring_log import RingLog
from tidewire.protocol.journal.records import Header

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")


class Counts(msgspec.Struct):
    """What happened since the start; see `ports.journal.JournalStatus`."""

    syncs: int = 0
    sync_s: float = 0.0
    failures: int = 0
    damages: int = 0


class DiskLog:
    """Segments of one history.

    Args:
        files: Where they lie.
        ring: The newest transactions, to be written again after the disk failed.
        clock: Where the time comes from.
        limits: Bounds and times.

    Attributes:
        segments: Oldest first; the last one is being filled.
        epoch: The history; "" before the first.
        last: Place of the last change that was added, whether or not it could be written.
        covered: Everything that committed before this LSN is known.
        durable: How much of that is on disk.
        alarm: Why nothing is written just now; "" when all is well.
        unsynced_bytes: Bytes that wait to be written.
        counts: For `status`.
    """

    def __init__(
        self, files: SegmentFiles, ring: RingLog, clock: Clock, limits: FileJournalLimits
    ) -> None:
        self.segments: list[Segment] = []
        self.epoch = ""
        self.last: Place | None = None
        self.covered = 0
        self.durable = 0
        self.alarm = ""
        self.unsynced_bytes = 0
        self.counts = Counts()
        self._files = files
        self._ring = ring
        self._clock = clock
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal-write")
        self._running: asyncio.Task[None] | None = None
        self._waiting: list[Writing] = []
        self._garbage: list[int] = []
        self._next_number = 1
        self._noted = 0  # the encoded bytes tell that everything before it is known
        self._disk_place: Place = (0, 0)  # last change that is on disk for certain
        self._is_writing = True  # whether what is added is encoded for the disk
        self._generation = 0  # rises when what is on its way to the disk no longer counts
        self._retry_at_s = 0.0
        self._retry_s = limits.retry_first_s

    @property
    def bytes(self) -> int:
        """Size of all segments, written or not."""
        return sum(segment.size for segment in self.segments)

    # ---------------------------------------------------------------- a history begins or goes on

    async def load(self) -> None:
        """Take up what an earlier run left; a disk that cannot be read raises the alarm."""
        try:
            found = await self._in_thread(self._files.load)
        except OSError as error:
            self.fail(error.strerror or str(error))
            return
        self._garbage = found.garbage
        self._next_number = found.highest + 1
        if found.cut_bytes:
            logger.warning("cut a torn end off the journal", extra={"bytes": found.cut_bytes})
        if found.scan is None:
            return
        self.segments = found.segments
        active = found.segments[-1]
        self.epoch = active.header.epoch
        self.covered = self.durable = self._noted = found.scan.covered
        self.last = found.scan.last or (active.floor if len(self.segments) > 1 else None)
        self._disk_place = found.scan.last or active.floor
        self._ring.reset(self._disk_place)

    def begin_anew(self, epoch: str, floor: Place, covered: int) -> None:
        """Forget everything and start a history behind `floor`."""
        self._generation += 1
        self._garbage += [segment.number for segment in self.segments]
        self._next_number += 1  # a gap, by which a later run knows where the history began
        self.segments = []
        self._waiting = []
        self.unsynced_bytes = 0
        self.epoch = epoch
        self.last = None
        self.covered = self.durable = covered
        self._disk_place = floor
        self._ring.reset(floor)
        if self._is_writing:
            self._open_segment(floor)

    # ---------------------------------------------------------------- adding

    def add(self, transaction: Transaction) -> int | None:
        """Take a transaction; gives its size in the file, or None when it is not written."""
        size, end_lsn = None, transaction.end_lsn
        if self._is_writing:
            segment = self.segments[-1]
            if segment.size >= self._limits.segment_bytes:
                segment = self._open_segment(self.last or segment.floor)
            data = segment.add(transaction)
            size = len(data)
            self._put(segment, data)
            self._noted = end_lsn
        self.last = last_place(transaction)
        if end_lsn > self.covered:
            self.covered = end_lsn
        return size

    def check_ring(self) -> None:
        """Once the ring has dropped what is not on disk, there is a hole between the two."""
        if not self._is_writing and self.segments and self._ring.floor > self._disk_place:
            self._forget_through(self.segments[-1])
            self._next_number += 1

    def _open_segment(self, floor: Place) -> Segment:
        segment = Segment(self._header(floor))
        self.segments.append(segment)
        self._next_number += 1
        self._put(segment, segment.begin(self.covered))
        self._noted = self.covered
        return segment

    def _header(self, floor: Place) -> Header:
        return Header(self._next_number, self.epoch, floor, int(self._clock.wall_s() * 1e6))

    def _put(self, segment: Segment, data: bytes) -> None:
        waiting = self._waiting
        if not waiting or waiting[-1].segment is not segment:
            waiting.append(Writing(segment, segment.size - len(data), []))
        waiting[-1].chunks.append(data)
        self.unsynced_bytes += len(data)

    # ---------------------------------------------------------------- syncing

    async def sync(self) -> None:
        """See `Journal.sync`."""
        await self.settle()  # what runs may have begun before what the caller means was added
        if self._running is None:
            self._running = asyncio.create_task(self._sync(), name="journal sync")
            self._running.add_done_callback(self._ran)
        await self.settle()

    async def settle(self) -> None:
        """Wait within the deadline for a sync that runs; it goes on in any case."""
        running = self._running
        if running is None or (self.alarm and not self._is_writing):
            return  # in an alarm the disk is tried now and then, and nobody waits for that
        await asyncio.wait([running], timeout=self._limits.sync_timeout_s)
        if not running.done():
            self.fail("the disk does not answer")

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._running = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the journal's sync broke off", exc_info=error)
            self.fail(str(error))

    async def _sync(self) -> None:
        self._expire()
        await self._remove_garbage()
        if not self._is_writing and not await self._recover():
            return
        if not self._is_writing or not self.segments:
            return  # it failed, or another history began, while we waited
        if self.covered > self._noted:
            self._put(self.segments[-1], self.segments[-1].add_cover(self.covered))
            self._noted = self.covered
        writings, self._waiting = self._waiting, []
        self.unsynced_bytes = 0
        if writings:
            await self._write(writings)

    async def _write(self, writings: list[Writing]) -> None:
        generation = self._generation
        place, covered = self.last or self._disk_place, self.covered
        ends = [writing.offset + sum(map(len, writing.chunks)) for writing in writings]
        began_s = self._clock.monotonic_s()
        try:
            await self._in_thread(self._files.write, writings)
        except OSError as error:
            if generation == self._generation:
                self.fail(error.strerror or str(error))
            return
        self.counts.syncs += 1
        self.counts.sync_s += self._clock.monotonic_s() - began_s
        if generation != self._generation:
            return
        for writing, end in zip(writings, ends, strict=True):
            writing.segment.synced = end
        self._disk_place, self.durable = place, covered
        if self.alarm:
            logger.warning("the journal retains again", extra={"alarm": self.alarm})
            self.alarm = ""
            self._retry_s = self._limits.retry_first_s

    # ---------------------------------------------------------------- retention

    def _expire(self) -> None:
        """Drop what is too old or too much; whole segments, never the one that is filled."""
        if not self.segments:
            return
        now_us = self._clock.wall_s() * 1e6
        active = self.segments[-1]
        is_aged = now_us - active.header.made_at_us > self._limits.segment_age_s * 1e6
        if self._is_writing and is_aged and active.has_transactions:
            self._open_segment(self.last or active.floor)
        size = self.bytes
        while len(self.segments) > 1 and self.segments[0].synced:
            oldest, following = self.segments[:2]
            # What is in a segment was all there when the next one was begun.
            is_old = now_us - following.header.made_at_us > self._limits.age_s * 1e6
            if not is_old and size <= self._limits.disk_bytes:
                break
            size -= oldest.size
            self._forget_through(oldest)

    def drop_damaged(self, segment: Segment) -> None:
        """Forget a segment that does not hold what was written, and all before it."""
        if segment not in self.segments:
            return
        self.counts.damages += 1
        logger.error("a segment of the journal is damaged", extra={"segment": segment.number})
        if segment is self.segments[-1] and self._is_writing:
            self._open_segment(self.last or segment.floor)
        self._waiting = [writing for writing in self._waiting if writing.segment is not segment]
        self._forget_through(segment)

    def _forget_through(self, segment: Segment) -> None:
        index = self.segments.index(segment) + 1
        self._garbage += [dropped.number for dropped in self.segments[:index]]
        del self.segments[:index]

    async def _remove_garbage(self) -> None:
        """Before anything is written: on a full disk that makes room."""
        garbage, self._garbage = self._garbage, []
        if not garbage:
            return
        try:
            await self._in_thread(self._files.remove, garbage)
        except OSError as error:
            logger.warning("a segment cannot be removed", extra={"reason": error.strerror})
            self._garbage += garbage

    # ---------------------------------------------------------------- a disk that fails

    def fail(self, reason: str) -> None:
        """Raise the alarm, and go on without the disk."""
        if not self.alarm:
            self.counts.failures += 1
            logger.error("the journal retains nothing on disk", extra={"reason": reason})
        self.alarm = reason or "the disk failed"
        self._is_writing = False
        self._generation += 1
        self._wait_longer()
        self._waiting = []
        self.unsynced_bytes = 0
        for segment in self.segments:
            segment.forget_unsynced()
        while self.segments and self.segments[-1].synced == 0:
            self._next_number = self.segments.pop().number
        self.check_ring()

    def _wait_longer(self) -> None:
        self._retry_at_s = self._clock.monotonic_s() + self._retry_s
        self._retry_s = min(2 * self._retry_s, self._limits.retry_max_s)

    async def _recover(self) -> bool:
        """Encode what the disk lacks into a new segment; says whether it may be written now."""
        if self._clock.monotonic_s() < self._retry_at_s or not self.epoch:
            return False
        generation = self._generation
        floor = max(self._disk_place, self._ring.floor)
        segment = Segment(self._header(floor))
        bulk = self._ring.all_after(floor)
        chunks = [segment.begin(floor[0] + 1)]
        chunks += await self._in_thread(_encode_all, segment, bulk)
        done = last_place(bulk[-1]) if bulk else floor
        if generation != self._generation or self._ring.floor > done:
            self._wait_longer()
            return False  # another history, or changes come faster than they are encoded
        chunks += _encode_all(segment, self._ring.all_after(done))
        self.check_ring()
        if segment.number != self._next_number:  # the former segments no longer count
            self._wait_longer()
            return False
        self.segments.append(segment)
        self._next_number += 1
        self._waiting = [Writing(segment, 0, chunks)]
        self._noted = 0
        self._is_writing = True
        return True

    # ---------------------------------------------------------------- its end

    async def close(self) -> None:
        """Sync, and let go of the folder."""
        if self.epoch:
            await self.sync()
        is_stuck = self._running is not None
        self._thread.shutdown(wait=not is_stuck, cancel_futures=True)
        if not is_stuck:
            self._files.close()

    async def _in_thread(self, work: Callable[[*_Arguments], _T], *arguments: *_Arguments) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _encode_all(segment: Segment, transactions: Sequence[Transaction]) -> list[bytes]:
    return [segment.add(transaction) for transaction in transactions]
