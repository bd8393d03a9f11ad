"""An embedded server starts, is adopted, keeps its port and stops."""

# ruff: noqa: ASYNC240 - the loop of a test serves nobody else

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.core.errors import SetupError

pytestmark = pytest.mark.postgres

MakeServer = Callable[..., EmbeddedPostgres]


async def _value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_an_empty_folder_becomes_a_server_that_streams_logically(
    make_server: MakeServer,
) -> None:
    server = make_server()
    url = await server.start()
    assert url.startswith("postgresql://postgres:")
    assert f"@127.0.0.1:{server.port}/" in url
    assert await _value(url, "show wal_level") == "logical"
    assert await _value(url, "show wal_writer_delay") == "10ms"
    assert await _value(url, "show max_slot_wal_keep_size") == "1GB"
    assert str(await _value(url, "show server_version")).startswith(server.version)


async def test_tcp_asks_for_the_password(make_server: MakeServer) -> None:
    server = make_server()
    await server.start()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url.replace("test-password", "another"), timeout=5)


async def test_every_character_may_stand_in_the_password(make_server: MakeServer) -> None:
    server = make_server(password="p'ä\"/s:w@r d%$")
    assert await _value(await server.start(), "select 1") == 1


async def test_a_new_password_counts_from_the_next_start(make_server: MakeServer) -> None:
    first = make_server()
    await first.start()
    await first.stop()
    second = make_server(password="another")
    assert await _value(await second.start(), "select 1") == 1


async def test_only_loopback_is_listened_on(make_server: MakeServer) -> None:
    server = make_server()
    assert await _value(await server.start(), "show listen_addresses") == "127.0.0.1"


async def test_a_second_start_adopts_the_running_server(make_server: MakeServer) -> None:
    first, second = make_server(), make_server()
    await first.start()
    assert await second.start() == first.url
    assert second.pid == first.pid
    assert second.version == first.version


async def test_starting_twice_gives_the_same_server(make_server: MakeServer) -> None:
    server = make_server()
    url, pid = await server.start(), server.pid
    assert (await server.start(), server.pid) == (url, pid)


async def test_starts_at_once_end_with_one_server(make_server: MakeServer) -> None:
    servers = [make_server() for _ in range(3)]
    urls = await asyncio.gather(*(server.start() for server in servers))
    assert len(set(urls)) == 1
    assert len({server.pid for server in servers}) == 1


async def test_data_and_port_outlive_a_restart(make_server: MakeServer) -> None:
    first = make_server()
    url = await first.start()
    await _value(url, "create table kept as select 42 as value")
    await first.stop()
    second = make_server()
    assert await second.start() == url
    assert await _value(url, "select value from kept") == 42


async def test_a_stopped_server_is_gone_and_a_second_stop_does_nothing(
    make_server: MakeServer,
) -> None:
    server = make_server()
    await server.start()
    pid = server.pid
    await server.stop()
    await server.stop()
    assert server.pid is None
    assert not Path(f"/proc/{pid}").exists()
    assert not (server.data_folder / "postmaster.pid").exists()


async def test_stop_also_ends_a_server_that_another_process_started(
    make_server: MakeServer,
) -> None:
    first, second = make_server(), make_server()
    await first.start()
    await second.stop()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncpg.connect(first.url, timeout=5)


async def test_a_given_port_is_used_and_moves_a_running_server(make_server: MakeServer) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    first = make_server()
    await first.start()
    second = make_server(port=free)
    assert f":{free}/" in await second.start()


async def test_a_given_port_that_is_taken_is_told(make_server: MakeServer) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(SetupError, match=rf"port {port} on 127\.0\.0\.1 is taken"):
            await make_server(port=port).start()


async def test_a_kept_port_that_was_taken_meanwhile_gives_way(make_server: MakeServer) -> None:
    first = make_server()
    await first.start()
    old = first.port
    await first.stop()
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", old))
        holder.listen()
        second = make_server()
        url = await second.start()
        assert second.port != old
        assert await _value(url, "select 1") == 1


async def test_the_socket_lies_outside_the_cluster_and_is_private(
    make_server: MakeServer, server_folder: Path
) -> None:
    server = make_server()
    await server.start()
    folder = Path(str(await _value(server.url, "show unix_socket_directories")))
    assert folder == server_folder / "socket"
    assert not folder.is_relative_to(server.data_folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_data_folder_deeper_than_a_socket_path_works(
    make_server: MakeServer, server_folder: Path
) -> None:
    server_folder.chmod(0o755)
    server = make_server(server_folder / ("long-" * 20) / ("deep-" * 20))
    url = await server.start()
    folder = Path(str(await _value(url, "show unix_socket_directories")))
    assert len(os.fsencode(folder)) < 80
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await server.stop()
    assert not folder.exists()


async def test_settings_of_the_caller_win(make_server: MakeServer) -> None:
    server = make_server(extra_settings={"max_connections": "17", "log_line_prefix": "it's %p\\ "})
    url = await server.start()
    assert await _value(url, "show max_connections") == "17"
    assert await _value(url, "show log_line_prefix") == "it's %p\\ "


async def test_the_password_is_nowhere_in_the_log(make_server: MakeServer) -> None:
    server = make_server(password="very-secret-word")
    await server.start()
    connection = await asyncpg.connect(server.url, timeout=5)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(
            "create table t (secret text unique);"
            "insert into t values ('row-data'); insert into t values ('row-data')"
        )
    await connection.close()
    text = server.log_file.read_text()
    assert "unique constraint" in text
    assert "very-secret-word" not in text
    assert "row-data" not in text
