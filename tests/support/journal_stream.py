"""A program that streams from PostgreSQL into a journal until it is killed.

Arguments: connection URL, data folder. What is routed goes nowhere.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.stream import SystemClock
from tidewire.adapters.files.journal import FileJournal
from tidewire.adapters.files.limits import FileJournalLimits
from tidewire.adapters.postgres.change_source import PostgresChangeSource
from tidewire.core.change import Transaction
from tidewire.engine.recorder import Recorder
from tidewire.server.epoch_file import EpochFile

LIMITS = FileJournalLimits(memory_bytes=200_000, disk_bytes=16 << 20)
"""A small ring, so that most is read from disk."""


class NoRouter:
    async def receive(self, transactions: Sequence[Transaction]) -> None:
        pass

    async def on_live(self, epoch: str, *, is_new_epoch: bool) -> None:
        pass

    async def on_down(self, reason: str) -> None:
        pass


@asynccontextmanager
async def streaming_into_journal(
    url: str, folder: Path
) -> AsyncGenerator[tuple[FileJournal, PostgresChangeSource]]:
    """The parts of a server that matter here, running."""
    journal = FileJournal(folder / "journal", SystemClock(), limits=LIMITS)
    await journal.open()
    recorder = Recorder(journal, NoRouter(), sync_interval_s=0.02)
    source = PostgresChangeSource(
        url,
        slot="tidewire_test",
        publication="p",
        epochs=EpochFile(folder / "slot.json"),
        clock=SystemClock(),
        rng=random.Random(),
    )
    tasks = [
        asyncio.create_task(recorder.run()),
        asyncio.create_task(source.run(recorder, recorder)),
    ]
    try:
        yield journal, source
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await journal.close()


async def _run(url: str, folder: Path) -> None:
    async with streaming_into_journal(url, folder):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], Path(sys.argv[2])))
