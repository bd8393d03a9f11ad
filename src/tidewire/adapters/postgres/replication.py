"""One replication connection over asyncio.

Owns the socket, the timers and the acknowledgements; what the bytes mean is decided by
`protocol.pgwire.session`, what to do with them by the listener.

- Acknowledgements are sent at most every `acknowledge_interval_s`, and at once when the server
  asks: a PostgreSQL that shuts down waits for them.
- A server that says nothing for `probe_interval_s` is asked for a sign of life; one that stays
  silent for `silence_max_s` is given up.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Protocol, cast

import msgspec

from tidewire.core.clock import Clock
from tidewire.core.errors import DatabaseUnavailableError, ProtocolViolationError
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgwire.events import (
    Event,
    Keepalive,
    NoticeReceived,
    QueryFailed,
    QueryResult,
    ServerReport,
    SessionFailed,
    SessionReady,
    StreamEnded,
    StreamStarted,
    WalData,
    WalSkipped,
)
from tidewire.protocol.pgwire.session import COPY_DONE, TERMINATE, FrontendSession, SessionState
from tidewire.protocol.pgwire.target import ConnectionTarget

logger = logging.getLogger(__name__)

SESSION_OPTIONS = (
    "-c datestyle=ISO -c timezone=UTC -c intervalstyle=postgres -c extra_float_digits=3"
    " -c bytea_output=hex -c statement_timeout=0 -c idle_session_timeout=0"
)
"""The text forms that the renderers read; and no time-out meant for ordinary sessions."""

StreamEvent = WalData | WalSkipped | Keepalive | NoticeReceived


class ServerRefusalError(DatabaseUnavailableError):
    """PostgreSQL answered with an error.

    Attributes:
        report: What it said.
    """

    def __init__(self, report: ServerReport) -> None:
        super().__init__(str(report))
        self.report = report


class StreamListener(Protocol):
    """Takes what a stream brings. Must not block."""

    def stream_started(self) -> None:
        """Called once, before the first event."""
        ...

    def stream_received(self, events: Sequence[StreamEvent]) -> None:
        """All events of one read of the socket, in order.

        Raises:
            ProtocolViolationError: They make no sense; the connection is closed.
        """
        ...


class ReplicationLimits(msgspec.Struct, frozen=True):
    """Bounds and times of a connection.

    Attributes:
        connect_timeout_s: From the first packet to the end of the login.
        acknowledge_interval_s: Shortest time between two acknowledgements of our own accord.
        probe_interval_s: Silence after which the server is asked for a sign of life.
        silence_max_s: Silence after which the connection is given up.
        close_timeout_s: How long a close in order may take.
        wal_message_bytes_max: A message of the stream beyond it is passed over.
    """

    connect_timeout_s: float = 10.0
    acknowledge_interval_s: float = 0.1
    probe_interval_s: float = 5.0
    silence_max_s: float = 15.0
    close_timeout_s: float = 2.0
    wal_message_bytes_max: int = 64 << 20


class ReplicationConnection(asyncio.Protocol):
    """One connection. Make it with `open_replication`; close it with `close`.

    Attributes:
        server_version: As the server reports it.
    """

    def __init__(
        self,
        target: ConnectionTarget,
        application_name: str,
        clock: Clock,
        limits: ReplicationLimits,
    ) -> None:
        self.server_version = ""
        self._clock = clock
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._session = FrontendSession(
            user=target.user,
            password=target.password,
            parameters={
                "database": target.database,
                "replication": "database",
                "application_name": application_name,
                "client_encoding": "UTF8",
                "options": SESSION_OPTIONS,
            },
            nonce=secrets.token_urlsafe(18),
            wal_message_bytes_max=limits.wal_message_bytes_max,
        )
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[QueryResult | None] = self._loop.create_future()
        self._closed: asyncio.Future[DatabaseUnavailableError] = self._loop.create_future()
        self._failure: DatabaseUnavailableError | None = None
        self._listener: StreamListener | None = None
        self._acknowledged = Lsn(0)
        self._received = Lsn(0)
        self._acknowledge_timer: asyncio.TimerHandle | None = None
        self._probe_timer: asyncio.TimerHandle | None = None
        self._heard_s = self._loop.time()
        self._is_paused = False

    # ---------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is open: start up."""
        # Cast, not checked: uvloop's transports are no subclass of asyncio's.
        self._transport = opened = cast(asyncio.Transport, transport)
        opened.write(self._session.start())

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._heard_s = self._loop.time()
        try:
            events = self._session.receive(data)
            self._write(self._session.take_outgoing())
            self._act(events)
        except ProtocolViolationError as error:
            self.fail(DatabaseUnavailableError(f"the replication stream broke: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, by whomever."""
        for timer in (self._acknowledge_timer, self._probe_timer):
            if timer is not None:
                timer.cancel()
        self._acknowledge_timer = self._probe_timer = None
        reason = f"connection lost: {exc}" if exc else "the server closed the connection"
        failure = self._failure or DatabaseUnavailableError(reason)
        self._settle(failure)
        if not self._closed.done():
            self._closed.set_result(failure)

    # ---------------------------------------------------------------- commands

    async def wait_ready(self) -> None:
        """Wait for the end of the login.

        Raises:
            DatabaseUnavailableError: It did not succeed.
        """
        await self._answer

    async def query(self, sql: str, *, timeout_s: float = 10.0) -> QueryResult:
        """Run one statement and wait for its rows.

        Raises:
            ServerRefusalError: PostgreSQL refused it; the connection can be used further.
            DatabaseUnavailableError: The connection broke, or no answer came in time.
        """
        answer = await self._ask(sql, timeout_s)
        if answer is None:
            raise DatabaseUnavailableError("a stream began where rows were expected")
        return answer

    async def start_stream(
        self, sql: str, listener: StreamListener, *, timeout_s: float = 10.0
    ) -> None:
        """Start streaming into `listener` by a START_REPLICATION statement.

        Raises:
            ServerRefusalError: PostgreSQL refused it; the connection can be used further.
            DatabaseUnavailableError: The connection broke, or no answer came in time.
        """
        self._listener = listener
        if await self._ask(sql, timeout_s) is not None:
            raise DatabaseUnavailableError("START_REPLICATION gave no stream")

    async def _ask(self, sql: str, timeout_s: float) -> QueryResult | None:
        if self._failure is not None or self._closed.done():
            raise self._failure or DatabaseUnavailableError("the connection is closed")
        self._answer = self._loop.create_future()
        self._write(self._session.query(sql))
        try:
            async with asyncio.timeout(timeout_s):
                return await self._answer
        except TimeoutError:
            failure = DatabaseUnavailableError(f"no answer within {timeout_s:g} s")
            self.fail(failure)
            raise failure from None

    def acknowledge(self, lsn: Lsn) -> None:
        """Let PostgreSQL forget everything before `lsn`; told with the next status update."""
        if lsn <= self._acknowledged:
            return
        self._acknowledged = lsn
        if self._acknowledge_timer is None and self._session.state is SessionState.STREAMING:
            self._acknowledge_timer = self._loop.call_later(
                self._limits.acknowledge_interval_s, self._send_status
            )

    def pause(self) -> None:
        """Read no more for now: back-pressure."""
        if self._transport is not None and not self._is_paused and self.is_open:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and self._is_paused:
            self._is_paused = False
            self._heard_s = self._loop.time()
            if self.is_open:
                self._transport.resume_reading()

    def fail(self, failure: DatabaseUnavailableError) -> None:
        """End the connection because of `failure`, which `wait_closed` then tells."""
        if self._failure is None:
            self._failure = failure
        self._settle(failure)
        if self._transport is not None and not self._transport.is_closing():
            # While paused the peer's bytes are not read, so the close would never be seen.
            if self._is_paused:
                self._transport.abort()
            else:
                self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        """Whether it has not ended and nobody closed it."""
        return self._transport is not None and not self._transport.is_closing()

    async def wait_closed(self) -> DatabaseUnavailableError:
        """Wait until the connection has ended; says why."""
        return await asyncio.shield(self._closed)

    async def close(self) -> None:
        """End the connection in order, the last acknowledgement sent. Does not raise."""
        if self._transport is None:
            return
        if self.is_open:
            if self._session.state is SessionState.STREAMING:
                self._send_status()
                self._write(COPY_DONE)
            self._write(TERMINATE)
            self._transport.close()
        if self._is_paused:
            self._transport.abort()  # what was not read cannot be drained
        try:
            async with asyncio.timeout(self._limits.close_timeout_s):
                await asyncio.shield(self._closed)
        except TimeoutError:
            self._transport.abort()

    # ---------------------------------------------------------------- inside

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _act(self, events: list[Event]) -> None:
        stream: list[StreamEvent] = []
        for event in events:
            if isinstance(event, WalData | WalSkipped):
                stream.append(event)
            elif isinstance(event, Keepalive):
                self._received = max(self._received, event.wal_end)
                stream.append(event)
            elif isinstance(event, NoticeReceived):
                self._take_notice(event, stream)
            else:
                self._act_on_control(event)
        if stream:
            assert self._listener is not None, "a session streams only after start_stream"
            self._listener.stream_received(stream)
            if any(isinstance(event, Keepalive) and event.is_reply_requested for event in stream):
                self._send_status()

    def _take_notice(self, event: NoticeReceived, stream: list[StreamEvent]) -> None:
        if self._session.state is SessionState.STREAMING:
            stream.append(event)
        else:
            logger.info("notice from PostgreSQL", extra={"report": str(event.report)})

    def _act_on_control(self, event: Event) -> None:
        if isinstance(event, SessionReady):
            self.server_version = event.server_version
            self._settle(None)
        elif isinstance(event, QueryResult):
            self._settle(event)
        elif isinstance(event, QueryFailed):
            self._settle(ServerRefusalError(event.report))
        elif isinstance(event, StreamStarted):
            self._begin_stream()
        elif isinstance(event, SessionFailed):
            self.fail(ServerRefusalError(event.report))
        elif isinstance(event, StreamEnded):
            self.fail(DatabaseUnavailableError("the server ended the stream: it shuts down"))

    def _begin_stream(self) -> None:
        assert self._listener is not None, "start_stream names the listener first"
        self._listener.stream_started()
        self._send_status()
        self._probe()
        self._settle(None)

    def _settle(self, outcome: QueryResult | DatabaseUnavailableError | None) -> None:
        if self._answer.done():
            return
        if isinstance(outcome, DatabaseUnavailableError):
            self._answer.set_exception(outcome)
            self._answer.exception()  # nobody may be waiting, and that is no news
        else:
            self._answer.set_result(outcome)

    def _send_status(self, *, request_reply: bool = False) -> None:
        if self._acknowledge_timer is not None:
            self._acknowledge_timer.cancel()
            self._acknowledge_timer = None
        if self._session.state is SessionState.STREAMING:
            self._write(
                self._session.status_update(
                    received=max(self._received, self._acknowledged),
                    flushed=self._acknowledged,
                    now_us=int(self._clock.wall_s() * 1e6),
                    request_reply=request_reply,
                )
            )

    def _probe(self) -> None:
        """Ask for a sign of life when there was none; give up when there was none for long."""
        silence_s = self._loop.time() - self._heard_s
        if not self._is_paused and silence_s >= self._limits.silence_max_s:
            self.fail(DatabaseUnavailableError(f"the server was silent for {silence_s:.0f} s"))
            if self._transport is not None:
                self._transport.abort()
            return
        self._probe_timer = self._loop.call_later(self._limits.probe_interval_s, self._probe)
        # While paused the answers are not read, but the server must hear that we live.
        is_quiet = silence_s >= self._limits.probe_interval_s
        if is_quiet or self._is_paused:
            self._send_status(request_reply=is_quiet and not self._is_paused)
