"""A real client that stops reading: nobody waits for it; it ends right, or knows that it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from tests.support import tables
from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import TidewireServer

pytestmark = [pytest.mark.postgres, pytest.mark.fault, pytest.mark.timeout(120)]

TOPIC = "realtime:slow"
EVENTS = ("postgres_changes", "system")
OUTBOX_BYTES, KEPT_BYTES = 64 << 10, 256 << 10
LIMITS = {
    "TIDEWIRE_LIMITS__OUTBOX_BYTES_MAX": str(OUTBOX_BYTES),
    "TIDEWIRE_LIMITS__CONFLATED_BYTES_MAX": str(KEPT_BYTES),
    "TIDEWIRE_LIMITS__STALLED_TIMEOUT_S": "60",
}


@pytest.fixture
def server() -> Iterator[TidewireServer]:
    server = TidewireServer(environment=LIMITS)
    try:
        server.start()
        yield server
        server.check_log()
    finally:
        server.close()


async def join(raw: RawSocket, table: str) -> None:
    entry = {"event": "*", "schema": "public", "table": table}
    _, reply = await raw.join(TOPIC, {"postgres_changes": [entry]})
    assert reply["status"] == "ok"


async def mark(database: asyncpg.Connection, table: str, name: str) -> None:
    # Not undone afterwards: of an insert and a delete only the latter would be left.
    await database.execute(
        f"insert into {table} values (0, $1) on conflict (id) do update set name = excluded.name",
        name,
    )


async def read_until(raw: RawSocket, name: str, rows: dict[int, Any]) -> list[dict[str, Any]]:
    """Apply what comes, until the row with id 0 has this name; gives the system messages."""
    told: list[dict[str, Any]] = []
    while True:
        frame = await raw.frames.next(lambda frame: frame[3] in EVENTS, within_s=30)
        if frame[3] == "system":
            told.append(frame[4])
            continue
        data = frame[4]["data"]
        if data["type"] == "DELETE":
            rows.pop(data["old_record"]["id"], None)
        elif data["record"]["id"] == 0:
            if data["record"]["name"] == name:
                return told
        else:
            rows[data["record"]["id"]] = data["record"]["name"]


async def table_of(database: asyncpg.Connection, table: str) -> dict[int, Any]:
    found = await database.fetch(f"select id, name from {table} where id > 0")
    return {row["id"]: row["name"] for row in found}


async def metric(server: TidewireServer, name: str) -> float:
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{server.url}/metrics", timeout=10)).text
    lines = [
        line
        for line in text.splitlines()
        if line.startswith((f"tidewire_{name} ", f"tidewire_{name}{{"))
    ]
    return float(lines[0].rpartition(" ")[2])


async def write_much(database: asyncpg.Connection, table: str, rounds: int) -> None:
    """Change the same 50 rows again and again: much more than the outbox takes."""
    for number in range(rounds):
        await database.execute(
            f"update {table} set name = $1 || id where id between 1 and 50",
            f"{number} {'x' * 500} ",
        )
        await database.execute(f"delete from {table} where id = $1", 51 + number)
        await database.execute(f"insert into {table} values ($1, 'new')", 100 + number % 7 * 1000)
        await database.execute(f"delete from {table} where id = $1", 100 + number % 7 * 1000)


async def test_a_client_that_stops_reading_ends_with_the_tables_state(
    server: TidewireServer,
) -> None:
    database = await tables.connect(server.database_url)
    try:
        table = await tables.make_table(database)
        await database.execute(
            f"insert into {table} select n, 'start' from generate_series(1, 90) n"
        )
        async with (
            raw_socket(server.url, server.anon_key) as quick,
            raw_socket(server.url, server.anon_key) as slow,
        ):
            await join(quick, table)
            await join(slow, table)
            rows_quick, rows_slow = await table_of(database, table), await table_of(database, table)
            slow.socket.transport.pause_reading()
            memory = psutil.Process(server.pid)
            before = memory.memory_info().rss
            await write_much(database, table, 200)
            await mark(database, table, "written")
            await read_until(quick, "written", rows_quick)
            assert rows_quick == await table_of(database, table)
            assert await metric(server, "slow_readers") == 1
            grown = memory.memory_info().rss - before
            assert grown < 32 << 20, "10,000 frames of 700 bytes were sent to it"
            slow.socket.transport.resume_reading()
            told = await read_until(slow, "written", rows_slow)
            assert "resync" not in [message["message"] for message in told]
            assert rows_slow == await table_of(database, table)
            got = sum(frame[3] == "postgres_changes" for frame in slow.frames.seen)
            assert got < 10_000 / 2
            # Back in the fast lane.
            await mark(database, table, "after")
            assert await read_until(slow, "after", rows_slow) == []
            assert await metric(server, "slow_readers") == 0
            assert await metric(server, "changes_conflated_total") > 1000
    finally:
        await database.close()


async def test_beyond_the_bound_a_client_is_told_to_fetch_again(server: TidewireServer) -> None:
    database = await tables.connect(server.database_url)
    try:
        table = await tables.make_table(database)
        async with (
            raw_socket(server.url, server.anon_key) as quick,
            raw_socket(server.url, server.anon_key) as slow,
        ):
            await join(quick, table)
            await join(slow, table)
            slow.socket.transport.pause_reading()
            for number in range(20):
                await database.execute(
                    f"insert into {table} select n, repeat('x', 500) "
                    "from generate_series($1::int, $1 + 499) n",
                    1 + number * 500,
                )
            await mark(database, table, "written")
            await read_until(quick, "written", {})
            assert await metric(server, "slow_resyncs_total") == 1
            slow.socket.transport.resume_reading()
            told = await slow.frames.next(
                lambda frame: frame[3] == "system" and frame[4]["message"] == "resync", within_s=30
            )
            assert told[4]["reason"] == "the connection read too slowly"
            assert not slow.closed.is_set()
            # Whoever fetches now misses nothing from here on.
            rows = await table_of(database, table)
            await database.execute(f"update {table} set name = 'changed' where id = 7")
            await mark(database, table, "after")
            await read_until(slow, "after", rows)
            assert rows == await table_of(database, table)
    finally:
        await database.close()


async def test_a_stalled_client_does_not_hold_the_stream_up(server: TidewireServer) -> None:
    database = await tables.connect(server.database_url)
    try:
        table = await tables.make_table(database)
        async with (
            raw_socket(server.url, server.anon_key) as quick,
            raw_socket(server.url, server.anon_key) as slow,
        ):
            await join(quick, table)
            await join(slow, table)
            slow.socket.transport.pause_reading()
            await database.execute(
                f"insert into {table} select n, repeat('x', 300) from generate_series(1, 20000) n",
                timeout=60,
            )
            await mark(database, table, "written")
            rows: dict[int, Any] = {}
            async with asyncio.timeout(30):
                await read_until(quick, "written", rows)
            assert len(rows) == 20_000
    finally:
        await database.close()
