"""Every error of Tidewire, in one tree.

    RealtimeError
    ├── ProtocolViolationError   the peer broke a protocol
    ├── InvalidRequestError      a request that can never succeed as it stands
    │   ├── InvalidFilterError
    │   ├── InvalidPersistenceError
    │   ├── InvalidSubscriptionError
    │   └── InvalidTopicError
    ├── UnauthorizedError
    │   └── TokenError           the token itself is bad; `kind` says how
    │       └── UnknownKeyError  signed with a key that nobody here knows, or not yet
    ├── LimitReachedError        a bound was met; the sender is told and slowed
    ├── UnavailableError         something outside is away; may succeed later
    │   ├── BrokerUnavailableError
    │   ├── DatabaseUnavailableError
    │   └── StreamNotLiveError
    ├── PositionLostError        a position is older than what is kept, or of another epoch
    └── SetupError               the installation or configuration must be mended by a person

Errors carry plain values. `code` is the name a client sees on the wire, `retryable` says
whether the same request may succeed later, unchanged.
"""

from __future__ import annotations

from typing import ClassVar


class RealtimeError(Exception):
    """Root of the tree.

    Attributes:
        code: The name a client sees in a system message or error reply.
        retryable: Whether the same request may succeed later, unchanged.
    """

    code: ClassVar[str] = "InternalError"
    retryable: ClassVar[bool] = False


class ProtocolViolationError(RealtimeError):
    """The peer sent bytes that its protocol does not allow."""

    code = "ProtocolViolation"


class InvalidRequestError(RealtimeError):
    """The request is well formed but can never succeed as it stands."""

    code = "InvalidRequest"


class InvalidFilterError(InvalidRequestError):
    """A `filter` of a change subscription does not parse or does not fit its table."""

    code = "InvalidFilter"


class InvalidPersistenceError(InvalidRequestError):
    """A broadcast asks to be kept in a way that the wire does not know."""

    code = "invalid_persist_ttl"


class InvalidSubscriptionError(InvalidRequestError):
    """A change subscription names nothing that can be subscribed to."""

    code = "InvalidSubscription"


class InvalidTopicError(InvalidRequestError):
    """The topic's name is empty or not one of ours."""

    code = "TopicNameRequired"


class UnauthorizedError(RealtimeError):
    """The caller may not do this."""

    code = "Unauthorized"


class TokenError(UnauthorizedError):
    """A token that is refused.

    Attributes:
        kind: Log code of the wire specification, such as ``InvalidJWTToken``.
    """

    code = "InvalidJWTToken"

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class UnknownKeyError(TokenError):
    """A token names a signing key that is not known; fetching the keys anew may bring it."""

    code = "JwtSignerError"
    retryable = True

    def __init__(self, message: str) -> None:
        super().__init__("JwtSignerError", message)


class LimitReachedError(RealtimeError):
    """A bound was met; the sender is told and slowed."""

    code = "LimitReached"
    retryable = True


class UnavailableError(RealtimeError):
    """Something outside is away; the same request may succeed later."""

    code = "Unavailable"
    retryable = True


class BrokerUnavailableError(UnavailableError):
    """The broker did not take a message; it was not sent."""

    code = "BrokerUnavailable"


class DatabaseUnavailableError(UnavailableError):
    """PostgreSQL did not answer in time or refused the connection."""

    code = "UnableToConnectToProject"


class StreamNotLiveError(UnavailableError):
    """The replication stream is not running yet or just now."""

    code = "InitializingProjectConnection"


class PositionLostError(RealtimeError):
    """A position is older than what is kept, or belongs to another epoch."""

    code = "PositionLost"


class SetupError(RealtimeError):
    """The installation or configuration must be mended by a person.

    Attributes:
        advice: What to do, as a sentence a person can follow.
    """

    code = "SetupError"

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(f"{problem}\n{advice}" if advice else problem)
        self.problem = problem
        self.advice = advice
