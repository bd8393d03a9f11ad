"""From PostgreSQL into the journal, while both ends are killed again and again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.fault_cluster import FaultCluster, fault_cluster, installed_majors
from tests.support.journal import read_all
from tests.support.journal_stream import streaming_into_journal
from tests.support.stream import eventually
from tests.support.until import until
from tidewire.adapters.files.journal import FileJournal
from tidewire.core.change import Change
from tidewire.protocol.pgoutput.row import split_row

pytestmark = [pytest.mark.postgres, pytest.mark.fault, pytest.mark.timeout(120)]

KILLS = 8
CLIENT_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError)
TABLE = "create table t (writer int, number int, primary key (writer, number))"


@pytest.fixture
async def cluster() -> AsyncIterator[FaultCluster]:
    async with fault_cluster(installed_majors()[0]) as cluster:
        db = await cluster.connect()
        await db.execute(TABLE)
        await db.execute("create publication p for table t")
        await db.close()
        yield cluster


async def write(cluster: FaultCluster, writer: int, done: asyncio.Event) -> None:
    """Transactions of one to five rows, some rolled back, some with a savepoint undone."""
    chance = random.Random(writer)
    number = 0
    while not done.is_set():
        with contextlib.suppress(asyncpg.PostgresError, OSError, *CLIENT_ERRORS):
            async with asyncio.timeout(5):
                db = await cluster.connect()
            try:
                while not done.is_set():
                    number += 10
                    await _write_one(db, writer, number, chance)
                    await asyncio.sleep(0.002)
            finally:
                db.terminate()
        await asyncio.sleep(0.02)


async def _write_one(
    db: asyncpg.Connection, writer: int, number: int, chance: random.Random
) -> None:
    insert = "insert into t values ($1, $2)"
    transaction = db.transaction()
    await transaction.start()
    for step in range(chance.randrange(1, 6)):
        await db.execute(insert, writer, number + step)
    if chance.random() < 0.3:
        inner = db.transaction()
        await inner.start()
        await db.execute(insert, writer, number + 9)
        await inner.rollback()
    if chance.random() < 0.2:
        await transaction.rollback()
    else:
        await transaction.commit()


async def rows_in(journal: FileJournal) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for item in await read_all(journal):
        for change in item.changes:
            assert isinstance(change, Change)
            assert change.new is not None
            values = [int(text) for text in split_row(change.new) if isinstance(text, bytes)]
            found.append((values[0], values[1]))
    return found


async def test_every_committed_row_is_there_once_and_in_order(
    cluster: FaultCluster, tmp_path: Path
) -> None:
    async with streaming_into_journal(cluster.url, tmp_path) as (journal, _):
        await until(lambda: journal.floor is not None, within_s=20)
    first_floor = journal.floor
    done = asyncio.Event()
    writers = [asyncio.create_task(write(cluster, number, done)) for number in (1, 2)]
    chance = random.Random()
    for round_number in range(KILLS):
        reader = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.journal_stream", cluster.url, str(tmp_path)
        )
        await asyncio.sleep(chance.uniform(0.4, 1.2))
        if round_number % 3 == 1:
            await cluster.stop("kill")
            await cluster.start()
        reader.kill()
        await reader.wait()
    done.set()
    await asyncio.gather(*writers)
    db = await cluster.connect()
    await db.execute("insert into t values (3, 0)")
    wanted = await db.fetch("select writer, number from t")
    async with streaming_into_journal(cluster.url, tmp_path) as (journal, source):

        async def has_all() -> bool:
            return journal.last is not None and (3, 0) in await rows_in(journal)

        await eventually(has_all, deadline_s=30)
        assert journal.floor == first_floor
        assert journal.status.damages_total == 0
        rows = await rows_in(journal)
        items = await read_all(journal)
        acknowledged = source.status.acknowledged_lsn
        assert acknowledged <= journal.durable
    await db.close()
    assert len(wanted) > 100
    assert len(rows) == len(set(rows))
    assert sorted(rows) == sorted(tuple(row) for row in wanted)
    for writer in (1, 2):
        numbers = [number for who, number in rows if who == writer]
        assert numbers == sorted(numbers)
    commits = [item.commit_lsn for item in items]
    assert commits == sorted(set(commits))


async def test_the_slot_is_acknowledged_only_behind_the_sync(
    cluster: FaultCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with streaming_into_journal(cluster.url, tmp_path) as (journal, source):
        await until(lambda: journal.floor is not None, within_s=20)
        db = await cluster.connect()
        await db.execute("insert into t values (1, 1)")

        async def is_told() -> bool:
            confirmed = await db.fetchval(
                "select confirmed_flush_lsn - '0/0' from pg_replication_slots"
            )
            return journal.last is not None and int(confirmed or 0) > journal.last.commit_lsn

        await eventually(is_told)

        async def no_sync() -> None:
            await asyncio.sleep(0)

        monkeypatch.setattr(journal, "sync", no_sync)
        before = journal.last
        await db.execute("insert into t values (1, 2)")
        await until(lambda: journal.last != before)
        await asyncio.sleep(0.5)  # five status updates that must not say it
        confirmed = await db.fetchval(
            "select confirmed_flush_lsn - '0/0' from pg_replication_slots"
        )
        assert journal.last is not None
        assert int(confirmed or 0) <= journal.last.commit_lsn
        assert source.status.acknowledged_lsn <= journal.last.commit_lsn
        monkeypatch.undo()
        await eventually(is_told)
        await db.close()
