"""Settings of section journal, and the journal that they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tidewire.adapters.files.journal import FileJournal
from tidewire.adapters.files.limits import FileJournalLimits
from tidewire.adapters.memory.journal import MemoryJournal
from tidewire.core.clock import Clock

FOLDER_NAME = "journal"
MIB = 1 << 20
_LIMITS = FileJournalLimits()


class JournalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long changes are kept for clients that come back."""

    store: Annotated[
        Literal["files", "memory"],
        Meta(
            description="files keeps changes in the data folder, so that a restart loses none; "
            "memory keeps the newest until the process ends."
        ),
    ] = "files"
    disk_bytes_max: Annotated[
        int,
        Meta(ge=16 * MIB, description="Bytes on disk; the oldest changes make room."),
    ] = _LIMITS.disk_bytes
    memory_bytes_max: Annotated[
        int,
        Meta(
            ge=MIB,
            description="Bytes of the newest changes that are kept in memory, for quick catch-up.",
        ),
    ] = _LIMITS.memory_bytes
    age_max_s: Annotated[
        float, Meta(ge=60, description="Seconds after which changes on disk are dropped.")
    ] = _LIMITS.age_s
    sync_interval_s: Annotated[
        float,
        Meta(
            ge=0.01,
            le=1,
            description="Least seconds between two syncs to disk. Clients do not wait for it; "
            "PostgreSQL keeps its log until then.",
        ),
    ] = 0.1


def make_journal(
    settings: JournalSettings, folder: Path, clock: Clock
) -> FileJournal | MemoryJournal:
    """The journal of one tenant.

    Args:
        settings: Say which.
        folder: Where the tenant's records are kept.
        clock: Where the time comes from.
    """
    if settings.store == "memory":
        return MemoryJournal(clock, bytes_max=settings.memory_bytes_max)
    limits = FileJournalLimits(
        memory_bytes=settings.memory_bytes_max,
        disk_bytes=settings.disk_bytes_max,
        age_s=settings.age_max_s,
    )
    return FileJournal(folder / FOLDER_NAME, clock, limits=limits)
