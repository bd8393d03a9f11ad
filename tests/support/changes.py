"""A catalogue, a table and changes by hand, and receivers that remember, for routing tests."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tests.support.clock import ManualClock
from tests.support.frames import split_frames
from tests.support.rows import make_row
from tidewire.adapters.memory.policy_free import PolicyFreeAuthorizer
from tidewire.core.catalog import Catalog, Table, TableAccess, TableColumn, TypeInfo, TypeKind
from tidewire.core.change import (
    Change,
    ChangeKind,
    LogicalMessage,
    Relation,
    RelationColumn,
    ReplicaIdentity,
    Transaction,
)
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.core.lsn import Lsn
from tidewire.core.topic import Topic
from tidewire.engine.audience import Audience, Fanout
from tidewire.engine.change_router import ChangeRouter
from tidewire.engine.database_broadcasts import DatabaseBroadcasts
from tidewire.engine.fanout import LANE_V2
from tidewire.engine.stats import Stats
from tidewire.engine.subscriptions import Subscriptions
from tidewire.ports.authorizer import Authorizer
from tidewire.ports.catalog_source import Comparison, LiteralRequest

TYPES = {
    16: TypeInfo(16, "bool", category="B"),
    20: TypeInfo(20, "int8", category="N"),
    23: TypeInfo(23, "int4", category="N"),
    25: TypeInfo(25, "text", category="S"),
    1186: TypeInfo(1186, "interval", category="T"),
    5000: TypeInfo(5000, "mood", TypeKind.ENUM, labels=("sad", "ok"), category="E"),
}
TRIPS = 16_400
COMMITTED_AT_US = 1_790_763_072_345_678
TIMESTAMP = "2026-09-30T10:11:12.345Z"


def table(
    oid: int = TRIPS,
    name: str = "trips",
    columns: tuple[tuple[str, int], ...] = (("id", 23), ("status", 25), ("note", 25)),
    *,
    key: tuple[str, ...] = ("id",),
    has_row_security: bool = False,
) -> Table:
    return Table(
        oid,
        "public",
        name,
        tuple(TableColumn(n, oid_, is_primary_key=n in key) for n, oid_ in columns),
        has_row_security=has_row_security,
    )


def relation_of(of: Table, identity: ReplicaIdentity = ReplicaIdentity.DEFAULT) -> Relation:
    full = identity is ReplicaIdentity.FULL
    return Relation(
        of.oid,
        of.schema,
        of.name,
        identity,
        tuple(
            RelationColumn(c.name, c.type_oid, is_key=full or c.is_primary_key) for c in of.columns
        ),
    )


def catalog(*tables: Table, **access: dict[int, TableAccess] | None) -> Catalog:
    """A state of the catalogue; `anon` and `service_role` may read everything unless told."""
    everything = {
        t.oid: TableAccess(frozenset(c.name for c in t.columns), not t.has_row_security, True)
        for t in tables
    }
    bypassing = {oid: TableAccess(a.columns, True, True) for oid, a in everything.items()}
    roles = {"anon": everything, "service_role": bypassing} | access
    return Catalog(
        fingerprint=str(random.random()),
        tables={t.oid: t for t in tables},
        types=TYPES,
        access=roles,
    )


def may_read(*columns: str, bypasses: bool = True) -> dict[int, TableAccess]:
    return {TRIPS: TableAccess(frozenset(columns), bypasses)}


class FakeCatalogs:
    """A catalogue that a test changes; a refresh picks the newest state up."""

    def __init__(self, first: Catalog) -> None:
        self.newest = first
        self.current = catalog()
        self.refreshes = 0
        self.xids: list[int] = []
        self.down = False
        self.compared: list[Comparison] = []
        self.judge: Callable[[Comparison], bool | None] = lambda _: True
        self.hold: asyncio.Event | None = None
        self.asked = asyncio.Event()
        self.refusals = 0
        self.refused = asyncio.Event()  # several times over

    async def refresh(self, role: str | None = None, *, xid: int = 0) -> Catalog:
        self.refreshes += 1
        self.xids.append(xid)
        await self._answer()
        self.current = self.newest
        return self.current

    async def canonical_literals(self, requests: Sequence[LiteralRequest]) -> list[str | None]:
        await self._answer()
        return [None if request.text.startswith("bad") else request.text for request in requests]

    async def compare(self, comparisons: Sequence[Comparison]) -> list[bool | None]:
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        await self._answer()
        self.compared += comparisons
        return [self.judge(comparison) for comparison in comparisons]

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            self.refusals += 1
            if self.refusals > 2:
                self.refused.set()
            raise DatabaseUnavailableError("down")


class Receiver:
    """A channel that keeps what it is sent."""

    lane = LANE_V2

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.transport = self

    def write(self, data: bytes, /) -> None:
        self.frames += [json.loads(payload) for _, payload in split_frames(data)]

    def take(self) -> list[tuple[str, Any]]:
        """(event, payload) of all that came, oldest first."""
        frames, self.frames = self.frames, []
        return [(frame[3], frame[4]) for frame in frames]


class House:
    """Subscriptions and a router over a fake catalogue."""

    def __init__(
        self,
        first: Catalog,
        authorizer: Authorizer | None = None,
        *,
        sends_key_only_deletes: bool = True,
        broadcasts: DatabaseBroadcasts | None = None,
    ) -> None:
        self.catalogs = FakeCatalogs(first)
        self.fanout = Fanout(asyncio.get_running_loop())
        self.clock = ManualClock()
        self.stats = Stats()
        self.subscriptions = Subscriptions(
            self.catalogs,
            PolicyFreeAuthorizer() if authorizer is None else authorizer,
            lambda: Audience(self.fanout),
        )
        self.is_congested = False
        self.router = ChangeRouter(
            self.catalogs,
            self.subscriptions,
            self.clock,
            self.stats,
            random.Random(1),
            is_congested=lambda: self.is_congested,
            sends_key_only_deletes=sends_key_only_deletes,
            broadcasts=broadcasts,
        )

    async def join(
        self,
        *entries: dict[str, Any],
        topic: str = "room",
        role: str = "anon",
        claims: dict[str, Any] | None = None,
    ) -> tuple[Receiver, Any]:
        receiver = Receiver()
        outcome = await self.subscriptions.subscribe(
            receiver, Topic.parse(f"realtime:{topic}"), entries, role, claims=claims or {}
        )
        return receiver, outcome

    async def send(self, *items: Change | LogicalMessage, overflowed: bool = False) -> None:
        await self.router.receive([transaction(*items, overflowed=overflowed)])
        self.fanout.flush()


def transaction(*items: Change | LogicalMessage, overflowed: bool = False) -> Transaction:
    return Transaction(Lsn(10), Lsn(20), 7, COMMITTED_AT_US, items, overflowed)


def insert(relation: Relation, *values: Any) -> Change:
    return Change(ChangeKind.INSERT, relation, make_row(*values), None)


def update(relation: Relation, *values: Any, old: tuple[Any, ...] | None = None) -> Change:
    full = relation.identity is ReplicaIdentity.FULL
    row = None if old is None else make_row(*old)
    return Change(ChangeKind.UPDATE, relation, make_row(*values), row, full and old is not None)


def delete(relation: Relation, *old: Any) -> Change:
    full = relation.identity is ReplicaIdentity.FULL
    return Change(ChangeKind.DELETE, relation, None, make_row(*old), full)


def rows_of(frames: list[tuple[str, Any]]) -> list[Any]:
    """`data` of the changes among frames."""
    return [payload["data"] for event, payload in frames if event == "postgres_changes"]


def notices_of(frames: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """(status, message) of the system messages among frames."""
    return [(p["status"], p["message"]) for event, p in frames if event == "system"]


def renamed(of: Table, name: str) -> Table:
    return msgspec.structs.replace(of, name=name)
