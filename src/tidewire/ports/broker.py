"""Carries broadcasts between nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tidewire.core.message import Message


class Broker(Protocol):
    """Carries messages between the nodes of one cluster.

    Promise: what one node publishes to one topic reaches each subscribed node, itself
    included, in that order and at most once. A gap is not told here; the journal closes it.
    """

    def subscribe(self, deliver: Callable[[Message], None]) -> None:
        """Name the one function that takes this node's incoming messages. Must not block."""
        ...

    def publish(self, message: Message) -> None:
        """Hand `message` over for delivery to every node.

        Does not wait: a broker that sends over a network queues within a bound.

        Raises:
            BrokerUnavailableError: It was not taken; the caller may try again.
        """
        ...
