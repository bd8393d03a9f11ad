"""The table realtime.messages: made where it is absent, left alone where it is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from tidewire.adapters.postgres.migrations import migrate

pytestmark = pytest.mark.postgres

Connecting = Callable[[str], AbstractAsyncContextManager[asyncpg.Connection]]

_DAYS = """
select i.inhrelid::regclass::text as name from pg_inherits i
 where i.inhparent = 'realtime.messages'::regclass order by 1
"""


async def test_the_table_guards_its_rows_and_is_open_to_the_roles(
    any_database_url: str, connecting: Connecting
) -> None:
    await migrate(any_database_url)
    async with connecting(any_database_url) as connection:
        assert await connection.fetchval(
            "select relrowsecurity from pg_class where oid = 'realtime.messages'::regclass"
        )
        for role in ("anon", "authenticated", "service_role"):
            for right in ("select", "insert", "update"):
                assert await connection.fetchval(
                    "select has_table_privilege($1, 'realtime.messages', $2)", role, right
                ), (role, right)
        await connection.execute("set role authenticated")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "insert into realtime.messages (topic, extension) values ('t', 'broadcast')"
            )


async def test_a_message_of_today_has_its_partition_and_an_hour_of_utc(
    any_database_url: str, connecting: Connecting
) -> None:
    await migrate(any_database_url)
    async with connecting(any_database_url) as connection:
        await connection.execute("set timezone = 'Pacific/Kiritimati'")
        row = await connection.fetchrow(
            "insert into realtime.messages (topic, extension) values ('t', 'broadcast') returning"
            " abs(extract(epoch from inserted_at - now() at time zone 'utc')) < 60 as is_utc,"
            " tableoid::regclass::text as partition, private, skip_broadcast,"
            " to_char(now() at time zone 'utc', '\"realtime.messages_\"YYYY_MM_DD') as expected"
        )
        assert row is not None
        assert row["is_utc"]
        assert row["partition"] == row["expected"]
        assert (row["private"], row["skip_broadcast"]) == (False, False)
        assert len(await connection.fetch(_DAYS)) >= 5


async def test_a_table_that_is_there_is_not_touched(
    any_database_url: str, connecting: Connecting
) -> None:
    async with connecting(any_database_url) as connection:
        await connection.execute(
            "create schema realtime; create table realtime.messages (topic text, extension text)"
        )
        await migrate(any_database_url)
        columns = await connection.fetchval(
            "select array_agg(attname::text order by attnum) from pg_attribute"
            " where attrelid = 'realtime.messages'::regclass and attnum > 0"
        )
        assert columns == ["topic", "extension"]
        assert not await connection.fetchval(
            "select relrowsecurity from pg_class where oid = 'realtime.messages'::regclass"
        )
