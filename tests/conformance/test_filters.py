"""The filter grammar, judged by what arrives. Source: wire specification 6.5 to 6.7."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.conformance.conftest import MakeClient
from tests.conformance.test_changes import listen, on
from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tests.support.tables import make_table, unused_name

COLUMNS = "id int primary key, n int, price numeric, name text, ok boolean, day date, tag uuid"
TAG = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
ROWS = f"""
(1, 10, 1.50, 'Ann', true, '2026-01-01', '{TAG}'),
(2, 20, 2.50, 'bob', false, '2026-02-01', null),
(3, null, null, null, null, null, null),
(4, 30, 10, 'a,b', true, '2026-03-01', null),
(5, 40, 100, '(x)', false, '2025-12-31', null),
(6, -5, 0, 'q"uote', true, '2026-01-15', null),
(7, 9, 9, 'semi;colon''s', true, null, null),
(8, 100, 8, 'a.b=c', null, null, null),
(9, 0, 7, '', null, null, null)
"""

FILTERS: list[tuple[str, set[int]]] = [
    ("id=eq.2", {2}),
    ("n=neq.20", {1, 4, 5, 6, 7, 8, 9}),
    ("n=lt.10", {6, 7, 9}),
    ("n=lte.10", {1, 6, 7, 9}),
    ("n=gt.20", {4, 5, 8}),
    ("n=gte.20", {2, 4, 5, 8}),
    ("price=gte.10", {4, 5}),
    ("price=eq.1.5", {1}),
    ("name=eq.Ann", {1}),
    ("name=eq.", {9}),
    ("name=in.(Ann,bob)", {1, 2}),
    ('name=in.("a,b","(x)")', {4, 5}),
    ("n=in.(10,30)", {1, 4}),
    ('name=eq."a,b"', {4}),
    ("name=eq.a.b=c", {8}),
    ('name=eq."q\\"uote"', {6}),
    ("name=eq.semi;colon's", {7}),
    ("name=like.A%", {1}),
    ("name=like.%b%", {2, 4, 8}),
    ("name=ilike.a%", {1, 4, 8}),
    ("name=match.^[a-z]+$", {2}),
    ("name=imatch.^ann$", {1}),
    ("name=is.null", {3}),
    ("name=not.is.null", {1, 2, 4, 5, 6, 7, 8, 9}),
    ("ok=is.true", {1, 4, 6, 7}),
    ("ok=is.false", {2, 5}),
    ("ok=is.unknown", {3, 8, 9}),
    ("ok=eq.true", {1, 4, 6, 7}),
    ("ok=eq.t", {1, 4, 6, 7}),
    ("n=isdistinct.20", {1, 3, 4, 5, 6, 7, 8, 9}),
    ("n=not.isdistinct.20", {2}),
    ("n=not.eq.20", {1, 4, 5, 6, 7, 8, 9}),
    ("n=not.in.(10,20)", {4, 5, 6, 7, 8, 9}),
    ("name=not.like.%b%", {1, 5, 6, 7, 9}),
    ("day=gte.2026-01-15", {2, 4, 6}),
    ("day=eq.2026-1-1", {1}),
    (f"tag=eq.{TAG.upper()}", {1}),
    ("n=gte.10,n=lte.30", {1, 2, 4}),
    ("ok=is.true,price=lt.5,name=like.A%", {1}),
    ("  n=gte.30 , ok=is.true ", {4}),
    ("n=gt.1000", set()),
    ("name=eq.'; drop table x; --", set()),
]


@pytest.mark.parametrize(("filter_", "expected"), FILTERS)
async def test_a_filter_lets_through_exactly_the_rows_that_meet_it(
    server: TidewireServer,
    database: asyncpg.Connection,
    filter_: str,
    expected: set[int],
) -> None:
    table = await make_table(database, COLUMNS)
    topic = f"realtime:{unused_name('filter')}"
    async with raw_socket(server.url, server.anon_key) as raw:
        entries = [on(table, filter=filter_), on(table)]
        _, reply = await raw.join(topic, {"postgres_changes": entries})
        number = reply["response"]["postgres_changes"][0]["id"]
        system = await raw.next("system")
        assert system[4]["status"] == "ok", system
        await database.execute(f"insert into {table} values {ROWS}")
        frames = [await raw.next("postgres_changes") for _ in range(9)]
    matched = [frame for frame in frames if number in frame[4]["ids"]]
    assert {frame[4]["data"]["record"]["id"] for frame in matched} == expected


async def test_every_client_gets_only_what_its_filter_lets_through(
    stock: MakeClient, database: asyncpg.Connection
) -> None:
    table = await make_table(database, COLUMNS)
    channel = await listen(stock, on(table, filter="n=gte.10,n=lte.30"))
    await database.execute(f"insert into {table} values {ROWS}")
    assert [(await channel.changes.next())["new"]["id"] for _ in range(3)] == [1, 2, 4]
    await database.execute(f"insert into {table} (id, n) values (50, 15)")
    assert (await channel.changes.next())["new"]["id"] == 50


async def test_a_filter_sees_the_new_row_of_an_update_and_the_key_of_a_delete(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_table(database)
    full = await make_table(database, full_identity=True)
    topic = f"realtime:{unused_name('filter')}"
    entries = [
        on(table, filter="name=eq.in"),
        on(table, filter="id=eq.1"),
        on(full, filter="name=eq.in"),
    ]
    async with raw_socket(server.url, server.anon_key) as raw:
        _, reply = await raw.join(topic, {"postgres_changes": entries})
        by_name, by_key, by_full = [one["id"] for one in reply["response"]["postgres_changes"]]
        await raw.next("system")
        for name in (table, full):
            await database.execute(f"insert into {name} values (1, 'out')")
            await database.execute(f"update {name} set name = 'in'")
            await database.execute(f"delete from {name}")
        got = [await raw.next("postgres_changes") for _ in range(5)]
        await raw.heartbeat()
        assert not [frame for frame in raw.frames.items if frame[3] == "postgres_changes"]
    seen = [(frame[4]["data"]["type"], set(frame[4]["ids"])) for frame in got]
    assert seen == [
        ("INSERT", {by_key}),
        ("UPDATE", {by_key, by_name}),
        ("DELETE", {by_key}),
        ("UPDATE", {by_full}),
        ("DELETE", {by_full}),
    ]


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"filter": "wrong"}, 'Error parsing `filter` params: ["wrong"]'),
    ({"filter": "n=foo.hey"}, 'Error parsing `filter` params: ["foo", "hey"]'),
    (
        {"filter": "n=in.1,2"},
        "Error parsing `filter` params: `in` filter value must be wrapped by parentheses",
    ),
    (
        {"filter": "n=eq.1,"},
        "Error parsing `filter` params: filter must not contain empty segments"
        " (check for extra commas)",
    ),
    ({"filter": "nothing=eq.1"}, "invalid column for filter nothing"),
    ({"filter": "n=eq.abc"}, "Unable to subscribe to changes with given parameters."),
    ({"filter": "day=gt.tomorrowish"}, "Unable to subscribe to changes with given parameters."),
    ({"filter": f"n=in.({','.join(map(str, range(101)))})"}, "too many values for `in` filter"),
    ({"filter": "n=is.7"}, "invalid value for is filter: must be null, true, false, or unknown"),
    ({"filter": "n=is.true"}, "is true filter requires a boolean column"),
    ({"filter": "name=match.("}, "invalid regular expression for match filter"),
    ({"filter": "n=like.1%"}, "Unable to subscribe to changes with given parameters."),
    ({"filter": None}, "No subscription params provided"),
    ({"filter": 7}, "No subscription params provided"),
    ({"select": "id"}, "Error parsing `select` params: expected a list of column name strings"),
    ({"select": ["nothing"]}, "invalid column for select nothing"),
    (
        {"select": ["id"], "table": "*"},
        "Column selection is not supported for wildcard subscriptions.",
    ),
    ({"table": "no_such_table"}, "Please check Realtime is enabled"),
    ({"schema": "no_such_schema"}, "Please check Realtime is enabled"),
    ({"table": "x'; drop table y; --"}, "Please check Realtime is enabled"),
    ({"schema": None, "table": None}, "No subscription params provided"),
]


@pytest.mark.parametrize(("change", "message"), UNUSABLE)
async def test_what_cannot_be_subscribed_is_told_and_harms_nobody(
    server: TidewireServer, database: asyncpg.Connection, change: dict[str, Any], message: str
) -> None:
    table = await make_table(database, COLUMNS)
    topic = unused_name("bad")
    entry = {name: value for name, value in {**on(table), **change}.items() if value is not None}
    if change.get("filter", "") is None:
        entry["filter"] = None
    async with (
        raw_socket(server.url, server.anon_key) as raw,
        raw_socket(server.url, server.anon_key) as other,
    ):
        await other.join("realtime:bystander", {"postgres_changes": [on(table)]})
        await other.next("system")
        join_ref, reply = await raw.join(f"realtime:{topic}", {"postgres_changes": [entry]})
        assert reply["status"] == "ok"
        system = await raw.next("system")
        assert system[4]["status"] == "error"
        assert (system[4]["extension"], system[4]["channel"]) == ("postgres_changes", topic)
        assert message in system[4]["message"]
        payload = {"type": "broadcast", "event": "e", "payload": {}}
        await raw.push(f"realtime:{topic}", "broadcast", payload, join_ref=join_ref)
        await database.execute(f"insert into {table} (id, name) values (1, 'x')")
        assert (await other.next("postgres_changes"))[4]["data"]["record"]["id"] == 1
        await raw.heartbeat()
        assert not [frame for frame in raw.frames.items if frame[3] == "postgres_changes"]


async def test_supabase_clients_are_told_of_a_bad_filter(
    stock: MakeClient, database: asyncpg.Connection
) -> None:
    table = await make_table(database)
    client = await stock()
    entry = on(table, filter="nothing=eq.1")
    channel = await client.channel(unused_name("bad"), changes=[entry])
    await channel.subscribe()
    if client.is_python:
        error = await channel.expect_status("CHANNEL_ERROR")
        assert error is not None
        assert "invalid column for filter nothing" in error
    else:
        system = await channel.systems.next()
        assert system["status"] == "error"
        assert "invalid column for filter nothing" in system["message"]


async def test_literals_reach_postgresql_as_values_only(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_table(database, "id int primary key, name text, n int, at timestamptz")
    hostile = [
        "name=eq.x' or '1'='1",
        f"name=eq.'); drop table {table}; --",
        "n=eq.1; select pg_sleep(5)",
        "at=gt.now() - interval '1 day'",
        'name=in.("a\'","b\\\\","c;")',
        "name=eq.\u0000",
        "name=eq.\\",
        f"name=eq.{'x' * 100_000}",
        "name=match." + "(a+)+" * 50 + "$",
        "n=eq.99999999999999999999",
        "n=eq.\u0661",
    ]
    async with raw_socket(server.url, server.anon_key) as raw:
        for number, filter_ in enumerate(hostile):
            topic = f"realtime:hostile-{number}"
            await raw.join(topic, {"postgres_changes": [on(table, filter=filter_)]})
            assert (await raw.next("system"))[4]["extension"] == "postgres_changes"
        await raw.heartbeat()
    assert await database.fetchval(f"select count(*) from {table}") == 0
