"""One transaction far larger than a client's outbox: whoever reads gets all of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.support import tables
from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer

pytestmark = [pytest.mark.postgres, pytest.mark.fault, pytest.mark.timeout(120)]

ROWS = 40_000
TOPIC = "realtime:large"


@pytest.fixture
def server() -> Iterator[TidewireServer]:
    server = TidewireServer()
    server.start()
    yield server
    server.check_log()
    server.close()


async def join(client: ClientConnection, table: str) -> None:
    entry = {"event": "*", "schema": "public", "table": table}
    await client.send(
        json.dumps(["1", "1", TOPIC, "phx_join", {"config": {"postgres_changes": [entry]}}])
    )
    while json.loads(await client.recv())[3] != "phx_reply":
        pass


async def read_rows(client: ClientConnection) -> list[int]:
    """Ids in the order they came, until all are there."""
    ids: list[int] = []
    while len(ids) < ROWS:
        frame = json.loads(await client.recv())
        if frame[3] == "postgres_changes":
            ids.append(frame[4]["data"]["record"]["id"])
    return ids


async def test_clients_that_read_get_every_row_also_beside_one_that_does_not(
    server: TidewireServer,
) -> None:
    query = urlencode({"apikey": server.anon_key, "vsn": "2.0.0"})
    address = f"{server.url.replace('http', 'ws')}/realtime/v1/websocket?{query}"
    database = await tables.connect(server.database_url)
    table = await tables.make_table(database, "id bigint primary key, name text")
    try:
        async with (
            connect(address, max_queue=16) as one,
            connect(address, max_queue=16, compression=None) as two,
            raw_socket(server.url, server.anon_key) as third,
        ):
            for client in (one, two):
                await join(client, table)
            entry = {"event": "*", "schema": "public", "table": table}
            await third.join(TOPIC, {"postgres_changes": [entry]})
            third.socket.transport.pause_reading()  # it never reads again
            await database.execute(
                f"insert into {table} select n, repeat('x', 300) from generate_series(1, $1) n",
                ROWS,
                timeout=60,
            )
            got = await asyncio.gather(read_rows(one), read_rows(two))
            assert got == [list(range(1, ROWS + 1))] * 2
    finally:
        await database.close()
