"""kill -9 of either side, and what a dead server leaves behind."""

# ruff: noqa: ASYNC220 - the loop of a test serves nobody else

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.support.launcher import start_launcher, told_by
from tests.support.postgres import PASSWORD
from tidewire.adapters.postgres.embedded import folders
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.adapters.postgres.embedded.orphans import holders_of, is_held
from tidewire.adapters.postgres.embedded.pid_file import read_pid_file

pytestmark = [pytest.mark.postgres, pytest.mark.fault, pytest.mark.timeout(60)]

MakeServer = Callable[..., EmbeddedPostgres]
RESTART_S_MAX = 5.0  # promised is 1 s on a quiet machine


@asynccontextmanager
async def supervised(server: EmbeddedPostgres) -> AsyncGenerator[None]:
    task = asyncio.ensure_future(server.supervise())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _answers_under_another_pid(server: EmbeddedPostgres, old: int | None) -> float:
    """Seconds until the server answers again; fails when it takes too long."""
    begun = time.monotonic()
    async with asyncio.timeout(RESTART_S_MAX):
        while True:
            try:
                connection = await asyncpg.connect(server.url, timeout=2)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.01)  # the wait is for another process's port
                continue
            await connection.close()
            if server.pid not in {old, None}:
                return time.monotonic() - begun


async def test_a_killed_server_is_started_again(make_server: MakeServer) -> None:
    server = make_server()
    url = await server.start()
    async with supervised(server):
        old = server.pid
        assert old is not None
        os.kill(old, signal.SIGKILL)
        await _answers_under_another_pid(server, old)
    assert server.url == url


async def test_an_adopted_server_is_watched_too(make_server: MakeServer) -> None:
    first, second = make_server(), make_server()
    await first.start()
    await second.start()
    async with supervised(second):
        old = second.pid
        assert old is not None
        os.kill(old, signal.SIGKILL)
        await _answers_under_another_pid(second, old)


async def test_a_backend_that_computes_does_not_keep_a_killed_server_down(
    make_server: MakeServer,
) -> None:
    server = make_server()
    await server.start()
    busy = await asyncpg.connect(server.url, timeout=5)
    work = asyncio.ensure_future(busy.execute("do $$ begin loop perform sqrt(2); end loop; end $$"))
    observer = await asyncpg.connect(server.url, timeout=5)
    async with asyncio.timeout(5):
        while not await observer.fetchval(
            "select exists (select from pg_stat_activity where query like 'do %'"
            " and state = 'active' and pid <> pg_backend_pid())"
        ):
            pass
    old, seen = server.pid, read_pid_file(server.data_folder)
    assert old is not None
    assert server.launch is not None
    assert seen is not None
    assert seen.shared_memory_id is not None
    assert is_held(seen.shared_memory_id)
    assert old in holders_of(seen.shared_memory_id, server.launch)
    async with supervised(server):
        os.kill(old, signal.SIGKILL)
        await _answers_under_another_pid(server, old)
    assert not is_held(seen.shared_memory_id)
    assert holders_of(seen.shared_memory_id, server.launch) == []
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
        await work
    observer.terminate()
    busy.terminate()


async def test_committed_rows_outlive_a_kill(make_server: MakeServer) -> None:
    server = make_server(extra_settings={"fsync": "on", "full_page_writes": "on"})
    await server.start()
    connection = await asyncpg.connect(server.url, timeout=5)
    await connection.execute("create table kept (id int); insert into kept values (7)")
    async with supervised(server):
        old = server.pid
        assert old is not None
        os.kill(old, signal.SIGKILL)
        await _answers_under_another_pid(server, old)
    connection.terminate()
    again = await asyncpg.connect(server.url, timeout=5)
    assert await again.fetchval("select id from kept") == 7
    await again.close()


async def test_supervision_ends_when_the_server_is_stopped(make_server: MakeServer) -> None:
    server = make_server()
    await server.start()
    watching = asyncio.ensure_future(server.supervise())
    await asyncio.sleep(0)
    await server.stop()
    await asyncio.wait_for(watching, 5)
    assert server.pid is None


async def test_a_server_outlives_the_kill_of_its_starter_and_is_adopted(
    make_server: MakeServer, server_folder: Path
) -> None:
    launcher = start_launcher(server_folder)
    told = await asyncio.to_thread(told_by, launcher)
    connection = await asyncpg.connect(told["url"], timeout=5)
    launcher.kill()
    launcher.communicate()
    assert await connection.fetchval("select 1") == 1
    server = make_server()
    assert await server.start() == told["url"]
    assert server.pid == told["pid"]
    await connection.close()


async def test_a_stale_pid_file_whose_number_another_process_has_is_understood(
    make_server: MakeServer, server_folder: Path
) -> None:
    server = make_server()
    await server.start()
    text = (server.data_folder / "postmaster.pid").read_text()
    await server.stop()
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        stale = text.split("\n")
        stale[0] = str(stranger.pid)
        (server.data_folder / "postmaster.pid").write_text("\n".join(stale))
        lock = server_folder / "socket" / f".s.PGSQL.{server.port}.lock"
        lock.write_text("\n".join(stale))
        await server.start()
        assert server.pid != stranger.pid
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("text", ["", "garbage\n", "999999999\n", "-5\n/nowhere\n", "0\n"])
async def test_a_damaged_pid_file_is_understood(make_server: MakeServer, text: str) -> None:
    server = make_server()
    await server.start()
    await server.stop()
    (server.data_folder / "postmaster.pid").write_text(text)
    await server.start()
    assert server.pid is not None


async def test_a_kill_in_the_middle_of_making_the_cluster_leaves_nothing_in_the_way(
    make_server: MakeServer, server_folder: Path
) -> None:
    (server_folder / "data.new").mkdir()
    (server_folder / "data.new" / "half").write_text("made")
    await make_server().start()


async def test_the_log_is_cut_while_the_server_writes_it(make_server: MakeServer) -> None:
    server = make_server()
    await server.start()
    with server.log_file.open("ab") as file:
        file.write((b"x" * 79 + b"\n") * (folders.LOG_BYTES_MAX // 80))
        file.write(b"newest line\n")
    folders.cut_log(server.log_file)
    assert server.log_file.stat().st_size <= folders.LOG_KEPT_BYTES
    connection = await asyncpg.connect(server.url, timeout=5)
    with pytest.raises(asyncpg.PostgresError):
        await connection.execute("select told_to_the_log")
    await connection.close()
    text = server.log_file.read_text()
    assert "newest line" in text
    assert "told_to_the_log" in text
    assert PASSWORD not in text
