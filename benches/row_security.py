"""What judging a changed row costs by tier, number of users and rows that are judged together.

One call of the judge, from images to verdicts, with the database in its own process: milliseconds
for each change. Every user has claims of his own; "grouped" is a policy on a claim of ten values,
so that a thousand users are ten viewer keys. Verdicts are counted, so a wrong one fails the bench.
"""

from __future__ import annotations

import asyncio
import statistics
import struct
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path

import asyncpg

from benches.support.program import Lab, run_program
from benches.support.result import Bound, Figure, at_most, figure
from tidewire.adapters.postgres.catalog import PostgresCatalog
from tidewire.adapters.postgres.checker import CheckerLogin
from tidewire.adapters.postgres.embedded import EmbeddedPostgres
from tidewire.adapters.postgres.migrations import migrate
from tidewire.adapters.postgres.row_security.authorizer import RowSecurityAuthorizer
from tidewire.core.catalog import Table
from tidewire.core.change import Relation, RelationColumn, ReplicaIdentity
from tidewire.core.row_policy import RowPolicy, Tier
from tidewire.ports.authorizer import RowQuestion
from tidewire.server.clock import SystemClock
from tidewire.server.serve import new_event_loop

ORGS = 10
ROLE = "authenticated"
SCHEMA = """
create table bench_trips (id int primary key, org bigint, owner uuid, title text, status text);
create table bench_members (org bigint, member uuid, primary key (org, member));
insert into bench_members
  select i % 10, ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid
  from generate_series(0, 999) i;
analyze bench_members;
grant select on bench_trips, bench_members to authenticated;
alter table bench_trips enable row level security;
alter publication supabase_realtime add table bench_trips;
"""
MEMBER = (
    "exists (select from bench_members m"
    " where m.org = bench_trips.org and m.member = (select auth.uid()))"
)
# Name, policy, tier, whether each user sees the rows of his organisation.
CASES = (
    ("local", "owner = (select auth.uid())", Tier.LOCAL),
    ("grouped sets", "org = (auth.jwt() ->> 'org')::bigint and id >= 0", Tier.SETS),
    ("sets", "owner = (select auth.uid()) and id >= 0", Tier.SETS),
    ("loop", MEMBER, Tier.LOOP),
)
TARGETS: dict[tuple[str, int, int], Bound] = {
    ("grouped sets", 1000, 1): at_most(0.25),
    ("sets", 1000, 1): at_most(1.2),
}


def _user(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def _row(number: int) -> bytes:
    texts = [str(number), str(number % ORGS), _user(number), f"Trip {number}", "open"]
    cells = [b"t" + struct.pack("!I", len(text)) + text.encode() for text in texts]
    return struct.pack("!H", len(cells)) + b"".join(cells)


def _questions(
    table: Table, policy: RowPolicy, users: int, rows: int, xid: int
) -> list[RowQuestion]:
    relation = Relation(
        table.oid,
        table.schema,
        table.name,
        ReplicaIdentity.DEFAULT,
        tuple(RelationColumn(column.name, column.type_oid) for column in table.columns),
    )
    keys = frozenset(
        policy.viewer_key({"sub": _user(n), "org": n % ORGS, "role": ROLE, "exp": n})
        for n in range(users)
    )
    return [
        RowQuestion(table, relation, policy, _row(number), None, keys, xid)
        for number in range(rows)
    ]


async def _measure_case(
    judge: RowSecurityAuthorizer, questions: list[RowQuestion], tier: Tier, times: int
) -> float:
    """Median milliseconds for one change."""
    assert questions[0].policy.tier is tier
    keys = len(questions[0].keys)
    spent: list[float] = []
    for attempt in range(times + 3):
        began = time.perf_counter()
        verdicts = await judge.judge(questions)
        if attempt >= 3:
            spent.append((time.perf_counter() - began) * 1e3 / len(questions))
        assert not any(verdict.failed for verdict in verdicts)
        assert all(len(verdict.visible) <= keys for verdict in verdicts)
        assert verdicts[0].visible
    return statistics.median(spent)


async def _measure(lab: Lab, url: str) -> dict[str, float]:
    connection = await asyncpg.connect(url)
    login = CheckerLogin(url, password="bench")
    judge = RowSecurityAuthorizer(login.url, clock=SystemClock(), grants=login)
    catalogs = PostgresCatalog(url)
    found: dict[str, float] = {}
    try:
        for name, condition, tier in CASES:
            await connection.execute(
                "drop policy if exists p on bench_trips;"
                f"create policy p on bench_trips for select using ({condition})"
            )
            # A transaction that queries see: judging by other tables waits for it.
            xid = await connection.fetchval("select pg_current_xact_id()::xid::text::bigint")
            catalog = await catalogs.refresh(ROLE)
            table = next(t for t in catalog.tables.values() if t.name == "bench_trips")
            policy = judge.read_decision(catalog, table, ROLE).policy
            assert policy is not None
            for users in (1, 10, 100, 1000):
                for rows in (1, 50):
                    times = 5 if lab.quick else 40
                    questions = _questions(table, policy, users, rows, xid)
                    case = f"{name}, {users} users, {rows} rows"
                    found[case] = await _measure_case(judge, questions, tier, times)
    finally:
        await judge.close()
        await catalogs.close()
        await connection.close()
    return found


async def _run(lab: Lab) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="tidewire-bench-") as folder:
        server = EmbeddedPostgres(Path(folder), password="bench")
        url = await server.start()
        try:
            await migrate(url)
            connection = await asyncpg.connect(url)
            await connection.execute(SCHEMA)
            await connection.close()
            return await _measure(lab, url)
        finally:
            await server.stop()


def _run_as_the_server_does(run: Coroutine[None, None, dict[str, float]]) -> dict[str, float]:
    """On the server's event loop: uvloop where it is installed."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(run)


def measure(lab: Lab) -> list[Figure]:
    runs = lab.repeat("row security", list, lambda: _run_as_the_server_does(_run(lab)), times=3)
    figures: list[Figure] = []
    for name, _, _ in CASES:
        for users in (1, 10, 100, 1000):
            for rows in (1, 50):
                case = f"{name}, {users} users, {rows} rows"
                target = TARGETS.get((name, users, rows))
                figures.append(figure(case, "ms", [run[case] for run in runs], target=target))
    return figures


if __name__ == "__main__":
    run_program("row_security", __doc__, measure)
