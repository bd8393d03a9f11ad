"""Partitions of realtime.messages: made ahead, dropped in time, never in the way of a sender."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

pytestmark = pytest.mark.postgres

DAYS = """
select array_agg(to_date(right(c.relname, 10), 'YYYY_MM_DD') - (now() at time zone 'utc')::date
                 order by c.relname)
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
 where i.inhparent = 'realtime.messages'::regclass and c.relname <> 'messages_default'
"""
TODAY = "messages_' || to_char(now() at time zone 'utc', 'YYYY_MM_DD')"
OLD_ROW = """
insert into realtime.messages (topic, extension, event, payload, private, inserted_at, expires_at)
values ($1, 'broadcast', 'e', '{}', true,
        (now() at time zone 'utc') + $2 * interval '1 day',
        (now() at time zone 'utc') + $3 * interval '1 day')
"""


@pytest.fixture
async def db(migrated_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(migrated_database_url)
    yield connection
    await connection.close()


async def keep(db: asyncpg.Connection, retention_days: int = 3) -> dict[str, Any]:
    told = await db.fetchval("select realtime.tidewire_keep_messages($1)", retention_days)
    assert told is not None
    return json.loads(told)


async def places(db: asyncpg.Connection) -> dict[str, str]:
    rows = await db.fetch("select topic, tableoid::regclass::text as place from realtime.messages")
    return {row["topic"]: row["place"] for row in rows}


async def test_days_are_there_from_yesterday_to_three_ahead(db: asyncpg.Connection) -> None:
    assert await db.fetchval(DAYS) == [-1, 0, 1, 2, 3]
    assert await keep(db) == {
        "state": "done", "made": 0, "dropped": 0, "deleted": 0, "put_off": 0
    }  # fmt: skip


async def test_a_day_without_a_partition_does_not_keep_anybody_from_sending(
    db: asyncpg.Connection,
) -> None:
    tables = await db.fetchval(
        "select array_agg(inhrelid::regclass::text) from pg_inherits"
        " where inhparent = 'realtime.messages'::regclass"
        " and inhrelid <> 'realtime.messages_default'::regclass"
    )
    assert tables
    for table in tables:
        await db.execute(f"drop table {table}")
    await db.execute("select realtime.send('{}', 'e', 'here')")
    await db.execute(OLD_ROW, "later", 9, 10)
    assert await places(db) == {
        "here": "realtime.messages_default",
        "later": "realtime.messages_default",
    }
    assert (await keep(db))["made"] == 5
    found = await places(db)
    today = await db.fetchval(f"select '{TODAY}")
    assert found == {"here": f"realtime.{today}", "later": "realtime.messages_default"}


async def test_what_is_older_than_the_retention_is_dropped(db: asyncpg.Connection) -> None:
    for days in (3, 4, 5):
        await db.execute(
            "do $$ declare day date := (now() at time zone 'utc')::date - "
            f"{days}; begin execute format('create table realtime.%I partition of"
            " realtime.messages for values from (%L) to (%L)',"
            " 'messages_' || to_char(day, 'YYYY_MM_DD'), day, day + 1); end $$"
        )
    assert await db.fetchval(DAYS) == [-5, -4, -3, -1, 0, 1, 2, 3]
    assert (await keep(db, 3))["dropped"] == 2
    assert await db.fetchval(DAYS) == [-3, -1, 0, 1, 2, 3]


async def test_expired_rows_are_deleted(db: asyncpg.Connection) -> None:
    await db.execute(OLD_ROW, "gone", 0, -0.001)
    await db.execute(OLD_ROW, "here", 0, 1)
    assert (await keep(db))["deleted"] == 1
    assert list(await places(db)) == ["here"]


async def test_a_partition_in_use_is_put_off_and_the_rest_is_done(
    db: asyncpg.Connection, migrated_database_url: str
) -> None:
    await db.execute(
        "do $$ declare day date := (now() at time zone 'utc')::date - 9; begin"
        " execute format('create table realtime.%I partition of realtime.messages for values"
        " from (%L) to (%L)', 'messages_' || to_char(day, 'YYYY_MM_DD'), day, day + 1); end $$"
    )
    other = await asyncpg.connect(migrated_database_url)
    transaction = other.transaction()
    await transaction.start()
    await other.fetch("select from realtime.messages")
    async with asyncio.timeout(10):
        assert (await keep(db))["put_off"] == 1
    await transaction.rollback()
    await other.close()
    assert (await keep(db))["dropped"] == 1


async def test_two_that_look_after_them_do_not_meet(
    db: asyncpg.Connection, migrated_database_url: str
) -> None:
    other = await asyncpg.connect(migrated_database_url)
    transaction = other.transaction()
    await transaction.start()
    await keep(other)
    assert await keep(db) == {"state": "busy"}
    await transaction.rollback()
    await other.close()


async def test_nobody_else_may_call_it(db: asyncpg.Connection) -> None:
    await db.execute("set role authenticated")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await keep(db)


async def test_a_senders_time_zone_changes_nothing(db: asyncpg.Connection) -> None:
    await db.execute("set timezone = 'Pacific/Kiritimati'")
    await db.execute("select realtime.send('{}', 'e', 't')")
    age_s = await db.fetchval(
        "select extract(epoch from (now() at time zone 'utc') - inserted_at)::float8"
        " from realtime.messages"
    )
    assert age_s is not None
    assert abs(age_s) < 60
