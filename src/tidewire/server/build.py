"""Makes everything from the settings. It chooses the adapters; `verifying` those of tokens."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

import msgspec
from starlette.routing import Route

from tidewire import __version__
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.adapters.memory.broker import MemoryBroker
from tidewire.adapters.memory.presence_store import MemoryPresenceStore
from tidewire.adapters.postgres.catalog import PostgresCatalog
from tidewire.adapters.postgres.change_source import PostgresChangeSource
from tidewire.adapters.postgres.channel_rights.authorizer import PostgresChannelAuthorizer
from tidewire.adapters.postgres.checker import CheckerLogin
from tidewire.adapters.postgres.embedded import EmbeddedPostgres
from tidewire.adapters.postgres.embedded.databases import (
    database_beside,
    make_database,
    room_for,
)
from tidewire.adapters.postgres.message_store import PostgresMessageStore
from tidewire.adapters.postgres.messages_publication import MESSAGES_PUBLICATION
from tidewire.adapters.postgres.migrations import migrate
from tidewire.adapters.postgres.preflight import check_database
from tidewire.adapters.postgres.publication import enable_table
from tidewire.adapters.postgres.revocations import PostgresRevocations
from tidewire.adapters.postgres.row_security.authorizer import RowSecurityAuthorizer
from tidewire.engine.audience import Audience, Fanout
from tidewire.engine.change_router import DDL_PREFIX, ChangeRouter
from tidewire.engine.database_broadcasts import FAILED_PREFIX, DatabaseBroadcasts
from tidewire.engine.history import History
from tidewire.engine.message_upkeep import MessageUpkeep
from tidewire.engine.node import Node
from tidewire.engine.persistence import Persistence
from tidewire.engine.recorder import Recorder
from tidewire.engine.rest_broadcast import RestBroadcasts
from tidewire.engine.revocation_watch import PREFIX as REVOCATION_PREFIX
from tidewire.engine.revocation_watch import RevocationWatch
from tidewire.engine.revocations import RevocableVerifier, Revocations
from tidewire.engine.stats import Stats
from tidewire.engine.subscriptions import Subscriptions
from tidewire.http.app import build_app, build_site
from tidewire.http.bearer_guard import BearerGuard
from tidewire.http.broadcast import broadcast_routes
from tidewire.http.origins import OriginGuard
from tidewire.http.page import PageConfig
from tidewire.http.revoke import revoke_routes
from tidewire.http.tenant_admin import tenant_admin_routes
from tidewire.server.clock import SystemClock
from tidewire.server.data_folder import DataFolder
from tidewire.server.database import Database, embedded_database
from tidewire.server.demo.schema import TABLES
from tidewire.server.epoch_file import EpochFile
from tidewire.server.journal_settings import make_journal
from tidewire.server.limit_settings import node_limits, socket_limits
from tidewire.server.listen import WebServer
from tidewire.server.numbers import TenantNumbers, process_samples
from tidewire.server.settings import Settings, origin_policy
from tidewire.server.tenant import Tenant, TenantPlan
from tidewire.server.tenant_care import TenantCare
from tidewire.server.tenant_directory import TenantDirectory
from tidewire.server.tenant_plans import needs_embedded
from tidewire.server.tenant_runner import TenantRunner
from tidewire.server.tls import tls_context
from tidewire.server.verifying import DAY_S, make_verifier
from tidewire.transports.limits import SocketLimits
from tidewire.transports.websocket import SocketGroup

__all__ = [
    "Server",
    "build_server",
    "check_database",
    "database_beside",
    "enable_table",
    "make_database",
    "migrate",
    "open_database",
]

HTTP_DRAIN_S = 1
"""How long HTTP requests get to end once the WebSockets are gone."""

EMBEDDED_FOLDER = "postgres"
EPOCH_FILE = "slot.json"

PrepareDatabase = Callable[[TenantPlan], Awaitable[None]]
NewSockets = Callable[[SocketLimits, Callable[[], None]], SocketGroup]


class Server(msgspec.Struct, frozen=True):
    """All parts of one running server.

    Attributes:
        tenants: At least one; the first is the one that programs of this machine mean.
        web: The one port.
    """

    tenants: Sequence[TenantRunner]
    web: WebServer


def open_database(
    settings: Settings, folder: DataFolder, *, stop_within_s: Callable[[], float]
) -> AbstractAsyncContextManager[Database]:
    """The database that the settings name, for the length of a block.

    Where each of several tenants has its own, it is a `Database` that nobody uses.

    Args:
        settings: Say which.
        folder: Where an embedded one lies.
        stop_within_s: See `embedded_database`.
    """
    if not needs_embedded(settings):
        return nullcontext(Database(settings.database.url, "the database of database.url"))
    path = folder.path / EMBEDDED_FOLDER
    embedded = EmbeddedPostgres(
        path,
        password=folder.database_password,
        port=settings.database.port or None,
        enclosing=folder.path,
        extra_settings=room_for(len(settings.tenants)),
    )
    return embedded_database(embedded, path, stop_within_s=stop_within_s)


def build_server(
    settings: Settings, plans: Sequence[TenantPlan], *, prepare: PrepareDatabase
) -> Server:
    """Make all parts; nothing runs or listens yet. Call within the running loop.

    Args:
        settings: All of them.
        plans: What each tenant is made from.
        prepare: Brings a tenant's database to what it needs.
    """
    rng = random.SystemRandom()

    def runner(plan: TenantPlan) -> TenantRunner:
        return TenantRunner(
            plan,
            prepare=lambda: prepare(plan),
            build=lambda: build_tenant(plan.settings, plan, new_sockets=web.socket_group),
            is_alone=len(plans) == 1,
            rng=rng,
        )

    directory = TenantDirectory([runner(plan) for plan in plans])
    started_s = time.monotonic()
    site = build_site(
        readiness=directory.readiness,
        read_samples=lambda: [*directory.samples(), *process_samples(started_s=started_s)],
        tenants=directory,
        routes=_admin_routes(settings, directory),
        metrics_guard=_guard(settings.server.metrics_jwt_secret),
    )
    web = WebServer(
        site,
        directory.accept,
        host=settings.server.host,
        port=settings.server.port,
        limits=socket_limits(settings.limits),
        trusted_proxies=settings.server.trusted_proxies,
        ssl_context=tls_context(settings.server.tls_certificate, settings.server.tls_key),
        drain_s=HTTP_DRAIN_S,
    )
    return Server(directory.runners, web)


def _admin_routes(settings: Settings, directory: TenantDirectory) -> list[Route]:
    guard = _guard(settings.server.admin_jwt_secret)
    # Without a secret nobody can hold a token of it: the guard of a random one lets nobody in.
    return tenant_admin_routes(TenantCare(directory), guard or _random_guard())


def _guard(secret: str) -> BearerGuard | None:
    return BearerGuard(JwtVerifier(secret), SystemClock()) if secret else None


def _random_guard() -> BearerGuard:
    return BearerGuard(JwtVerifier(secrets.token_bytes(32)), SystemClock())


def build_tenant(settings: Settings, plan: TenantPlan, *, new_sockets: NewSockets) -> Tenant:
    """Make all parts of one tenant, none of which another tenant shares.

    Args:
        settings: This tenant's: what it sets for itself lies over the server's.
        plan: What it is made from besides.
        new_sockets: Makes a group of connections with bounds of its own.
    """
    clock, rng, stats = SystemClock(), random.SystemRandom(), Stats()
    publication = settings.database.publication
    catalog = PostgresCatalog(plan.database_url, publication=publication)
    checker = CheckerLogin(
        plan.database_url,
        password=plan.checker_password,
        given=settings.database.checker_url,
    )
    authorizer = RowSecurityAuthorizer(checker.url, clock=clock, grants=checker)
    fanout = Fanout(asyncio.get_running_loop())
    subscriptions = Subscriptions(catalog, authorizer, lambda: Audience(fanout))
    broker = MemoryBroker()
    payload_bytes_max = settings.limits.payload_bytes_max
    messages = PostgresMessageStore(plan.database_url)
    history = History(
        messages,
        clock,
        stats,
        replay_max=settings.broadcast.replay_max,
        late_hold_s=settings.broadcast.late_hold_s,
    )
    database_broadcasts = DatabaseBroadcasts(
        broker,
        clock,
        stats,
        payload_bytes_max=payload_bytes_max,
        age_s_max=settings.broadcast.late_max_s,
        hold=history.hold,
    )
    router = ChangeRouter(
        catalog,
        subscriptions,
        clock,
        stats,
        rng,
        is_congested=lambda: node.laggards.are_worth_waiting_for(),  # noqa: PLW0108 - made below
        sends_key_only_deletes=settings.changes.key_only_deletes == "send",
        broadcasts=database_broadcasts,
    )
    router.listen(FAILED_PREFIX, database_broadcasts)
    persistence = Persistence(messages, clock, stats)
    upkeep = MessageUpkeep(
        messages,
        stats,
        rng,
        retention_days=settings.broadcast.retention_days,
        payload_bytes_max=payload_bytes_max,
    )
    source = PostgresChangeSource(
        plan.database_url,
        slot=settings.database.slot,
        publication=publication,
        optional_publication=MESSAGES_PUBLICATION,
        epochs=EpochFile(plan.folder / EPOCH_FILE),
        clock=clock,
        rng=rng,
    )
    journal = make_journal(settings.journal, plan.folder, clock)
    recorder = Recorder(journal, router, sync_interval_s=settings.journal.sync_interval_s)
    numbers = TenantNumbers(stats, source, fanout, authorizer.stats, recorder)
    sockets = new_sockets(socket_limits(settings.limits), numbers.count_slow_consumer)
    signatures = make_verifier(
        settings.auth, secret=plan.secret, keys=plan.keys, clock=clock, rng=rng
    )
    revocations = Revocations()
    verifier = RevocableVerifier(signatures, revocations)
    rights = PostgresChannelAuthorizer(checker.url, grant_role=checker.grant_role)
    node = Node(
        fanout=fanout,
        subscriptions=subscriptions,
        router=router,
        broker=broker,
        presence_store=MemoryPresenceStore(),
        verifier=verifier,
        channel_authorizer=rights,
        history=history,
        persistence=persistence,
        clock=clock,
        rng=rng,
        stats=stats,
        name="" if plan.is_only else f"{plan.name}-",
        private_only=settings.channels.private_only,
        policy_poll_s=settings.channels.policy_poll_s,
        limits=node_limits(settings.limits, drain_timeout_s=settings.server.drain_timeout_s),
    )
    revocation_store = PostgresRevocations(
        plan.database_url, token_age_s_max=settings.auth.token_age_days_max * DAY_S
    )
    watch = RevocationWatch(
        revocation_store,
        revocations,
        clock=clock,
        rng=rng,
        channels=node.channels,
        shut_down=node.joins.shut_down,
    )
    router.listen(REVOCATION_PREFIX, watch)
    router.listen(DDL_PREFIX, node.rights)
    rest_broadcasts = RestBroadcasts(
        broker, stats, node.quota, rights, persistence, payload_bytes_max=payload_bytes_max
    )
    app = build_app(
        page=_page(settings, plan),
        routes=[
            *broadcast_routes(
                rest_broadcasts,
                verifier,
                clock,
            ),
            *revoke_routes(verifier, clock, watch.revoke),
        ],
    )
    return Tenant(
        plan=plan,
        node=node,
        router=router,
        source=source,
        numbers=numbers,
        sockets=sockets,
        app=OriginGuard(app, origin_policy(settings)),
        parts=[
            ("signing keys", signatures.run),
            ("revocations", watch.run),
            ("journal", recorder.run),
            ("stream", lambda: source.run(recorder, recorder)),
            ("engine", node.run),
            ("messages", upkeep.run),
            ("persistence", persistence.run),
        ],
        openers=[journal.open, watch.load],
        closers=[
            journal.close,
            catalog.close,
            authorizer.close,
            rights.close,
            revocation_store.close,
            messages.close,
            rest_broadcasts.close,
        ],
    )


def _page(settings: Settings, plan: TenantPlan) -> PageConfig:
    return PageConfig(
        url=settings.server.public_url,
        anon_key=plan.keys.anon,
        version=__version__,
        tables=list(TABLES) if plan.is_demo else [],
        is_demo=plan.is_demo,
        is_simulated=plan.is_demo and settings.demo.simulate,
    )
