"""One process's whole engine: connections, rooms, and the rounds that keep them honest."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Iterable

import msgspec

from tidewire.core.clock import Clock
from tidewire.core.errors import TokenError, UnknownKeyError
from tidewire.core.message import Message
from tidewire.engine.audience import Fanout
from tidewire.engine.broadcast import Broadcasts
from tidewire.engine.change_router import ChangeRouter
from tidewire.engine.channel import Channel
from tidewire.engine.connection import Connection
from tidewire.engine.expiry import Expiry
from tidewire.engine.fanout import broadcast_frame
from tidewire.engine.history import History
from tidewire.engine.hub import Hub
from tidewire.engine.join import Joins
from tidewire.engine.lagging import Laggards
from tidewire.engine.limits import Limits
from tidewire.engine.persistence import Persistence
from tidewire.engine.presence import Presence
from tidewire.engine.quota import MessageQuota
from tidewire.engine.rights import Rights, policy_headers
from tidewire.engine.stats import Stats
from tidewire.engine.subscriptions import Subscriptions
from tidewire.engine.tasks import TaskSet
from tidewire.engine.throttle import Throttle
from tidewire.engine.token_refresh import TokenRefreshes
from tidewire.ports.broker import Broker
from tidewire.ports.channel_authorizer import ChannelAuthorizer
from tidewire.ports.presence_store import PresenceStore
from tidewire.ports.token_verifier import TokenVerifier
from tidewire.ports.transport import Accept, Refusal, Transport, UpgradeRequest
from tidewire.protocol.phoenix import codes
from tidewire.protocol.phoenix.serializer import serializer_for

logger = logging.getLogger(__name__)

WEBSOCKET_PATHS = frozenset({"/realtime/v1/websocket", "/socket/websocket"})
_ROUND_S = 0.5
_SLOW_ROUND_S = 5.0
_TOKEN_HORIZON_S = 3600.0
_CLOSE_RESTARTING = 1012
_CLOSE_IDLE = 1000
_DRAIN_SLICE = 256
_OVER_LIMIT_DELAY_S = 1.0
"""How long an upgrade over a limit waits for its answer: its client may try again at once. Others
are answered without delay, unlike in the original (wire specification 1.4)."""


class Node:
    """One process's engine.

    Make it within the running loop; then run `run` beside the web server and call `drain` before
    stopping. `accept` decides on WebSocket upgrades.

    Attributes:
        laggards: Connections that read too slowly now.
        throttle: Limits on how fast things come.
        quota: What the broadcast routes ask before they publish.
    """

    def __init__(
        self,
        *,
        fanout: Fanout,
        subscriptions: Subscriptions,
        router: ChangeRouter,
        broker: Broker,
        presence_store: PresenceStore,
        verifier: TokenVerifier,
        history: History,
        persistence: Persistence,
        channel_authorizer: ChannelAuthorizer,
        clock: Clock,
        rng: random.Random,
        stats: Stats,
        limits: Limits,
        name: str = "",
        private_only: bool = False,
        policy_poll_s: float = 5.0,
    ) -> None:
        self.stats = stats
        self.limits = limits
        self.name = f"{name}{rng.getrandbits(32):08x}"
        self._clock = clock
        self._verifier = verifier
        self._history = history
        self._connections: dict[str, Connection] = {}
        self._numbers = itertools.count(1)
        self._hub = Hub(fanout)
        self.throttle = Throttle(limits, stats, clock)
        self.laggards = Laggards(fanout, limits, stats, clock)
        self._tasks = TaskSet()
        self._expiry = Expiry(clock, horizon_s=_TOKEN_HORIZON_S)
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        loop = asyncio.get_running_loop()
        self.presence = Presence(
            presence_store,
            self._hub,
            clock,
            loop,
            node=self.name,
            throttle=self.throttle,
            stats=stats,
            grace_s=limits.presence_grace_s,
        )
        self.laggards.set_presence(self.presence.send_state)
        self.quota = MessageQuota(limits.messages_per_s, clock, lambda: stats.broadcasts_total)
        self.broadcasts = Broadcasts(
            broker, stats, persistence, payload_bytes_max=limits.payload_bytes_max
        )
        self.rights = Rights(
            channel_authorizer,
            hub=self._hub,
            presence=self.presence,
            tasks=self._tasks,
            stats=stats,
            rng=rng,
            shut_down=self._shut_down,
            poll_s=policy_poll_s,
            give_up_s=limits.join_timeout_s,
        )
        self.token_refreshes = TokenRefreshes(
            subscriptions=subscriptions,
            rights=self.rights,
            verifier=verifier,
            expiry=self._expiry,
            tasks=self._tasks,
            clock=clock,
            give_up_s=limits.join_timeout_s,
            shut_down=self._shut_down,
        )
        self.joins = Joins(
            hub=self._hub,
            presence=self.presence,
            rights=self.rights,
            private_only=private_only,
            subscriptions=subscriptions,
            router=router,
            verifier=verifier,
            history=history,
            expiry=self._expiry,
            tasks=self._tasks,
            stats=stats,
            limits=limits,
            throttle=self.throttle,
            clock=clock,
            rng=rng,
        )
        broker.subscribe(self._deliver)

    def accept(self, request: UpgradeRequest) -> Accept | Refusal | Awaitable[Accept | Refusal]:
        """Decide on a WebSocket upgrade (wire specification 1).

        At once, unless the key it shows is signed with a key that is not known yet.
        """
        try:
            return self._accept(request)
        except UnknownKeyError:
            return self._accept_later(request)

    async def _accept_later(self, request: UpgradeRequest) -> Accept | Refusal:
        await self._verifier.refresh_keys()
        try:
            return self._accept(request)
        except UnknownKeyError as error:
            return _refusal(401, codes.upgrade_refused(error))

    def _accept(self, request: UpgradeRequest) -> Accept | Refusal:
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        serializer = serializer_for(request.query.get("vsn"))
        if serializer is None:
            return Refusal(403)
        token = request.headers.get("x-api-key") or request.query.get("apikey")
        if not token:
            return _refusal(401, codes.API_KEY_MISSING)
        try:
            claims = self._verifier.verify(token, now_s=self._clock.wall_s())
        except UnknownKeyError:
            raise
        except TokenError as error:
            return _refusal(401, codes.upgrade_refused(error))
        headers = policy_headers(request.headers)

        def open_connection(transport: Transport) -> Connection:
            name = f"{self.name}.{next(self._numbers):x}"
            connection = Connection(
                self,
                transport,
                serializer,
                name=name,
                claims=claims,
                token=token,
                policy_headers=headers,
            )
            self._connections[name] = connection
            self._all_closed.clear()
            self.stats.connections += 1
            self.stats.connections_total += 1
            return connection

        return open_connection

    def _refuse(self, request: UpgradeRequest) -> Refusal | None:
        """Refusals that have nothing to do with who is asking."""
        if request.path not in WEBSOCKET_PATHS:
            return _refusal(404, "Not found")
        if self.joins.is_draining:
            return _refusal(503, codes.RESTARTING)
        if len(self._connections) >= self.limits.connections_max:
            return _refusal(429, codes.TOO_MANY_USERS, delay_s=_OVER_LIMIT_DELAY_S)
        if not self.throttle.has_room_for_joins:
            return _refusal(429, codes.TOO_MANY_JOINS_UPGRADE, delay_s=_OVER_LIMIT_DELAY_S)
        return None

    def closed(self, connection: Connection) -> None:
        """A connection ended; called by itself."""
        if self._connections.pop(connection.id, None) is not None:
            self.stats.connections -= 1
        if not self._connections:
            self._all_closed.set()

    async def run(self) -> None:
        """Do the rounds until cancelled: expiry, graces, half-open and idle peers."""
        next_slow_s = self._clock.monotonic_s()
        self._tasks.spawn(self.rights.run(), "rights")
        try:
            while True:
                await asyncio.sleep(_ROUND_S)
                now_s = self._clock.monotonic_s()
                self.presence.end_grace()
                self.quota.note()
                if self._expiry.is_rewatch_due:
                    self._expiry.rewatch(self.channels())
                self._end_expired()
                self._check_present()
                if now_s >= next_slow_s:
                    next_slow_s = now_s + _SLOW_ROUND_S
                    self._check_idle()
        finally:
            await self._tasks.close()
            await self.broadcasts.close()

    async def drain(self) -> None:
        """Let nobody in, tell every client to come back elsewhere or later, and wait for them.

        Returns when all are gone or after `drain_timeout_s`, when the rest is cut off.
        """
        self.joins.is_draining = True
        for number, connection in enumerate(list(self._connections.values())):
            connection.transport.close(_CLOSE_RESTARTING, "restarting")
            if number % _DRAIN_SLICE == _DRAIN_SLICE - 1:
                await asyncio.sleep(0)
        try:
            async with asyncio.timeout(self.limits.drain_timeout_s):
                await self._all_closed.wait()
        except TimeoutError:
            self.cut_off()

    def cut_off(self) -> None:
        """Let nobody in, and end every connection at once, without a word."""
        self.joins.is_draining = True
        for connection in list(self._connections.values()):
            connection.transport.abort()

    def _shut_down(self, channel: Channel, message: str) -> None:
        self.joins.shut_down(channel, message)

    def _deliver(self, message: Message) -> None:
        """A broadcast from some node, this one included."""
        holders = self._history.note(message) if message.row_id else ()
        room = self._hub.find(message.topic)
        if room is None:
            return
        sender = self._connections.get(message.sender) if message.sender else None
        skip = sender.channels.get(room.topic.wire_name) if sender else None
        room.offer_broadcast(broadcast_frame(room.topic.wire_name, message), skip)
        for channel in holders:
            room.withhold_broadcast(channel)

    def channels(self) -> Iterable[Channel]:
        """Every channel that is joined now."""
        for connection in self._connections.values():
            yield from connection.channels.values()

    def _end_expired(self) -> None:
        now_s = self._clock.wall_s()
        for channel in self._expiry.take_expired():
            ago = int(now_s - channel.claims.expires_at_s)
            self.joins.shut_down(channel, f"Token has expired {ago} seconds ago")

    def _check_present(self) -> None:
        """Ping silent peers that are shown as present, and give up those that stay silent.

        Their silence was the grace: they are gone at once.
        """
        loop_s = asyncio.get_running_loop().time()
        names = {channel.peer.id for channel in self.presence.channels()}
        for name in names:
            connection = self._connections[name]
            silent_s = loop_s - connection.transport.last_heard_s
            if silent_s >= self.limits.silent_after_s:
                connection.fell_silent = True
                self.stats.half_open_total += 1
                connection.transport.abort()
            elif silent_s >= self.limits.ping_after_s:
                connection.transport.ping()

    def _check_idle(self) -> None:
        """Ping silent peers now and then, and close those that do not even answer that."""
        loop_s = asyncio.get_running_loop().time()
        for connection in list(self._connections.values()):
            silent_s = loop_s - connection.transport.last_heard_s
            if silent_s >= self.limits.idle_timeout_s:
                connection.transport.close(_CLOSE_IDLE, "idle")
            elif silent_s >= self.limits.idle_ping_after_s:
                connection.transport.ping()


def _refusal(status: int, text: str, *, delay_s: float = 0.0) -> Refusal:
    return Refusal(status, msgspec.json.encode({"error": text}), delay_s)
