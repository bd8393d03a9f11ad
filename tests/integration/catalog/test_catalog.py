"""The catalogue reader against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.postgres import PostgresCluster
from tests.support.tcp import tcp_server
from tidewire.adapters.postgres.catalog import PostgresCatalog
from tidewire.core.catalog import Table, TableColumn, TypeKind
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.ports.catalog_source import Comparison, LiteralRequest

pytestmark = pytest.mark.postgres


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("""
        create publication supabase_realtime;
        create table trips (id int primary key, title text collate "C", status varchar(10));
        alter publication supabase_realtime add table trips;
        create table unpublished (id int);
    """)
    yield connection
    await connection.execute("""
        reset role;
        do $$ declare r record; begin
          for r in select rolname from pg_roles where rolname like 'cat\\_%' loop
            execute format('drop owned by %I cascade', r.rolname);
            execute format('drop role %I', r.rolname);
          end loop;
        end $$;
    """)
    await connection.close()


@pytest.fixture
async def catalogs(database_url: str) -> AsyncIterator[PostgresCatalog]:
    catalogs = PostgresCatalog(database_url, deadline_s=5.0, statement_timeout_s=0.5)
    yield catalogs
    await catalogs.close()


def only(tables: dict[int, Table]) -> Table:
    (table,) = tables.values()
    return table


async def test_tables_of_the_publication_are_read_with_their_columns(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    trips = only((await catalogs.refresh()).tables)
    assert (trips.schema, trips.name) == ("public", "trips")
    assert trips.columns == (
        TableColumn("id", 23, is_primary_key=True),
        TableColumn("title", 25),
        TableColumn("status", 1043),
    )
    assert trips.publishes == {"INSERT", "UPDATE", "DELETE"}


async def test_columns_that_the_stream_does_not_carry_are_left_out(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    await connection.execute("""
        create table two (id int primary key, a int, b int, g int generated always as (a) stored);
        alter publication supabase_realtime set table two (id, a), unpublished;
        alter publication supabase_realtime set (publish = 'insert');
    """)
    tables = {table.name: table for table in (await catalogs.refresh()).tables.values()}
    assert [column.name for column in tables["two"].columns] == ["id", "a"]
    assert tables["unpublished"].publishes == {"INSERT"}


async def test_types_are_read_with_what_they_are_made_of(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    await connection.execute("""
        create type mood as enum ('sad', 'ok'); alter type mood add value 'fine' before 'ok';
        create domain small as int2; create type pair as (a int, "b c" mood[]);
    """)
    types = {t.name: t for t in (await catalogs.refresh()).types.values()}
    assert types["mood"].labels == ("sad", "fine", "ok")
    assert (types["small"].kind, types["small"].base_oid) == (TypeKind.DOMAIN, 21)
    assert types["pair"].fields == (("a", 23), ("b c", types["_mood"].oid))
    assert (types["_mood"].kind, types["_mood"].element_oid) == (TypeKind.ARRAY, types["mood"].oid)
    assert types["_box"].delimiter == types["box"].delimiter == ";"
    assert types["name"].kind is TypeKind.BASE


async def test_privileges_are_those_of_the_role_by_whatever_way(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    await connection.execute("""
        create role cat_some; create role cat_group; create role cat_member in role cat_group;
        create role cat_none; create role cat_free bypassrls; create role cat_owner;
        grant select (id, title) on trips to cat_some; grant select on trips to cat_group, cat_free;
        alter table trips owner to cat_owner; alter table trips enable row level security;
    """)
    trips = only((await catalogs.refresh()).tables).oid
    access = {
        role: (await catalogs.refresh(role)).access[role]
        for role in ("cat_some", "cat_member", "cat_none", "cat_free", "cat_owner", "no_such_role")
    }
    assert access["no_such_role"] is None
    found = {role: given[trips] for role, given in access.items() if given is not None}
    every = {"id", "title", "status"}
    assert {role: given.columns for role, given in found.items()} == {
        "cat_some": {"id", "title"}, "cat_member": every, "cat_none": set(), "cat_free": every,
        "cat_owner": every,
    }  # fmt: skip
    assert {role for role, given in found.items() if given.bypasses_row_security} == {
        "cat_free", "cat_owner"
    }  # fmt: skip
    await connection.execute("alter table trips force row level security")
    access_now = (await catalogs.refresh()).access["cat_owner"]
    assert access_now is not None
    assert not access_now[trips].bypasses_row_security


async def test_without_usage_on_the_schema_nothing_may_be_read(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    await connection.execute("""
        create role cat_some; create schema hidden; create table hidden.t (id int primary key);
        grant select on hidden.t to cat_some;
        alter publication supabase_realtime set table hidden.t;
    """)
    access = (await catalogs.refresh("cat_some")).access["cat_some"]
    assert access is not None
    assert [given.columns for given in access.values()] == [frozenset()]
    await connection.execute("grant usage on schema hidden to cat_some")
    access = (await catalogs.refresh()).access["cat_some"]
    assert access is not None
    assert [given.columns for given in access.values()] == [{"id"}]


@pytest.mark.parametrize(
    "statement",
    [
        "alter table trips add column more int", "alter table trips drop column title",
        "alter table trips rename column title to name", "alter table trips rename to voyages",
        "alter table trips alter column title type varchar",
        "alter table trips drop constraint trips_pkey",
        "alter table trips enable row level security", "alter table trips force row level security",
        "create policy p on trips using (true)", "grant select on trips to cat_r",
        "grant select (id) on trips to cat_r", "grant usage on schema public to cat_r",
        "alter publication supabase_realtime add table unpublished",
        "alter publication supabase_realtime set (publish = 'insert')",
        "drop publication supabase_realtime", "alter role cat_r bypassrls", "create role cat_x",
        "grant pg_read_all_data to cat_r", "drop role cat_r", "create type mood as enum ('a')",
        "alter type feeling add value 'new'", "alter type pair add attribute c int",
        "alter table trips replica identity full", "create domain d as int",
        "alter publication supabase_realtime set table trips (id)",
        "alter publication supabase_realtime drop table trips",
        "alter publication supabase_realtime add tables in schema apart",
        "alter publication supabase_realtime add table days",
    ],
)  # fmt: skip
async def test_whatever_matters_changes_the_fingerprint(
    statement: str, connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    await connection.execute(
        """create role cat_r; create type feeling as enum ('old'); create type pair as (a int);
           create schema apart; create table apart.t (id int primary key);
           create table days (day int primary key) partition by range (day)"""
    )
    before = await catalogs.refresh("cat_r")
    assert await catalogs.refresh() is before
    await connection.execute(statement)
    after = await catalogs.refresh()
    assert after.fingerprint != before.fingerprint
    assert await catalogs.refresh() is after


@pytest.mark.parametrize("whole_schema", [False, True])
async def test_partitions_and_tables_of_a_schema_are_noticed_as_they_come_and_go(
    connection: asyncpg.Connection, catalogs: PostgresCatalog, *, whole_schema: bool
) -> None:
    await connection.execute(
        """create schema apart;
           create table apart.days (day int primary key) partition by range (day)"""
    )
    what = "tables in schema apart" if whole_schema else "table apart.days"
    await connection.execute(f"alter publication supabase_realtime set {what}")
    assert (await catalogs.refresh()).tables == {}
    await connection.execute("create table apart.one partition of apart.days default")
    assert only((await catalogs.refresh()).tables).name == "one"
    await connection.execute("drop table apart.one")
    assert (await catalogs.refresh()).tables == {}


async def test_whoever_locks_a_table_holds_no_look_at_the_catalogue_up(
    connection: asyncpg.Connection, catalogs: PostgresCatalog, database_url: str
) -> None:
    before = await catalogs.refresh("cat_r")
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("alter table trips add column more int")
        async with asyncio.timeout(2):
            assert await catalogs.refresh() is before
    await other.close()
    assert await catalogs.refresh() is not before


async def test_no_answer_is_older_than_the_call(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    async def stream_of_reads() -> None:
        for _ in range(200):
            await catalogs.refresh()

    reading = asyncio.create_task(stream_of_reads())
    for number in range(40):
        await connection.execute(f"alter table trips add column c{number} int")
        columns = only((await catalogs.refresh()).tables).columns
        assert columns[-1].name == f"c{number}"
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_many_callers_share_one_running_and_one_waiting_read(
    connection: asyncpg.Connection, catalogs: PostgresCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = catalogs._read
    begun = asyncio.Event()

    async def counted() -> None:
        nonlocal reads
        reads += 1
        begun.set()
        await read()

    monkeypatch.setattr(catalogs, "_read", counted)
    first = asyncio.create_task(catalogs.refresh())
    await asyncio.wait_for(begun.wait(), 5)
    await asyncio.gather(first, *(catalogs.refresh() for _ in range(500)))
    assert reads == 2


async def test_a_caller_that_gives_up_takes_no_answer_from_others(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    one, two = (asyncio.create_task(catalogs.refresh()) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    assert (await two).tables


async def test_literals_come_back_as_the_stream_shows_them(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    await catalogs.refresh()
    wanted = {
        (23, "007"): "7", (16, "yes"): "t",
        (1184, "2026-01-01T05:00:00+05:00"): "2026-01-01 00:00:00+00",
        (1042, "ab  "): "ab  ", (1700, "1e2"): "100", (17, "abc"): "\\x616263",
        (1186, "36 hours"): "36:00:00", (869, "1.2.3.4/32"): "1.2.3.4", (701, "0.1"): "0.1",
        (1560, "101"): "101", (1007, "{1, 2}"): "{1,2}", (19, "x" * 70): "x" * 63,
        (23, "x"): None, (23, "1); drop table trips; --"): None, (23, "$1"): None,
        (25, "a\0"): None,
        (25, "\ud800"): None, (4_000_000, "1"): None,
        (25, "'; drop table trips; --\\"): "'; drop table trips; --\\",
    }  # fmt: skip
    requests = [LiteralRequest(*request) for request in wanted]
    assert await catalogs.canonical_literals(requests) == list(wanted.values())
    assert await connection.fetchval("select count(*) from trips") == 0


async def test_comparisons_that_raise_or_take_too_long_fail_alone(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    await catalogs.refresh()

    def text(operator: str, literal: str, value: str) -> Comparison:
        return Comparison(25, operator, literal, value, 0, "c")

    slow = "(" * 6 + "x+" + ")*" * 6 + "(?=y)" + ".*" * 8 + "z"
    comparisons = [
        text("match", "^a.c$", "abc"), text("match", "(", "abc"), text("match", "b+", "abc"),
        text("like", "a\\", "ab"), text("ilike", "A%", "abc"), text("drop", "a", "a"),
        Comparison(1186, "eq", "1 day", "24:00:00", 0, "c"), text("eq", "'; --", "'; --"),
    ]  # fmt: skip
    expected = [True, None, True, None, True, None, True, True]
    assert await catalogs.compare(comparisons) == expected
    assert (await catalogs.compare([*comparisons, text("match", slow, "x" * 400)]))[:-1] == expected


async def test_many_comparisons_that_take_too_long_hold_nobody_up_for_long(
    connection: asyncpg.Connection, database_url: str
) -> None:
    quick = PostgresCatalog(database_url, deadline_s=5.0, statement_timeout_s=0.1)
    await quick.refresh()
    back_and_forth = r"^(.*)(.*)(.*)(.*)(.*)\1\2\3\4\5"
    notes = "x y z notes here and more text for a while" * 3
    slow = [
        Comparison(25, "match", f"{back_and_forth}q{n}$", f"{notes}q{n}", 0, "c") for n in range(99)
    ]
    async with asyncio.timeout(3.0):
        answers = await quick.compare([Comparison(25, "match", "b+", "abc", 0, "c"), *slow])
    assert answers[1:] == [None] * 99
    assert await quick.compare([Comparison(25, "match", "b+", "abc", 0, "c")]) == [True]
    await quick.close()


async def test_the_session_cannot_write(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    await connection.execute("""
        create function write() returns int language plpgsql as
          $$ begin insert into unpublished values (1); return 1; end $$;
        create domain evil as int check (write() = 1);
    """)
    catalog = await catalogs.refresh()
    evil = next(oid for oid, info in catalog.types.items() if info.name == "evil")
    assert await catalogs.canonical_literals([LiteralRequest(evil, "1")]) == [None]
    assert await connection.fetchval("select count(*) from unpublished") == 0


async def test_a_lost_connection_is_opened_again(
    connection: asyncpg.Connection, catalogs: PostgresCatalog
) -> None:
    await catalogs.refresh()
    await catalogs.compare([Comparison(23, "lt", "2", "1", 0, "c")])
    await connection.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where application_name like 'tidewire%' and datname = current_database()"
    )
    await connection.execute("create table later (id int primary key);"
                             "alter publication supabase_realtime add table later")  # fmt: skip
    assert len((await catalogs.refresh()).tables) == 2
    assert await catalogs.compare([Comparison(23, "lt", "2", "1", 0, "c")]) == [True]


async def test_a_database_that_does_not_answer_is_told_within_the_deadline(
    postgres_cluster: PostgresCluster,
) -> None:
    missing = PostgresCatalog(postgres_cluster.url_of("no_such_database"), deadline_s=1.0)
    with pytest.raises(DatabaseUnavailableError):
        await missing.refresh()
    await missing.close()


async def test_a_database_that_refuses_our_role_is_one_that_does_not_answer(
    connection: asyncpg.Connection, database_url: str
) -> None:
    name = await connection.fetchval("select current_database()")
    await connection.execute(f"""
        create role cat_locked_out login password 'x';
        revoke connect on database {name} from public;
    """)
    parts = urlsplit(database_url)
    as_other = parts._replace(netloc=f"cat_locked_out:x@{parts.netloc.rpartition('@')[2]}")
    locked_out = PostgresCatalog(as_other.geturl(), deadline_s=2.0)
    with pytest.raises(DatabaseUnavailableError, match="permission denied"):
        await locked_out.refresh()
    await locked_out.close()


async def test_a_server_that_says_nothing_is_given_up_at_the_deadline() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with tcp_server(say_nothing) as port:
        url = f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable"
        hanging = PostgresCatalog(url, deadline_s=0.2)
        with pytest.raises(DatabaseUnavailableError):
            await hanging.refresh()
        assert not hanging.current.tables
        await hanging.close()
