"""One server for the session, and the unmodified clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

import asyncpg
import pytest

from tests.support.server import TidewireServer
from tests.support.stock import StockClient
from tests.support.stock_js import JsProcess, StockJs
from tests.support.stock_py import PyClient
from tests.support.tables import connect

MakeClient = Callable[[], Awaitable[StockClient]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/conformance" in item.nodeid:
            item.add_marker(pytest.mark.conformance)
            item.add_marker(pytest.mark.postgres)
            # supabase-py reads an attribute that websockets deprecates, when a link breaks.
            item.add_marker(
                pytest.mark.filterwarnings("ignore:ConnectionClosed:DeprecationWarning")
            )


@pytest.fixture(scope="session")
def shared_server() -> Iterator[TidewireServer]:
    server = TidewireServer()
    try:
        server.start()
        yield server
        assert server.stop() == 0
        server.check_log()
    finally:
        server.close()


@pytest.fixture
def server(shared_server: TidewireServer) -> Iterator[TidewireServer]:
    """The session's server; each test answers for what the log says."""
    yield shared_server
    shared_server.check_log()


@pytest.fixture
def own_server() -> Iterator[TidewireServer]:
    """A server that the test may kill."""
    server = TidewireServer()
    try:
        server.start()
        yield server
        server.check_log()
    finally:
        server.close()


@pytest.fixture(scope="session")
def js_process() -> Iterator[JsProcess]:
    process = JsProcess()
    yield process
    process.stop()


@pytest.fixture
async def js(js_process: JsProcess) -> AsyncGenerator[StockJs]:
    js = StockJs(js_process)
    yield js
    await js.close()


@pytest.fixture
async def database(server: TidewireServer) -> AsyncGenerator[asyncpg.Connection]:
    connection = await connect(server.database_url)
    yield connection
    async with asyncio.timeout(5):
        await connection.close()


@pytest.fixture(params=["js2", "js1", "py"])
async def stock(
    request: pytest.FixtureRequest, server: TidewireServer, js: StockJs
) -> AsyncGenerator[MakeClient]:
    """Makes clients of one kind with the anon key; the test runs once for each kind."""
    made: list[StockClient] = []

    async def make() -> StockClient:
        if request.param == "py":
            client: StockClient = PyClient(server.url, server.anon_key)
        else:
            vsn = "2.0.0" if request.param == "js2" else "1.0.0"
            client = await js.client(server.url, server.anon_key, vsn=vsn)
        made.append(client)
        return client

    yield make
    for client in made:
        if client.is_python:
            await client.close()
