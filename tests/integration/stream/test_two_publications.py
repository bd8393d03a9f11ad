"""One slot that carries two publications, on both ends of the supported versions."""

from __future__ import annotations

import pytest

from tests.support.fault_cluster import FaultCluster
from tests.support.stream import RecordingSink, make_source, streaming
from tidewire.core.change import Relation

pytestmark = pytest.mark.postgres

SECOND = """
create table m (id int primary key, day date) partition by range (id);
create table m_1 partition of m for values from (0) to (100);
create publication q for table m with (publish = 'insert', publish_via_partition_root = true)
"""


def relations(sink: RecordingSink) -> list[str]:
    found: list[Relation] = [change.relation for change in sink.changes()]
    return [relation.name for relation in found]


async def test_rows_of_both_come_in_commit_order_under_their_roots(cluster: FaultCluster) -> None:
    db = await cluster.connect()
    await db.execute(SECOND)
    sink = RecordingSink()
    async with streaming(make_source(cluster.url, optional_publication="q"), sink):
        await db.execute("begin; insert into m values (1); insert into t values (1, 'a'); commit")
        await db.execute("insert into m values (2); update m set day = now(); delete from m")
        await db.execute("insert into t values (2, 'b')")
        await sink.wait(lambda: len(relations(sink)) == 4)
    assert relations(sink) == ["m", "t", "m", "t"]
    await db.close()


async def test_without_the_second_the_first_is_streamed(cluster: FaultCluster) -> None:
    db = await cluster.connect()
    sink = RecordingSink()
    async with streaming(make_source(cluster.url, optional_publication="q"), sink):
        await db.execute("insert into t values (1, 'a')")
        await sink.wait(lambda: relations(sink) == ["t"])
    await db.close()


async def test_when_the_second_is_dropped_the_first_goes_on(cluster: FaultCluster) -> None:
    db = await cluster.connect()
    await db.execute(SECOND)
    sink = RecordingSink()
    async with streaming(make_source(cluster.url, optional_publication="q"), sink):
        await db.execute("drop publication q")
        await db.execute("insert into t values (1, 'a')")
        await sink.wait_live(2)  # a new history: whoever listens is told to fetch again
        await db.execute("insert into t values (2, 'b')")
        await sink.wait(lambda: 2 in sink.inserted())
    assert [is_new for _, is_new in sink.lives] == [True, True]
    await db.close()
