"""What `tidewire doctor` says of the journal's folder. Looks only; the server may be running."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from tidewire.adapters.files.segment_files import SUFFIX
from tidewire.adapters.postgres.finding import Finding
from tidewire.server.journal_settings import FOLDER_NAME, MIB, JournalSettings


class JournalReport(msgspec.Struct, frozen=True):
    """What lies in the folder.

    Attributes:
        folder: Where.
        segments: Files.
        bytes: Their size.
        free_bytes: Room on that disk.
    """

    folder: str
    segments: int
    bytes: int
    free_bytes: int


def look_at_journal(
    settings: JournalSettings, data_folder: Path
) -> tuple[JournalReport | None, list[Finding]]:
    """Count what is there, and see whether what may come fits on the disk.

    Args:
        settings: Say whether there is a folder, and how large it may grow.
        data_folder: The server's, or a tenant's.
    """
    folder = data_folder / FOLDER_NAME
    if settings.store == "memory" or not folder.is_dir():
        return None, []
    try:
        sizes = [path.stat().st_size for path in folder.glob(f"*{SUFFIX}")]
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        problem = f"the journal's folder {folder} cannot be read: {error.strerror}"
        return None, [Finding("journal_unreadable", "error", problem)]
    report = JournalReport(str(folder), len(sizes), sum(sizes), free_bytes)
    missing = settings.disk_bytes_max - report.bytes - free_bytes
    if missing <= 0:
        return report, []
    problem = (
        f"the journal may grow to {settings.disk_bytes_max // MIB} MiB, "
        f"{-(-missing // MIB)} MiB more than there is room for"
    )
    advice = "Make room, or lower journal.disk_bytes_max: a full disk stops retention."
    return report, [Finding("journal_room", "warning", problem, advice)]
