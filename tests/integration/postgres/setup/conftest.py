"""Databases as other people have them: old servers, narrow rights, a pooler in front."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import FAST_SETTINGS, PASSWORD, PostgresCluster, run_in_thread
from tests.support.tcp import tcp_server
from tidewire.adapters.postgres.embedded.binaries import binaries_of_major
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres

Connecting = Callable[[str], AbstractAsyncContextManager[asyncpg.Connection]]


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def connecting() -> Connecting:
    """Opens a connection for a block."""
    return connected


def _server(extra: dict[str, str], bin_folder: Path | None = None) -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="tidewire-setup-"))
    server = EmbeddedPostgres(
        folder,
        password=PASSWORD,
        extra_settings=FAST_SETTINGS | extra,
        bin_folder=bin_folder,
    )
    run_in_thread(server.start)
    yield server
    run_in_thread(server.stop)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def narrow_server() -> Iterator[EmbeddedPostgres]:
    """One slot, one wal sender, no logical log, log kept without bound."""
    yield from _server(
        {
            "wal_level": "replica",
            "max_wal_senders": "1",
            "max_replication_slots": "1",
            "max_slot_wal_keep_size": "-1",
            "tidewire.embedded": "off",
        }
    )


@pytest.fixture(scope="session")
def server_15() -> Iterator[EmbeddedPostgres]:
    """The oldest version that is served, from the system."""
    found = binaries_of_major(15)
    if found is None:
        pytest.skip("no PostgreSQL 15 on this machine")
    yield from _server({"tidewire.embedded": "off"}, found.folder)


@pytest.fixture(params=["embedded", "15"])
async def any_database_url(
    request: pytest.FixtureRequest, postgres_cluster: PostgresCluster
) -> AsyncIterator[str]:
    """An empty database of each supported end of versions."""
    if request.param == "embedded":
        name = await postgres_cluster.create_database()
        yield postgres_cluster.url_of(name)
        await postgres_cluster.drop_database(name)
        return
    server: EmbeddedPostgres = request.getfixturevalue("server_15")
    async with connected(server.url) as connection:
        await connection.execute("create database fresh")
        yield server.url.rpartition("/")[0] + "/fresh"
        await connection.execute("drop database fresh with (force)")


@pytest.fixture
async def ordinary_url(database_url: str) -> AsyncIterator[str]:
    """As a login of its own that owns the database, replicates and makes roles; no superuser."""
    async for url in _as_login(database_url, "createrole replication", owner=True):
        yield url


@pytest.fixture
async def powerless_url(database_url: str) -> AsyncIterator[str]:
    """As a login that may connect and nothing else."""
    async for url in _as_login(database_url, "", owner=False):
        yield url


async def _as_login(url: str, rights: str, *, owner: bool) -> AsyncGenerator[str]:
    base, _, database = url.rpartition("/")
    name = f"login_of_{database}"
    async with connected(url) as connection:
        await connection.execute(f"create role {name} login password '{PASSWORD}' {rights}")
        if owner:
            await connection.execute(f"alter database {database} owner to {name}")
        await connection.execute(f"alter database {database} set tidewire.embedded = 'off'")
        yield f"{base.replace('postgres:' + PASSWORD, name + ':' + PASSWORD)}/{database}"
        await connection.execute(
            f"alter database {database} owner to postgres; drop owned by {name} cascade"
        )
    async with connected(f"{base}/postgres") as connection:
        await connection.execute(
            f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '{name}'"
        )
        await connection.execute(f"drop role {name}")


class Pooler:
    """Passes bytes on, refuses replication, and gives no true backend pid, as poolers do."""

    def __init__(self, port: int, *, refuses_replication: bool) -> None:
        self._port = port
        self._refuses_replication = refuses_replication
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start = await self._startup(reader, writer)
        if self._refuses_replication and b"replication\0" in start:
            text = b"SERROR\0VERROR\0C08P01\0Munsupported startup parameter: replication\0\0"
            writer.write(b"E" + (len(text) + 4).to_bytes(4, "big") + text)
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        up_writer.write(start)
        await asyncio.gather(
            self._copy(reader, up_writer), self._copy(up_reader, writer, is_answer=True)
        )

    async def _startup(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        while True:
            length = await reader.readexactly(4)
            rest = await reader.readexactly(int.from_bytes(length, "big") - 4)
            if len(rest) > 4:
                return length + rest
            writer.write(b"N")  # no TLS

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool = False
    ) -> None:
        try:
            while data := await reader.read(65536):
                key = data.find(b"K\0\0\0\x0c") if is_answer else -1
                if key >= 0:
                    data = data[: key + 5] + b"\0\0\0\x07" + data[key + 9 :]
                    is_answer = False
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
def pooler(postgres_cluster: PostgresCluster) -> Callable[..., AbstractAsyncContextManager[str]]:
    """A pooler in front of the test cluster; gives its address."""

    @asynccontextmanager
    async def start(*, refuses_replication: bool) -> AsyncGenerator[str]:
        front = Pooler(postgres_cluster.port, refuses_replication=refuses_replication)
        async with tcp_server(front.serve) as port:
            url = postgres_cluster.url_of("postgres")
            yield url.replace(f":{postgres_cluster.port}/", f":{port}/")

    return start
