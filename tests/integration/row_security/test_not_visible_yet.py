"""The log tells of a commit before queries show it: nothing is decided by what was before.

Here that takes as long as the test wants: the commit waits for a standby that is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.support.fault_cluster import fault_cluster, installed_majors
from tests.support.judging import Court, court_of, question_of
from tests.support.postgres import migrate
from tidewire.core.change import Change
from tidewire.core.errors import DatabaseUnavailableError

pytestmark = pytest.mark.postgres

ANN = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
BOB = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
SETTINGS = {"synchronous_standby_names": "nobody", "synchronous_commit": "local"}
TRIPS = """
create table trips (id int primary key, owner uuid, org bigint, title text);
create table members (member uuid, trip int);
alter table trips enable row level security;
grant select on trips, members to authenticated;
alter publication supabase_realtime add table trips;
create policy p on trips for select to authenticated using (
  exists (select from members m where m.member = auth.uid() and m.trip = trips.id));
"""


@pytest.fixture
async def waiting_court() -> AsyncGenerator[Court]:
    async with fault_cluster(installed_majors()[0], SETTINGS) as cluster:
        await migrate(cluster.url)
        async with court_of(cluster.url) as court:
            await court.connection.execute(TRIPS)
            yield court


@asynccontextmanager
async def held_commit(court: Court, statement: str) -> AsyncGenerator[tuple[int, Change]]:
    """(xid, change) of the row that a transaction inserted, while its commit waits."""
    before = len(court.sink.transactions)
    writer = await asyncpg.connect(court.url, timeout=10)
    held = asyncio.create_task(
        writer.execute(f"set synchronous_commit = on; begin; {statement}; commit")
    )
    await court.sink.wait(lambda: bool(court.sink.transactions[before:]))
    (transaction,) = court.sink.transactions[before:]
    (change,) = [item for item in transaction.changes if isinstance(item, Change)]
    try:
        yield transaction.xid, change
    finally:
        held.cancel()
        writer.terminate()
        await asyncio.gather(held, return_exceptions=True)


async def test_a_catalogue_is_not_taken_for_one_after_a_change_that_it_does_not_show(
    waiting_court: Court,
) -> None:
    court = waiting_court
    before = await court.catalogs.refresh("authenticated")
    statement = "revoke select on trips from authenticated; insert into trips values (1)"
    async with held_commit(court, statement) as (xid, _):
        assert await court.catalogs.refresh() is before
        with pytest.raises(DatabaseUnavailableError):
            await court.catalogs.refresh(xid=xid)
    (xid, _) = (await court.images("insert into trips values (2)"))[0]
    assert await court.catalogs.refresh(xid=xid) is court.catalogs.current


async def test_a_policy_that_asks_tables_is_not_asked_before_they_show_the_transaction(
    waiting_court: Court,
) -> None:
    """Whom the transaction itself lets in is not passed over, whom it locks out is not told."""
    court = waiting_court
    await court.connection.execute(f"insert into members values ('{BOB}', 1)")
    policy = await court.policy("trips")
    assert policy is not None
    keys = frozenset(policy.viewer_key({"sub": sub}) for sub in (ANN, BOB))
    statement = f"""delete from members; insert into members values ('{ANN}', 1);
                    insert into trips values (1)"""
    async with held_commit(court, statement) as (xid, change):
        table = court.table(court.catalogs.current, "trips")
        question = question_of(table, policy, change, xid, keys)
        (early,) = await court.authorizer.judge([question])
        assert not early.visible
        assert early.failed == keys
