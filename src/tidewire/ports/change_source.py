"""Where committed transactions come from."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from tidewire.core.change import Transaction
from tidewire.core.lsn import Lsn


class StreamState(enum.Enum):
    """Where the stream is in its life."""

    STARTING = "starting"
    LIVE = "live"
    DOWN = "down"
    STOPPED = "stopped"


class StreamStatus(msgspec.Struct, frozen=True):
    """What there is to say of the stream now.

    Attributes:
        state: Where it is in its life.
        epoch: The history it reads; "" until known.
        detail: For people: why it is down, what it waits for.
        attempt: How many tries since it was last live.
        received_lsn: Last position seen.
        acknowledged_lsn: Last position that PostgreSQL may forget.
    """

    state: StreamState
    epoch: str = ""
    detail: str = ""
    attempt: int = 0
    received_lsn: Lsn = Lsn(0)
    acknowledged_lsn: Lsn = Lsn(0)


class TransactionSink(Protocol):
    """Takes what a change source yields, in order, one call at a time."""

    async def receive(self, transactions: Sequence[Transaction]) -> None:
        """Take all transactions that one read of the socket completed.

        The source reads on while this runs, up to its bound, then waits: back-pressure.
        When it returns they may be acknowledged, as soon as the `Keeper` agrees.
        """
        ...

    async def on_live(self, epoch: str, *, is_new_epoch: bool) -> None:
        """The stream runs: everything committed from now on arrives.

        Args:
            epoch: Name of the history.
            is_new_epoch: The former slot was lost, so changes may be missing: subscribers
                must be told to refetch.
        """
        ...

    async def on_down(self, reason: str) -> None:
        """The stream broke; nothing is lost, it resumes where it was or says so."""
        ...


class Keeper(Protocol):
    """Says what the database may forget, because it is kept elsewhere."""

    def listen(self, on_durable: Callable[[str, Lsn], None]) -> None:
        """Name the one function that takes (epoch, LSN) whenever more may be forgotten.

        Must not block. An LSN means something in its own epoch only.
        """
        ...

    async def begin(self, epoch: str, *, start: Lsn) -> None:
        """A stream begins; comes before the sink's `on_live` of the same stream.

        Args:
            epoch: Name of the history.
            start: Everything that commits at or after this place comes; what committed before
                it, the database may have forgotten.
        """
        ...

    def keep(self, lsn: Lsn) -> None:
        """The sink has taken all that committed before `lsn`; see to it that it is kept."""
        ...


class ChangeSource(Protocol):
    """Streams committed transactions.

    Promise: each transaction of the publication reaches the sink exactly once per process,
    whole, in commit order, across reconnects; at least once across a kill of the process.
    When the history broke, `on_live` says so with a new epoch. Reconnects for ever, with
    bounded backoff, until stopped.
    """

    @property
    def status(self) -> StreamStatus:
        """What there is to say of the stream now."""
        ...

    async def run(self, sink: TransactionSink, keeper: Keeper | None = None) -> None:
        """Stream into `sink` until cancelled; closes its connection on the way out.

        Args:
            sink: Takes transactions.
            keeper: Without one, what the sink has taken may be forgotten at once.
        """
        ...
