"""What the journal costs a change, and how fast it is read back and reopened.

Rows of 600 bytes. A change's cost is the processor time that the event loop's thread spends on it;
the second figure adds the thread that writes and syncs.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_most, figure
from tidewire.adapters.files.journal import FileJournal
from tidewire.adapters.files.limits import FileJournalLimits
from tidewire.core.change import (
    Change,
    ChangeKind,
    Relation,
    RelationColumn,
    ReplicaIdentity,
    Transaction,
)
from tidewire.core.lsn import Lsn
from tidewire.core.position import Position, last_place
from tidewire.engine.recorder import SYNC_INTERVAL_S
from tidewire.server.clock import SystemClock

CHANGES = 100_000
ROW_BYTES = 600
BATCH = 50
"""Changes that one read of the stream's socket brings under load."""

_RELATION = Relation(
    1, "public", "trips", ReplicaIdentity.DEFAULT, (RelationColumn("id", 23, -1, True),)
)
_EPOCH = "1-1"


def _history(changes: int, per_transaction: int) -> list[Transaction]:
    row = b"x" * ROW_BYTES
    items = tuple(Change(ChangeKind.UPDATE, _RELATION, row, None) for _ in range(per_transaction))
    count = changes // per_transaction
    return [Transaction(Lsn(n * 100), Lsn(n * 100 + 50), n, n, items) for n in range(1, count + 1)]


async def _append_all(journal: FileJournal, history: list[Transaction], batch: int) -> float:
    """Processor seconds of the loop's thread in appending, with syncs under way."""
    spent_s = 0.0
    synced_s = time.perf_counter()
    syncing: asyncio.Task[None] | None = None
    for first in range(0, len(history), batch):
        began_s = time.thread_time()
        journal.append(history[first : first + batch])
        spent_s += time.thread_time() - began_s
        now_s = time.perf_counter()
        if now_s - synced_s >= SYNC_INTERVAL_S:
            synced_s = now_s
            syncing = asyncio.create_task(journal.sync())
        if journal.is_full:
            await journal.sync()
        await asyncio.sleep(0)
    if syncing is not None:
        await syncing
    await journal.sync()
    return spent_s


async def _read_all(journal: FileJournal) -> float:
    floor = journal.floor
    assert floor is not None
    began_s = time.perf_counter()
    position, count = floor, 0
    while page := await journal.read_after(position):
        count += sum(len(kept.changes) for kept in page)
        lsn, seq = last_place(page[-1])
        position = Position(floor.epoch, Lsn(lsn), seq)
    assert count == CHANGES, count
    return time.perf_counter() - began_s


async def _run(per_transaction: int) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(prefix="tidewire-bench-"))
    history = _history(CHANGES, per_transaction)
    try:
        limits = FileJournalLimits(memory_bytes=1 << 30, memory_count=10 * CHANGES)
        journal = FileJournal(folder, SystemClock(), limits=limits)
        await journal.open()
        await journal.begin(_EPOCH, start=Lsn(1))
        began_s = time.process_time()
        append_s = await _append_all(journal, history, max(1, BATCH // per_transaction))
        all_s = time.process_time() - began_s
        ring_s = await _read_all(journal)
        await journal.close()
        began_s = time.perf_counter()
        again = FileJournal(folder, SystemClock(), limits=limits)
        await again.open()
        await again.begin(_EPOCH, start=Lsn(1))
        reopen_s = time.perf_counter() - began_s
        disk_s = await _read_all(again)
        await again.close()
        return {
            "append": append_s,
            "all": all_s,
            "ring": ring_s,
            "reopen": reopen_s,
            "disk": disk_s,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(lab: Lab) -> list[Figure]:
    figures: list[Figure] = []
    for per_transaction in (1, 10):
        what = f"{per_transaction} a transaction"
        runs = lab.repeat(what, list, lambda n=per_transaction: asyncio.run(_run(n)))
        figures += [
            figure(
                f"one change, {what}",
                "us",
                [run["append"] / CHANGES * 1e6 for run in runs],
                target=at_most(3),
            ),
            figure(
                f"the same with writing and syncing, {what}",
                "us",
                [run["all"] / CHANGES * 1e6 for run in runs],
            ),
            figure(
                f"replay of 100,000 from disk, {what}",
                "s",
                [run["disk"] for run in runs],
                target=at_most(2),
            ),
            figure(f"replay of 100,000 from memory, {what}", "s", [run["ring"] for run in runs]),
            figure(f"reopening, {what}", "s", [run["reopen"] for run in runs]),
        ]
    return figures


if __name__ == "__main__":
    run_program("journal", __doc__, measure)
