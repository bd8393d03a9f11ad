"""The client's side of one replication session: no socket, no clock, no task.

Theory of operation. The driver sends what `start` returns, then gives every byte it receives to
`receive`, writes what `take_outgoing` holds, and acts on the events in order:

    STARTING → (AuthenticationOk, ReadyForQuery) → READY ⇄ QUERYING → (CopyBothResponse) → STREAMING

Simple queries only, one at a time. Start-up errors, FATAL errors and errors while streaming end
the session (`SessionFailed`); an error of a query does not (`QueryFailed`).

Bounds: a message of the stream beyond `wal_message_bytes_max` is passed over without being kept
and told as `WalSkipped`; any other message beyond `CONTROL_BYTES_MAX` is a violation.

Source: PostgreSQL manual, "Frontend/Backend Protocol": Message Flow, Message Formats, Streaming
Replication Protocol.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping

from tidewire.core.errors import ProtocolViolationError
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgwire.authentication import Authentication
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
from tidewire.protocol.pgwire.fields import read_columns, read_parameter, read_report, read_row

SSL_REQUEST = struct.pack("!II", 8, 80877103)
TERMINATE = b"X\0\0\0\4"
COPY_DONE = b"c\0\0\0\4"

PROTOCOL_VERSION = 196608
CONTROL_BYTES_MAX = 1 << 20
ROWS_MAX = 10_000
COPY_DATA_BYTES_MAX = 0x3FFFFFFF
"""PostgreSQL sends no larger message. Source: `PQ_LARGE_MESSAGE_LIMIT`."""

_POSTGRES_EPOCH_US = 946_684_800_000_000
_STATUS = struct.Struct("!cIcQQQqB")
_KEEPALIVE = struct.Struct("!QqB")
_COPY_DATA, _WAL_DATA, _WAL_KEEPALIVE = b"dwk"
_WAL_HEAD = 30
"""CopyData's head (5), the kind (1), start, end and time of XLogData (24)."""


class SessionState(enum.Enum):
    """Where a session is in its life."""

    STARTING = "starting"
    READY = "ready"
    QUERYING = "querying"
    STREAMING = "streaming"
    ENDED = "ended"


