"""What tests of the replication stream need: a sink that remembers, a store in memory, waiting."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from tidewire.adapters.postgres.change_source import ChangeSourceLimits, PostgresChangeSource
from tidewire.adapters.postgres.epoch import SlotRecord
from tidewire.core.change import Change, ChangeKind, LogicalMessage, Transaction
from tidewire.protocol.pgoutput.row import split_row

DEADLINE_S = 15.0


class SystemClock:
    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        return time.time()


class MemoryEpochStore:
    """Keeps the record in memory; `saved` counts."""

    def __init__(self, record: SlotRecord | None = None) -> None:
        self.record = record
        self.saved = 0

    def load(self) -> SlotRecord | None:
        return self.record

    def save(self, record: SlotRecord) -> None:
        self.record = record
        self.saved += 1


class RecordingSink:
    """Remembers everything; a test waits for a condition on it."""

    def __init__(self) -> None:
        self.transactions: list[Transaction] = []
        self.calls: list[int] = []
        self.lives: list[tuple[str, bool]] = []
        self.downs: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._changed = asyncio.Condition()

    async def receive(self, transactions: Sequence[Transaction]) -> None:
        self.calls.append(len(transactions))
        await self.gate.wait()
        self.transactions += transactions
        await self._tell()

    async def on_live(self, epoch: str, *, is_new_epoch: bool) -> None:
        self.lives.append((epoch, is_new_epoch))
        await self._tell()

    async def on_down(self, reason: str) -> None:
        self.downs.append(reason)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait(self, holds: Callable[[], bool], *, deadline_s: float = DEADLINE_S) -> None:
        async with asyncio.timeout(deadline_s), self._changed:
            await self._changed.wait_for(holds)

    async def wait_live(self, times: int = 1) -> None:
        await self.wait(lambda: len(self.lives) >= times)

    def changes(self) -> list[Change]:
        return [c for t in self.transactions for c in t.changes if isinstance(c, Change)]

    def messages(self) -> list[LogicalMessage]:
        return [c for t in self.transactions for c in t.changes if isinstance(c, LogicalMessage)]

    def inserted(self, column: int = 0) -> list[int]:
        """One column of all inserted rows, as numbers, in order."""
        rows = [c.new for c in self.changes() if c.kind is ChangeKind.INSERT and c.new]
        texts = [split_row(row)[column] for row in rows]
        return [int(text) for text in texts if isinstance(text, bytes)]


async def eventually(
    holds: Callable[[], Awaitable[bool]], *, deadline_s: float = DEADLINE_S
) -> None:
    """Ask again and again what nobody tells of its own accord, until it holds."""
    async with asyncio.timeout(deadline_s):
        while not await holds():  # noqa: ASYNC110 - asks another process
            await asyncio.sleep(0.01)


def make_source(
    url: str,
    *,
    slot: str = "tidewire_test",
    publication: str = "p",
    optional_publication: str = "",
    epochs: MemoryEpochStore | None = None,
    limits: ChangeSourceLimits | None = None,
    failover: bool = False,
) -> PostgresChangeSource:
    return PostgresChangeSource(
        url,
        slot=slot,
        publication=publication,
        optional_publication=optional_publication,
        epochs=epochs or MemoryEpochStore(),
        clock=SystemClock(),
        rng=random.Random(7),
        limits=limits,
        failover=failover,
    )


@asynccontextmanager
async def streaming(
    source: PostgresChangeSource, sink: RecordingSink, *, wait_live: bool = True
) -> AsyncGenerator[asyncio.Task[None]]:
    """Run `source` into `sink`, live on entry, stopped on leaving."""
    task = asyncio.create_task(source.run(sink))
    try:
        if wait_live:
            await sink.wait_live(len(sink.lives) + 1)
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
