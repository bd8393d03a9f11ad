from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tidewire.core.errors import DatabaseUnavailableError
from tidewire.engine import message_upkeep
from tidewire.engine.message_upkeep import MessageUpkeep
from tidewire.engine.stats import Stats


class Store:
    """Counts calls; fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.calls: list[dict[str, int]] = []
        self.failures = failures

    async def recent(self, topic: str, *, since_ms: int, limit: int) -> list[Any]:
        raise NotImplementedError

    async def insert(self, messages: Any) -> frozenset[str]:
        raise NotImplementedError

    async def keep(self, *, retention_days: int, payload_bytes_max: int) -> str:
        self.calls.append({"days": retention_days, "bytes": payload_bytes_max})
        if len(self.calls) <= self.failures:
            raise DatabaseUnavailableError("away")
        return "done"


def upkeep_of(store: Store, stats: Stats) -> MessageUpkeep:
    return MessageUpkeep(store, stats, random.Random(1), retention_days=3, payload_bytes_max=9)


async def test_it_is_done_at_the_start_with_what_the_settings_say() -> None:
    store, stats = Store(), Stats()
    assert await upkeep_of(store, stats).once()
    assert store.calls == [{"days": 3, "bytes": 9}]
    assert stats.message_upkeep_failures_total == 0


async def test_failures_are_counted_and_tried_again_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, stats, waits = Store(failures=9), Stats(), []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 10:
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(message_upkeep.asyncio, "sleep", sleep)
    running = asyncio.ensure_future(upkeep_of(store, stats).run())
    await enough.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert stats.message_upkeep_failures_total == 9
    assert waits[0] < 20 < waits[1] < waits[2] < waits[3]
    assert all(0.8 * 900 <= wait <= 1.2 * 900 for wait in waits[6:])
