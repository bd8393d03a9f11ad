"""`tidewire demo`: sample data, robots, and the commands that look at it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support.served import TIDEWIRE, launcher
from tidewire.client.realtime_client import RealtimeClient
from tidewire.core.errors import SetupError
from tidewire.server.build import enable_table, migrate
from tidewire.server.demo.load import load_demo
from tidewire.server.demo.robots import NOTES_COUNT_MAX, Robots
from tidewire.server.demo.schema import TABLES

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(60)]

DEADLINE_S = 20


async def load(url: str, seed: int = 1) -> bool:
    async def enable(table: str, full: bool) -> None:
        await enable_table(url, table, full=full)

    return await load_demo(url, seed=seed, enable=enable)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    await migrate(database_url)
    made = await asyncpg.connect(database_url, timeout=DEADLINE_S)
    yield made
    await made.close()


async def test_the_sample_data_is_made_once_and_edits_are_kept(
    database_url: str, connection: asyncpg.Connection
) -> None:
    assert await load(database_url) is True
    await connection.execute("update clients set name = 'Edited' where id = 1")
    await connection.execute("delete from notes")
    assert await load(database_url) is False
    assert await connection.fetchval("select name from clients where id = 1") == "Edited"
    assert await connection.fetchval("select count(*) from notes") == 0


async def test_every_sample_table_is_published_and_open_to_visitors(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await load(database_url)
    published = await connection.fetch(
        "select tablename from pg_publication_tables where pubname = 'supabase_realtime'"
    )
    assert {row["tablename"] for row in published} >= set(TABLES)
    await connection.execute("set role anon")
    for table in TABLES:
        assert await connection.fetchval(f"select exists (select from {table})") is True
    await connection.execute("update trips set seats_taken = 0 where id = 1")
    new = "insert into clients (name, email, city, country) values ('N', 'n@x.y', 'C', 'DE')"
    await connection.execute(new)


async def test_tables_of_the_same_name_that_are_someones_own_are_left_alone(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await connection.execute("create table clients (mine text)")
    with pytest.raises(SetupError, match=r"public\.clients"):
        await load(database_url)
    assert await connection.fetchval("select to_regclass('public.trips')") is None


async def test_robots_edit_at_their_rate_and_notes_stay_bounded(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await load(database_url)
    await connection.execute(
        "insert into notes (client_id, body) select 1, 'x' from generate_series(1, 300)"
    )
    waits: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 200:
            enough.set()
        await asyncio.sleep(0)

    robots = Robots(database_url, edits_per_s=20, sleep=sleep)
    task = asyncio.create_task(robots.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await enough.wait()
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert set(waits[:200]) == {1 / 20}
    assert robots.edits_total >= 190
    bounded = "select count(*) <= $1 from notes"
    assert await connection.fetchval(bounded, NOTES_COUNT_MAX + 50) is True
    edited = "select exists (select from trips where updated_at > now() - interval '1 minute')"
    assert await connection.fetchval(edited) is True


async def test_robots_wait_for_a_database_that_went_away(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await load(database_url)
    seen = asyncio.Queue[float]()

    async def sleep(seconds: float) -> None:
        seen.put_nowait(seconds)
        await asyncio.sleep(0.01)

    robots = Robots(database_url, edits_per_s=20, sleep=sleep)
    task = asyncio.create_task(robots.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while robots.edits_total < 3:
                await seen.get()
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'tidewire demo robots'"
                " and datname = current_database()"
            )
            before = robots.edits_total
            while robots.edits_total < before + 3:
                await seen.get()
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def run(*arguments: str, cwd: Path) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        TIDEWIRE, *arguments, cwd=cwd,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_demo_shows_robots_at_work_through_every_command(tmp_path: Path) -> None:
    async with launcher(tmp_path) as servers:
        flags = ("--simulate", "--edits-per-s", "50")
        demo = await servers.start_ready(*flags, command="demo")
        users = demo.ready["demo_users"]
        assert [user["email"].partition("@")[0] for user in users] == ["ann", "bea", "chris"]
        assert all(user["password"] for user in users)
        folder = ("--data-dir", str(servers.data_dir))

        code, out, _ = await run("tail", "trips", "--json", "-n", "2", *folder, cwd=tmp_path)
        assert code == 0
        assert {json.loads(line)["table"] for line in out.splitlines()} == {"trips"}

        code, out, _ = await run("tail", "trips", "-n", "1", *folder, cwd=tmp_path)
        assert "UPDATE trips" in out

        code, out, err = await run("doctor", "--json", *folder, cwd=tmp_path)
        report = json.loads(out)
        assert code == 0, err
        assert report["database"]["slot"]["is_active"] is True
        tables = {table["name"] for table in report["database"]["tables"]}
        assert tables == {f"public.{table}" for table in TABLES}

        code, out, _ = await run("enable", "trips", *folder, cwd=tmp_path)
        assert (code, out) == (0, "public.trips was live already\n")
        code, _, err = await run("enable", "no_such", *folder, cwd=tmp_path)
        assert code == 1
        assert "no table" in err
        assert "Traceback" not in err

        code, token, _ = await run("token", "--role", "anon", *folder, cwd=tmp_path)
        async with (
            asyncio.timeout(DEADLINE_S),
            RealtimeClient(demo.ready["url"], token.strip()) as client,
            client.changes("clients") as changes,
        ):
            assert (await anext(changes)).table == "clients"

        async with httpx.AsyncClient(base_url=demo.ready["url"]) as http:
            told = (await http.get("/config.json")).json()
        assert told["tables"] == list(TABLES)
        assert told["is_demo"] is told["is_simulated"] is True
        assert await demo.end() == 0
