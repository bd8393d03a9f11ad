"""A real server in its own process, with its own PostgreSQL."""

import asyncio
import json
import os
import signal
import socket
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.served import Launcher, launcher, wait_until
from tidewire.client.realtime_client import RealtimeClient
from tidewire.server.ready_file import FOLDER_NAME

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(60)]

KEYS = ("anon_key", "service_role_key", "jwt_secret")
DEADLINE_S = 15


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Launcher]:
    async with launcher(tmp_path) as made:
        yield made


def postmaster_pid(servers: Launcher) -> int:
    return int((servers.data_dir / "postgres/data/postmaster.pid").read_text().splitlines()[0])


async def query(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=DEADLINE_S)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_the_ready_file_says_where_everything_is(servers: Launcher) -> None:
    server = await servers.start_ready()
    told = server.ready
    assert set(told) == {
        "url", "anon_key", "service_role_key", "jwt_secret", "database_url", "dashboard_url",
        "version", "pid",
    }  # fmt: skip
    assert stat.S_IMODE(server.ready_file.stat().st_mode) == 0o600
    assert json.loads((servers.data_dir / FOLDER_NAME).read_text()) == told
    assert told["database_url"].startswith("postgresql://")
    assert await query(
        told["database_url"], "select rolsuper from pg_roles where rolname = current_user"
    )
    async with httpx.AsyncClient(base_url=told["url"]) as http:
        checks = {"stream": "live", "journal": "ok"}
        assert (await http.get("/readyz")).json() == {"ready": True, "checks": checks}
        assert (await http.get("/config.json")).json()["anon_key"] == told["anon_key"]
        assert "tidewire_stream_live 1.0" in (await http.get("/metrics")).text
        assert "Changes as they are committed" in (await http.get(told["dashboard_url"])).text


async def test_a_restart_keeps_keys_password_and_epoch(servers: Launcher) -> None:
    first = await servers.start_ready()
    assert await first.end() == 0
    assert not first.ready_file.exists()
    assert not (servers.data_dir / FOLDER_NAME).exists()
    second = await servers.start_ready()
    assert [second.ready[key] for key in KEYS] == [first.ready[key] for key in KEYS]
    assert second.ready["database_url"] == first.ready["database_url"]
    assert epoch(second.log) == epoch(first.log)
    assert '"is_new_epoch":false' in second.log


def epoch(log: str) -> str:
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return next(line["epoch"] for line in lines if line["message"] == "stream live")


async def test_after_a_kill_the_next_start_adopts_the_database(servers: Launcher) -> None:
    first = await servers.start_ready()
    postgres = postmaster_pid(servers)
    await first.end(signal.SIGKILL)
    os.kill(postgres, 0)
    second = await servers.start_ready()
    assert postmaster_pid(servers) == postgres
    assert [second.ready[key] for key in KEYS] == [first.ready[key] for key in KEYS]
    assert epoch(second.log) == epoch(first.log)
    assert await second.end() == 0
    assert not (servers.data_dir / "postgres/data/postmaster.pid").exists()


async def test_sigterm_sends_clients_away_and_ends_with_0_in_time(servers: Launcher) -> None:
    server = await servers.start_ready()
    address = server.ready["url"].replace("http:", "ws:") + "/realtime/v1/websocket"
    async with connect(f"{address}?apikey={server.ready['anon_key']}&vsn=2.0.0") as socket:
        began_s = time.monotonic()
        assert await server.end() == 0
        assert time.monotonic() - began_s < 10
        await socket.wait_closed()
        assert socket.close_code == 1012  # come back later
    assert "Traceback" not in server.log


async def test_ctrl_c_ends_with_0_too(servers: Launcher) -> None:
    server = await servers.start_ready()
    assert await server.end(signal.SIGINT) == 0


async def test_a_stop_while_it_starts_is_a_good_end(servers: Launcher) -> None:
    server = await servers.start()
    lock = servers.data_dir / "lock"
    await wait_until(lock.exists)  # the signals are taken over before the lock is made
    assert await server.end() == 0
    assert "Traceback" not in server.log


