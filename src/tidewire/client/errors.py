"""What can end a client or one of its streams.

    RealtimeError
    ├── UnauthorizedError
    │   └── ConnectionRefusedByServerError   the upgrade was answered with a status for good
    ├── InvalidRequestError
    │   └── SubscriptionRefusedError         a join or its change subscription was refused
    ├── UnavailableError
    │   ├── ConnectionLostError              the link broke; the client is already reconnecting
    │   └── ChannelClosedError               the server ended the channel, such as at token expiry
    └── LimitReachedError
        └── ChangesLostError                 the stream's queue was full

`kind` is the code that the server named, or the class's own.
"""

from __future__ import annotations

from tidewire.core.errors import (
    InvalidRequestError,
    LimitReachedError,
    UnauthorizedError,
    UnavailableError,
)


class ConnectionRefusedByServerError(UnauthorizedError):
    """The server refused the connection in a way that trying again does not mend.

    Attributes:
        status: HTTP status of the answer.
        kind: `code`, for symmetry with the others.
    """

    code = "ConnectionRefused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message or f"the server answered with status {status}")
        self.status = status
        self.kind = self.code


class SubscriptionRefusedError(InvalidRequestError):
    """The server refused a join, or what it was to subscribe to.

    Attributes:
        kind: The server's code, such as ``Unauthorized``.
    """

    code = "SubscriptionRefused"

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind or self.code


class ConnectionLostError(UnavailableError):
    """The link broke, or was silent for too long."""

    code = "ConnectionLost"


class ChannelClosedError(UnavailableError):
    """The server ended the channel and will not take it back as it is.

    Attributes:
        kind: `code`, for symmetry with the others.
    """

    code = "ChannelClosed"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.kind = self.code


class ChangesLostError(LimitReachedError):
    """Changes came faster than they were taken until the queue was full: refetch."""

    code = "ChangesLost"
