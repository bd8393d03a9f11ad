"""The stream from a real PostgreSQL, nothing going wrong."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.support.stream import MemoryEpochStore, RecordingSink, eventually, make_source, streaming
from tidewire.adapters.postgres.change_source import ChangeSourceLimits
from tidewire.adapters.postgres.replication import ReplicationLimits
from tidewire.core.change import Change, ChangeKind, ReplicaIdentity
from tidewire.core.errors import SetupError
from tidewire.ports.change_source import StreamState
from tidewire.protocol.pgoutput.row import UNCHANGED, split_row

pytestmark = pytest.mark.postgres


async def test_a_commit_arrives_whole_and_in_order(
    database_url: str, db: asyncpg.Connection
) -> None:
    sink = RecordingSink()
    async with streaming(make_source(database_url), sink):
        await db.execute(
            "begin; insert into t values (1, 'a'), (2, 'b'); update t set v = 'c'; commit"
        )
        await db.execute("begin; delete from t where id = 1; truncate t; commit")
        await sink.wait(lambda: len(sink.transactions) == 2)
    first, second = sink.transactions
    kinds = [[c.kind for c in t.changes if isinstance(c, Change)] for t in (first, second)]
    assert kinds[0] == [ChangeKind.INSERT] * 2 + [ChangeKind.UPDATE] * 2
    assert kinds[1] == [ChangeKind.DELETE, ChangeKind.TRUNCATE]
    assert first.commit_lsn < first.end_lsn <= second.commit_lsn
    assert first.xid
    assert first.committed_at_us > 1_700_000_000_000_000
    assert sink.lives == [(sink.lives[0][0], True)]


async def test_a_rolled_back_change_never_comes(database_url: str, db: asyncpg.Connection) -> None:
    sink = RecordingSink()
    async with streaming(make_source(database_url), sink):
        await db.execute("begin; insert into t values (1, 'a'); rollback")
        await db.execute(
            "begin; insert into t values (2, 'b'); savepoint s; insert into t values (3, 'c');"
            " rollback to s; insert into t values (4, 'd'); commit"
        )
        await sink.wait(lambda: len(sink.transactions) == 1)
    assert sink.inserted() == [2, 4]


async def test_what_old_rows_hold_by_replica_identity(
    database_url: str, db: asyncpg.Connection
) -> None:
    sink = RecordingSink()
    async with streaming(make_source(database_url), sink):
        await db.execute("insert into t values (1, 'a')")
        await db.execute("update t set v = 'b'")
        await db.execute("update t set id = 2")
        await db.execute("delete from t")
        await db.execute("alter table t replica identity full")
        await db.execute("insert into t values (3, 'c')")
        await db.execute("update t set v = 'd'")
        await db.execute("delete from t")
        await sink.wait(lambda: len(sink.transactions) == 7)
    seen = [(c.kind.value, c.old and split_row(c.old), c.old_is_full) for c in sink.changes()]
    assert seen == [
        ("INSERT", None, False),
        ("UPDATE", None, False),
        ("UPDATE", [b"1", None], False),
        ("DELETE", [b"2", None], False),
        ("INSERT", None, False),
        ("UPDATE", [b"3", b"c"], True),
        ("DELETE", [b"3", b"d"], True),
    ]
    identities = [c.relation.identity for c in sink.changes()]
    assert identities == [ReplicaIdentity.DEFAULT] * 4 + [ReplicaIdentity.FULL] * 3


async def test_other_replica_identities(database_url: str, db: asyncpg.Connection) -> None:
    sink = RecordingSink()
    await db.execute(
        "create table i (id int primary key, k int not null unique, v text);"
        "alter table i replica identity using index i_k_key;"
        "create table n (id int primary key); alter table n replica identity nothing;"
        "alter publication p add table i, n"
    )
    async with streaming(make_source(database_url), sink):
        await db.execute("begin; insert into i values (1, 10, 'a'); update i set k = 11; commit")
        await db.execute("insert into n values (1)")
        await sink.wait(lambda: len(sink.transactions) == 2)
    inserted, updated, nothing = sink.changes()
    assert inserted.relation.identity is ReplicaIdentity.INDEX
    assert [c.name for c in inserted.relation.columns if c.is_key] == ["k"]
    assert updated.old is not None
    assert split_row(updated.old) == [None, b"10", None]
    assert nothing.relation.identity is ReplicaIdentity.NOTHING


async def test_an_unchanged_toast_value(database_url: str, db: asyncpg.Connection) -> None:
    await db.execute("alter table t alter v set storage external, add n int")
    sink = RecordingSink()
    async with streaming(make_source(database_url), sink):
        await db.execute("insert into t values (1, repeat('y', 5000), 1)")
        await db.execute("update t set n = 2")
        await db.execute("alter table t replica identity full")
        await db.execute("update t set n = 3")
        await sink.wait(lambda: len(sink.transactions) == 3)
    _, plain, full = sink.changes()
    assert plain.new is not None
    assert plain.old is None
    assert split_row(plain.new) == [b"1", UNCHANGED, b"2"]
    assert full.new is not None
    assert full.old is not None
    assert split_row(full.new) == [b"1", UNCHANGED, b"3"]
    assert split_row(full.old) == [b"1", b"y" * 5000, b"2"]


async def test_ddl_within_a_transaction_gives_each_row_its_own_version(
    database_url: str, db: asyncpg.Connection
) -> None:
    sink = RecordingSink()
    async with streaming(make_source(database_url), sink):
        await db.execute(
            """begin;
            insert into t values (1, 'a'); alter table t add w int default 7;
            insert into t values (2, 'b', 8); alter table t rename v to vv;
            insert into t values (3, 'c', 9); alter table t alter w type text;
            insert into t values (4, 'd', '10'); alter table t drop w;
            insert into t values (5, 'e'); commit"""
        )
        await sink.wait(lambda: len(sink.transactions) == 1)
    shapes = [[c.name for c in change.relation.columns] for change in sink.changes()]
    assert shapes == [
        ["id", "v"],
        ["id", "v", "w"],
        ["id", "vv", "w"],
        ["id", "vv", "w"],
        ["id", "vv"],
    ]
    types = [change.relation.columns[-1].type_oid for change in sink.changes()]
    assert types[2:4] == [23, 25]
    assert sink.inserted() == [1, 2, 3, 4, 5]


async def test_a_table_added_to_the_publication_counts_from_then_on(
    database_url: str, db: asyncpg.Connection
) -> None:
    sink = RecordingSink()
    async with streaming(make_source(database_url), sink):
        await db.execute("create table late (id int primary key); insert into late values (1)")
        await db.execute("alter publication p add table late")
        await db.execute("insert into late values (2)")
        await sink.wait(lambda: sink.inserted() == [2])


async def test_our_logical_messages_keep_their_place_and_others_are_dropped(
    database_url: str, db: asyncpg.Connection
) -> None:
    sink = RecordingSink()
    async with streaming(make_source(database_url), sink):
        await db.execute(
            """begin; insert into t values (1, 'a');
            select pg_logical_emit_message(true, 'tidewire.test', 'one');
            select pg_logical_emit_message(true, 'other', 'two');
            insert into t values (2, 'b'); commit"""
        )
        await sink.wait(lambda: len(sink.transactions) == 1)
    (transaction,) = sink.transactions
    assert [type(c).__name__ for c in transaction.changes] == ["Change", "LogicalMessage", "Change"]
    assert [(m.prefix, m.content) for m in sink.messages()] == [("tidewire.test", b"one")]


async def test_messages_outside_of_transactions_never_hide_the_transaction_behind_them(
    database_url: str, db: asyncpg.Connection
) -> None:
    """Their position must be below that of a commit that follows directly."""
    sink = RecordingSink()
    async with streaming(make_source(database_url), sink):
        for number in range(20):
            await db.execute(
                "begin; insert into t values ($n, 'x');"
                " select pg_logical_emit_message(false, 'tidewire.test', '$n'); commit".replace(
                    "$n", str(number)
                )
            )
        await sink.wait(lambda: len(sink.transactions) == 40)
    assert sink.inserted() == list(range(20))
    assert [m.content for m in sink.messages()] == [b"%d" % n for n in range(20)]
    commits = [t.commit_lsn for t in sink.transactions]
    assert commits == sorted(set(commits))


async def test_an_idle_slot_holds_no_log_back(database_url: str, db: asyncpg.Connection) -> None:
    """Changes of tables that nobody publishes: the keepalives' position is acknowledged."""
    await db.execute("create table unpublished (x text)")
    sink = RecordingSink()
    limits = ChangeSourceLimits(connection=ReplicationLimits(acknowledge_interval_s=0.01))
    async with streaming(make_source(database_url, limits=limits), sink):
        await db.execute(
            "insert into unpublished select repeat('x', 500) from generate_series(1, 2000)"
        )
        target = await db.fetchval("select pg_current_wal_lsn()")

        async def is_acknowledged() -> bool:
            return True is await db.fetchval(
                "select confirmed_flush_lsn >= $1::pg_lsn from pg_replication_slots"
                " where slot_name = 'tidewire_test'",
                target,
            )

        await eventually(is_acknowledged)
    assert sink.transactions == []


