"""What a client under test saw, to be waited for with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

DEADLINE_S = 8.0

Match = Callable[[Any], object]


class Inbox:
    """Items in the order they came; `next` takes the first that matches."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: list[Any] = []
        self.seen: list[Any] = []
        self._news = asyncio.Event()

    def put(self, item: Any) -> None:
        self.items.append(item)
        self.seen.append(item)
        self._news.set()

    async def next(self, match: Match = lambda _item: True, *, within_s: float = DEADLINE_S) -> Any:
        """Wait for an item that matches, and take it; what does not match stays."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    for number, item in enumerate(self.items):
                        if match(item):
                            return self.items.pop(number)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(
                f"{self.name}: nothing that matches among {self.items!r}"
            ) from None

    async def until(self, match: Match, *, within_s: float = DEADLINE_S) -> list[Any]:
        """Wait for an item that matches; take and give it and everything before it."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    for number, item in enumerate(self.items):
                        if match(item):
                            taken = self.items[: number + 1]
                            del self.items[: number + 1]
                            return taken
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name}: no such end in {self.items!r}") from None

    def clear(self) -> None:
        self.items.clear()
