"""The stream from a real PostgreSQL, nothing going wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.stream import MemoryEpochStore, RecordingSink, make_source, streaming
from tidewire.core.change import Change, ChangeKind
from tidewire.protocol.pgoutput.row import UNCHANGED, split_row

pytestmark = pytest.mark.postgres


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "create table t (id int primary key, v text); create publication p for table t"
    )
    yield connection
    await connection.close()


async def test_a_commit_arrives_whole_and_in_order(
    database_url: str, db: asyncpg.Connection
) -> None:
    sink = RecordingSink()
    async with streaming(make_source(database_url), sink):
        await db.execute("begin; insert into t values (1, 'a'), (2, 'b'); update t set v = 'c'; commit")
        await db.execute("delete from t where id = 1; truncate t")
        await sink.wait(lambda: len(sink.transactions) == 2)
    first, second = sink.transactions
    assert [c.kind for c in first.changes if isinstance(c, Change)] == [
        ChangeKind.INSERT, ChangeKind.INSERT, ChangeKind.UPDATE, ChangeKind.UPDATE,
    ]
    assert [c.kind for c in second.changes if isinstance(c, Change)] == [
        ChangeKind.DELETE, ChangeKind.TRUNCATE,
    ]
    assert first.commit_lsn < first.end_lsn <= second.commit_lsn
    assert first.xid and first.committed_at_us > 1_700_000_000_000_000
    assert sink.lives == [(sink.lives[0][0], True)]
