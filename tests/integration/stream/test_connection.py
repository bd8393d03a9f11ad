"""Logging in every way that PostgreSQL knows, TLS, and peers that fall silent."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from tests.support.fault_cluster import FaultCluster
from tests.support.postgres import PASSWORD as PASSWORD_OF_CLUSTER
from tests.support.stream import RecordingSink, SystemClock, eventually, make_source, streaming
from tests.support.tcp import tcp_server
from tidewire.adapters.postgres.change_source import ChangeSourceLimits
from tidewire.adapters.postgres.opening import open_replication
from tidewire.adapters.postgres.replication import (
    ReplicationConnection,
    ReplicationLimits,
    ServerRefusalError,
)
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.protocol.pgwire.target import parse_target

pytestmark = [pytest.mark.postgres, pytest.mark.fault, pytest.mark.timeout(60)]

PASSWORD = "påss wörd\u00a0Ⅸ'\\"


@pytest.fixture
def unused_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def silent_server(answer: bytes | None = None) -> AsyncGenerator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        if answer != b"":
            await reader.read()
        writer.close()
        await writer.wait_closed()

    async with tcp_server(serve) as port:
        yield port


async def connect(url: str, *, connect_timeout_s: float = 10.0) -> ReplicationConnection:
    return await open_replication(
        parse_target(url),
        application_name="tidewire test",
        clock=SystemClock(),
        limits=ReplicationLimits(connect_timeout_s=connect_timeout_s),
    )


async def say_hello(url: str) -> str:
    connection = await connect(url)
    try:
        result = await connection.query("select current_user")
        return result.rows[0][0] or ""
    finally:
        await connection.close()


async def set_hba(cluster: FaultCluster, *lines: str) -> None:
    """Put our rules before those that are there."""
    db = await cluster.connect()
    file = Path(str(await db.fetchval("show hba_file")))
    rules = await asyncio.to_thread(file.read_text)
    await asyncio.to_thread(file.write_text, "\n".join(lines) + "\n" + rules)
    loaded = await db.fetchval("select pg_conf_load_time()")
    await db.execute("select pg_reload_conf()")
    await db.close()

    async def is_loaded() -> bool:
        other = await cluster.connect()  # the rules are those of new connections
        try:
            return await other.fetchval("select pg_conf_load_time() > $1", loaded) is True
        finally:
            await other.close()

    await eventually(is_loaded)


def url_of(cluster: FaultCluster, password: str = PASSWORD, options: str = "") -> str:
    login = f"writer:{quote(password, safe='')}"
    return f"postgresql://{login}@127.0.0.1:{cluster.server.port}/postgres{options}"


METHODS = {"scram-sha-256": "scram-sha-256", "md5": "md5", "password": "scram-sha-256"}


async def test_ways_of_authentication(cluster: FaultCluster) -> None:
    db = await cluster.connect()
    escaped = PASSWORD.replace("\\", "\\\\").replace("'", "''")
    await db.execute("create role writer login replication")
    no_password = f"postgresql://writer@127.0.0.1:{cluster.server.port}/postgres"
    for method, encryption in METHODS.items():
        await db.execute(f"set password_encryption = '{encryption}'")
        await db.execute(f"alter role writer password E'{escaped}'")
        await set_hba(cluster, f"host all writer 127.0.0.1/32 {method}")
        assert await say_hello(url_of(cluster)) == "writer"
        with pytest.raises(ServerRefusalError) as refused:
            await say_hello(url_of(cluster, "wrong"))
        assert refused.value.report.code == "28P01"
        with pytest.raises(ServerRefusalError, match="asks for a password"):
            await say_hello(no_password)
    await db.close()
    await set_hba(cluster, "host all writer 127.0.0.1/32 trust")
    assert await say_hello(no_password) == "writer"
    await set_hba(cluster, "host all writer 127.0.0.1/32 reject")
    with pytest.raises(ServerRefusalError) as refused:
        await say_hello(url_of(cluster))
    assert refused.value.report.code == "28000"


async def test_a_query_that_is_refused_leaves_the_connection_usable(database_url: str) -> None:
    connection = await connect(database_url)
    with pytest.raises(ServerRefusalError, match="42601"):
        await connection.query("nonsense")
    assert (await connection.query("select 1 as one")).columns == ("one",)
    await connection.close()
    with pytest.raises(DatabaseUnavailableError):
        await connection.query("select 1")


async def test_a_query_without_an_answer_ends_at_its_deadline(database_url: str) -> None:
    connection = await connect(database_url)
    with pytest.raises(DatabaseUnavailableError, match="no answer within"):
        await connection.query("select pg_sleep(30)", timeout_s=0.2)
    await connection.close()


async def test_nobody_there(unused_tcp_port: int, tmp_path: Path) -> None:
    for url in (
        f"postgresql://u@127.0.0.1:{unused_tcp_port}/d",
        f"postgresql://u@/d?host={tmp_path}",
    ):
        with pytest.raises(DatabaseUnavailableError, match="no connection to"):
            await connect(url)


async def test_a_peer_that_never_answers_is_given_up() -> None:
    async with silent_server() as port:
        with pytest.raises(DatabaseUnavailableError, match="in time"):
            await connect(f"postgresql://u@127.0.0.1:{port}/d", connect_timeout_s=0.2)


@pytest.mark.parametrize("answer", [b"X", b"SS", b"N", b""])
async def test_answers_to_the_tls_request(answer: bytes) -> None:
    """No byte more than the answer may come before the handshake; "N" is no when TLS is asked."""
    async with silent_server(answer) as port:
        with pytest.raises(DatabaseUnavailableError):
            await connect(
                f"postgresql://u@127.0.0.1:{port}/d?sslmode=require", connect_timeout_s=1.0
            )


class StoppableProxy:
    """Passes bytes on until told to swallow them, as a network does that lost the route."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._flows = asyncio.Event()
        self._flows.set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[int]:
        """Serve; gives the port."""
        async with tcp_server(self._serve) as port:
            yield port

    def swallow(self) -> None:
        """Connections that are there now go silent; new ones pass."""
        self._flows.clear()
        self._flows = asyncio.Event()
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flows = self._flows
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, flows), self._pump(far_reader, writer, flows)
            )
        finally:
            far_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event
    ) -> None:
        try:
            while data := await reader.read(65536):
                if flows.is_set():
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass


