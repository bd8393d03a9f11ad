"""Migrations on our own database, on an ordinary one, and beside Supabase's own schemas."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from tests.support.postgres import PASSWORD
from tidewire.adapters.postgres import migrations
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.adapters.postgres.migrations import migrate, migrate_with_report
from tidewire.core.errors import DatabaseUnavailableError, SetupError

pytestmark = pytest.mark.postgres

Connecting = Callable[[str], AbstractAsyncContextManager[asyncpg.Connection]]

_SHAPE = """
select 'function' as kind, p.oid::regprocedure::text, md5(prosrc), p.oid::text from pg_proc p
 where pronamespace in ('auth'::regnamespace, 'realtime'::regnamespace)
union all select 'publication', pubname::text, oid::text, '' from pg_publication
union all select 'trigger', evtname::text, evtenabled::text, oid::text from pg_event_trigger
order by 1, 2
"""


async def test_all_is_there_afterwards(any_database_url: str, connecting: Connecting) -> None:
    applied = await migrate(any_database_url)
    assert applied == [migration.name for migration in migrations.read_migrations()]
    async with connecting(any_database_url) as connection:
        claims = json.dumps({"sub": "6a0ba2f5-2c88-4f0a-9d5c-0d3a3a9a0001", "role": "anon"})
        await connection.execute("select set_config('request.jwt.claims', $1, false)", claims)
        await connection.execute("select set_config('realtime.topic', 'room:1', false)")
        await connection.execute("set role anon")
        row = await connection.fetchrow(
            "select auth.uid()::text, auth.role(), auth.jwt()->>'sub', auth.email(),"
            " realtime.topic()"
        )
        assert tuple(row or ()) == (
            "6a0ba2f5-2c88-4f0a-9d5c-0d3a3a9a0001",
            "anon",
            "6a0ba2f5-2c88-4f0a-9d5c-0d3a3a9a0001",
            None,
            "room:1",
        )
        roles = await connection.fetch(
            "select rolname from pg_roles where rolbypassrls and rolname = 'service_role'"
        )
        assert len(roles) == 1
        tables = await connection.fetch(
            "select from pg_publication_tables where pubname = 'supabase_realtime'"
        )
        assert tables == []


async def test_without_claims_every_helper_is_null(
    migrated_database_url: str, connecting: Connecting
) -> None:
    async with connecting(migrated_database_url) as connection:
        query = "select auth.uid(), auth.role(), auth.jwt(), auth.email(), realtime.topic()"
        assert tuple(await connection.fetchrow(query) or ()) == (None,) * 5
        # A setting that was made local reads as an empty text after its transaction.
        async with connection.transaction():
            await connection.execute("select set_config('request.jwt.claims', '{}', true)")
        assert tuple(await connection.fetchrow(query) or ()) == (None,) * 5


async def test_older_clients_settings_are_read_too(
    migrated_database_url: str, connecting: Connecting
) -> None:
    async with connecting(migrated_database_url) as connection:
        await connection.execute("set request.jwt.claim.role = 'authenticated'")
        assert await connection.fetchval("select auth.role()") == "authenticated"


async def test_a_second_run_does_nothing(any_database_url: str, connecting: Connecting) -> None:
    await migrate(any_database_url)
    async with connecting(any_database_url) as connection:
        before = await connection.fetch(_SHAPE)
        report = await migrate_with_report(any_database_url)
        assert (report.applied, report.notes) == ([], [])
        assert await connection.fetch(_SHAPE) == before


async def test_running_every_step_again_changes_nothing(
    database_url: str, connecting: Connecting
) -> None:
    await migrate(database_url)
    async with connecting(database_url) as connection:
        before = await connection.fetch(_SHAPE)
        await connection.execute("drop table realtime.tidewire_migrations")
        assert (await migrate_with_report(database_url)).notes == []
        assert await connection.fetch(_SHAPE) == before


async def test_several_migrators_at_once_apply_each_file_once(database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(database_url) for _ in range(4)))
    names = [name for one in applied for name in one]
    assert sorted(names) == [migration.name for migration in migrations.read_migrations()]


async def test_a_migrator_that_waits_for_the_lock_too_long_says_so(
    database_url: str, connecting: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_DEADLINE_S", 1.0)
    async with connecting(database_url) as connection:
        await connection.execute(f"select pg_advisory_lock({migrations.LOCK_KEY})")
        with pytest.raises(DatabaseUnavailableError, match="holds the lock"):
            await migrate(database_url)


async def test_a_dropped_publication_comes_back(database_url: str, connecting: Connecting) -> None:
    await migrate(database_url)
    async with connecting(database_url) as connection:
        await connection.execute("drop publication supabase_realtime")
        assert await migrate(database_url) == []
        assert await connection.fetchval("select pubname from pg_publication") is not None


async def test_tables_made_later_are_open_to_the_roles_on_our_own_database(
    database_url: str, connecting: Connecting
) -> None:
    await migrate(database_url)
    async with connecting(database_url) as connection:
        await connection.execute("create table later (id bigserial primary key)")
        await connection.execute("set role anon")
        await connection.execute("insert into later default values")
        assert await connection.fetchval("select count(*) from later") == 1


async def test_elsewhere_default_privileges_stay_as_they_are(
    ordinary_url: str, connecting: Connecting
) -> None:
    await migrate(ordinary_url)
    async with connecting(ordinary_url) as connection:
        assert await connection.fetch("select from pg_default_acl") == []


async def test_an_owner_without_superuser_rights_is_served_with_notes(
    narrow_server: EmbeddedPostgres, connecting: Connecting
) -> None:
    async with connecting(narrow_server.url) as admin:
        await admin.execute(f"create role owner login createrole password '{PASSWORD}'")
        await admin.execute("create database owned owner owner")
        url = narrow_server.url.replace("//postgres:", "//owner:").replace("/postgres", "/owned")
        report = await migrate_with_report(url)
        assert len(report.applied) == len(migrations.read_migrations())
        told = " ".join(note.problem for note in report.notes)
        assert "notices of catalogue changes" in told
        assert "without BYPASSRLS" in told
        assert all(note.advice for note in report.notes)
        async with connecting(url) as connection:
            await connection.execute("set role anon")
            assert await connection.fetchval("select auth.uid()") is None
        await admin.execute("drop database owned with (force)")
        await admin.execute("drop role anon, authenticated, service_role, owner")


async def test_without_rights_the_missing_one_is_named(powerless_url: str) -> None:
    with pytest.raises(SetupError, match="permission denied") as caught:
        await migrate(powerless_url)
    assert "superuser" in caught.value.advice or "GRANT CREATE" in caught.value.advice


@pytest.fixture
async def supabase_like_url(
    ordinary_url: str, database_url: str, connecting: Connecting
) -> AsyncIterator[str]:
    """Schemas auth and realtime of another owner, who lets us use them and change nothing."""
    async with connecting(database_url) as connection:
        owner = f"admin_{ordinary_url.rpartition('/')[2]}"
        await connection.execute(
            f"create role {owner};"
            f" create schema auth authorization {owner};"
            f" create schema realtime authorization {owner};"
            " create function auth.uid() returns uuid language sql as"
            " $$ select '00000000-0000-0000-0000-00000000abcd'::uuid $$;"
            f" alter function auth.uid() owner to {owner};"
            " create function auth.jwt() returns jsonb language sql as $$ select '{}'::jsonb $$;"
            " create function auth.role() returns text language sql as $$ select 'theirs' $$;"
            " create function auth.email() returns text language sql as $$ select 'theirs' $$;"
            " create function realtime.topic() returns text language sql as $$ select 'theirs' $$;"
            " create publication supabase_realtime;"
            " create table public.theirs (id int primary key);"
            " alter publication supabase_realtime add table public.theirs;"
            " grant usage on schema auth, realtime to public"
        )
        yield ordinary_url
        await connection.execute(
            f"drop schema auth, realtime cascade; drop schema if exists tidewire cascade;"
            f" drop owned by {owner}; drop role {owner}"
        )


async def test_beside_supabase_nothing_is_replaced_and_nothing_fails(
    supabase_like_url: str, connecting: Connecting
) -> None:
    async with connecting(supabase_like_url) as connection:
        before = await connection.fetch(_SHAPE)
        applied = await migrate(supabase_like_url)
        assert len(applied) == len(migrations.read_migrations())
        after = await connection.fetch(_SHAPE)
        assert await connection.fetchval("select auth.role()") == "theirs"
        assert await connection.fetchval("select realtime.topic()") == "theirs"
        tables = await connection.fetch("select tablename from pg_publication_tables")
        assert [row["tablename"] for row in tables] == ["theirs"]
        # Where realtime is closed to us, the record lies in a schema of our own.
        assert await connection.fetchval("select to_regclass('tidewire.tidewire_migrations')")
    functions_before = [row for row in before if row["kind"] == "function"]
    assert [row for row in after if row["kind"] == "function"] == functions_before
    assert await migrate(supabase_like_url) == []


_MESSAGES = """
select data from pg_logical_slot_get_binary_changes('ddl_test', null, null,
  'proto_version', '1', 'publication_names', 'supabase_realtime', 'messages', 'true')
