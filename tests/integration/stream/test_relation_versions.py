"""Which statements make PostgreSQL describe a table again before its next change.

The engine takes a new `Relation` object as the sign that the catalogue may have changed. What is
recorded here is how PostgreSQL behaves: pgoutput describes a table anew after an invalidation
of its relation cache entry, and of all tables after a change of the publication.
"""

from __future__ import annotations

import pytest

from tests.support.fault_cluster import FaultCluster
from tests.support.stream import RecordingSink, make_source, streaming

pytestmark = [pytest.mark.postgres, pytest.mark.fault, pytest.mark.timeout(60)]

DESCRIBED_AGAIN = {
    "alter table t add column w int": True,
    "alter table t rename column w to ww": True,
    "alter table t alter column ww type text": True,
    "alter table t replica identity full": True,
    "alter table t enable row level security": True,
    "create policy pp on t using (id > 0)": True,
    "alter policy pp on t using (id > 1)": True,
    "drop policy pp on t": True,
    "alter table t disable row level security": True,
    "alter publication p set (publish = 'insert, update')": True,
    "grant select on t to bob": True,
    "revoke select on t from bob": True,
    "grant select (id) on t to bob": True,
    "revoke select (id) on t from bob": True,
    "alter table t owner to bob": True,
    "analyze t": True,
    "alter role bob bypassrls": False,
    "grant pg_read_all_data to bob": False,
    "create table other (id int primary key)": False,
    "comment on table t is 'x'": False,
}
BY_VERSION = {
    # statement: (before 16, since then)
    "alter publication p add table other": (True, False),
    "revoke usage on schema public from public": (False, True),
}
STATEMENTS = [*DESCRIBED_AGAIN, *BY_VERSION]


async def test_what_makes_a_relation_new(cluster: FaultCluster) -> None:
    db = await cluster.connect()
    await db.execute("create role bob")
    sink = RecordingSink()
    seen: dict[str, bool] = {}
    async with streaming(make_source(cluster.url), sink):
        await db.execute("insert into t values (0, '')")
        await sink.wait(lambda: len(sink.changes()) == 1)
        for number, statement in enumerate(STATEMENTS, start=1):
            await db.execute(statement)
            await db.execute("insert into t (id, v) values ($1, '')", number)
            await sink.wait(lambda count=number + 1: len(sink.changes()) == count)
            before, after = sink.changes()[-2:]
            seen[statement] = before.relation is not after.relation
        await db.execute("insert into t (id, v) values (1000, '')")
        await sink.wait(lambda: len(sink.changes()) == len(STATEMENTS) + 2)
        before, after = sink.changes()[-2:]
    await db.close()
    assert before.relation is after.relation, "nothing happened, nothing is described again"
    expected = {name: pair[cluster.major >= 16] for name, pair in BY_VERSION.items()}
    assert seen == {**DESCRIBED_AGAIN, **expected}
