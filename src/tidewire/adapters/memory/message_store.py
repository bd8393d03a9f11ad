"""Messages kept in memory: for tests, and for servers without a database of messages."""

from __future__ import annotations

from collections.abc import Sequence

from tidewire.core.clock import Clock
from tidewire.ports.message_store import NewMessage, StoredMessage

MESSAGES_MAX = 10_000
"""Of all topics together; beyond it the oldest are let go."""


class MemoryMessageStore:
    """Implements `ports.message_store.MessageStore`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._messages: list[NewMessage] = []

    async def recent(self, topic: str, *, since_ms: int, limit: int) -> list[StoredMessage]:
        """See `MessageStore.recent`."""
        now_s = self._clock.wall_s()
        found = [
            message
            for message in sorted(self._messages, key=lambda message: message.sent_at_s)
            if message.topic == topic
            and message.sent_at_s * 1000 >= since_ms
            and message.sent_at_s + message.ttl_s > now_s
        ]
        return [
            StoredMessage(message.id, message.event, message.body, message.encoding)
            for message in found[-limit:]
        ]

    async def insert(self, messages: Sequence[NewMessage]) -> frozenset[str]:
        """See `MessageStore.insert`."""
        kept = [message for message in messages if b"\\u0000" not in message.body]
        self._messages += kept
        del self._messages[:-MESSAGES_MAX]
        return frozenset(message.id for message in kept)

    async def keep(self, *, retention_days: int, payload_bytes_max: int) -> str:
        """See `MessageStore.keep`."""
        del payload_bytes_max
        oldest_s = self._clock.wall_s() - (retention_days + 1) * 86_400
        before = len(self._messages)
        self._messages = [message for message in self._messages if message.sent_at_s >= oldest_s]
        return f"dropped {before - len(self._messages)}"