async def test_a_slow_sink_is_not_overrun_and_loses_nothing(
    database_url: str, db: asyncpg.Connection
) -> None:
    """Reading stops at the bound; what waited comes in one call; the slot waits too."""
    limits = ChangeSourceLimits(pending_bytes_max=200_000)
    sink = RecordingSink()
    source = make_source(database_url, limits=limits)
    async with streaming(source, sink):
        sink.gate.clear()
        before = source.status.acknowledged_lsn
        for number in range(300):
            await db.execute("insert into t values ($1, repeat('x', 20000))", number)

        async def is_called() -> bool:
            return bool(sink.calls)

        await eventually(is_called)
        assert source.status.received_lsn < await _current_lsn(db)
        assert source.status.acknowledged_lsn == before
        sink.gate.set()
        await sink.wait(lambda: len(sink.inserted()) == 300)
    assert sink.inserted() == list(range(300))
    assert len(sink.calls) < 200


async def _current_lsn(db: asyncpg.Connection) -> int:
    return int(await db.fetchval("select (pg_current_wal_lsn() - '0/0')::int8") or 0)


async def test_a_transaction_beyond_the_bound_comes_out_overflowed(
    database_url: str, db: asyncpg.Connection
) -> None:
    sink = RecordingSink()
    limits = ChangeSourceLimits(transaction_changes_max=100)
    async with streaming(make_source(database_url, limits=limits), sink):
        await db.execute("insert into t select i, 'x' from generate_series(1, 101) i")
        await db.execute("insert into t select i, 'x' from generate_series(201, 300) i")
        await sink.wait(lambda: len(sink.transactions) == 2)
    giant, fitting = sink.transactions
    assert giant.overflowed
    assert giant.changes == ()
    assert not fitting.overflowed
    assert len(fitting.changes) == 100


