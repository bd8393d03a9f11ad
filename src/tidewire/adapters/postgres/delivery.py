"""Hands a stream's transactions to the sink, one call at a time.

The stream fills in while the sink works; beyond `pending_bytes_max` the connection is paused,
and read on when half of it is worked off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import msgspec

from tidewire.core.change import Transaction
from tidewire.core.lsn import Lsn
from tidewire.ports.change_source import Keeper, TransactionSink


class DeliveryObserver(Protocol):
    """Whom delivery tells of its progress. Must not block."""

    def delivered(self, end_lsn: Lsn) -> None:
        """Everything before `end_lsn` was taken by the sink."""
        ...

    def drained(self) -> None:
        """Nothing is waiting any more."""
        ...

    def durable(self, epoch: str, lsn: Lsn) -> None:
        """The keeper keeps everything of that epoch before `lsn`."""
        ...

    def has_room(self) -> None:
        """Half of the bound is free again after it was reached."""
        ...


class _Batch(msgspec.Struct, frozen=True):
    transactions: Sequence[Transaction]
    size: int


class _Live(msgspec.Struct, frozen=True):
    epoch: str
    is_new_epoch: bool
    start: Lsn


class _Down(msgspec.Struct, frozen=True):
    reason: str


class Delivery:
    """A bounded queue in front of one sink.

    Args:
        sink: Whom to hand to.
        keeper: Who keeps what was handed over; None when nobody does.
        pending_bytes_max: Size of what waits, beyond which `is_full`.

    Attributes:
        observer: Whom to tell; the stream that fills the queue now.
    """

    observer: DeliveryObserver | None

    def __init__(
        self, sink: TransactionSink, keeper: Keeper | None, *, pending_bytes_max: int
    ) -> None:
        self.observer = None
        self._sink = sink
        self._keeper = keeper
        if keeper is not None:
            keeper.listen(self._on_durable)
        self._pending_bytes_max = pending_bytes_max
        self._pending_bytes = 0
        self._was_full = False
        self._waiting: deque[_Batch | _Live | _Down] = deque()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_idle(self) -> bool:
        """Whether the sink has taken everything."""
        return self._idle.is_set()

    @property
    def is_full(self) -> bool:
        """Whether the stream must be paused."""
        return self._pending_bytes > self._pending_bytes_max

    def put(self, transactions: Sequence[Transaction], size: int) -> None:
        """Add transactions of `size` bytes. Never refused: the caller pauses when `is_full`."""
        self._add(_Batch(transactions, size))
        self._pending_bytes += size
        self._was_full = self._was_full or self.is_full

    def put_live(self, epoch: str, *, is_new_epoch: bool, start: Lsn) -> None:
        """Add the news that the stream runs, from `start` on."""
        self._add(_Live(epoch, is_new_epoch, start))

    def put_down(self, reason: str) -> None:
        """Add the news that the stream broke."""
        self._add(_Down(reason))

    def keep(self, epoch: str, lsn: Lsn) -> None:
        """The sink has taken all before `lsn`: have it kept, then tell the observer."""
        if self._keeper is not None:
            self._keeper.keep(lsn)
        else:
            self._on_durable(epoch, lsn)

    def _on_durable(self, epoch: str, lsn: Lsn) -> None:
        if self.observer is not None:
            self.observer.durable(epoch, lsn)

    async def wait_idle(self) -> None:
        """Wait until the sink has taken everything. It takes as long as the sink takes."""
        await self._idle.wait()

    async def run(self) -> None:
        """Hand over for ever; ends with what the sink raises."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                await self._hand_over_next()
            self._idle.set()
            if self.observer is not None:
                self.observer.drained()

    def _add(self, item: _Batch | _Live | _Down) -> None:
        self._waiting.append(item)
        self._idle.clear()
        self._news.set()

    async def _hand_over_next(self) -> None:
        item = self._waiting.popleft()
        if isinstance(item, _Live):
            if self._keeper is not None:
                await self._keeper.begin(item.epoch, start=item.start)
            await self._sink.on_live(item.epoch, is_new_epoch=item.is_new_epoch)
        elif isinstance(item, _Down):
            await self._sink.on_down(item.reason)
        else:
            await self._hand_over_batch(item)

    async def _hand_over_batch(self, first: _Batch) -> None:
        """Hand over this batch together with those that wait right behind it."""
        transactions = list(first.transactions)
        size = first.size
        while self._waiting and isinstance(following := self._waiting[0], _Batch):
            transactions += following.transactions
            size += following.size
            self._waiting.popleft()
        await self._sink.receive(transactions)
        self._pending_bytes -= size
        has_room = self._was_full and self._pending_bytes <= self._pending_bytes_max // 2
        if has_room:
            self._was_full = False
        if self.observer is not None:
            self.observer.delivered(transactions[-1].end_lsn)
            if has_room:
                self.observer.has_room()
