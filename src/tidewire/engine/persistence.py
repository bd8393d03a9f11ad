"""Clients' broadcasts that are to be kept for replay. Source: wire specification 4.11.

They were delivered already; keeping them is gathered into few statements. What cannot be kept (no
room in the queue, no answer of the database, a payload that PostgreSQL refuses) is counted; it is
no error of the sender's.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque

from tidewire.core.clock import Clock
from tidewire.core.errors import UnavailableError
from tidewire.core.message import PayloadEncoding
from tidewire.engine.stats import Stats
from tidewire.ports.message_store import MessageStore, NewMessage

logger = logging.getLogger(__name__)

QUEUE_MESSAGES_MAX = 10_000
QUEUE_BYTES_MAX = 64 << 20
BATCH_MESSAGES_MAX = 100
BATCH_BYTES_MAX = 4 << 20
DEADLINE_S = 8.0
"""After which a sender that waits is answered without an id: his client gives up after 10 s."""

_Waiting = tuple[NewMessage, asyncio.Future[bool]]


class Persistence:
    """A bounded queue before a message store. Make it within the running loop, and run `run`."""

    def __init__(self, store: MessageStore, clock: Clock, stats: Stats) -> None:
        self._store = store
        self._clock = clock
        self._stats = stats
        self._queue: deque[_Waiting] = deque()
        self._queue_bytes = 0
        self._news = asyncio.Event()

    def new_id(self) -> str:
        """An id for a message that is to be kept."""
        return str(uuid.uuid4())

    async def keep(
        self,
        row_id: str,
        topic: str,
        event: str,
        body: bytes,
        encoding: PayloadEncoding,
        *,
        ttl_s: int,
    ) -> bool:
        """Keep a message; returns when it is, or is given up.

        Args:
            row_id: From `new_id`.
            topic: Sub-topic of a private channel.
            event: The user's event name.
            body: JSON text, or bytes.
            encoding: Which of the two.
            ttl_s: For how long it may be replayed.

        Returns:
            Whether it is kept. One that took too long may be kept nevertheless.
        """
        message = NewMessage(row_id, topic, event, body, encoding, self._clock.wall_s(), ttl_s)
        if not self._has_room(len(body)):
            self._stats.persists_failed_total += 1
            logger.warning("no room for messages to keep", extra={"waiting": len(self._queue)})
            return False
        kept = asyncio.get_running_loop().create_future()
        self._queue.append((message, kept))
        self._queue_bytes += len(body)
        self._news.set()
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await kept
        except TimeoutError:
            return False

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queue:
                await self._write(self._take())

    def _has_room(self, size_bytes: int) -> bool:
        return (
            len(self._queue) < QUEUE_MESSAGES_MAX
            and self._queue_bytes + size_bytes <= QUEUE_BYTES_MAX
        )

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size_bytes = 0
        while self._queue and len(batch) < BATCH_MESSAGES_MAX and size_bytes < BATCH_BYTES_MAX:
            waiting = self._queue.popleft()
            batch.append(waiting)
            size_bytes += len(waiting[0].body)
        self._queue_bytes -= size_bytes
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        kept: frozenset[str] = frozenset()
        try:
            kept = await self._store.insert([message for message, _ in batch])
        except UnavailableError as error:
            logger.warning("messages not kept", extra={"reason": str(error), "count": len(batch)})
        self._stats.persists_total += len(kept)
        self._stats.persists_failed_total += len(batch) - len(kept)
        for message, waiting in batch:
            if not waiting.done():
                waiting.set_result(message.id in kept)
