"""Makes everything from the settings. The one file that chooses adapters."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol

import msgspec

from tidewire import __version__
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.adapters.memory.broker import MemoryBroker
from tidewire.adapters.memory.policy_free import PolicyFreeAuthorizer
from tidewire.adapters.memory.presence_store import MemoryPresenceStore
from tidewire.adapters.postgres.catalog import PostgresCatalog
from tidewire.adapters.postgres.change_source import PostgresChangeSource
from tidewire.adapters.postgres.embedded import EmbeddedPostgres
from tidewire.adapters.postgres.migrations import migrate
from tidewire.adapters.postgres.preflight import check_database
from tidewire.adapters.postgres.publication import enable_table
from tidewire.engine.audience import Audience, Fanout
from tidewire.engine.change_router import ChangeRouter
from tidewire.engine.limits import Limits
from tidewire.engine.node import Node
from tidewire.engine.stats import Stats
from tidewire.engine.subscriptions import Subscriptions
from tidewire.http.app import build_app
from tidewire.http.health import Readiness
from tidewire.http.metrics import Sample
from tidewire.http.page import PageConfig
from tidewire.ports.change_source import StreamState
from tidewire.server.clock import SystemClock
from tidewire.server.data_folder import DataFolder
from tidewire.server.database import Database, embedded_database
from tidewire.server.demo.schema import TABLES
from tidewire.server.epoch_file import EpochFile
from tidewire.server.keys import Keys
from tidewire.server.listen import WebServer
from tidewire.server.settings import Settings
from tidewire.transports.limits import SocketLimits

__all__ = ["Server", "build_server", "check_database", "enable_table", "migrate", "open_database"]

HTTP_DRAIN_S = 1
"""How long HTTP requests get to end once the WebSockets are gone."""

EMBEDDED_FOLDER = "postgres"
EPOCH_FILE = "slot.json"


class Server(msgspec.Struct, frozen=True):
    """All parts of one running server.

    Attributes:
        node: The engine.
        router: Takes the stream's transactions.
        source: Streams them.
        catalog: Reads the database's catalogue; to be closed at the end.
        web: The one port.
        stats: What was counted.
    """

    node: Node
    router: ChangeRouter
    source: PostgresChangeSource
    catalog: PostgresCatalog
    web: WebServer
    stats: Stats


def open_database(
    settings: Settings, folder: DataFolder, *, stop_within_s: Callable[[], float]
) -> AbstractAsyncContextManager[Database]:
    """The database that the settings name, for the length of a block.

    Args:
        settings: Say which.
        folder: Where an embedded one lies.
        stop_within_s: See `embedded_database`.
    """
    if settings.database.url:
        return nullcontext(Database(settings.database.url, "the database of database.url"))
    path = folder.path / EMBEDDED_FOLDER
    embedded = EmbeddedPostgres(
        path,
        password=folder.database_password,
        port=settings.database.port or None,
        enclosing=folder.path,
    )
    return embedded_database(embedded, path, stop_within_s=stop_within_s)


def build_server(
    settings: Settings,
    *,
    folder: DataFolder,
    database_url: str,
    secret: str,
    keys: Keys,
    is_demo: bool,
) -> Server:
    """Make all parts; nothing runs or listens yet. Call within the running loop.

    Args:
        settings: All of them.
        folder: Where the stream's record is kept.
        database_url: What to stream from, and to read the catalogue of.
        secret: What tokens are signed with.
        keys: For the page.
        is_demo: Whether there is sample data.
    """
    clock, rng, stats = SystemClock(), random.SystemRandom(), Stats()
    publication = settings.database.publication
    catalog = PostgresCatalog(database_url, publication=publication)
    fanout = Fanout(asyncio.get_running_loop())
    subscriptions = Subscriptions(catalog, PolicyFreeAuthorizer(), lambda: Audience(fanout))
    router = ChangeRouter(
        catalog, subscriptions, clock, stats, rng, is_congested=lambda: web.is_congested
    )
    source = PostgresChangeSource(
        database_url,
        slot=settings.database.slot,
        publication=publication,
        epochs=EpochFile(folder.path / EPOCH_FILE),
        clock=clock,
        rng=rng,
    )
    node = Node(
        fanout=fanout,
        subscriptions=subscriptions,
        router=router,
        broker=MemoryBroker(),
        presence_store=MemoryPresenceStore(),
        verifier=JwtVerifier(secret),
        clock=clock,
        rng=rng,
        stats=stats,
        limits=_node_limits(settings),
    )
    numbers = _Numbers(stats, source, fanout, started_s=time.monotonic())
    app = build_app(
        readiness=numbers.readiness,
        read_samples=numbers.samples,
        page=PageConfig(
            url=settings.server.public_url,
            anon_key=keys.anon,
            version=__version__,
            tables=list(TABLES) if is_demo else [],
            is_demo=is_demo,
            is_simulated=is_demo and settings.demo.simulate,
        ),
    )
    web = WebServer(
        app,
        node.accept,
        host=settings.server.host,
        port=settings.server.port,
        limits=_socket_limits(settings),
        trusted_proxies=settings.server.trusted_proxies,
        on_slow_consumer=numbers.count_slow_consumer,
        drain_s=HTTP_DRAIN_S,
    )
    return Server(node, router, source, catalog, web, stats)


def _node_limits(settings: Settings) -> Limits:
    limits = settings.limits
    return Limits(
        connections_max=limits.connections_max,
        channels_per_connection_max=limits.channels_per_connection_max,
        payload_bytes_max=limits.payload_bytes_max,
        presence_grace_s=limits.presence_grace_s,
        idle_timeout_s=limits.idle_timeout_s,
        join_timeout_s=limits.join_timeout_s,
        drain_timeout_s=settings.server.drain_timeout_s,
    )


def _socket_limits(settings: Settings) -> SocketLimits:
    limits = settings.limits
    return SocketLimits(
        max_message_bytes=limits.message_bytes_max,
        write_buffer_bytes=limits.outbox_bytes_max,
        max_connections=limits.connections_max,
    )


class _Written(Protocol):
    """What the fan-out counts."""

    frames_written: int
    bytes_written: int


class _Numbers:
    """Reads the parts' plain counters for metrics and readiness."""

    def __init__(
        self, stats: Stats, source: PostgresChangeSource, written: _Written, *, started_s: float
    ) -> None:
        self._stats = stats
        self._source = source
        self._written = written
        self._started_s = started_s
        self._slow_consumers = 0

    def count_slow_consumer(self) -> None:
        """A client was cut off because it did not read."""
        self._slow_consumers += 1

    def readiness(self) -> Readiness:
        """Ready while the stream is live."""
        status = self._source.status
        told = status.state.value + (f": {status.detail}" if status.detail else "")
        return Readiness(status.state is StreamState.LIVE, {"stream": told})

    def samples(self) -> Iterable[Sample]:
        """Every number there is."""
        for name, help_text in STATS_HELP.items():
            yield Sample(name, help_text, getattr(self._stats, name))
        written = self._written
        yield Sample("frames_sent_total", "Frames written to clients.", written.frames_written)
        yield Sample("bytes_sent_total", "Bytes written to clients.", written.bytes_written)
        yield Sample(
            "slow_consumers_total", "Clients cut off for not reading.", self._slow_consumers
        )
        status = self._source.status
        yield Sample("stream_live", "1 while the stream is live.", status.state is StreamState.LIVE)
        lag = max(0, status.received_lsn - status.acknowledged_lsn)
        yield Sample("stream_lag_bytes", "Log received and not yet acknowledged, bytes.", lag)
        uptime_s = time.monotonic() - self._started_s
        yield Sample("uptime_seconds", "Seconds since the start.", uptime_s)


STATS_HELP = {
    "connections": "Open connections.",
    "channels": "Joined channels.",
    "subscriptions": "Channels that listen to database changes.",
    "connections_total": "Connections ever opened.",
    "joins_total": "Joins answered with ok.",
    "joins_refused_total": "Joins answered with an error.",
    "messages_in_total": "Frames from clients.",
    "malformed_total": "Frames dropped because they were none.",
    "broadcasts_total": "Broadcasts accepted.",
    "broadcasts_refused_total": "Broadcasts dropped or refused.",
    "presence_total": "Presence calls accepted.",
    "changes_total": "Row changes offered to at least one subscriber.",
    "transactions_total": "Transactions routed.",
    "half_open_total": "Connections ended because the peer fell silent.",
}
"""Counters of `engine.stats.Stats`; a test keeps them in step."""
