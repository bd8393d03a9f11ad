"""Between the stream and the router: everything goes into the journal first, once.

A transaction is appended, then routed, and synced meanwhile: clients do not wait for the disk. The
database may forget it once it is durable and was routed.

After a kill the stream goes on behind what the database was allowed to forget, so it brings some
transactions again. The journal knows most of them and drops them; the router gets all, since
nobody knows whether they were routed before the process died, or only kept. So whoever reads the
journal up to `last` and then listens must drop, from what is routed to him, all that is not behind
`last` as it was: see docs/internals/journal.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from tidewire.core.change import Transaction
from tidewire.core.lsn import Lsn
from tidewire.ports.change_source import TransactionSink
from tidewire.ports.journal import Journal

SYNC_INTERVAL_S = 0.1

TICK_S = 30.0
"""Longest time between two syncs, for what must be done while idle too: segments grow too old, a
disk that failed works again."""


class Recorder:
    """Implements `TransactionSink` and `Keeper` of `ports.change_source`.

    Args:
        journal: Where everything is kept.
        sink: Takes everything, once it is in the journal.
        sync_interval_s: Least time between two syncs of the journal.

    Attributes:
        journal: See above.
        repeated: Transactions that came though the journal knew them.
    """

    def __init__(
        self, journal: Journal, sink: TransactionSink, *, sync_interval_s: float = SYNC_INTERVAL_S
    ) -> None:
        self.journal = journal
        self.repeated = 0
        self._sink = sink
        self._sync_interval_s = sync_interval_s
        self._epoch = ""
        self._taken = Lsn(0)
        self._news = asyncio.Event()
        self._on_durable: Callable[[str, Lsn], None] = lambda _epoch, _lsn: None

    # ---------------------------------------------------------------- the stream's keeper

    def listen(self, on_durable: Callable[[str, Lsn], None]) -> None:
        """See `Keeper.listen`."""
        self._on_durable = on_durable

    async def begin(self, epoch: str, *, start: Lsn) -> None:
        """See `Keeper.begin`."""
        await self.journal.begin(epoch, start=start)
        self._epoch = epoch
        self._taken = start

    def keep(self, lsn: Lsn) -> None:
        """See `Keeper.keep`."""
        self.journal.cover(lsn)
        self._taken = max(self._taken, lsn)
        if self.journal.durable < lsn:
            self._news.set()
        self._tell()

    def _tell(self) -> None:
        if self._epoch:
            self._on_durable(self._epoch, min(self._taken, self.journal.durable))

    # ---------------------------------------------------------------- the stream's sink

    async def receive(self, transactions: Sequence[Transaction]) -> None:
        """Keep whole transactions, then pass them on."""
        self.repeated += len(transactions) - len(self.journal.append(transactions))
        self._news.set()
        await self._sink.receive(transactions)
        if self.journal.is_full:
            await self.journal.sync()

    async def on_live(self, epoch: str, *, is_new_epoch: bool) -> None:
        """See `TransactionSink.on_live`."""
        await self._sink.on_live(epoch, is_new_epoch=is_new_epoch)

    async def on_down(self, reason: str) -> None:
        """See `TransactionSink.on_down`."""
        await self._sink.on_down(reason)

    # ---------------------------------------------------------------- its own work

    async def run(self) -> None:
        """Sync the journal, soon after there is something to sync, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._news.wait()
            self._news.clear()
            await self.journal.sync()
            self._tell()
            await asyncio.sleep(self._sync_interval_s)
