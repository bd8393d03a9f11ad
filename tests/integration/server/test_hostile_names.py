"""Names and values made to break out of SQL, from end to end: nothing of them is ever run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tidewire.server.build import enable_table

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(60)]

CANARY = "canary"
BREAKOUT = f"\"'); drop table {CANARY}; --"
NAMES = [
    BREAKOUT,
    f"'; drop table {CANARY}; --",
    f"$$; drop table {CANARY}; $$",
    f"\\'; drop table {CANARY}; --",
    "sélect ✓ 表 🚲",
    'a"".""b',
    "%s %I {0} {name} $1",
    "line\nbreak",
]
PUBLICATION = f"p\"'; drop table {CANARY}; --"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(scope="module")
def server() -> Iterator[TidewireServer]:
    made = TidewireServer(environment={"TIDEWIRE_DATABASE__PUBLICATION": PUBLICATION})
    try:
        made.start()
        yield made
        assert made.stop() == 0
        made.check_log()
    finally:
        made.close()


@pytest.fixture
async def database(server: TidewireServer) -> AsyncIterator[asyncpg.Connection]:
    made = await asyncpg.connect(server.database_url, timeout=10)
    await made.execute(f"create table if not exists {CANARY} (id int)")
    yield made
    assert await made.fetchval("select to_regclass($1)", f"public.{CANARY}") is not None
    await made.close()


async def test_the_publication_has_just_this_name(database: asyncpg.Connection) -> None:
    names = [row[0] for row in await database.fetch("select pubname from pg_publication")]
    assert PUBLICATION in names


@pytest.mark.parametrize("name", NAMES)
async def test_tables_schemas_and_columns_may_be_called_anything(
    server: TidewireServer, database: asyncpg.Connection, name: str
) -> None:
    schema, table, column = (quoted(f"{letter}{name}") for letter in "stc")
    await database.execute(
        f"create schema {schema};"
        f"create table {schema}.{table} (id int primary key, {column} text);"
        f"grant usage on schema {schema} to anon; grant select on {schema}.{table} to anon;"
        f"alter table {schema}.{table} enable row level security;"
        f"create policy {quoted('p' + name)} on {schema}.{table} using ({column} is not null)"
    )
    await enable_table(server.database_url, f"{schema}.{table}", full=True, publication=PUBLICATION)
    entry = {"event": "*", "schema": f"s{name}", "table": f"t{name}"}
    async with raw_socket(server.url, server.anon_key) as socket:
        _, reply = await socket.join(
            f"realtime:topic {name}", {"postgres_changes": [{**entry, "filter": "id=gt.0"}]}
        )
        assert reply["status"] == "ok", server.log()[-3000:]
        statement = f"insert into {schema}.{table} values (1, $1)"
        await database.execute(statement, name)
        change = await socket.next("postgres_changes")
        assert change[4]["data"]["record"] == {"id": 1, f"c{name}": name}
        await database.execute(f"delete from {schema}.{table}")
        assert (await socket.next("postgres_changes"))[4]["data"]["type"] == "DELETE"


@pytest.mark.parametrize("name", [*NAMES, "nul\0byte"])
async def test_filters_topics_and_payloads_stay_values(
    server: TidewireServer, database: asyncpg.Connection, name: str
) -> None:
    await database.execute(
        "create table if not exists said (id int primary key, word text);"
        "grant select on said to anon"
    )
    await enable_table(server.database_url, "said", publication=PUBLICATION)
    filters = [f"word=eq.{name}", f"{name}=eq.1", f"word=in.({name})", f"word=like.{name}",
               f"id=eq.{name}", f"word=match.{name}"]  # fmt: skip
    async with raw_socket(server.url, server.anon_key) as socket:
        for number, text in enumerate(filters):
            entry = {"event": "*", "schema": "public", "table": "said", "filter": text}
            await socket.join(f"realtime:{name}{number}", {"postgres_changes": [entry]})
        for key in ("schema", "table", "select"):
            value: Any = [name] if key == "select" else name
            entry = {"event": "*", "schema": "public", "table": "said", key: value}
            await socket.join(f"realtime:{name}{key}", {"postgres_changes": [entry]})
        join_ref, reply = await socket.join(
            f"realtime:room {name}", {"broadcast": {"ack": True}, "presence": {"key": name}}
        )
        assert reply["status"] == "ok"
        sent = {"type": "broadcast", "event": name, "payload": {"a": name}}
        answer = await socket.ask(f"realtime:room {name}", "broadcast", sent, join_ref=join_ref)
        assert answer["status"] == "ok"
        await socket.heartbeat()
    await database.execute("delete from said")


@pytest.mark.parametrize("name", [*NAMES, "nul\0byte"])
async def test_private_topics_and_claims_stay_values(
    server: TidewireServer, database: asyncpg.Connection, name: str
) -> None:
    token = server.token("authenticated", sub=name, email=name)
    async with raw_socket(server.url, server.anon_key) as socket:
        _, reply = await socket.join(f"realtime:{name}", {"private": True}, access_token=token)
        assert reply["status"] == "error"  # no policy lets anybody in
        _, reply = await socket.join(f"realtime:r{name}", {}, access_token=server.token(name))
        await socket.heartbeat()
        entry = {"event": "*", "schema": "public", "table": CANARY}
        await socket.join(
            f"realtime:c{name}", {"postgres_changes": [entry]}, access_token=server.token(name)
        )
        await socket.heartbeat()
        # A role of any name is a role that sees nothing, and no reason to refuse the next one.
        _, reply = await socket.join("realtime:next", {"postgres_changes": [entry]})
        assert reply["status"] == "ok", server.log()[-3000:]
    async with httpx.AsyncClient(base_url=server.url, headers={"apikey": token}) as http:
        answer = await http.post(
            "/realtime/v1/api/broadcast",
            json={"messages": [{"topic": name, "event": name, "payload": {}, "private": True}]},
        )
        assert answer.status_code < 500
