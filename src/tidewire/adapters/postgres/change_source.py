"""Committed transactions out of PostgreSQL, by streaming replication.

Theory of operation. `run` opens a connection, looks at the server, makes sure of the publication
first and the slot second (a slot older than its publication reads log that PostgreSQL 15 to 17
refuse for ever), starts the stream and waits for its end; then again, for ever.

Exactly once: the slot is acknowledged behind what the sink has taken and the keeper keeps; a new
connection begins behind what the sink has taken, and a transaction at or before the last one that
was handed over is dropped. Nothing is reconnected before the sink has taken everything of the
former connection.

A history ends, and a new epoch begins, when the slot was lost or dropped, when somebody else
moved it, when the publication was missing while changes were made, or on another cluster.

An idle slot must not hold the log back: the position of keepalives is kept and acknowledged too
while nothing waits.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

import msgspec

from tidewire.adapters.postgres.backoff import backoff_s
from tidewire.adapters.postgres.delivery import Delivery
from tidewire.adapters.postgres.epoch import EpochStore, SlotRecord, load_record
from tidewire.adapters.postgres.opening import open_replication
from tidewire.adapters.postgres.replication import (
    ReplicationConnection,
    ReplicationLimits,
    ServerRefusalError,
)
from tidewire.adapters.postgres.slot import (
    OBJECT_IN_USE,
    UNDEFINED_FILE,
    UNDEFINED_OBJECT,
    ServerState,
    SlotCommands,
)
from tidewire.adapters.postgres.stream import Progress, Stream
from tidewire.core.clock import Clock
from tidewire.core.errors import DatabaseUnavailableError, RealtimeError
from tidewire.core.lsn import Lsn
from tidewire.ports.change_source import Keeper, StreamState, StreamStatus, TransactionSink
from tidewire.protocol.pgoutput.assemble import Assembler
from tidewire.protocol.pgwire.target import parse_target

logger = logging.getLogger(__name__)


class ChangeSourceLimits(msgspec.Struct, frozen=True):
    """Bounds and times of a change source.

    Attributes:
        connection: Those of each connection.
        transaction_changes_max: A transaction with more changes comes out overflowed.
        transaction_bytes_max: The same for its bytes.
        pending_bytes_max: Size of what may wait for the sink before reading stops.
        retry_first_s: Wait after the first failure.
        retry_max_s: Longest wait between two tries.
        steady_after_s: A stream that lived this long, or brought something, starts the
            waiting times anew.
        slot_creation_timeout_s: A slot is made only when all running transactions have ended.
        takeover_after_s: How long our slot may be held by a connection that an earlier run of
            ours left behind, before that is ended.
    """

    connection: ReplicationLimits = ReplicationLimits()
    transaction_changes_max: int = 100_000
    transaction_bytes_max: int = 256 << 20
    pending_bytes_max: int = 32 << 20
    retry_first_s: float = 0.02
    retry_max_s: float = 2.0
    steady_after_s: float = 5.0
    slot_creation_timeout_s: float = 600.0
    takeover_after_s: float = 1.0


class PostgresChangeSource:
    """Implements ports.change_source.ChangeSource; `run` it once.

    Args:
        url: Connection URL of a role with REPLICATION.
        slot: Name of our permanent logical slot; made when it is not there.
        publication: Its name; made, without tables, when it is not there.
        optional_publication: Another that is streamed too where it exists; "" for none.
        epochs: Where the slot's record is kept.
        clock: Where the time comes from.
        rng: For jitter.
        limits: Bounds and times.
        failover: Whether standbys should keep a copy of the slot (PostgreSQL 17 and later).

    Raises:
        SetupError: The URL or the slot's name cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        slot: str,
        publication: str,
        optional_publication: str = "",
        epochs: EpochStore,
        clock: Clock,
        rng: random.Random,
        limits: ChangeSourceLimits | None = None,
        failover: bool = False,
    ) -> None:
        self._target = parse_target(url)
        self._commands = SlotCommands(
            slot, publication, failover=failover, optional=optional_publication
        )
        self._has_optional = False
        self._epochs = epochs
        self._clock = clock
        self._rng = rng
        self._limits = limits or ChangeSourceLimits()
        self._record = SlotRecord(owner="")
        self._progress = Progress(Lsn(0))
        self._broken_history = ""
        self._state = StreamState.STARTING
        self._detail = ""
        self._attempt = 0

    @property
    def status(self) -> StreamStatus:
        """What there is to say of the stream now."""
        return StreamStatus(
            state=self._state,
            epoch=self._record.epoch,
            detail=self._detail,
            attempt=self._attempt,
            received_lsn=self._progress.received,
            acknowledged_lsn=self._progress.acknowledged,
        )

    async def run(self, sink: TransactionSink, keeper: Keeper | None = None) -> None:
        """Stream into `sink` until cancelled; ends otherwise only with what the sink raises."""
        self._record = load_record(self._epochs)
        delivery = Delivery(sink, keeper, pending_bytes_max=self._limits.pending_bytes_max)
        tasks = (
            asyncio.create_task(delivery.run(), name="delivery"),
            asyncio.create_task(self._stream_for_ever(delivery), name="stream"),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._tell(StreamState.STOPPED, "stopped")
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _stream_for_ever(self, delivery: Delivery) -> None:
        while True:
            began_s = self._clock.monotonic_s()
            commit_before = self._progress.last_commit
            try:
                failure: RealtimeError = await self._stream_once(delivery)
            except RealtimeError as error:
                failure = error
            is_steady = (
                self._progress.last_commit > commit_before
                or self._clock.monotonic_s() - began_s >= self._limits.steady_after_s
            )
            was_live = self._state is StreamState.LIVE
            self._attempt = 1 if was_live and is_steady else self._attempt + 1
            self._tell(StreamState.DOWN, str(failure))
            logger.warning("stream down", extra={"reason": str(failure), "attempt": self._attempt})
            if was_live:
                delivery.put_down(str(failure))
            # The next connection begins behind what the sink has taken.
            await delivery.wait_idle()
            await self._rest(self._attempt - 1)

    async def _stream_once(self, delivery: Delivery) -> DatabaseUnavailableError:
        """Stream until the connection ends; says why it did.

        Raises:
            RealtimeError: The stream could not be started.
        """
        connection = await open_replication(
            self._target,
            application_name=self._record.application_name,
            clock=self._clock,
            limits=self._limits.connection,
        )
        try:
            is_new_epoch = await self._prepare(connection)
            stream = Stream(
                connection,
                delivery,
                self._progress,
                Assembler(
                    changes_max=self._limits.transaction_changes_max,
                    bytes_max=self._limits.transaction_bytes_max,
                ),
                epoch=self._record.epoch,
                is_new_epoch=is_new_epoch,
            )
            statement = self._commands.start_statement(
                self._progress.end, with_optional=self._has_optional
            )
            await self._when_free(connection, lambda: connection.start_stream(statement, stream))
            self._tell(StreamState.LIVE, "")
            failure = await connection.wait_closed()
            self._broken_history = stream.broken_history or _broken_history(failure)
            return failure
        finally:
            await connection.close()

    # ---------------------------------------------------------------- before the stream

    async def _prepare(self, connection: ReplicationConnection) -> bool:
        """Make sure of publication and slot; says whether a new history begins."""
        state = await self._commands.look(connection)
        self._has_optional = state.has_optional
        if state.is_standby:
            raise DatabaseUnavailableError("the server is a standby: waiting for its promotion")
        slot = state.slot
        if slot is not None and not slot.is_usable_here:
            raise DatabaseUnavailableError(
                f"the slot name {self._commands.slot!r} is taken by a {slot.described}"
            )
        if not state.has_publication:
            self._broken_history = "the publication was missing"
            await self._commands.create_publication(connection)
        if slot is None or slot.is_lost or self._broken_history:
            await self._renew_slot(connection, state)
            return True
        if self._is_of_another_history(state.system_identifier, slot.confirmed):
            self._begin_history(state.system_identifier, slot.confirmed)
            return True
        self._progress.acknowledged = max(self._progress.acknowledged, slot.confirmed)
        return False

    def _is_of_another_history(self, system_identifier: str, confirmed: Lsn) -> bool:
        if self._record.system_identifier != system_identifier:
            return True
        # Only we acknowledge: a slot that is further than that was read or made by another.
        return 0 < self._progress.acknowledged < confirmed

    async def _renew_slot(self, connection: ReplicationConnection, state: ServerState) -> None:
        reason = self._broken_history or ("the slot was lost" if state.slot else "there is no slot")
        logger.warning("making a new slot", extra={"reason": reason})
        if state.slot is not None:
            await self._when_free(connection, lambda: self._commands.drop_slot(connection))
        # Before the slot is made: should we die in between, the next run finds no record that
        # claims the new slot for the old history.
        self._begin_history(state.system_identifier, Lsn(0))
        self._tell(self._state, f"making a slot ({reason}): waiting for running transactions")
        start = await self._commands.create_slot(
            connection, timeout_s=self._limits.slot_creation_timeout_s
        )
        self._progress = Progress(start)
        self._broken_history = ""

    def _begin_history(self, system_identifier: str, start: Lsn) -> None:
        self._record = self._record.renewed(system_identifier, now_s=self._clock.wall_s())
        self._epochs.save(self._record)
        self._progress = Progress(start)

    async def _when_free(
        self, connection: ReplicationConnection, act: Callable[[], Awaitable[None]]
    ) -> None:
        """Do `act` as soon as nobody else holds the slot.

        A former connection of ours that lingers is ended; anybody else is waited for, for ever:
        the slot is the lock between servers.
        """
        began_s = self._clock.monotonic_s()
        attempt = 0
        while True:
            try:
                return await act()
            except ServerRefusalError as error:
                if error.report.code != OBJECT_IN_USE:
                    raise
                self._tell(self._state, f"waiting for the slot: {error.report}")
            if self._clock.monotonic_s() - began_s >= self._limits.takeover_after_s:
                name = self._record.application_name
                if await self._commands.free_slot(connection, name):
                    logger.warning("ended our former connection, which held the slot")
            await self._rest(attempt)
            attempt += 1

    async def _rest(self, attempt: int) -> None:
        wait_s = backoff_s(
            attempt,
            first_s=self._limits.retry_first_s,
            longest_s=self._limits.retry_max_s,
            rng=self._rng,
        )
        await asyncio.sleep(wait_s)

    def _tell(self, state: StreamState, detail: str) -> None:
        self._state = state
        self._detail = detail


def _broken_history(failure: DatabaseUnavailableError) -> str:
    """Why the history ended with a failure of a running stream; "" when it goes on."""
    if isinstance(failure, ServerRefusalError) and failure.report.code in (
        UNDEFINED_OBJECT,  # the publication, at the place of the log that is read
        UNDEFINED_FILE,  # log that is no longer there
    ):
        return str(failure)
    return ""