async def test_a_server_that_falls_silent_is_noticed_and_nothing_is_lost(
    database_url: str, db: asyncpg.Connection
) -> None:
    """Half-open: no packet comes any more. The walsender left behind is ours, and is ended."""
    far = parse_target(database_url)
    proxy = StoppableProxy(far.port)
    limits = ChangeSourceLimits(
        connection=ReplicationLimits(probe_interval_s=0.2, silence_max_s=0.8, close_timeout_s=0.2),
        takeover_after_s=0.2,
    )
    sink = RecordingSink()
    async with (
        proxy.running() as port,
        streaming(
            make_source(database_url.replace(f":{far.port}/", f":{port}/"), limits=limits), sink
        ),
    ):
        await db.execute("insert into t values (1, 'a')")
        await sink.wait(lambda: sink.inserted() == [1])
        proxy.swallow()
        await db.execute("insert into t values (2, 'into the void')")
        await sink.wait(lambda: sink.inserted() == [1, 2])
        assert sink.downs == [sink.downs[0]]
        assert "silent" in sink.downs[0]
        assert [is_new for _, is_new in sink.lives] == [True, False]


async def test_a_quiet_stream_stays_live(database_url: str, db: asyncpg.Connection) -> None:
    """Probes are answered: silence alone ends nothing."""
    limits = ChangeSourceLimits(
        connection=ReplicationLimits(probe_interval_s=0.05, silence_max_s=0.3)
    )
    sink = RecordingSink()
    async with streaming(make_source(database_url, limits=limits), sink):
        await asyncio.sleep(1.0)  # several times the silence that would end it
        assert sink.downs == []


async def test_tls(cluster: FaultCluster, tmp_path: Path) -> None:
    root = await switch_tls_on(cluster, tmp_path)
    plain = f"postgresql://postgres:{PASSWORD_OF_CLUSTER}@localhost:{cluster.server.port}/postgres"
    for mode in ("prefer", "require", "verify-ca", "verify-full"):
        connection = await connect(f"{plain}?sslmode={mode}&sslrootcert={root}")
        result = await connection.query("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
        await connection.close()
        assert result.rows == (("t",),)
    for mode in ("verify-ca", "verify-full"):  # an authority that the system does not know
        with pytest.raises(DatabaseUnavailableError, match="certificate"):
            await connect(f"{plain}?sslmode={mode}")
    numeric = plain.replace("localhost", "127.0.0.1")  # which the certificate does not name
    with pytest.raises(DatabaseUnavailableError, match="certificate"):
        await connect(f"{numeric}?sslmode=verify-full&sslrootcert={root}")
    await (await connect(f"{numeric}?sslmode=verify-ca&sslrootcert={root}")).close()
    connection = await connect(f"{plain}?sslmode=disable")
    result = await connection.query("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
    await connection.close()
    assert result.rows == (("f",),)


async def switch_tls_on(cluster: FaultCluster, folder: Path) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    data = cluster.server.data_folder
    certificate, key = folder / "server.crt", folder / "server.key"
    await asyncio.to_thread(
        subprocess.run,
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", certificate,
         "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    for file in (certificate, key):
        placed = data / file.name
        shutil.copy(file, placed)
        placed.chmod(0o600)
        owner = (data / "PG_VERSION").stat()
        os.chown(placed, owner.st_uid, owner.st_gid)
    db = await cluster.connect()
    try:
        await db.execute("alter system set ssl = on")
    except asyncpg.PostgresError as error:
        await db.close()
        pytest.skip(f"this PostgreSQL is built without TLS: {error}")
    await db.execute("select pg_reload_conf()")

    async def is_on() -> bool:
        return await db.fetchval("show ssl") == "on"

    await eventually(is_on)
    await db.close()
    return certificate
