"""One socket, as the engine sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec


class Write(Protocol):
    """Takes prebuilt WebSocket frames; never blocks, never raises."""

    def __call__(self, data: bytes, /) -> None:
        """Send `data`, one or several whole frames, as they are."""
        ...


class Transport(Protocol):
    """Carries whole messages to one peer.

    Promise: what `write` takes is sent in order, or the connection ends; nothing blocks. When
    a peer reads too slowly the receiver is told; it is cut off when it reads nothing for long, or
    when its bounded buffer is full all the same. The receiver's `connection_lost` follows
    later, never from within `write`.

    Attributes:
        supports_deflate: Whether prebuilt compressed frames may be written (the peer
            negotiated permessage-deflate).
        last_heard_s: Monotonic seconds (of the event loop's clock) at which anything last
            came from the peer, or a slow one was last seen to read.
        write: Sends prebuilt WebSocket frames. Take it from here at every call: it is exchanged
            as the connection's state changes, which spares each write a step in between.
    """

    supports_deflate: bool
    last_heard_s: float
    write: Write

    def close(self, code: int, reason: str = "") -> None:
        """Close with a close frame. A second call is fine."""
        ...

    def abort(self) -> None:
        """End the connection at once, without a close frame."""
        ...

    def ping(self) -> None:
        """Ask the peer for a sign of life; the answer moves `last_heard_s`."""
        ...

    def hold(self, delay_s: float) -> None:
        """Read nothing from the peer for so many seconds, a second at most: it is too fast."""
        ...


class MessageReceiver(Protocol):
    """What a transport hands its messages to. Must not raise and must not block."""

    def message_received(self, payload: bytes, is_text: bool) -> None:  # noqa: FBT001 - called once per message; keywords cost
        """One whole message; text is proven UTF-8."""
        ...

    def connection_lost(self, close_code: int | None) -> None:
        """The connection ended; called exactly once.

        Args:
            close_code: What the peer's close frame said (1005 when it held none); None when
                the connection ended without one.
        """
        ...

    def writing_paused(self) -> None:
        """The peer reads too slowly: much waits for it, so write as little as can be.

        Called from within `write`: the caller may be walking over its connections.
        """
        ...

    def writing_resumed(self) -> None:
        """Most of what waited is gone. Not called from within `write`."""
        ...


class UpgradeRequest(msgspec.Struct, frozen=True):
    """A request to speak WebSocket, its head parsed, not yet answered.

    Attributes:
        path: Without query, percent-decoded.
        query: Query parameters, decoded; the last of equal names wins.
        headers: Names in lower case; equal names joined by ", ".
        peer: Address of the peer for logs and limits, such as ``127.0.0.1``.
        host: Host that was asked for, with its port as it was sent.
    """

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    peer: str
    host: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why an upgrade is not granted.

    Attributes:
        status: HTTP status.
        body: JSON or empty.
        delay_s: Seconds to wait before answering, to slow a client that tries again at once.
    """

    status: int
    body: bytes = b""
    delay_s: float = 0.0


Accept = Callable[[Transport], MessageReceiver]
"""Called once the 101 is written; what it returns takes the messages."""

Acceptor = Callable[[UpgradeRequest], Accept | Refusal | Awaitable[Accept | Refusal]]
"""Decides on an upgrade; answers at once where it can."""
