"""The journal of a real server, across kill -9."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.journal import read_all
from tests.support.server import TidewireServer
from tests.support.stream import SystemClock, eventually
from tidewire.adapters.files.journal import FileJournal
from tidewire.core.change import Change
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgoutput.row import split_row
from tidewire.server.epoch_file import EpochFile

pytestmark = [pytest.mark.postgres, pytest.mark.fault, pytest.mark.timeout(90)]

TABLE = "create table kept (id int primary key); alter publication supabase_realtime add table kept"


@pytest.fixture
def server() -> Iterator[TidewireServer]:
    server = TidewireServer()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
async def http() -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as http:
        yield http


async def numbers(http: httpx.AsyncClient, server: TidewireServer) -> dict[str, float]:
    text = (await http.get(f"{server.url}/metrics")).text
    lines = [line.split() for line in text.splitlines() if line.startswith("tidewire_journal_")]
    return {name.removeprefix("tidewire_journal_"): float(value) for name, value in lines}


async def insert(server: TidewireServer, numbers: range) -> None:
    db = await asyncpg.connect(server.database_url)
    try:
        await db.executemany("insert into kept values ($1)", [(number,) for number in numbers])
    finally:
        await db.close()


async def kept_ids(folder: Path) -> list[int]:
    """Read the journal of a server that does not run."""
    journal = FileJournal(folder, SystemClock())
    await journal.open()
    await journal.begin(await epoch_of(folder), start=Lsn(0))
    texts: list[Any] = [
        split_row(change.new)[0]
        for item in await read_all(journal)
        for change in item.changes
        if isinstance(change, Change) and change.relation.name == "kept" and change.new
    ]
    await journal.close()
    return [int(text) for text in texts]


async def epoch_of(folder: Path) -> str:
    record = EpochFile(folder.parent / "slot.json").load()
    assert record is not None
    return record.epoch


async def test_no_change_is_lost_or_kept_twice_across_kills(
    server: TidewireServer, http: httpx.AsyncClient
) -> None:
    await asyncio.to_thread(server.start)
    db = await asyncpg.connect(server.database_url)
    await db.execute(TABLE)
    await db.close()
    for first in (0, 100, 200):
        await insert(server, range(first, first + 50))
        await asyncio.to_thread(server.kill)
        await insert(server, range(first + 50, first + 100))
        await asyncio.to_thread(server.start)
    ready = (await http.get(f"{server.url}/readyz")).json()
    assert ready["checks"]["journal"] == "ok"

    async def is_synced() -> bool:
        now = await numbers(http, server)
        return now["unsynced_bytes"] == 0 and now["disk_bytes"] > 5000

    await eventually(is_synced)
    now = await numbers(http, server)
    assert now["alarm"] == now["failures_total"] == now["damages_total"] == 0
    assert now["segments"] == 1
    assert await asyncio.to_thread(server.stop) == 0
    assert await kept_ids(server.folder / "data" / "journal") == list(range(300))


async def test_a_journal_in_memory_leaves_nothing_on_disk(http: httpx.AsyncClient) -> None:
    server = TidewireServer(environment={"TIDEWIRE_JOURNAL__STORE": "memory"})
    try:
        await asyncio.to_thread(server.start)
        db = await asyncpg.connect(server.database_url)
        await db.execute(TABLE)
        await db.close()
        await insert(server, range(10))

        async def is_kept() -> bool:
            return (await numbers(http, server))["memory_bytes"] > 1000

        await eventually(is_kept)
        assert not (server.folder / "data" / "journal").exists()
    finally:
        server.close()