async def test_a_row_too_large_to_read_does_not_stop_the_stream(
    database_url: str, db: asyncpg.Connection
) -> None:
    sink = RecordingSink()
    limits = ChangeSourceLimits(connection=ReplicationLimits(wal_message_bytes_max=100_000))
    async with streaming(make_source(database_url, limits=limits), sink):
        await db.execute("insert into t values (1, 'a')")
        await db.execute("insert into t values (2, repeat('x', 3000000))")
        await db.execute("insert into t values (3, 'c')")
        await sink.wait(lambda: len(sink.transactions) == 3)
    assert [t.overflowed for t in sink.transactions] == [False, True, False]
    assert sink.inserted() == [1, 3]
    assert sink.downs == []


async def test_a_second_run_goes_on_where_the_first_stopped(
    database_url: str, db: asyncpg.Connection
) -> None:
    epochs = MemoryEpochStore()
    sink = RecordingSink()
    async with streaming(make_source(database_url, epochs=epochs), sink):
        await db.execute("insert into t values (1, 'a')")
        await sink.wait(lambda: sink.inserted() == [1])
    await db.execute("insert into t values (2, 'while nobody listened')")
    second = RecordingSink()
    async with streaming(make_source(database_url, epochs=epochs), second):
        await db.execute("insert into t values (3, 'c')")
        await second.wait(lambda: second.inserted()[-1:] == [3])
    assert second.inserted() == [2, 3]
    assert second.lives == [(sink.lives[0][0], False)]
    assert epochs.saved == 2