async def test_two_servers_on_one_folder_are_refused_with_a_clear_message(
    servers: Launcher,
) -> None:
    first = await servers.start_ready()
    second = await servers.start()
    assert await second.exit_code() == 1
    assert f"another Tidewire (pid {first.process.pid})" in second.log
    assert "--data-dir" in second.log
    assert "Traceback" not in second.log
    assert json.loads(first.ready_file.read_text())["pid"] == first.process.pid
    async with httpx.AsyncClient(base_url=first.ready["url"]) as http:
        assert (await http.get("/readyz")).status_code == 200


async def test_a_taken_port_is_told_and_leaves_no_database_behind(servers: Launcher) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = await servers.start("--port", str(port))
        assert await server.exit_code() == 1
    assert f"port {port} is taken" in server.log
    assert "--port" in server.log
    assert "never awaited" not in server.log
    assert not (servers.data_dir / "postgres/data/postmaster.pid").exists()


async def test_a_given_port_is_the_port(servers: Launcher) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = await servers.start_ready("--port", str(port))
    assert server.ready["url"] == f"http://127.0.0.1:{port}"


async def test_an_unknown_setting_is_refused_before_anything_is_made(servers: Launcher) -> None:
    config = servers.folder / "tidewire.toml"
    config.write_text("[server]\nprot = 1\n")
    server = await servers.start("--config", str(config))
    assert await server.exit_code() == 1
    assert "Unknown setting server.prot" in server.log
    assert not servers.data_dir.exists()


async def test_a_ready_file_that_cannot_be_written_is_told_before_the_start(
    servers: Launcher,
) -> None:
    server = await servers.start("--ready-file", "/nowhere/at/all/ready.json")
    assert await server.exit_code() == 1
    assert "/nowhere/at/all/ready.json cannot be written" in server.log
    assert not (servers.data_dir / "postgres").exists()


async def test_a_database_of_ones_own_that_is_away_is_told_with_advice(servers: Launcher) -> None:
    server = await servers.start("--database-url", "postgresql://me:secret-word@127.0.0.1:1/db")
    assert await server.exit_code() == 1
    assert "nothing listens at 127.0.0.1:1" in server.log
    assert "secret-word" not in server.log
    assert "Traceback" not in server.log


async def test_a_killed_postgres_comes_back_and_the_stream_with_it(servers: Launcher) -> None:
    server = await servers.start_ready()
    url = server.ready["database_url"]
    await query(url, "create table t (id int primary key)")
    await query(url, "grant select on t to service_role")
    await query(url, "alter publication supabase_realtime add table t")
    async with (
        RealtimeClient(server.ready["url"], server.ready["service_role_key"]) as client,
        client.changes("t") as changes,
    ):
        os.kill(postmaster_pid(servers), signal.SIGKILL)
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    await query(url, "insert into t values (1)")
                    break
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await asyncio.sleep(0.05)
            change = await anext(changes)
        assert change.new == {"id": 1}
    assert server.process.returncode is None


async def test_keys_and_rows_are_not_in_the_log(servers: Launcher) -> None:
    server = await servers.start_ready("--log-level", "debug")
    url = server.ready["database_url"]
    await query(url, "create table t (id int primary key, word text)")
    await query(url, "grant select on t to anon")
    await query(url, "alter publication supabase_realtime add table t")
    async with (
        RealtimeClient(server.ready["url"], server.ready["anon_key"]) as client,
        client.changes("t") as changes,
    ):
        await query(url, "insert into t values (1, 'a-very-private-word')")
        async with asyncio.timeout(DEADLINE_S):
            await anext(changes)
    assert await server.end() == 0
    assert "a-very-private-word" not in server.log
    for key in KEYS:
        assert server.ready[key] not in server.log
    password = url.partition("postgres:")[2].partition("@")[0]
    assert password not in server.log


async def test_an_embedded_database_that_fails_to_start_ends_it_cleanly(
    servers: Launcher,
) -> None:
    (servers.data_dir / "postgres").mkdir(parents=True)
    (servers.data_dir / "postgres" / "data").write_text("in the way")
    server = await servers.start()
    assert await server.exit_code() == 1
    assert "error: " in server.log
    assert "Traceback" not in server.log
