"""What a server says to its client, as values."""

from __future__ import annotations

import msgspec

from tidewire.core.lsn import Lsn


class ServerReport(msgspec.Struct, frozen=True):
    """An ErrorResponse or NoticeResponse.

    Attributes:
        severity: Not translated: ERROR, FATAL, PANIC, WARNING, NOTICE …
        code: SQLSTATE, five characters; "" if the server gave none.
        message: The primary text.
        detail: More of it, or "".
    """

    severity: str
    code: str
    message: str
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.code} {self.message}{detail}"


class SessionReady(msgspec.Struct, frozen=True):
    """Start-up and authentication are done; queries may follow.

    Attributes:
        server_version: As the server reports it, such as ``18.6``; "" if it does not.
    """

    server_version: str


class QueryResult(msgspec.Struct, frozen=True):
    """A query was answered.

    Attributes:
        columns: Names.
        rows: Values as text, None for NULL.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


class QueryFailed(msgspec.Struct, frozen=True):
    """A query was refused; the session goes on."""

    report: ServerReport


class SessionFailed(msgspec.Struct, frozen=True):
    """The server ends the session: refused login, shutdown, or an error while streaming."""

    report: ServerReport


class NoticeReceived(msgspec.Struct, frozen=True):
    """A warning or notice."""

    report: ServerReport


class StreamStarted(msgspec.Struct, frozen=True):
    """The replication stream runs."""


class StreamEnded(msgspec.Struct, frozen=True):
    """The server ended the stream in order, as it does when it shuts down."""


class WalData(msgspec.Struct, frozen=True, gc=False):
    """One message of the output plugin.

    Attributes:
        payload: Its bytes.
    """

    payload: bytes


class WalSkipped(msgspec.Struct, frozen=True, gc=False):
    """A message of the output plugin beyond the size bound; its bytes are passed over.

    Attributes:
        kind: Its first byte.
        size: How large it was, bytes.
    """

    kind: int
    size: int


class Keepalive(msgspec.Struct, frozen=True, gc=False):
    """The server lives.

    Attributes:
        wal_end: Everything committed before this has been sent.
        is_reply_requested: Whether it wants a status update at once.
    """

    wal_end: Lsn
    is_reply_requested: bool


Event = (
    SessionReady
    | QueryResult
    | QueryFailed
    | SessionFailed
    | NoticeReceived
    | StreamStarted
    | StreamEnded
    | WalData
    | WalSkipped
    | Keepalive
)
