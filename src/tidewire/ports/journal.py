"""Keeps transactions for those who come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tidewire.core.change import Transaction
from tidewire.core.lsn import Lsn
from tidewire.core.position import Position


class JournalStatus(msgspec.Struct, frozen=True):
    """What there is to say of a journal now.

    Attributes:
        store: Where it keeps things: ``memory`` or ``files``.
        alarm: Why nothing is retained outside of memory just now, for people; "" when all is
            well.
        memory_bytes: About how much memory the transactions in memory take.
        disk_bytes: Size of what is on disk or on its way there.
        segments: Files that make it up.
        reach_s: How far back it reaches, in seconds; 0 while it is empty.
        unsynced_bytes: What a crash of the machine would take, and the stream then repeat.
        syncs_total: How often it was brought to disk.
        sync_seconds_total: How long that took in all.
        failures_total: How often the disk failed.
        damages_total: How often bytes that were written came back wrong.
    """

    store: str
    alarm: str = ""
    memory_bytes: int = 0
    disk_bytes: int = 0
    segments: int = 0
    reach_s: float = 0.0
    unsynced_bytes: int = 0
    syncs_total: int = 0
    sync_seconds_total: float = 0.0
    failures_total: int = 0
    damages_total: int = 0


class Journal(Protocol):
    """An ordered, bounded store of whole transactions of one epoch.

    Promise: everything behind `floor` is here, in commit order, each transaction once and with
    the very bytes and table versions that were appended; retention and failures move the floor,
    and never leave a hole behind it. What `durable` has passed outlives a kill of the process
    and of the machine, as far as the store outlives them at all.

    One task appends and syncs; any number may read meanwhile.
    """

    @property
    def floor(self) -> Position | None:
        """Everything behind this position is still here; None before `begin`."""
        ...

    @property
    def last(self) -> Position | None:
        """Position of the last change appended; None while nothing was."""
        ...

    @property
    def covered(self) -> Lsn:
        """Everything that committed before this place of the log is known; 0 before `begin`.

        May lie behind the last transaction: there is nothing in between.
        """
        ...

    @property
    def durable(self) -> Lsn:
        """What the source may forget: everything before it is kept, or was given up for good.

        It is given up when the store fails: a journal never holds the database's log back.
        """
        ...

    @property
    def status(self) -> JournalStatus:
        """What there is to say of it now; costs nothing."""
        ...

    async def open(self) -> None:
        """Take the store for this process alone. Comes before everything else.

        Raises:
            SetupError: Another process holds it, or it cannot be used at all.
        """
        ...

    async def begin(self, epoch: str, *, start: Lsn) -> None:
        """Go on with a history, or start one. Comes before anything is appended or read.

        The journal is emptied when it holds another epoch, and when it does not know all that
        committed before `start`: then there would be a hole.

        Args:
            epoch: Name of the history.
            start: The source will bring everything that commits at or after this place, and
                perhaps repeat what it brought before.
        """
        ...

    def append(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        """Keep whole transactions, oldest first. Does not wait, and never fails.

        Returns:
            Those that were new; the others were at or before the last one, and are dropped.
        """
        ...

    def cover(self, lsn: Lsn) -> None:
        """Take note that nothing else committed before `lsn`. A place already covered is fine."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be synced that the caller should do it now, and wait."""
        ...

    async def sync(self) -> None:
        """Make durable what there is, and drop what retention has passed.

        Returns within a deadline, also when the store fails or hangs: `status` tells then.
        Calls at the same time share work. Cancelling one leaves the work to its end.
        """
        ...

    async def read_after(self, position: Position) -> list[Transaction]:
        """The next page: whole transactions that hold something behind `position`.

        Bounded: a page holds what memory can bear many times over, and at least one transaction
        if there is any. The caller goes on from the last change of the page, and drops from the
        first transaction what lies at or before `position`. A position from the future, of a
        change that the stream is about to repeat, gives nothing.

        Returns:
            Oldest first; empty when `position` is at or behind `last`.

        Raises:
            PositionLostError: `position` lies before the floor, is of another epoch, or what
                comes behind it was just now found damaged.
        """
        ...

    async def close(self) -> None:
        """Make everything durable and let go of the store. A second call does nothing."""
        ...
