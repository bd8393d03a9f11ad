"""Broadcasts from SQL that were committed while the server was away."""

from __future__ import annotations

import pytest

from tests.support.server import TidewireServer
from tests.support.stock import StockClient
from tests.support.stock_js import StockJs
from tests.support.stock_py import PyClient
from tests.support.tables import connect, unused_name

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

BACK_WITHIN_S = 40.0


@pytest.mark.parametrize("kind", ["js2", "py"])
async def test_messages_sent_during_a_kill_of_the_server_reach_who_comes_back(
    own_server: TidewireServer, js: StockJs, kind: str
) -> None:
    topic, key = unused_name("room"), own_server.anon_key
    client: StockClient = (
        PyClient(own_server.url, key) if kind == "py" else await js.client(own_server.url, key)
    )
    channel = await client.channel(topic)
    await channel.subscribe()
    database = await connect(own_server.database_url)

    async def send(number: int) -> None:
        query = "select realtime.send(jsonb_build_object('n', $1::int), 'e', $2, false)"
        await database.execute(query, number, topic)

    await send(0)
    assert (await channel.broadcasts.next())["payload"]["n"] == 0
    own_server.kill()
    for number in range(1, 21):
        await send(number)
    own_server.start()
    seen: list[int] = []
    while 20 not in seen:
        got = await channel.broadcasts.next(within_s=BACK_WITHIN_S)
        seen.append(got["payload"]["n"])
    # What was not acknowledged to PostgreSQL before the kill comes once more.
    assert [number for number in seen if number > 0] == list(range(1, 21))
    await database.close()
    await client.close()
