"""Kill -9 of the server or of PostgreSQL: everything comes back by itself.

Changes committed while the link was down are not asked for here: stock clients have no resume.
What is asked for is that every client is subscribed again, unaided, and sees what comes then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.conformance.test_changes import on
from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tests.support.stock import StockChannel, StockClient
from tests.support.stock_js import StockJs
from tests.support.stock_py import PyClient
from tests.support.tables import connect, make_table, unused_name
from tidewire.client import RealtimeClient

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

KINDS = pytest.mark.parametrize("kind", ["js2", "js1", "py"])
BACK_WITHIN_S = 40.0  # supabase-js waits up to 10 s between attempts, and joins after that


@pytest.fixture
async def make_client(own_server: TidewireServer, js: StockJs) -> AsyncGenerator[Any]:
    made: list[StockClient] = []

    async def make(kind: str) -> StockClient:
        server = own_server
        if kind == "py":
            made.append(PyClient(server.url, server.anon_key))
        else:
            made.append(await js.client(server.url, server.anon_key, vsn=f"{kind[2]}.0.0"))
        return made[-1]

    yield make
    for client in made:
        if client.is_python:
            await client.close()


MakeKind = Callable[[str], Awaitable[StockClient]]


async def insert_until_seen(
    server: TidewireServer, table: str, channel: StockChannel, *, within_s: float = BACK_WITHIN_S
) -> float:
    """Insert a row now and then until one arrives; gives how long that took."""
    started = time.monotonic()
    number = int(started * 1000) % 1_000_000_000
    while time.monotonic() - started < within_s:
        number += 1
        try:
            database = await connect(server.database_url)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            await asyncio.to_thread(time.sleep, 0.1)  # PostgreSQL is not back yet
            continue
        try:
            await database.execute(f"insert into {table} values ($1, 'back')", number)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            continue
        finally:
            database.terminate()
        try:
            await channel.changes.next(within_s=0.25)
        except AssertionError:
            continue
        return time.monotonic() - started
    raise AssertionError(f"no change arrived within {within_s} s\n{server.log()[-3000:]}")


async def prepare(server: TidewireServer) -> str:
    """A table to subscribe to."""
    database = await connect(server.database_url)
    try:
        return await make_table(database)
    finally:
        await database.close()


@KINDS
async def test_clients_come_back_after_a_kill_of_the_server(
    own_server: TidewireServer, make_client: MakeKind, kind: str
) -> None:
    table = await prepare(own_server)
    before = dict(own_server.ready)
    client = await make_client(kind)
    channel = await client.channel("back", changes=[on(table)])
    await channel.subscribe()
    await asyncio.to_thread(own_server.kill)
    await asyncio.to_thread(own_server.start)
    for name in ("url", "anon_key", "service_role_key", "jwt_secret", "database_url"):
        assert own_server.ready[name] == before[name], name
    await insert_until_seen(own_server, table, channel)


@KINDS
async def test_clients_go_on_after_a_kill_of_postgresql(
    own_server: TidewireServer, make_client: MakeKind, kind: str
) -> None:
    table = await prepare(own_server)
    client = await make_client(kind)
    channel = await client.channel("go-on", changes=[on(table)])
    other = await client.channel("room", config={"broadcast": {"self": True, "ack": False}})
    await channel.subscribe()
    await other.subscribe()
    await asyncio.to_thread(own_server.kill_postgres)
    await other.send("e", {"x": 1})
    await other.broadcasts.next()
    await insert_until_seen(own_server, table, channel)


async def test_nothing_committed_while_postgresql_restarts_is_lost_or_doubled(
    own_server: TidewireServer,
) -> None:
    """The stream resumes where it was: a subscriber whose own link holds sees every row once."""
    table = await prepare(own_server)
    async with raw_socket(own_server.url, own_server.anon_key) as raw:
        await raw.join("realtime:exact", {"postgres_changes": [on(table)]})
        await raw.next("system")
        committed: list[int] = []
        killed_at = (50, 120)
        for number in range(200):
            if number in killed_at:
                await asyncio.to_thread(own_server.kill_postgres)
            await _insert(own_server, table, number)
            committed.append(number)
        seen: list[int] = []
        while not seen or seen[-1] != committed[-1]:
            frame = await raw.next("postgres_changes", within_s=20)
            seen.append(frame[4]["data"]["record"]["id"])
    assert seen == committed


async def _insert(server: TidewireServer, table: str, number: int) -> None:
    """Insert once; a lost connection leaves it open whether it was committed, so look first."""
    deadline = time.monotonic() + 20
    while True:
        try:
            database = await connect(server.database_url)
            try:
                await database.execute(
                    f"insert into {table} values ($1, 'x') on conflict do nothing", number
                )
                return
            finally:
                database.terminate()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            assert time.monotonic() < deadline, "PostgreSQL did not come back"
            await asyncio.to_thread(time.sleep, 0.05)


async def test_joins_while_postgresql_is_away_are_answered_and_succeed_later(
    own_server: TidewireServer, js: StockJs
) -> None:
    table = await prepare(own_server)
    await asyncio.to_thread(own_server.kill_postgres)
    client = await js.client(own_server.url, own_server.anon_key)
    channel = await client.channel("early", changes=[on(table)])
    await channel.start()
    await insert_until_seen(own_server, table, channel)


async def test_our_own_client_comes_back_within_seconds(own_server: TidewireServer) -> None:
    table = await prepare(own_server)
    async with RealtimeClient(own_server.url, own_server.anon_key) as client:
        changes = client.changes(table)
        await changes.ready()
        await _insert(own_server, table, 1)
        first = await asyncio.wait_for(anext(changes), 5)
        assert first.new == {"id": 1, "name": "x"}
        await asyncio.to_thread(own_server.kill)
        await asyncio.to_thread(own_server.start)
        started = time.monotonic()
        waiting = asyncio.ensure_future(anext(changes))
        number = 1
        while not waiting.done():
            assert time.monotonic() - started < 15, own_server.log()[-2000:]
            number += 1
            await _insert(own_server, table, number)
            await asyncio.wait((waiting,), timeout=0.1)
        assert waiting.result().new is not None
        assert changes.interruptions == 1


async def test_a_restart_by_sigterm_tells_clients_to_come_back(
    own_server: TidewireServer, js: StockJs
) -> None:
    table = await prepare(own_server)
    client = await js.client(own_server.url, own_server.anon_key)
    channel = await client.channel("drained", changes=[on(table)])
    await channel.subscribe()
    async with raw_socket(own_server.url, own_server.anon_key) as raw:
        await raw.join("realtime:drained")
        started = time.monotonic()
        assert await asyncio.to_thread(own_server.stop) == 0
        assert time.monotonic() - started < 10
        assert await raw.wait_closed() == 1012
    await asyncio.to_thread(own_server.start)
    await insert_until_seen(own_server, table, channel)


async def test_presence_is_rebuilt_by_the_clients_after_a_kill(
    own_server: TidewireServer, make_client: MakeKind
) -> None:
    topic = unused_name("room")
    config = {"presence": {"key": "ann", "enabled": True}}
    ann = await (await make_client("js2")).channel(topic, config=config, presence=True)
    await ann.subscribe()
    await ann.track({"x": 1})
    await ann.joins.next()
    await asyncio.to_thread(own_server.kill)
    await asyncio.to_thread(own_server.start)
    ann.statuses.clear()
    await ann.statuses.next(lambda status: status[0] == "SUBSCRIBED", within_s=BACK_WITHIN_S)
    await ann.track({"x": 2})
    await ann.syncs.next(lambda state: state == {"ann": [{"x": 2}]})
