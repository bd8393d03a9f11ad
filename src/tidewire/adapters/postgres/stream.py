"""What one connection's stream brings, put together and handed over.

Between the socket and the delivery: assembles transactions, drops what was handed over before,
pauses reading when the sink falls behind, and acknowledges what is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tidewire.adapters.postgres.delivery import Delivery
from tidewire.adapters.postgres.replication import ReplicationConnection, StreamEvent
from tidewire.core.change import Transaction
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgoutput.assemble import Assembler
from tidewire.protocol.pgwire.events import Keepalive, NoticeReceived, WalData

logger = logging.getLogger(__name__)

_NOT_IN_PREREQUISITE_STATE = "55000"


class Progress:
    """How far one history has been read, across its connections.

    Attributes:
        received: The last position seen.
        acknowledged: The last position that PostgreSQL was told it may forget.
        last_commit: Commit of the last transaction handed to the delivery.
        end: The first byte after it; where the next connection begins.
    """

    def __init__(self, start: Lsn) -> None:
        self.received = start
        self.acknowledged = start
        self.last_commit = Lsn(0)
        self.end = Lsn(0)


class Stream:
    """Listens to one connection and observes its delivery.

    Args:
        connection: Whose stream it is.
        delivery: Where whole transactions go.
        progress: Of the history that the stream continues.
        assembler: A fresh one.
        epoch: Name of the history.
        is_new_epoch: Whether it has just begun.

    Attributes:
        is_live: Whether the stream has started.
        broken_history: Why changes were missed in this stream; "" when they were not.
    """

    def __init__(
        self,
        connection: ReplicationConnection,
        delivery: Delivery,
        progress: Progress,
        assembler: Assembler,
        *,
        epoch: str,
        is_new_epoch: bool,
    ) -> None:
        self.is_live = False
        self.broken_history = ""
        self._connection = connection
        self._delivery = delivery
        self._progress = progress
        self._assembler = assembler
        self._epoch = epoch
        self._is_new_epoch = is_new_epoch
        self._wal_end = Lsn(0)
        self._unsized_bytes = 0

    # ---------------------------------------------------------------- the connection's listener

    def stream_started(self) -> None:
        """From now on everything committed arrives."""
        self.is_live = True
        self._delivery.observer = self
        self._delivery.put_live(
            self._epoch, is_new_epoch=self._is_new_epoch, start=self._progress.acknowledged
        )

    def stream_received(self, events: Sequence[StreamEvent]) -> None:
        """Take what one read of the socket brought."""
        transactions: list[Transaction] = []
        for event in events:
            if isinstance(event, WalData):
                self._unsized_bytes += len(event.payload)
                transaction = self._assembler.receive(event.payload)
                if transaction is not None:
                    self._take(transaction, transactions)
            elif isinstance(event, Keepalive):
                self._wal_end = event.wal_end
                self._progress.received = max(self._progress.received, event.wal_end)
            elif isinstance(event, NoticeReceived):
                self._take_notice(event)
            else:
                logger.warning("change too large to read", extra={"size_bytes": event.size})
                self._assembler.skip(event.kind)
        if transactions:
            self._delivery.put(transactions, self._unsized_bytes)
            self._unsized_bytes = 0
            if self._delivery.is_full:
                self._connection.pause()
        self._acknowledge_when_idle()

    def _take(self, transaction: Transaction, transactions: list[Transaction]) -> None:
        progress = self._progress
        progress.received = max(progress.received, transaction.end_lsn)
        if transaction.commit_lsn <= progress.last_commit:
            return  # sent again after a reconnect
        progress.last_commit = transaction.commit_lsn
        progress.end = transaction.end_lsn
        transactions.append(transaction)

    def _take_notice(self, event: NoticeReceived) -> None:
        logger.warning("notice in the stream", extra={"report": str(event.report)})
        # PostgreSQL 18 goes on with a warning when the publication is not there, and the changes
        # that it would have published are lost; before 18 it ends the stream with an error.
        if event.report.code == _NOT_IN_PREREQUISITE_STATE:
            self.broken_history = str(event.report)
            self._connection.fail(DatabaseUnavailableError(str(event.report)))

    # ---------------------------------------------------------------- the delivery's observer

    def delivered(self, end_lsn: Lsn) -> None:
        """The sink has taken everything before `end_lsn`."""
        self._delivery.keep(self._epoch, end_lsn)

    def drained(self) -> None:
        """The sink has taken everything."""
        self._acknowledge_when_idle()

    def durable(self, epoch: str, lsn: Lsn) -> None:
        """Everything before `lsn` is kept. Of a former history it would say too much."""
        if epoch == self._epoch:
            self._acknowledge(lsn)

    def has_room(self) -> None:
        """The sink has caught up: read on."""
        self._connection.resume()

    def _acknowledge_when_idle(self) -> None:
        """Nothing waits: what lies before the last keepalive is of no use to us."""
        if self._delivery.is_idle and self._assembler.is_between_transactions:
            self._delivery.keep(self._epoch, self._wal_end)

    def _acknowledge(self, lsn: Lsn) -> None:
        if lsn > self._progress.acknowledged:
            self._progress.acknowledged = lsn
        self._connection.acknowledge(self._progress.acknowledged)
