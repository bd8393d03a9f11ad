"""Where messages are kept: `realtime.messages`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tidewire.core.message import PayloadEncoding


class StoredMessage(msgspec.Struct, frozen=True, gc=False):
    """A message that may be replayed.

    Attributes:
        id: Of its row, a UUID.
        event: The user's event name.
        body: JSON text, or bytes.
        encoding: Which of the two.
    """

    id: str
    event: str
    body: bytes
    encoding: PayloadEncoding


class NewMessage(msgspec.Struct, frozen=True, gc=False):
    """A client's broadcast that is to be kept; it was delivered already.

    Attributes:
        id: For its row, a UUID.
        topic: Sub-topic of the private channel.
        event: The user's event name.
        body: JSON text, or bytes.
        encoding: Which of the two.
        sent_at_s: Seconds since 1970 UTC.
        ttl_s: Seconds after which it is not replayed any more.
    """

    id: str
    topic: str
    event: str
    body: bytes
    encoding: PayloadEncoding
    sent_at_s: float
    ttl_s: int


class MessageStore(Protocol):
    """Keeps messages of private channels for replay."""

    async def recent(self, topic: str, *, since_ms: int, limit: int) -> list[StoredMessage]:
        """The newest messages of a private topic since a moment, oldest first.

        Args:
            topic: Sub-topic.
            since_ms: Milliseconds since 1970 UTC.
            limit: How many at most.

        Raises:
            DatabaseUnavailableError: No answer within the deadline.
        """
        ...

    async def insert(self, messages: Sequence[NewMessage]) -> frozenset[str]:
        """Keep messages, so that they are replayed and not broadcast again.

        Returns:
            Ids of those that were kept; the others hold what PostgreSQL cannot.

        Raises:
            DatabaseUnavailableError: No answer within the deadline; some may have been kept.
        """
        ...

    async def keep(self, *, retention_days: int, payload_bytes_max: int) -> str:
        """Make partitions ahead, drop old ones, delete what has expired, within bounds.

        Args:
            retention_days: Whole days that are kept, besides today.
            payload_bytes_max: From now on larger payloads are refused when they are sent.

        Returns:
            What was done, for the log.

        Raises:
            DatabaseUnavailableError: It could not be done now; call again later.
        """
        ...