class FrontendSession:
    """The client's side of one connection.

    Args:
        user: Role to log in as.
        password: None when there is none.
        parameters: Start-up parameters besides the user.
        nonce: Fresh random printable text for SCRAM.
        wal_message_bytes_max: Bound of one message of the stream.
    """

    def __init__(
        self,
        *,
        user: str,
        password: str | None,
        parameters: Mapping[str, str],
        nonce: str,
        wal_message_bytes_max: int = 64 << 20,
    ) -> None:
        self.state = SessionState.STARTING
        self._parameters = {"user": user, **parameters}
        self._authentication = Authentication(user, password, nonce)
        self._wal_message_bytes_max = min(wal_message_bytes_max, COPY_DATA_BYTES_MAX)
        self._buffer = bytearray()
        self._wanted = 5
        self._skip_left = 0
        self._outgoing = bytearray()
        self._server_version = ""
        self._columns: tuple[str, ...] = ()
        self._rows: list[tuple[str | None, ...]] = []
        self._error: ServerReport | None = None
        self._readers: dict[int, Callable[[bytes], Event | None]] = {
            ord("R"): self._on_authentication,
            ord("E"): self._on_error,
            ord("N"): lambda body: NoticeReceived(read_report(body)),
            ord("S"): self._on_parameter,
            ord("K"): lambda _: None,
            ord("Z"): lambda _: self._on_ready(),
            ord("T"): self._on_columns,
            ord("D"): self._on_row,
            ord("C"): lambda _: None,
            ord("I"): lambda _: None,
            ord("W"): lambda _: self._on_copy_both(),
            ord("c"): lambda _: self._on_copy_done(),
            ord("v"): self._on_negotiate,
        }

    def start(self) -> bytes:
        """The startup message."""
        pairs = (f"{name}\0{value}\0" for name, value in self._parameters.items())
        body = struct.pack("!I", PROTOCOL_VERSION) + "".join(pairs).encode() + b"\0"
        return struct.pack("!I", len(body) + 4) + body

    def query(self, sql: str) -> bytes:
        """A simple query of one statement; its answer is a later event."""
        assert self.state is SessionState.READY, "one query at a time, on a session that is ready"
        self.state = SessionState.QUERYING
        self._columns, self._rows, self._error = (), [], None
        return _message(b"Q", sql.encode() + b"\0")

    def status_update(
        self, *, received: Lsn, flushed: Lsn, now_us: int, request_reply: bool = False
    ) -> bytes:
        """Tell the server how far we are.

        Args:
            received: Behind the last byte that came.
            flushed: Behind the last transaction that the server may forget.
            now_us: Microseconds since 1970-01-01 UTC.
            request_reply: Ask for a keepalive at once.
        """
        stamp = now_us - _POSTGRES_EPOCH_US
        return _STATUS.pack(b"d", 38, b"r", received, flushed, flushed, stamp, request_reply)

    def take_outgoing(self) -> bytes:
        """What must be sent now; taken once."""
        outgoing = bytes(self._outgoing)
        self._outgoing.clear()
        return outgoing

    def receive(self, data: bytes) -> list[Event]:
        """Say what `data` means, in order; incomplete messages wait for more.

        Raises:
            ProtocolViolationError: The server broke the protocol; close the connection.
        """
        events: list[Event] = []
        if self._skip_left:
            skipped = min(self._skip_left, len(data))
            self._skip_left -= skipped
            data = data[skipped:]
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return events
            data = bytes(self._buffer)
            self._buffer = bytearray()
        end = len(data)
        position = 0
        while end - position >= 5:
            if self.state is SessionState.ENDED:
                return events  # what follows an error of the stream is of no use
            length = int.from_bytes(data[position + 1 : position + 5], "big")
            following = position + 1 + length
            if data[position] == _COPY_DATA and length <= self._wal_message_bytes_max:
                if following > end:
                    break
                self._on_copy_data(data, position, following, events)
            elif data[position] == _COPY_DATA:
                if end - position <= _WAL_HEAD:
                    break
                events.append(self._skip_wal_data(data, position, length))
                self._skip_left = max(following - end, 0)
                following = min(following, end)
            else:
                if not 4 <= length <= CONTROL_BYTES_MAX:
                    raise ProtocolViolationError("a server message of impossible length")
                if following > end:
                    break
                self._on_message(data[position], data[position + 5 : following], events)
            position = following
        self._keep(data, position, end)
        return events

    # ---------------------------------------------------------------- the stream

    def _keep(self, data: bytes, position: int, end: int) -> None:
        if position == end:
            return
        self._buffer += data[position:]
        self._wanted = 5
        if end - position >= 5:
            length = int.from_bytes(data[position + 1 : position + 5], "big")
            is_skipped = data[position] == _COPY_DATA and length > self._wal_message_bytes_max
            self._wanted = _WAL_HEAD + 1 if is_skipped else length + 1

    def _on_copy_data(self, data: bytes, position: int, end: int, events: list[Event]) -> None:
        if self.state is not SessionState.STREAMING:
            raise ProtocolViolationError("stream data outside of a stream")
        kind = data[position + 5] if end - position > 5 else -1
        if kind == _WAL_DATA and end - position > _WAL_HEAD:
            events.append(WalData(data[position + _WAL_HEAD : end]))
        elif kind == _WAL_KEEPALIVE and end - position == 23:
            wal_end, _, reply = _KEEPALIVE.unpack_from(data, position + 6)
            events.append(Keepalive(Lsn(wal_end), bool(reply)))
        else:
            raise ProtocolViolationError("malformed stream data")

    def _skip_wal_data(self, data: bytes, position: int, length: int) -> WalSkipped:
        is_wal = data[position + 5] == _WAL_DATA and length <= COPY_DATA_BYTES_MAX
        if self.state is not SessionState.STREAMING or not is_wal:
            raise ProtocolViolationError("a server message of impossible length")
        return WalSkipped(data[position + _WAL_HEAD], length)

    # ---------------------------------------------------------------- everything else

    def _on_message(self, kind: int, body: bytes, events: list[Event]) -> None:
        reader = self._readers.get(kind)
        if reader is None:
            raise ProtocolViolationError(f"a server message that may not come here: {kind}")
        try:
            event = reader(body)
        except (IndexError, ValueError, struct.error) as error:
            raise ProtocolViolationError(f"malformed server message: {kind}") from error
        if event is not None:
            events.append(event)

    def _on_authentication(self, body: bytes) -> Event | None:
        self._require(SessionState.STARTING)
        reply = self._authentication.receive(body)
        if isinstance(reply, ServerReport):
            self.state = SessionState.ENDED
            return SessionFailed(reply)
        if reply is not None:
            self._outgoing += _message(b"p", reply)
        return None

    def _on_error(self, body: bytes) -> Event | None:
        report = read_report(body)
        if self.state is SessionState.QUERYING and report.severity == "ERROR":
            self._error = report
            return None
        self.state = SessionState.ENDED
        return SessionFailed(report)

    def _on_parameter(self, body: bytes) -> None:
        name, value = read_parameter(body)
        if name == "server_version":
            self._server_version = value

    def _on_ready(self) -> Event:
        if self.state is SessionState.STARTING:
            if not self._authentication.is_done:
                raise ProtocolViolationError("the server is ready before it authenticated us")
            self.state = SessionState.READY
            return SessionReady(self._server_version)
        self._require(SessionState.QUERYING)
        self.state = SessionState.READY
        if self._error is not None:
            return QueryFailed(self._error)
        return QueryResult(self._columns, tuple(self._rows))

    def _on_columns(self, body: bytes) -> None:
        self._require(SessionState.QUERYING)
        self._columns = read_columns(body)

    def _on_row(self, body: bytes) -> None:
        self._require(SessionState.QUERYING)
        if len(self._rows) >= ROWS_MAX:
            raise ProtocolViolationError("more rows than any query of ours gives")
        self._rows.append(read_row(body))

    def _on_copy_both(self) -> Event:
        self._require(SessionState.QUERYING)
        self.state = SessionState.STREAMING
        return StreamStarted()

    def _on_copy_done(self) -> Event:
        self._require(SessionState.STREAMING)
        self.state = SessionState.ENDED
        self._outgoing += COPY_DONE
        return StreamEnded()

    def _on_negotiate(self, _: bytes) -> None:
        # Sent when the server lacks an option or minor version; we ask for neither.
        self._require(SessionState.STARTING)

    def _require(self, state: SessionState) -> None:
        if self.state is not state:
            raise ProtocolViolationError(f"a server message out of turn, in {self.state.value}")


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body
