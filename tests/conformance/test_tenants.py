"""Several tenants on one server, through unmodified clients: what one has, no other sees.

The tenants are told apart by names that this machine has: 127.0.0.1 and localhost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import InvalidStatus

from tests.support.relay import relay
from tests.support.server import TidewireServer
from tests.support.stock import StockChannel, StockClient
from tests.support.stock_js import StockJs
from tests.support.stock_py import PyClient
from tests.support.tables import connect, make_table, unused_name
from tidewire.adapters.jwt.sign import sign_token

DEADLINE_S = 15.0
ADMIN = "an-admin-secret-of-at-least-32-bytes"
CONFIG = f"""
[server]
admin_jwt_secret = "{ADMIN}"
[tenants.acme]
hosts = ["127.0.0.1"]
[tenants.blue]
hosts = ["localhost"]
[tenants.shut]
suspended = true
"""
HOSTS = {"acme": "127.0.0.1", "blue": "localhost"}

MakeClient = Callable[[str], Awaitable[StockClient]]


@pytest.fixture(scope="module")
def shared_tenants() -> Iterator[TidewireServer]:
    server = TidewireServer(config=CONFIG)
    try:
        server.start()
        yield server
        assert server.stop() == 0
        server.check_log()
    finally:
        server.close()


@pytest.fixture
def tenants(shared_tenants: TidewireServer) -> Iterator[TidewireServer]:
    yield shared_tenants
    shared_tenants.check_log()


def address(server: TidewireServer, tenant: str) -> str:
    return f"http://{HOSTS[tenant]}:{server.url.rpartition(':')[2]}"


def told(server: TidewireServer, tenant: str) -> dict[str, Any]:
    return server.ready["tenants"][tenant]


@pytest.fixture(params=["js2", "py"])
async def client_of(
    request: pytest.FixtureRequest, tenants: TidewireServer, js: StockJs
) -> AsyncGenerator[MakeClient]:
    """Makes clients of one kind for a tenant, with its anon key."""
    made: list[StockClient] = []

    async def make(tenant: str) -> StockClient:
        url, key = address(tenants, tenant), told(tenants, tenant)["anon_key"]
        client: StockClient = (
            PyClient(url, key) if request.param == "py" else await js.client(url, key)
        )
        made.append(client)
        return client

    yield make
    for client in made:
        if client.is_python:
            await client.close()


@pytest.fixture
async def databases(tenants: TidewireServer) -> AsyncGenerator[dict[str, asyncpg.Connection]]:
    opened = {name: await connect(told(tenants, name)["database_url"]) for name in HOSTS}
    yield opened
    for connection in opened.values():
        await connection.close()


async def upgrade_status(url: str, key: str, host: str | None = None) -> int:
    """What an upgrade is answered with; 101 when it is granted."""
    name, _, port = url.removeprefix("http://").partition(":")
    where = f"ws://{host or name}:{port}/realtime/v1/websocket?apikey={key}&vsn=2.0.0"
    try:
        async with connect_socket(where, host=name, port=int(port)):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def test_a_topic_of_one_name_is_two_rooms(client_of: MakeClient) -> None:
    topic = unused_name("room")
    channels: dict[str, list[StockChannel]] = {}
    for tenant in HOSTS:
        channels[tenant] = [await (await client_of(tenant)).channel(topic) for _ in range(2)]
        for channel in channels[tenant]:
            await channel.subscribe()
    for tenant in HOSTS:
        await channels[tenant][0].send("said", {"by": tenant})
    for tenant in HOSTS:
        heard = await channels[tenant][1].broadcasts.next()
        assert heard["payload"] == {"by": tenant}
        assert channels[tenant][1].broadcasts.items == []


async def test_a_presence_key_of_one_name_is_two_people(client_of: MakeClient) -> None:
    topic, config = unused_name("room"), {"presence": {"key": "ann", "enabled": True}}
    for tenant in HOSTS:
        channel = await (await client_of(tenant)).channel(topic, config=config, presence=True)
        await channel.subscribe()
        await channel.track({"of": tenant})
        await channel.syncs.next(lambda state, tenant=tenant: state == {"ann": [{"of": tenant}]})


async def test_a_table_of_one_name_is_two_tables(
    client_of: MakeClient, databases: dict[str, asyncpg.Connection]
) -> None:
    table = unused_name()
    channels: dict[str, StockChannel] = {}
    for tenant, database in databases.items():
        await make_table(database, name=table)
        entry = {"event": "*", "schema": "public", "table": table}
        channels[tenant] = await (await client_of(tenant)).channel(unused_name(), changes=[entry])
        await channels[tenant].subscribe()
    for tenant, database in databases.items():
        await database.execute(f"insert into {table} values (1, '{tenant}')")
    for tenant in HOSTS:
        change = await channels[tenant].changes.next()
        assert change["new"] == {"id": 1, "name": tenant}
        assert channels[tenant].changes.items == []


async def test_a_key_of_another_tenant_opens_nothing(tenants: TidewireServer) -> None:
    for kind in ("anon_key", "service_role_key"):
        key = told(tenants, "acme")[kind]
        assert await upgrade_status(address(tenants, "acme"), key) == 101
        assert await upgrade_status(address(tenants, "blue"), key) == 401
        async with httpx.AsyncClient(base_url=address(tenants, "blue")) as http:
            answer = await http.post(
                "/realtime/v1/api/broadcast",
                json={"messages": [{"topic": "a", "event": "e", "payload": {}}]},
                headers={"apikey": key},
            )
        assert answer.status_code == 401


async def test_a_token_of_another_tenant_joins_nothing(
    client_of: MakeClient, tenants: TidewireServer
) -> None:
    client = await client_of("blue")
    await client.set_auth(told(tenants, "acme")["service_role_key"])
    channel = await client.channel(unused_name())
    await channel.start()
    error = await channel.expect_status("CHANNEL_ERROR")
    assert "JwtSignatureError" in (error or "")


@pytest.mark.parametrize(
    ("host", "status"),
    [("shut.example.org", 403), ("nobody.example.org", 404), ("acme.example.org", 101)],
)
async def test_the_host_decides(tenants: TidewireServer, host: str, status: int) -> None:
    key = told(tenants, "acme")["anon_key"]
    assert await upgrade_status(tenants.url, key, host) == status


async def test_what_anybody_says_of_a_forwarded_host_means_nothing(
    tenants: TidewireServer,
) -> None:
    url = f"{address(tenants, 'acme').replace('http:', 'ws:')}/realtime/v1/websocket"
    key = told(tenants, "blue")["anon_key"]
    with pytest.raises(InvalidStatus) as caught:
        await connect_socket(
            f"{url}?apikey={key}", additional_headers=[("X-Forwarded-Host", "blue.example")]
        )
    assert caught.value.response.status_code == 401


async def test_numbers_and_readiness_tell_tenants_apart(tenants: TidewireServer) -> None:
    async with httpx.AsyncClient(base_url=tenants.url) as http:
        ready = await http.get("/readyz")
        numbers = (await http.get("/metrics")).text
    assert ready.json()["ready"]
    checks = ready.json()["checks"]
    assert {name: checks[name] for name in ("acme.stream", "blue.stream", "shut.tenant")} == {
        "acme.stream": "live",
        "blue.stream": "live",
        "shut.tenant": "suspended",
    }
    assert 'tidewire_stream_live{tenant="acme"} 1.0' in numbers
    assert 'tidewire_connections{tenant="blue"}' in numbers


async def test_a_tenant_made_anew_sends_only_its_own_clients_away(
    tenants: TidewireServer,
) -> None:
    token = sign_token(ADMIN, "admin", now_s=time.time())
    sockets = {
        tenant: await connect_socket(
            f"{address(tenants, tenant).replace('http:', 'ws:')}/realtime/v1/websocket"
            f"?apikey={told(tenants, tenant)['anon_key']}&vsn=2.0.0"
        )
        for tenant in HOSTS
    }
    async with httpx.AsyncClient(
        base_url=tenants.url, headers={"Authorization": f"Bearer {token}"}
    ) as http:
        assert (await http.post("/api/tenants/acme/reload")).status_code == 204
        async with asyncio.timeout(DEADLINE_S):
            await sockets["acme"].wait_closed()
            while not (await http.get("/api/tenants/acme/health")).json()["data"]["healthy"]:  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.05)
    assert sockets["acme"].close_code == 1012
    await sockets["blue"].send('[null,"1","phoenix","heartbeat",{}]')
    async with asyncio.timeout(DEADLINE_S):
        assert "ok" in str(await sockets["blue"].recv())
    for socket in sockets.values():
        await socket.close()


@pytest.mark.timeout(60)  # a server of its own, and two waits for a database
async def test_a_lost_database_is_its_own_tenants_trouble_only(
    database_url: str, js: StockJs
) -> None:
    before, _, port = database_url.rpartition("@127.0.0.1:")
    port, _, name = port.partition("/")
    async with relay(int(port)) as between:
        config = (
            "[tenants.far]\nhosts = ['127.0.0.1']\n[tenants.far.limits]\njoin_timeout_s = 1\n"
            f"[tenants.far.database]\nurl = '{before}@127.0.0.1:{between.port}/{name}'\n"
            "[tenants.near]\nhosts = ['localhost']\n"
        )
        server = TidewireServer(config=config)
        between.cut()
        try:
            await asyncio.to_thread(server.start)
            await _check_lost_and_found(server, js, between)
            assert await asyncio.to_thread(server.stop) == 0
            server.check_log()
        finally:
            await asyncio.to_thread(server.close)
            connection = await connect(database_url)
            await connection.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                " where database = current_database() and not active"
            )
            await connection.close()


async def _check_lost_and_found(server: TidewireServer, js: StockJs, between: Any) -> None:
    port = server.url.rpartition(":")[2]
    far, near = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
    far_key, near_key = (told(server, name)["anon_key"] for name in ("far", "near"))
    async with httpx.AsyncClient(base_url=far) as http:
        checks = (await http.get("/readyz")).json()
        assert not checks["ready"]
        assert checks["checks"]["near.stream"] == "live"
        assert "far.database" in checks["checks"]
        assert await upgrade_status(far, far_key) == 500
        assert await upgrade_status(near, near_key) == 101
        between.mend()
        async with asyncio.timeout(40):
            while (await http.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.1)
    entry = {"event": "*", "schema": "public", "table": "nothing"}
    joined = await (await js.client(far, far_key)).channel("a", changes=[entry])
    await joined.subscribe()
    between.cut()
    late = await (await js.client(far, far_key)).channel("b", changes=[entry])
    await late.start()
    error = await late.expect_status("CHANNEL_ERROR", within_s=DEADLINE_S)
    assert "InitializingProjectConnection" in (error or "")
    other = await (await js.client(near, near_key)).channel("b", changes=[entry])
    await other.subscribe()
    between.mend()
