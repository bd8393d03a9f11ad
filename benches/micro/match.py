"""What one change costs: 10,000 filtered subscriptions, 10 of which match.

Decode (pgoutput bytes to a transaction), match, judge, render, encode for serializer 2 and hand
to each receiver, per change, through the router and the fan-out themselves; a receiver's `write`
does nothing, so sockets are not counted. CPU time, not wall time: medians of the rounds.

Two cases: the matching channels subscribe alike (one topic per filter: one group, encoded
once), or each has a topic of its own (ten frames to encode).

    python benches/micro/match.py [--subscriptions N] [--matching N] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import statistics
import struct
import time
from collections.abc import Sequence

from tidewire.adapters.memory.policy_free import PolicyFreeAuthorizer
from tidewire.core.catalog import Catalog, Table, TableAccess, TableColumn, TypeInfo
from tidewire.core.change import (
    Change,
    ChangeKind,
    Relation,
    RelationColumn,
    ReplicaIdentity,
    Transaction,
)
from tidewire.core.lsn import Lsn
from tidewire.core.topic import Topic
from tidewire.engine.audience import Audience, Fanout
from tidewire.engine.change_router import ChangeRouter
from tidewire.engine.stats import Stats
from tidewire.engine.subscriptions import Subscriptions
from tidewire.ports.catalog_source import Comparison, LiteralRequest
from tidewire.protocol.pgoutput import compiled
from tidewire.protocol.pgoutput.row import row_end

TYPES = {"int8": 20, "uuid": 2950, "text": 25, "numeric": 1700, "timestamptz": 1184, "bool": 16}
COLUMNS = [
    ("id", "int8"), ("client_id", "int8"), ("organizer_id", "int8"), ("token", "uuid"),
    ("title", "text"), ("status", "text"), ("note", "text"), ("city", "text"),
    ("country", "text"), ("price", "numeric"), ("paid", "numeric"), ("starts_at", "timestamptz"),
    ("ends_at", "timestamptz"), ("created_at", "timestamptz"), ("updated_at", "timestamptz"),
    ("confirmed", "bool"), ("version", "int8"),
]  # fmt: skip
TABLE_OID = 16_400
CHANGES = 500


class FixedCatalogs:
    """A catalogue that never changes."""

    def __init__(self) -> None:
        columns = tuple(
            TableColumn(name, TYPES[type_], is_primary_key=name == "id") for name, type_ in COLUMNS
        )
        names = frozenset(name for name, _ in COLUMNS)
        categories = {"text": "S"}
        self.current = Catalog(
            fingerprint="1",
            tables={TABLE_OID: Table(TABLE_OID, "public", "trips", columns)},
            types={
                oid: TypeInfo(oid, name, category=categories.get(name, "U"))
                for name, oid in TYPES.items()
            },
            access={"anon": {TABLE_OID: TableAccess(names, bypasses_row_security=True)}},
        )

    async def refresh(self, role: str | None = None, *, xid: int = 0) -> Catalog:
        return self.current

    async def canonical_literals(self, requests: Sequence[LiteralRequest]) -> list[str | None]:
        return [request.text for request in requests]

    async def compare(self, comparisons: Sequence[Comparison]) -> list[bool | None]:
        raise AssertionError("nothing here is for the database")


class Clock:
    def monotonic_s(self) -> float:
        return 0.0

    def wall_s(self) -> float:
        return 0.0


class Member:
    lane = 1

    def __init__(self) -> None:
        self.transport = self

    def write(self, data: bytes, /) -> None: ...


def row(number: int, clients: int) -> bytes:
    values = [
        str(number), str(number % clients), "7", "11111111-2222-3333-4444-555555555555",
        f"Trip {number}", "open", "a note of some length, as people write them", "Lisbon",
        "Portugal", "1234.50", "0.00", "2026-05-01 10:00:00+00", "2026-05-09 18:30:00+00",
        "2026-01-01 00:00:00.123456+00", "2026-02-01 00:00:00.123456+00", "t", "3",
    ]  # fmt: skip
    cells = [b"t" + struct.pack("!i", len(v.encode())) + v.encode() for v in values]
    return struct.pack("!H", len(values)) + b"".join(cells)


async def measure(
    subscriptions_count: int, matching: int, rounds: int, *, alike: bool
) -> dict[str, float]:
    catalogs, stats = FixedCatalogs(), Stats()
    fanout = Fanout(asyncio.get_running_loop())
    subscriptions = Subscriptions(catalogs, PolicyFreeAuthorizer(), lambda: Audience(fanout))
    router = ChangeRouter(catalogs, subscriptions, Clock(), stats, random.Random(1))
    clients = subscriptions_count // matching
    started = time.process_time()
    for number in range(subscriptions_count):
        entry = {"event": "*", "schema": "public", "table": "trips",
                 "filter": f"client_id=eq.{number % clients}"}  # fmt: skip
        name = number % clients if alike else number
        topic = Topic.parse(f"realtime:trips-{name}")
        await subscriptions.subscribe(Member(), topic, [entry], "anon")
    adding_us = (time.process_time() - started) / subscriptions_count * 1e6
    relation = Relation(
        TABLE_OID, "public", "trips", ReplicaIdentity.DEFAULT,
        tuple(RelationColumn(n, TYPES[t], is_key=n == "id") for n, t in COLUMNS),
    )  # fmt: skip
    # An INSERT message as it stands in the stream: kind, relation, 'N', then the row.
    wire = [b"I" + struct.pack("!I", TABLE_OID) + b"N" + row(i, clients) for i in range(CHANGES)]

    def decode(data: bytes) -> Transaction:
        end = row_end(data, 6)
        change = Change(ChangeKind.INSERT, relation, data[6:end], None)
        return Transaction(Lsn(1), Lsn(2), 3, 1_767_225_600_000_000, (change,))

    await router.receive([decode(wire[0])])
    fanout.flush()
    took: list[float] = []
    for _ in range(rounds):
        started = time.process_time()
        for data in wire:
            await router.receive([decode(data)])
            fanout.flush()
        took.append((time.process_time() - started) / CHANGES * 1e6)
    assert stats.changes_total == rounds * CHANGES + 1
    return {"per_change_us": statistics.median(took), "subscribe_us": adding_us}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscriptions", type=int, default=10_000)
    parser.add_argument("--matching", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results: dict[str, object] = {"python": platform.python_version(), "cpu": platform.processor()}
    for name in ("python", "cython"):
        if name == "python":
            compiled.use_python()
        elif not compiled.use_compiled():
            continue
        for alike in (True, False):
            case = f"{name}, {'one topic' if alike else 'topics of their own'}"
            results[case] = asyncio.run(
                measure(options.subscriptions, options.matching, options.rounds, alike=alike)
            )
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
