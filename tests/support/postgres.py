"""A PostgreSQL for tests: one embedded cluster per pytest process, one database per test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.adapters.postgres.embedded.login import database_url
from tidewire.adapters.postgres.embedded.pid_file import read_pid_file
from tidewire.adapters.postgres.embedded.process import ServerProcess, is_postmaster_of
from tidewire.adapters.postgres.migrations import migrate

ROOT = Path(__file__).parents[2]
PASSWORD = "test-password"
FAST_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_replication_slots": "40",
    "max_wal_senders": "40",
}
DEADLINE_S = 10
_TEMPLATE = "tidewire_migrated"
_FOLDER_PREFIX = "tidewire-tests-"

Result = TypeVar("Result")


def run_in_thread(start: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine to its end outside whatever loop is there."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(start())).result(timeout=60)


class PostgresCluster:
    """The cluster of one pytest process, with durability off.

    TIDEWIRE_TEST_POSTGRES_BIN names the programs of another PostgreSQL than the embedded one.
    """

    def __init__(self) -> None:
        _remove_abandoned_clusters()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
        folder = os.environ.get("TIDEWIRE_TEST_POSTGRES_BIN")
        self.server = EmbeddedPostgres(
            self.folder,
            password=PASSWORD,
            extra_settings=FAST_SETTINGS,
            bin_folder=Path(folder) if folder else None,
        )
        self._numbers = itertools.count(1)
        self._has_template = False

    def start(self) -> None:
        run_in_thread(self.server.start)

    def stop(self) -> None:
        run_in_thread(self.server.stop)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def port(self) -> int:
        return self.server.port

    def url_of(self, database: str) -> str:
        """TCP, superuser, password."""
        return database_url(PASSWORD, self.port, database=database)

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """A superuser's connection over the socket: no password to compute."""
        return await asyncpg.connect(
            host=str(self.folder / "socket"),
            port=self.port,
            user="postgres",
            database=database,
            timeout=DEADLINE_S,
        )

    async def create_database(self, *, name: str | None = None, template: str = "template1") -> str:
        """A new database's name."""
        name = name or f"test_{next(self._numbers)}"
        connection = await self.connect()
        try:
            await connection.execute(f'create database "{name}" template "{template}"')
        finally:
            await connection.close()
        return name

    async def create_migrated_database(self) -> str:
        """A new database's name; a copy of one that was migrated once."""
        if not self._has_template:
            template = await self.create_database(name=_TEMPLATE)
            await migrate(self.url_of(template))
            self._has_template = True
        return await self.create_database(template=_TEMPLATE)

    async def drop_database(self, name: str) -> None:
        """Drop it, with the slots and sessions that a failed test left on it."""
        connection = await self.connect()
        try:
            await connection.execute(_DROP_SLOTS.format(name=name))
            await connection.execute(f'drop database if exists "{name}" with (force)')
        finally:
            await connection.close()


_DROP_SLOTS = """
do $$
declare slot record; tries integer := 0;
begin
  loop
    for slot in select slot_name, active_pid from pg_replication_slots
                where database = '{name}' loop
      if slot.active_pid is not null then
        perform pg_terminate_backend(slot.active_pid, 5000);
      end if;
      begin
        perform pg_drop_replication_slot(slot.slot_name);
      exception when object_in_use or undefined_object then null;
      end;
    end loop;
    tries := tries + 1;
    exit when tries > 50
      or not exists (select from pg_replication_slots where database = '{name}');
    perform pg_sleep(0.02);
  end loop;
end $$
"""


def _remove_abandoned_clusters() -> None:
    """End the servers of pytest processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*-*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if not owner.isdigit() or Path(f"/proc/{owner}").exists() or not Path("/proc").exists():
            continue
        with contextlib.suppress(OSError):
            end_server_of(folder)


def end_server_of(folder: Path) -> None:
    """End whatever server runs on an embedded folder, and remove the folder."""
    seen = read_pid_file(folder / "data")
    if seen is not None and is_postmaster_of(seen.pid, folder / "data"):
        process = ServerProcess(seen.pid)
        process.send_signal(signal.SIGQUIT)
        run_in_thread(lambda: process.wait(timeout_s=DEADLINE_S))
        process.close()
    shutil.rmtree(folder, ignore_errors=True)
