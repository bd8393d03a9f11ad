"""Making tables live, without harm to those who write to them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from tidewire.adapters.postgres import publication
from tidewire.adapters.postgres.migrations import migrate
from tidewire.adapters.postgres.publication import disable_table, enable_table
from tidewire.core.errors import DatabaseUnavailableError, SetupError

pytestmark = pytest.mark.postgres

Connecting = Callable[[str], AbstractAsyncContextManager[asyncpg.Connection]]


@pytest.fixture
async def url(any_database_url: str) -> str:
    await migrate(any_database_url)
    return any_database_url


async def _members(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "select schemaname || '.' || tablename as name from pg_publication_tables"
        " where pubname = 'supabase_realtime' order by 1"
    )
    return [row["name"] for row in rows]


async def test_a_table_with_a_key_becomes_live_once(url: str, connecting: Connecting) -> None:
    async with connecting(url) as connection:
        await connection.execute("create table trips (id int primary key)")
        first = await enable_table(url, "trips")
        second = await enable_table(connection, "public.trips")
        assert (first.schema, first.table, first.changed) == ("public", "trips", True)
        assert (first.identity, first.notes) == ("default", [])
        assert not second.changed
        assert await _members(connection) == ["public.trips"]


async def test_names_in_quotes_are_taken_as_they_stand(url: str, connecting: Connecting) -> None:
    async with connecting(url) as connection:
        await connection.execute('create schema "My.Schema"')
        await connection.execute('create table "My.Schema"."Odd ""Name" (id int primary key)')
        outcome = await enable_table(url, '"My.Schema"."Odd ""Name"')
        assert outcome.table == 'Odd "Name'
        assert await _members(connection) == ['My.Schema.Odd "Name']


async def test_a_table_without_a_key_is_refused_and_its_writes_go_on(
    url: str, connecting: Connecting
) -> None:
    async with connecting(url) as connection:
        await connection.execute("create table loose (id int); insert into loose values (1)")
        with pytest.raises(SetupError, match="no primary key") as caught:
            await enable_table(url, "loose")
        assert "--full" in caught.value.advice
        await connection.execute("update loose set id = 2")
        outcome = await enable_table(url, "loose", full=True)
        assert outcome.identity == "full"
        assert publication.FULL_PRICE in outcome.notes
        await connection.execute("update loose set id = 3; delete from loose")


async def test_full_with_a_generated_column_does_not_break_writes(
    url: str, connecting: Connecting
) -> None:
    async with connecting(url) as connection:
        await connection.execute(
            "create table sums (id int primary key, twice int generated always as (id * 2) stored)"
        )
        outcome = await enable_table(url, "sums", full=True)
        await connection.execute("insert into sums values (1)")
        await connection.execute("update sums set id = 2; delete from sums")
        if connection.get_server_version().major < 18:
            assert any("twice" in note for note in outcome.notes)


async def test_an_older_publication_learns_of_generated_columns(
    migrated_database_url: str, connecting: Connecting
) -> None:
    url = migrated_database_url
    async with connecting(url) as connection:
        await connection.execute(
            "drop publication supabase_realtime; create publication supabase_realtime;"
            " create table sums (id int primary key,"
            " twice int generated always as (id * 2) stored)"
        )
        outcome = await enable_table(url, "sums", full=True)
        assert any("publishes generated columns from now on" in note for note in outcome.notes)
        await connection.execute("insert into sums values (1); update sums set id = 2")


async def test_without_full_the_identity_stays(url: str, connecting: Connecting) -> None:
    async with connecting(url) as connection:
        await connection.execute(
            "create table wide (id int primary key); alter table wide replica identity full"
        )
        assert (await enable_table(url, "wide")).identity == "full"


@pytest.mark.parametrize(
    ("statement", "name", "problem"),
    [
        ("create view seen as select 1 as id", "seen", "is a view"),
        ("create materialized view kept as select 1 as id", "kept", "is a materialized view"),
        ("create unlogged table quick (id int primary key)", "quick", "is unlogged"),
        ("select 1", "pg_catalog.pg_class", "is a system table"),
        ("select 1", "absent", "there is no table"),
    ],
)
async def test_what_cannot_be_streamed_is_refused(
    migrated_database_url: str, connecting: Connecting, statement: str, name: str, problem: str
) -> None:
    async with connecting(migrated_database_url) as connection:
        await connection.execute(statement)
    with pytest.raises(SetupError, match=problem):
        await enable_table(migrated_database_url, name)


async def test_a_name_in_other_letters_is_suggested(
    migrated_database_url: str, connecting: Connecting
) -> None:
    async with connecting(migrated_database_url) as connection:
        await connection.execute('create table "Trips" (id int primary key)')
    with pytest.raises(SetupError) as caught:
        await enable_table(migrated_database_url, "Trips")
    assert '"public"."Trips"' in caught.value.advice


async def test_a_table_of_somebody_else_names_its_owner(
    ordinary_url: str, database_url: str, connecting: Connecting
) -> None:
    await migrate(ordinary_url)
    async with connecting(database_url) as connection:
        await connection.execute("create table theirs (id int primary key)")
    with pytest.raises(SetupError, match="cannot be changed") as caught:
        await enable_table(ordinary_url, "theirs")
    assert "postgres" in caught.value.advice


async def test_a_locked_table_is_not_waited_for_without_end(
    migrated_database_url: str, connecting: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "LOCK_DEADLINE_S", 1.0)
    async with connecting(migrated_database_url) as connection:
        await connection.execute("create table busy (id int primary key)")
        async with connection.transaction():
            await connection.execute("lock table busy in access exclusive mode")
            with pytest.raises(DatabaseUnavailableError, match="locked by another session"):
                await enable_table(migrated_database_url, "busy", full=True)


async def test_a_partitioned_table_comes_with_a_note(
    migrated_database_url: str, connecting: Connecting
) -> None:
    async with connecting(migrated_database_url) as connection:
        await connection.execute(
            "create table parts (id int primary key) partition by range (id);"
            " create table part_1 partition of parts for values from (0) to (10)"
        )
        outcome = await enable_table(migrated_database_url, "parts")
        assert any("partition" in note for note in outcome.notes)
        assert not (await enable_table(migrated_database_url, "parts")).changed


async def test_a_disabled_table_is_out_and_stays_out(url: str, connecting: Connecting) -> None:
    async with connecting(url) as connection:
        await connection.execute("create table trips (id int primary key)")
        await enable_table(url, "trips")
        assert (await disable_table(url, "trips")).changed
        assert not (await disable_table(url, "trips")).changed
        assert await _members(connection) == []


async def test_a_publication_of_all_tables_cannot_lose_one(
    migrated_database_url: str, connecting: Connecting
) -> None:
    async with connecting(migrated_database_url) as connection:
        await connection.execute(
            "drop publication supabase_realtime; create table t (id int primary key);"
            " create publication supabase_realtime for all tables"
        )
    assert not (await enable_table(migrated_database_url, "t")).changed
    with pytest.raises(SetupError, match="is published with"):
        await disable_table(migrated_database_url, "t")
