"""What breaks, and that each transaction still comes exactly once, in order, or a new epoch says
that it may not have."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.support.fault_cluster import FaultCluster
from tests.support.stream import MemoryEpochStore, RecordingSink, eventually, make_source, streaming

pytestmark = [pytest.mark.postgres, pytest.mark.fault, pytest.mark.timeout(90)]


async def insert(db: asyncpg.Connection, numbers: range) -> None:
    for number in numbers:
        await db.execute("insert into t values ($1, 'x')", number)


async def test_restarts_while_streaming(cluster: FaultCluster) -> None:
    """Restart fast and immediate, kill -9: every committed row once, in commit order."""
    sink = RecordingSink()
    source = make_source(cluster.url)
    numbers: list[int] = []
    async with streaming(source, sink):
        for round_number, how in enumerate(("fast", "immediate", "kill")):
            first = round_number * 1000
            db = await cluster.connect()
            await insert(db, range(first, first + 150))
            await db.close()
            await cluster.stop(how)
            await cluster.start()
            db = await cluster.connect()
            await insert(db, range(first + 150, first + 160))
            await db.close()
            numbers += range(first, first + 160)
            await sink.wait(lambda expected=numbers[-1]: expected in sink.inserted()[-1:])
        await sink.wait(lambda: len(sink.lives) == 4)
    assert sink.inserted() == numbers
    assert len({epoch for epoch, _ in sink.lives}) == 1
    assert [is_new for _, is_new in sink.lives] == [True, False, False, False]
    assert len(sink.downs) == 3


async def test_a_fast_shutdown_does_not_wait_for_us(cluster: FaultCluster) -> None:
    """PostgreSQL waits for acknowledgements when it stops; ours come at once."""
    sink = RecordingSink()
    async with streaming(make_source(cluster.url), sink):
        db = await cluster.connect()
        await insert(db, range(50))
        await db.close()
        async with asyncio.timeout(5):
            await cluster.stop("fast")
        await sink.wait(lambda: len(sink.downs) == 1)
    assert sink.inserted() == list(range(50))


async def test_a_walsender_that_is_terminated(cluster: FaultCluster) -> None:
    sink = RecordingSink()
    async with streaming(make_source(cluster.url), sink):
        db = await cluster.connect()
        for round_number in range(3):
            await insert(db, range(round_number * 100, round_number * 100 + 100))
            await db.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots"
                " where active_pid is not null"
            )
            await sink.wait(lambda lives=round_number + 2: len(sink.lives) == lives)
        await insert(db, range(300, 310))
        await sink.wait(lambda: len(sink.inserted()) >= 310)
        await db.close()
    assert sink.inserted() == list(range(310))
    assert len({epoch for epoch, _ in sink.lives}) == 1


async def test_a_second_server_waits_for_the_slot_and_says_so(cluster: FaultCluster) -> None:
    first, second = RecordingSink(), RecordingSink()
    waiting = make_source(cluster.url)
    db = await cluster.connect()
    async with (
        streaming(make_source(cluster.url), first),
        streaming(waiting, second, wait_live=False),
    ):

        async def is_told() -> bool:
            return "waiting for the slot" in waiting.status.detail

        await eventually(is_told)
        # Longer than it takes to end a connection of its own: it must not end this one.
        await asyncio.sleep(1.5)
        await insert(db, range(10))
        await first.wait(lambda: len(first.inserted()) == 10)
        assert second.lives == []
        assert first.downs == []
        assert "is active for PID" in waiting.status.detail
    await db.close()


async def test_our_own_former_connection_is_ended(cluster: FaultCluster) -> None:
    """A run that died without closing its connection leaves a walsender behind."""
    epochs = MemoryEpochStore()
    former, present = RecordingSink(), RecordingSink()
    db = await cluster.connect()
    async with streaming(make_source(cluster.url, epochs=epochs), former):
        await insert(db, range(10))
        await former.wait(lambda: len(former.inserted()) == 10)
        async with streaming(make_source(cluster.url, epochs=epochs), present, wait_live=False):
            await former.wait(lambda: len(former.downs) == 1)
            await present.wait_live()
    await db.close()
    assert present.lives == [(former.lives[0][0], False)]


async def test_a_lost_slot_begins_a_new_epoch(cluster: FaultCluster) -> None:
    epochs = MemoryEpochStore()
    sink = RecordingSink()
    db = await cluster.connect()
    async with streaming(make_source(cluster.url, epochs=epochs), sink):
        await insert(db, range(5))
        await sink.wait(lambda: len(sink.inserted()) == 5)
    await db.execute("alter system set max_slot_wal_keep_size = '32MB'")
    await db.execute("select pg_reload_conf()")
    await db.execute("create table junk (x text)")
    for _ in range(40):
        await db.execute("insert into junk select repeat('q', 1000) from generate_series(1, 16000)")
        await db.execute("checkpoint")
        if await db.fetchval("select wal_status from pg_replication_slots") == "lost":
            break
    else:
        pytest.fail("the slot did not get lost")
    await insert(db, range(5, 10))  # in nobody's stream: the new epoch tells
    async with streaming(make_source(cluster.url, epochs=epochs), sink):
        await insert(db, range(10, 15))
        await sink.wait(lambda: sink.inserted()[-1] == 14)
    await db.close()
    assert sink.inserted() == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert [is_new for _, is_new in sink.lives] == [True, True]
    assert sink.lives[0][0] != sink.lives[1][0]


async def test_a_dropped_slot_begins_a_new_epoch(cluster: FaultCluster) -> None:
    sink = RecordingSink()
    db = await cluster.connect()
    async with streaming(make_source(cluster.url), sink):
        await insert(db, range(5))
        await sink.wait(lambda: len(sink.inserted()) == 5)
        await _drop_active_slot(db)
        await sink.wait(lambda: len({epoch for epoch, _ in sink.lives}) == 2)
        await insert(db, range(5, 10))
        await sink.wait(lambda: sink.inserted()[-1:] == [9])
    await db.close()
    assert sink.lives[-1][1] is True
    assert sink.inserted() == list(range(10))


async def _drop_active_slot(db: asyncpg.Connection) -> None:
    """End the walsender and drop the slot before its client is back."""
    await db.execute(
        """do $$ begin
          perform pg_terminate_backend(active_pid, 5000) from pg_replication_slots;
          loop
            begin
              perform pg_drop_replication_slot('tidewire_test');
              exit;
            exception when object_in_use then
              perform pg_terminate_backend(active_pid, 5000) from pg_replication_slots
                where active_pid is not null;
            end;
          end loop;
        end $$"""
    )


async def test_a_slot_that_another_moved_begins_a_new_epoch(cluster: FaultCluster) -> None:
    """Somebody read from our slot: what he took is missing for us."""
    sink = RecordingSink()
    source = make_source(cluster.url)
    db = await cluster.connect()
    async with streaming(source, sink):
        await insert(db, range(5))
        await sink.wait(lambda: len(sink.inserted()) == 5)
        await db.execute(
            """do $$ begin
              perform pg_terminate_backend(active_pid, 5000) from pg_replication_slots;
              insert into t values (5, 'taken by another');
            end $$"""
        )
        for _ in range(200):
            try:
                await db.execute(
                    """do $$ begin
                      perform pg_terminate_backend(active_pid, 5000) from pg_replication_slots
                        where active_pid is not null;
                      perform pg_replication_slot_advance('tidewire_test', pg_current_wal_lsn());
                    end $$"""
                )
                break
            except asyncpg.ObjectInUseError:
                continue
        lives = len(sink.lives)
        await insert(db, range(6, 8))
        await sink.wait(lambda: sink.inserted()[-1:] == [7])
    await db.close()
    assert sink.inserted()[:5] == list(range(5))
    assert lives >= 1
    if 5 not in sink.inserted():  # advanced before our next connection could read it
        assert sink.lives[-1][1] is True


async def test_a_dropped_publication_begins_a_new_epoch(cluster: FaultCluster) -> None:
    """PostgreSQL 15 ends the stream with an error, 18 goes on with a warning."""
    sink = RecordingSink()
    db = await cluster.connect()
    async with streaming(make_source(cluster.url), sink):
        await insert(db, range(5))
        await sink.wait(lambda: len(sink.inserted()) == 5)
        await db.execute("drop publication p")
        await insert(db, range(5, 7))
        await sink.wait(lambda: len(sink.lives) == 2)
        assert await db.fetchval("select count(*) from pg_publication where pubname = 'p'") == 1
        await db.execute("alter publication p add table t")
        await insert(db, range(7, 10))
        await sink.wait(lambda: sink.inserted()[-1:] == [9])
    await db.close()
    assert sink.inserted() == [0, 1, 2, 3, 4, 7, 8, 9]
    assert [is_new for _, is_new in sink.lives] == [True, True]


async def test_a_publication_dropped_and_made_again_begins_a_new_epoch(
    cluster: FaultCluster,
) -> None:
    sink = RecordingSink()
    db = await cluster.connect()
    async with streaming(make_source(cluster.url), sink):
        await insert(db, range(5))
        await sink.wait(lambda: len(sink.inserted()) == 5)
        await db.execute("drop publication p")
        await db.execute("insert into t values (5, 'lost')")
        await db.execute("create publication p for table t")
        await insert(db, range(6, 8))
        await sink.wait(lambda: len(sink.lives) == 2)
        await insert(db, range(8, 10))
        await sink.wait(lambda: sink.inserted()[-1:] == [9])
    await db.close()
    assert [is_new for _, is_new in sink.lives] == [True, True]


async def test_a_slot_older_than_its_publication_is_made_anew(cluster: FaultCluster) -> None:
    db = await cluster.connect()
    await db.execute("select pg_create_logical_replication_slot('tidewire_test', 'pgoutput')")
    await db.execute("insert into t values (1, 'before')")
    await db.execute("create publication later for table t")
    sink = RecordingSink()
    async with streaming(make_source(cluster.url, publication="later"), sink):
        await sink.wait(lambda: len(sink.lives) == 2)
        await insert(db, range(2, 4))
        await sink.wait(lambda: sink.inserted()[-1:] == [3])
    await db.close()
    assert [is_new for _, is_new in sink.lives] == [True, True]
    assert sink.inserted() == [2, 3]


async def test_the_server_comes_up_after_us(cluster: FaultCluster) -> None:
    await cluster.stop("fast")
    sink = RecordingSink()
    source = make_source(cluster.url)
    async with streaming(source, sink, wait_live=False):

        async def has_tried() -> bool:
            return source.status.attempt >= 3

        await eventually(has_tried)
        assert "no connection to" in source.status.detail
        await cluster.start()
        await sink.wait_live()
    assert sink.downs == []
