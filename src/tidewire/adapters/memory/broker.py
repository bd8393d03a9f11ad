"""The broker of a cluster of one node: what is published comes straight back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tidewire.core.message import Message


class MemoryBroker:
    """The port `Broker` without a network.

    Delivers before `publish` returns, except when called from within a delivery: that message
    waits its turn, so the order holds. Without a subscriber messages go nowhere.
    """

    def __init__(self) -> None:
        self._deliver: Callable[[Message], None] | None = None
        self._waiting: deque[Message] = deque()
        self._delivering = False

    def subscribe(self, deliver: Callable[[Message], None]) -> None:
        """See `Broker.subscribe`. A second call takes the place of the first."""
        self._deliver = deliver

    def publish(self, message: Message) -> None:
        """See `Broker.publish`. Never refuses."""
        if self._deliver is None:
            return
        self._waiting.append(message)
        if not self._delivering:
            self._drain(self._deliver)

    def _drain(self, deliver: Callable[[Message], None]) -> None:
        self._delivering = True
        try:
            while self._waiting:
                deliver(self._waiting.popleft())
        finally:
            self._delivering = False
