"""Who is over a limit is told and slowed; nobody's channel closes. Source: wire specification 8."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.conformance.conftest import MakeClient
from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tests.support.stock import StockClient
from tests.support.stock_js import StockJs
from tests.support.stock_py import PyClient
from tests.support.tables import unused_name

MESSAGES, BURST_S = 10, 2
LIMITS = {
    "TIDEWIRE_LIMITS__CHANNEL_MESSAGES_PER_S": str(MESSAGES),
    "TIDEWIRE_LIMITS__CHANNEL_PRESENCE_PER_S": "10",
    "TIDEWIRE_LIMITS__CONNECTION_JOINS_PER_S": "4",
    "TIDEWIRE_LIMITS__BURST_S": str(BURST_S),
}


@pytest.fixture(scope="module")
def limited() -> Iterator[TidewireServer]:
    server = TidewireServer(environment=LIMITS)
    try:
        server.start()
        yield server
        server.check_log()
    finally:
        server.close()


@pytest.fixture(params=["js", "js-v1", "py"])
async def make(
    request: pytest.FixtureRequest, limited: TidewireServer, js: StockJs
) -> AsyncGenerator[MakeClient]:
    clients: list[StockClient] = []

    async def client() -> StockClient:
        if request.param == "py":
            made: StockClient = PyClient(limited.url, limited.anon_key)
        else:
            vsn = "1.0.0" if request.param == "js-v1" else "2.0.0"
            made = await js.client(limited.url, limited.anon_key, vsn=vsn)
        clients.append(made)
        return made

    yield client
    for one in clients:
        await one.close()


async def test_a_sender_over_its_limit_is_told_and_every_channel_stays(make: MakeClient) -> None:
    topic = unused_name("room")
    sender = await (await make()).channel(topic)
    receiver = await (await make()).channel(topic)
    await sender.subscribe()
    await receiver.subscribe()
    count = MESSAGES * BURST_S + 5
    for number in range(count):
        await sender.send("e", {"n": number})
    got = [(await receiver.broadcasts.next())["payload"]["n"] for _ in range(count)]
    assert got == list(range(count))  # slowed, and nothing lost
    told = await sender.systems.next(lambda payload: payload["extension"] == "system")
    assert told["message"] == "Too many messages per second"
    assert told["status"] == "ok"
    # Both go on as before.
    await sender.send("e", {"n": "after"})
    assert (await receiver.broadcasts.next())["payload"]["n"] == "after"
    for channel in (sender, receiver):
        assert [status for status, _ in channel.statuses.seen] == ["SUBSCRIBED"]


async def test_a_flood_of_tracks_shows_the_newest_everywhere(make: MakeClient) -> None:
    topic = unused_name("room")
    people = []
    for number in range(13):
        config = {"presence": {"key": f"p{number}", "enabled": True}}
        people.append(await (await make()).channel(topic, config=config, presence=True))
    await asyncio.gather(*(person.subscribe() for person in people))

    async def move(number: int) -> None:
        for step in range(40):
            await people[number].track({"who": number, "step": step})

    await asyncio.gather(*(move(number) for number in range(13)))
    final = {f"p{number}": [{"who": number, "step": 39}] for number in range(13)}
    for person in people:
        await person.syncs.next(lambda state: state == final)
        assert await person.presence() == final
        assert [status for status, _ in person.statuses.seen] == ["SUBSCRIBED"]


async def test_joins_over_the_limit_are_refused_and_the_joined_stay(
    limited: TidewireServer,
) -> None:
    async with raw_socket(limited.url, limited.anon_key) as raw:
        answers = [(await raw.join(f"realtime:r{number}"))[1] for number in range(12)]
        good = [answer for answer in answers if answer["status"] == "ok"]
        bad = [answer["response"] for answer in answers if answer["status"] == "error"]
        assert len(good) >= 4 * BURST_S
        assert bad
        reason = "ClientJoinRateLimitReached: Too many joins per second"
        assert all(response == {"reason": reason} for response in bad)
        assert not raw.closed.is_set()
        reply = await raw.ask("realtime:r0", "presence", {"event": "track", "payload": {}})
        assert reply["status"] == "ok"


async def test_a_stock_client_that_was_refused_joins_by_itself(
    limited: TidewireServer, js: StockJs
) -> None:
    client = await js.client(limited.url, limited.anon_key)
    channels = [await client.channel(unused_name("room")) for _ in range(14)]
    for channel in channels:
        await channel.start()
    for channel in channels:
        await channel.statuses.next(lambda told: told[0] == "SUBSCRIBED", within_s=15)
    statuses = [status for channel in channels for status, _ in channel.statuses.seen]
    assert "CHANNEL_ERROR" in statuses  # some had to try again
    assert "CLOSED" not in statuses


async def test_one_connection_too_many_gets_429() -> None:
    server = TidewireServer(environment={"TIDEWIRE_LIMITS__CONNECTIONS_MAX": "3"})
    try:
        server.start()
        await _one_too_many(server, 3)
        server.check_log()
    finally:
        server.close()


async def _one_too_many(server: TidewireServer, most: int) -> None:
    url = f"{server.url}/realtime/v1/websocket?apikey={server.anon_key}".replace("http", "ws", 1)
    sockets = [await connect(url, proxy=None) for _ in range(most)]
    started = time.monotonic()
    try:
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, proxy=None)
        assert refused.value.response.status_code == 429
        assert refused.value.response.body == b'{"error":"Too many connected users"}'
        assert 0.9 < time.monotonic() - started < 10
    finally:
        for socket in sockets:
            await socket.close()
