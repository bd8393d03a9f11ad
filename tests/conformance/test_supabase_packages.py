"""The clients as people create them: createClient and acreate_client with a project URL."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from realtime.types import RealtimePostgresChangesListenEvent
from supabase import acreate_client

from tests.support.inbox import Inbox
from tests.support.server import TidewireServer
from tests.support.stock_js import StockJs
from tests.support.tables import make_table, unused_name


async def test_supabase_py_gets_changes_through_its_own_factory(
    server: TidewireServer, database: asyncpg.Connection
) -> None:
    table = await make_table(database)
    supabase = await acreate_client(server.url, server.anon_key)
    inbox = Inbox("supabase-py")
    channel = supabase.channel(unused_name("factory"))
    event = RealtimePostgresChangesListenEvent.Insert
    channel.on_postgres_changes(event, inbox.put, table=table, schema="public")
    subscribed = asyncio.Event()

    def on_status(status: Any, error: Exception | None) -> None:
        if str(status.value) == "SUBSCRIBED":
            subscribed.set()

    await channel.subscribe(on_status)
    async with asyncio.timeout(5):
        await subscribed.wait()
    await database.execute(f"insert into {table} values (1, 'one')")
    payload = await inbox.next()
    assert payload["data"]["record"] == {"id": 1, "name": "one"}
    await supabase.remove_all_channels()


async def test_supabase_js_signs_joins_with_the_token_of_its_callback(
    server: TidewireServer, js: StockJs, database: asyncpg.Connection
) -> None:
    """A client with an accessToken option joins before the token is known and pushes it after."""
    table = await make_table(database, roles="authenticated")
    client = await js.client(
        server.url, server.anon_key, access_token=server.token("authenticated")
    )
    entry = {"event": "*", "schema": "public", "table": table}
    channel = await client.channel(unused_name("token"), changes=[entry])
    await channel.subscribe()
    for number in range(20):
        await database.execute(f"insert into {table} values ({number}, 'x')")
        try:
            change = await channel.changes.next(within_s=0.2)
        except AssertionError:
            continue
        if not change["errors"]:
            assert change["new"]["name"] == "x"
            return
    raise AssertionError("the token of the callback never counted")
