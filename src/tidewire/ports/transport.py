"""One socket, as the engine sees it."""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """Carries whole messages to one peer.

    Promise: what `write` takes is sent in order or the connection ends; nothing blocks. A
    peer that does not read is cut off once its bounded buffer is full (the receiver's
    `connection_lost` follows, later, never from within `write`).
    """

    supports_deflate: bool
    """Whether prebuilt compressed frames may be written (permessage-deflate was negotiated)."""

    def write(self, data: bytes) -> None:
        """Send prebuilt wire frames (one or several, concatenated), as they are."""
        ...

    def send_text(self, payload: bytes) -> None:
        """Send one text message, UTF-8."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Close with a code. A second call is fine."""
        ...

    def ping(self) -> None:
        """Ask the peer for a sign of life."""
        ...

    @property
    def last_heard_s(self) -> float:
        """Monotonic seconds at which anything last came from the peer."""
        ...


class MessageReceiver(Protocol):
    """What a transport hands its messages to."""

    def message_received(self, payload: bytes, *, is_text: bool) -> None:
        """One whole message, text already proven to be UTF-8."""
        ...

    def connection_lost(self, *, close_code: int | None) -> None:
        """The connection ended; called once.

        Args:
            close_code: What the peer's close frame said (1005 when it gave none); None when
                the connection ended without one.
        """
        ...
