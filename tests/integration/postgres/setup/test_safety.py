"""What of a database is unsafe, found on real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tidewire.adapters.postgres.finding import Finding
from tidewire.adapters.postgres.safety import find_unsafe

pytestmark = pytest.mark.postgres
PUBLICATION = "supabase_realtime"
ODD = '"a""b\'; drop table x; --"'


@pytest.fixture
async def connection(migrated_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    made = await asyncpg.connect(migrated_database_url, timeout=10)
    await made.execute("grant usage on schema public to anon, authenticated")
    yield made
    await made.close()


async def found(url: str, code: str) -> Finding | None:
    findings = await find_unsafe(url, publication=PUBLICATION)
    assert all(finding.problem and finding.advice for finding in findings)
    return next((finding for finding in findings if finding.code == code), None)


async def make_table(connection: asyncpg.Connection, name: str, *, rights: str) -> None:
    await connection.execute(
        f"create table {name} (id int primary key, owner text);"
        f"revoke all on {name} from anon, authenticated;"
        f"alter publication {PUBLICATION} add table {name}"
    )
    if rights:
        await connection.execute(f"grant {rights} on {name} to anon")


async def test_a_fresh_database_is_safe(migrated_database_url: str) -> None:
    assert await find_unsafe(migrated_database_url, publication=PUBLICATION) == []


async def test_published_tables_that_visitors_may_write_are_named(
    connection: asyncpg.Connection, migrated_database_url: str
) -> None:
    await make_table(connection, ODD, rights="select, update")
    await make_table(connection, "shown", rights="select")
    await make_table(connection, "hidden", rights="")
    await make_table(connection, "guarded", rights="select, insert")
    await connection.execute("alter table guarded enable row level security")
    finding = await found(migrated_database_url, "open_to_write")
    assert finding is not None
    assert f"public.{ODD} (select, update)" in finding.problem
    readable = await found(migrated_database_url, "open_to_read")
    assert readable is not None
    assert "public.shown" in readable.problem
    for name in ("hidden", "guarded"):
        assert name not in finding.problem + readable.problem


async def test_policies_that_let_visitors_write_are_named(
    connection: asyncpg.Connection, migrated_database_url: str
) -> None:
    await make_table(connection, "trips", rights="select, insert, delete")
    await connection.execute(
        "alter table trips enable row level security;"
        "create policy reading on trips for select to anon using (true);"
        "create policy adding on trips for insert with check (true);"
        "create policy everything on trips to anon using (true);"
        "create policy denied on trips for update to anon using (true);"
        "create policy members on trips for delete to authenticated using (true)"
    )
    finding = await found(migrated_database_url, "public_write_policies")
    assert finding is not None
    assert "adding on public.trips (insert)" in finding.problem
    assert "everything on public.trips (all)" in finding.problem
    for name in ("reading", "denied", "members"):
        assert name not in finding.problem


@pytest.mark.parametrize(
    ("policy", "is_open"),
    [
        ("for select to anon using (true)", True),
        ("for insert with check (true)", True),
        ("to anon using (true)", True),
        ("for select to authenticated using (true)", False),
        ("for select to anon using (realtime.topic() = 'lobby')", False),
    ],
)
async def test_private_channels_open_to_everybody_are_found(
    connection: asyncpg.Connection, migrated_database_url: str, policy: str, is_open: bool
) -> None:
    await connection.execute(f"create policy lobby on realtime.messages {policy}")
    finding = await found(migrated_database_url, "open_private_channels")
    assert (finding is not None) is is_open
    if finding is not None:
        assert "lobby" in finding.problem


async def test_tables_under_row_security_that_keep_only_keys_are_named(
    connection: asyncpg.Connection, migrated_database_url: str
) -> None:
    await make_table(connection, "trips", rights="select")
    await make_table(connection, "full_ones", rights="select")
    await connection.execute(
        "alter table trips enable row level security;"
        "alter table full_ones enable row level security;"
        "alter table full_ones replica identity full"
    )
    finding = await found(migrated_database_url, "key_only_identity")
    assert finding is not None
    assert "public.trips" in finding.problem
    assert "full_ones" not in finding.problem
    assert "tidewire enable public.trips --full" in finding.advice


async def test_immutable_functions_that_read_claims_are_named(
    connection: asyncpg.Connection, migrated_database_url: str
) -> None:
    await connection.execute(
        """create function my_id() returns uuid immutable language sql as 'select auth.uid()';
           create function own(a int) returns text immutable language plpgsql as
             $$ begin return current_setting('request.jwt.claims'); end $$;
           create function fine() returns uuid stable language sql as 'select auth.uid()';
           create function half(a int) returns int immutable language sql as 'select a / 2'"""
    )
    finding = await found(migrated_database_url, "immutable_reads_claims")
    assert finding is not None
    assert finding.problem.endswith("public.my_id(), public.own(a integer)")
    assert finding.advice == "ALTER FUNCTION public.my_id() STABLE"


async def test_a_role_that_may_too_much_is_an_error(
    connection: asyncpg.Connection, migrated_database_url: str
) -> None:
    await make_table(connection, "trips", rights="")
    await connection.execute("alter table trips owner to anon")
    finding = await found(migrated_database_url, "role_owns_tables")
    assert finding is not None
    assert finding.severity == "error"
    assert "public.trips" in finding.problem


async def test_mighty_roles_are_found_and_the_advice_mends_them(
    connection: asyncpg.Connection, migrated_database_url: str
) -> None:
    await connection.execute("alter role anon bypassrls createdb")
    try:
        finding = await found(migrated_database_url, "mighty_role")
        assert finding is not None
        assert finding.severity == "error"
        assert "BYPASSRLS, CREATEDB" in finding.problem
        await connection.execute(finding.advice.partition(": ")[2])
        assert await found(migrated_database_url, "mighty_role") is None
    finally:
        await connection.execute("alter role anon nobypassrls nocreatedb")


async def test_the_servers_own_role_should_not_inherit(
    connection: asyncpg.Connection, migrated_database_url: str
) -> None:
    name = await connection.fetchval("select current_database()")
    await connection.execute(
        f"alter database {name} set tidewire.embedded = 'off';"
        f"create role member_{name} login password 'p'; grant anon to member_{name}"
    )
    url = migrated_database_url.replace("//postgres:test-password@", f"//member_{name}:p@")
    try:
        finding = await found(url, "inherited_roles")
        assert finding is not None
        assert "anon" in finding.problem
        await connection.execute(finding.advice.partition(": ")[2])
        assert await found(url, "inherited_roles") is None
        assert await found(url, "superuser_connection") is None
        assert await found(migrated_database_url, "superuser_connection") is not None
    finally:
        await connection.execute(f"drop role member_{name}")