"""


async def _told(connection: asyncpg.Connection) -> list[dict[str, object]]:
    prefix = b"tidewire.ddl\0"
    rows = [row["data"] for row in await connection.fetch(_MESSAGES)]
    return [
        json.loads(data[data.index(prefix) + len(prefix) + 4 :])
        for data in rows
        if data[:1] == b"M" and prefix in data
    ]


async def test_changes_of_the_catalogue_are_told_in_the_stream(
    any_database_url: str, connecting: Connecting
) -> None:
    await migrate(any_database_url)
    async with connecting(any_database_url) as connection:
        await connection.execute(
            "select pg_create_logical_replication_slot('ddl_test', 'pgoutput')"
        )
        commands = {
            "CREATE TABLE": "create table t (id int primary key)",
            "ALTER PUBLICATION": "alter publication supabase_realtime add table t",
            "ALTER TABLE": "alter table t enable row level security",
            "CREATE POLICY": "create policy p on t using (true)",
            "ALTER POLICY": "alter policy p on t using (false)",
            "DROP POLICY": "drop policy p on t",
            "GRANT": "grant select on t to anon",
            "REVOKE": "revoke select on t from anon",
            "CREATE FUNCTION": "create function f() returns int language sql as 'select 1'",
            "DROP FUNCTION": "drop function f()",
            "CREATE TYPE": "create type mood as enum ('well')",
            "ALTER TYPE": "alter type mood add value 'ill'",
            "DROP TABLE": "drop table t",
        }
        for tag, command in commands.items():
            await connection.execute(command)
            told = await _told(connection)
            assert tag in {message["tag"] for message in told}, (tag, told)
        await connection.execute("create temp table passing (id int); drop table passing")
        await connection.execute("begin; create table undone (id int); rollback")
        assert await _told(connection) == []
        await connection.execute("select pg_drop_replication_slot('ddl_test')")


async def test_anybodys_change_of_the_catalogue_is_told(
    migrated_database_url: str, connecting: Connecting
) -> None:
    async with connecting(migrated_database_url) as connection:
        await connection.execute(
            "select pg_create_logical_replication_slot('ddl_test', 'pgoutput')"
        )
        await connection.execute(
            "grant create on schema public to authenticated; set role authenticated;"
            " create table mine (id int primary key); reset role"
        )
        told = await _told(connection)
        assert any(
            message["tag"] == "CREATE TABLE" and "public.mine" in json.dumps(message)
            for message in told
        )
        await connection.execute("select pg_drop_replication_slot('ddl_test')")
