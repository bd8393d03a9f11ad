"""Looks after `realtime.messages`: partitions ahead, old ones dropped, expired rows deleted."""

from __future__ import annotations

import asyncio
import logging
import random

from tidewire.core.errors import UnavailableError
from tidewire.engine.stats import Stats
from tidewire.ports.message_store import MessageStore

logger = logging.getLogger(__name__)

EVERY_S = 900.0
AGAIN_S = 15.0
"""Wait after the first failure, doubled with each; partitions are there for three days ahead."""


class MessageUpkeep:
    """Calls the store now and then, for as long as the server runs. Never fails."""

    def __init__(
        self,
        store: MessageStore,
        stats: Stats,
        rng: random.Random,
        *,
        retention_days: int,
        payload_bytes_max: int,
    ) -> None:
        self._store = store
        self._stats = stats
        self._rng = rng
        self._retention_days = retention_days
        self._payload_bytes_max = payload_bytes_max

    async def run(self) -> None:
        """Once at the start, then every quarter of an hour, until cancelled."""
        failures = 0
        while True:
            failures = 0 if await self.once() else failures + 1
            wait_s = min(AGAIN_S * 2 ** min(failures - 1, 10), EVERY_S) if failures else EVERY_S
            await asyncio.sleep(wait_s * self._rng.uniform(0.8, 1.2))

    async def once(self) -> bool:
        """Do it now; whether it could be done."""
        try:
            done = await self._store.keep(
                retention_days=self._retention_days, payload_bytes_max=self._payload_bytes_max
            )
        except UnavailableError as error:
            self._stats.message_upkeep_failures_total += 1
            logger.warning("messages not looked after", extra={"reason": str(error)})
            return False
        logger.info("looked after messages", extra={"done": done})
        return True
