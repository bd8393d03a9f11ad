"""Journals in a folder, opened and reopened."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.clock import ManualClock
from tests.support.failing_files import FailingFiles
from tests.support.transactions import at, told
from tidewire.adapters.files.journal import FileJournal
from tidewire.adapters.files.limits import FileJournalLimits
from tidewire.core.change import Transaction
from tidewire.core.lsn import Lsn
from tidewire.core.position import Position, last_place

NO_RING = 1
"""Bytes of a ring that keeps nothing, so that all is read from disk."""


class JournalFolder:
    """One journal's folder, and the journals that were opened on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.files = FailingFiles()
        self.opened: list[FileJournal] = []

    async def open(self, **limits: Any) -> FileJournal:
        wanted = FileJournalLimits(**{"memory_bytes": NO_RING, **limits})
        self.opened.append(FileJournal(self.path, self.clock, limits=wanted, layer=self.files))
        await self.opened[-1].open()
        return self.opened[-1]

    async def begin(self, *, epoch: str = "e1", start: int = 1, **limits: Any) -> FileJournal:
        journal = await self.open(**limits)
        await journal.begin(epoch, start=Lsn(start))
        return journal

    def kill(self, journal: FileJournal) -> None:
        """Let the folder go as a killed process does: nothing more is written."""
        journal._is_closed = True
        journal._disk._thread.shutdown(wait=True, cancel_futures=True)
        journal._disk._files.close()

    @property
    def segments(self) -> list[Path]:
        return sorted(self.path.glob("*.segment"))


@asynccontextmanager
async def journal_folder(path: Path) -> AsyncGenerator[JournalFolder]:
    """A folder whose journals are closed at the end, whatever was made to fail."""
    folder = JournalFolder(path)
    yield folder
    folder.files.failing.clear()
    folder.files.gate.set()
    for journal in folder.opened:
        await journal.close()


async def read_all(journal: FileJournal, after: Position | None = None) -> list[Transaction]:
    position = after or journal.floor
    assert position is not None
    found: list[Transaction] = []
    while page := await journal.read_after(position):
        found += page
        position = at(*last_place(page[-1]), epoch=position.epoch)
    return found


async def lsns(journal: FileJournal, after: Position | None = None) -> list[int]:
    return [int(item.commit_lsn) for item in await read_all(journal, after)]


async def tell(journal: FileJournal, after: Position | None = None) -> list[object]:
    return [told(item) for item in await read_all(journal, after)]
