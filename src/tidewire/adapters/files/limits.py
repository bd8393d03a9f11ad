"""Bounds and times of a journal in files."""

from __future__ import annotations

import msgspec

from tidewire.core.ring_log import BYTES_MAX, COUNT_MAX

SEGMENT_BYTES_MAX = 32 << 20
SEGMENTS_WANTED = 16


class FileJournalLimits(msgspec.Struct, frozen=True):
    """Bounds and times of a journal.

    Attributes:
        memory_bytes: Of the ring.
        memory_count: Transactions in the ring.
        disk_bytes: Of all segments; the oldest is dropped beyond it, whole. One segment more may
            be there for a moment, and a transaction is never cut.
        age_s: A segment is dropped when all in it is older.
        unsynced_bytes: What may wait for a sync before `is_full`.
        sync_timeout_s: A disk that takes longer counts as failed.
        retry_first_s: Wait before a failed disk is tried again.
        retry_max_s: Longest wait between two tries.
    """

    memory_bytes: int = BYTES_MAX
    memory_count: int = COUNT_MAX
    disk_bytes: int = 1 << 30
    age_s: float = 86_400.0
    unsynced_bytes: int = 32 << 20
    sync_timeout_s: float = 10.0
    retry_first_s: float = 1.0
    retry_max_s: float = 60.0

    @property
    def segment_bytes(self) -> int:
        """Of one segment; the transaction that passes it is its last."""
        return min(SEGMENT_BYTES_MAX, self.disk_bytes // SEGMENTS_WANTED)

    @property
    def segment_age_s(self) -> float:
        """A segment that is older is filled no further."""
        return self.age_s / SEGMENTS_WANTED
