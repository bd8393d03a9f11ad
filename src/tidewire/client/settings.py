"""How patient a client is."""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec


class ClientSettings(msgspec.Struct, frozen=True):
    """Times and bounds of a client.

    Attributes:
        connect_timeout_s: For one attempt to connect, upgrade included.
        quiet_s: Silence after which a heartbeat asks for a sign of life.
        heartbeat_timeout_s: For its answer; then the link counts as dead. Silence is thus
            noticed within the sum of both.
        heartbeat_interval_s: A heartbeat at least this often, so that the server, which ends
            idle sockets after 60 s, hears from a client that only receives.
        join_timeout_s: For the answer to a join.
        send_timeout_s: For a full socket to take one frame more.
        backoff_base_s: The longest wait before the second attempt; doubles with each attempt.
        backoff_max_s: Bound on that. The wait is drawn evenly between 0 and it.
        message_bytes_max: A larger message ends the connection.
    """

    connect_timeout_s: float = 10.0
    quiet_s: float = 1.0
    heartbeat_timeout_s: float = 1.5
    heartbeat_interval_s: float = 25.0
    join_timeout_s: float = 10.0
    send_timeout_s: float = 10.0
    backoff_base_s: float = 0.2
    backoff_max_s: float = 10.0
    message_bytes_max: int = 16 * 1024 * 1024


class ConnectionState(enum.Enum):
    """Where a client's link is in its life."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    REFUSED = "refused"
    CLOSED = "closed"


class Status(msgspec.Struct, frozen=True):
    """What there is to say of the link now.

    Attributes:
        state: Where it is in its life.
        detail: For people: why it waits or was refused.
        attempt: How many attempts since it was last connected.
        retry_in_s: Until the next attempt, while it waits.
    """

    state: ConnectionState
    detail: str = ""
    attempt: int = 0
    retry_in_s: float = 0.0


OnStatus = Callable[[Status], None]
"""Takes each new status, in order. Must not block."""
