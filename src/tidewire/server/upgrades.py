"""Who decides on the upgrades of one server, and what all of its sniffers share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tidewire.ports.transport import Accept, Refusal, UpgradeRequest
from tidewire.server.forwarded import TrustedProxies
from tidewire.transports.websocket import Closable, SocketGroup


class Grant(NamedTuple):
    """An upgrade that is granted, to a group of connections other than the server's own.

    Attributes:
        accept: Takes the connection.
        group: What it shares with its like.
    """

    accept: Accept
    group: SocketGroup


Decision = Accept | Grant | Refusal
Decider = Callable[[UpgradeRequest], Decision | Awaitable[Decision]]
"""An `Acceptor` that may also say to which group a connection belongs."""


class Upgrades:
    """What all sniffers of one server share.

    Attributes:
        acceptor: Decides on upgrades.
        paths: Where upgrades are taken.
        group: What connections share from then on that no `Grant` puts elsewhere.
        proxies: Whose X-Forwarded-For is believed.
        tasks: Decisions under way; the server ends and awaits them.
        reading: Connections without a whole head, the oldest first.
    """

    def __init__(
        self,
        acceptor: Decider,
        *,
        paths: frozenset[str],
        group: SocketGroup,
        proxies: TrustedProxies,
    ) -> None:
        self.acceptor = acceptor
        self.paths = paths
        self.group = group
        self.proxies = proxies
        self.tasks: set[asyncio.Task[None]] = set()
        self.reading: dict[Closable, None] = {}

    def note_reading(self, connection: Closable) -> None:
        """A new connection has sent no whole head yet; of too many such the oldest is ended.

        The oldest is the likeliest never to send one: whoever opens connections without end
        pushes out his own, and newcomers are let in.
        """
        self.reading[connection] = None
        if len(self.reading) > self.group.limits.heads_max:
            oldest = next(iter(self.reading))
            del self.reading[oldest]
            oldest.abort()
