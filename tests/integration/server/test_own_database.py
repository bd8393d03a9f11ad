"""A server on a database that it was given, and parts that fail."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.served import Launcher, launcher
from tidewire.adapters.postgres.diagnosis import diagnose
from tidewire.adapters.postgres.migrations import migrate
from tidewire.client.realtime_client import RealtimeClient
from tidewire.engine.node import Node
from tidewire.server.serve import run
from tidewire.server.settings import ServerSettings, Settings

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(60)]

DEADLINE_S = 15


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    made = await asyncpg.connect(database_url, timeout=DEADLINE_S)
    yield made
    await made.close()


@pytest.fixture
async def servers(tmp_path: Path, connection: asyncpg.Connection) -> AsyncIterator[Launcher]:
    async with launcher(tmp_path) as made:
        yield made
    await connection.execute(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
        " where database = current_database()"
    )


async def test_a_given_database_is_migrated_and_streamed_from(
    servers: Launcher, database_url: str, connection: asyncpg.Connection
) -> None:
    server = await servers.start_ready("--database-url", database_url)
    assert server.ready["database_url"] == database_url
    assert not (servers.data_dir / "postgres").exists()
    await connection.execute("create table t (id int primary key)")
    await connection.execute("grant select on t to anon")
    await connection.execute("alter publication supabase_realtime add table t")
    async with (
        asyncio.timeout(DEADLINE_S),
        RealtimeClient(server.ready["url"], server.ready["anon_key"]) as client,
        client.changes("t") as changes,
    ):
        await connection.execute("insert into t values (1)")
        assert (await anext(changes)).new == {"id": 1}
    assert await server.end() == 0
    assert await connection.fetchval("select 1") == 1


async def test_the_diagnosis_names_tables_that_cannot_be_written(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await migrate(database_url)
    empty = await diagnose(database_url, slot="tidewire_absent")
    assert [finding.code for finding in empty.findings] == ["slot_absent", "no_tables"]
    await connection.execute("create table keyless (a int)")
    await connection.execute("create table guarded (a int primary key)")
    await connection.execute("alter table guarded enable row level security")
    await connection.execute("alter publication supabase_realtime add table keyless, guarded")
    found = await diagnose(database_url, slot="tidewire_absent")
    told = [(finding.code, finding.problem.partition(" ")[0]) for finding in found.findings[1:]]
    assert told == [("no_identity", "public.keyless")]
    assert [table.name for table in found.tables] == ["public.guarded", "public.keyless"]


@pytest.fixture
def own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.mark.usefixtures("own_logging")
def test_a_part_that_fails_is_named_and_everything_else_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fail(_: Node) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("planted")

    monkeypatch.setattr(Node, "run", fail)
    settings = Settings(server=ServerSettings(port=0, data_dir=str(tmp_path / "data")))
    with pytest.raises(SystemExit) as caught:
        run(settings)
    assert caught.value.code == 1
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    failed = next(line for line in lines if line["message"] == "a part of the server failed")
    assert failed["part"] == "engine"
    assert "planted" in failed["traceback"]
    assert not (tmp_path / "data/server.json").exists()
    assert not (tmp_path / "data/postgres/data/postmaster.pid").exists()