async def test_a_lost_record_is_a_new_epoch_that_never_was_before(
    database_url: str, db: asyncpg.Connection
) -> None:
    epochs: set[str] = set()
    for _ in range(2):
        sink = RecordingSink()
        async with streaming(make_source(database_url), sink):
            epochs.add(sink.lives[0][0])
            assert sink.lives[0][1] is True
        await asyncio.sleep(1.1)  # incarnations count seconds
    assert len(epochs) == 2


async def test_status_tells_where_the_stream_is(database_url: str, db: asyncpg.Connection) -> None:
    sink = RecordingSink()
    source = make_source(database_url)
    assert source.status.state is StreamState.STARTING
    async with streaming(source, sink):
        await db.execute("insert into t values (1, 'a')")
        await sink.wait(lambda: sink.inserted() == [1])
        status = source.status
        assert (status.state, status.detail) == (StreamState.LIVE, "")
        assert status.epoch == sink.lives[0][0]
        assert status.received_lsn >= sink.transactions[0].end_lsn
    assert source.status.state is StreamState.STOPPED


async def test_what_the_sink_raises_ends_the_run(database_url: str, db: asyncpg.Connection) -> None:
    class BrokenSink(RecordingSink):
        async def receive(self, transactions: object) -> None:
            raise LookupError("a fault in the engine")

    sink = BrokenSink()
    async with streaming(make_source(database_url), sink) as task:
        await db.execute("insert into t values (1, 'a')")
        with pytest.raises(LookupError):
            await asyncio.wait_for(asyncio.shield(task), 10)


async def test_a_slot_of_another_kind_is_left_alone(
    database_url: str, db: asyncpg.Connection
) -> None:
    await db.execute("select pg_create_logical_replication_slot('tidewire_test', 'test_decoding')")
    source = make_source(database_url)
    async with streaming(source, RecordingSink(), wait_live=False):

        async def is_told() -> bool:
            return "is taken by a logical test_decoding slot" in source.status.detail

        await eventually(is_told)
    assert await db.fetchval("select plugin from pg_replication_slots") == "test_decoding"


async def test_a_failover_slot_is_made_when_asked(
    database_url: str, db: asyncpg.Connection
) -> None:
    sink = RecordingSink()
    async with streaming(make_source(database_url, failover=True), sink):
        assert await db.fetchval("select failover from pg_replication_slots") is True


async def test_stored_generated_columns_come_along_in_a_publication_of_ours(
    database_url: str, db: asyncpg.Connection
) -> None:
    await db.execute(
        "create table g (id int primary key, d int generated always as (id * 2) stored)"
    )
    sink = RecordingSink()
    async with streaming(make_source(database_url, publication="ours"), sink):
        await db.execute("alter publication ours add table g")
        await db.execute("insert into g values (4)")
        await sink.wait(lambda: sink.inserted(1) == [8])


def test_a_slot_name_that_postgres_would_refuse() -> None:
    with pytest.raises(SetupError):
        make_source("postgresql://u@localhost/d", slot="No'Name")
