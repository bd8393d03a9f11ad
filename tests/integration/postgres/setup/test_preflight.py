"""Everything that can be wrong with a database of one's own, produced and named."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import FAST_SETTINGS, PASSWORD, PostgresCluster
from tests.support.tcp import tcp_server
from tidewire.adapters.postgres.embedded.binaries import binaries_of_major
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.adapters.postgres.migrations import migrate
from tidewire.adapters.postgres.preflight import check_database

pytestmark = pytest.mark.postgres

Connecting = Callable[[str], AbstractAsyncContextManager[asyncpg.Connection]]
StartPooler = Callable[..., AbstractAsyncContextManager[str]]


async def _codes(url: str, **options: float) -> dict[str, str]:
    """Code to advice of every finding; each finding says its problem and never the password."""
    findings = await check_database(url, **options)  # pyright: ignore[reportArgumentType]
    for finding in findings:
        assert finding.problem
        assert PASSWORD not in finding.problem + finding.advice
    return {finding.code: finding.advice for finding in findings}


async def test_a_fresh_embedded_database_lacks_nothing(database_url: str) -> None:
    assert await _codes(database_url) == {}


async def test_a_migrated_database_lacks_nothing(migrated_database_url: str) -> None:
    assert await _codes(migrated_database_url) == {}


async def test_the_check_changes_nothing(
    powerless_url: str, database_url: str, connecting: Connecting
) -> None:
    await _codes(powerless_url)
    async with connecting(database_url) as connection:
        assert await connection.fetch("select from pg_publication") == []
        assert await connection.fetch("select from pg_replication_slots") == []


async def test_nothing_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        assert set(await _codes(f"postgresql://u:p@{host}:{port}/d")) == {"connection_refused"}


async def test_the_host_is_unknown() -> None:
    assert set(await _codes("postgresql://u:p@no-such-host.invalid/d")) == {"host_unknown"}


async def test_no_answer_comes() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        codes = await _codes(f"postgresql://u:p@127.0.0.1:{port}/d", timeout_s=0.2)
    assert set(codes) == {"timeout"}


async def test_something_else_than_postgres_answers() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with tcp_server(hang_up) as port:
        codes = await _codes(f"postgresql://u:p@127.0.0.1:{port}/d")
    assert set(codes) == {"connection_lost"}


@pytest.mark.parametrize("url", ["not a url", "mysql://u:p@127.0.0.1/d", "postgresql://h:port/d"])
async def test_the_address_is_none(url: str) -> None:
    assert set(await _codes(url)) <= {"bad_url"}


async def test_the_password_is_wrong(postgres_cluster: PostgresCluster) -> None:
    url = postgres_cluster.url_of("postgres").replace(PASSWORD, "wrong")
    assert set(await _codes(url)) == {"wrong_password"}


async def test_the_user_is_unknown(postgres_cluster: PostgresCluster) -> None:
    url = postgres_cluster.url_of("postgres").replace("//postgres:", "//nobody_here:")
    assert set(await _codes(url)) == {"wrong_password"}


async def test_the_database_does_not_exist(postgres_cluster: PostgresCluster) -> None:
    assert set(await _codes(postgres_cluster.url_of("absent"))) == {"no_such_database"}


async def test_the_log_is_not_logical_and_kept_without_bound(
    narrow_server: EmbeddedPostgres,
) -> None:
    codes = await _codes(narrow_server.url)
    assert set(codes) == {"wal_level", "unbounded_wal"}
    assert "ALTER SYSTEM SET wal_level = 'logical'" in codes["wal_level"]


async def test_slots_and_senders_are_used_up(
    narrow_server: EmbeddedPostgres, connecting: Connecting
) -> None:
    async with connecting(narrow_server.url) as connection:
        await connection.execute("select pg_create_physical_replication_slot('other')")
        replication = await asyncpg.connect(
            narrow_server.url, timeout=5, server_settings={"replication": "database"}
        )
        try:
            codes = await _codes(narrow_server.url)
        finally:
            await replication.close()
            await connection.execute("select pg_drop_replication_slot('other')")
    assert {"slots_used_up", "wal_senders_used_up"} <= set(codes)


async def test_rights_are_missing(powerless_url: str, database_url: str) -> None:
    codes = await _codes(powerless_url)
    assert {"no_replication_right", "no_publication"} <= set(codes)
    assert "REPLICATION" in codes["no_replication_right"]
    assert "missing_roles" in codes or "roles_not_held" in codes
    await migrate(database_url)
    codes = await _codes(powerless_url)
    assert set(codes) == {"no_replication_right", "roles_not_held", "no_create_right"}
    assert "GRANT anon, authenticated, service_role TO" in codes["roles_not_held"]


async def test_the_roles_are_absent_and_may_not_be_made(
    narrow_server: EmbeddedPostgres, connecting: Connecting
) -> None:
    async with connecting(narrow_server.url) as connection:
        await connection.execute(f"create role plain login password '{PASSWORD}'")
        codes = await _codes(narrow_server.url.replace("//postgres:", "//plain:"))
        await connection.execute("drop role plain")
    assert "CREATE ROLE anon NOLOGIN" in codes["missing_roles"]


async def test_an_owner_who_may_replicate_and_make_roles_lacks_nothing_that_matters(
    ordinary_url: str,
) -> None:
    assert set(await _codes(ordinary_url)) <= {"roles_not_held"}


async def test_commits_without_waiting_and_a_slow_wal_writer(
    narrow_server: EmbeddedPostgres, connecting: Connecting
) -> None:
    async with connecting(narrow_server.url) as connection:
        await connection.execute("alter role postgres set synchronous_commit = 'off'")
        await connection.execute("alter system set wal_writer_delay = '200ms'")
        await connection.execute("select pg_reload_conf()")
        async with asyncio.timeout(5):
            while await connection.fetchval("show wal_writer_delay") != "200ms":
                pass
        codes = await _codes(narrow_server.url)
        await connection.execute("alter role postgres reset synchronous_commit")
        await connection.execute("alter system reset wal_writer_delay")
        await connection.execute("select pg_reload_conf()")
    assert "slow_wal_writer" in codes


async def test_a_pooler_that_refuses_replication(pooler: StartPooler) -> None:
    async with pooler(refuses_replication=True) as url:
        findings = await check_database(url)
    assert [(finding.code, finding.severity) for finding in findings] == [("pooler", "error")]


async def test_a_pooler_that_lets_replication_through(pooler: StartPooler) -> None:
    async with pooler(refuses_replication=False) as url:
        findings = await check_database(url)
    assert [(finding.code, finding.severity) for finding in findings] == [("pooler", "warning")]


async def test_tls_is_asked_for_and_not_offered(postgres_cluster: PostgresCluster) -> None:
    url = postgres_cluster.url_of("postgres") + "?sslmode=require"
    assert set(await _codes(url)) == {"tls_not_offered"}


@pytest.fixture
async def tls_server() -> AsyncIterator[EmbeddedPostgres]:
    """A server of the system with a certificate of its own making, that takes TLS alone."""
    found = binaries_of_major(15)
    if found is None or shutil.which("openssl") is None:
        pytest.skip("needs a PostgreSQL with TLS, and openssl")
    folder = Path(tempfile.mkdtemp(prefix="tidewire-tls-"))
    server = EmbeddedPostgres(
        folder, password=PASSWORD, bin_folder=found.folder, extra_settings=FAST_SETTINGS
    )
    await server.start()
    await asyncio.to_thread(_give_certificate, server)
    await server.stop()
    server = EmbeddedPostgres(
        folder,
        password=PASSWORD,
        bin_folder=found.folder,
        extra_settings=FAST_SETTINGS | {"ssl": "on"},
    )
    await server.start()
    rules = server.data_folder / "pg_hba.conf"
    rules.write_text(rules.read_text().replace("host ", "hostssl "))
    connection = await asyncpg.connect(server.url + "?sslmode=require", timeout=5)
    await connection.execute("select pg_reload_conf()")
    await connection.close()
    yield server
    await server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _give_certificate(server: EmbeddedPostgres) -> None:
    key, certificate = server.data_folder / "server.key", server.data_folder / "server.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=elsewhere", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    assert server.launch is not None
    shutil.chown(key, server.launch.owner_uid)
    shutil.chown(certificate, server.launch.owner_uid)
    key.chmod(0o600)


async def test_tls_is_required_or_its_certificate_not_trusted(
    tls_server: EmbeddedPostgres,
) -> None:
    async with asyncio.timeout(5):
        while set(await _codes(tls_server.url + "?sslmode=disable")) != {"tls_required"}:
            pass
    codes = await _codes(tls_server.url + "?sslmode=verify-full&sslrootcert=/dev/null")
    assert set(codes) <= {"tls", "bad_url"}
    system = "/etc/ssl/certs/ca-certificates.crt"
    if await asyncio.to_thread(Path(system).exists):
        url = f"{tls_server.url}?sslmode=verify-full&sslrootcert={system}"
        assert set(await _codes(url)) == {"tls"}
    assert "tls" not in await _codes(tls_server.url + "?sslmode=require")
