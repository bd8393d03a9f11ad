"""A PostgreSQL of a test's own, to be stopped, killed and started again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from tests.support.postgres import PASSWORD
from tidewire.adapters.postgres.embedded.binaries import binaries_of_major
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.adapters.postgres.embedded.login import database_url

SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}
SETTINGS = {
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "min_wal_size": "32MB",
    "max_wal_size": "64MB",
}


def installed_majors() -> list[int]:
    """Versions to try: the embedded one and the oldest supported, where they are installed."""
    return [major for major in (18, 15) if binaries_of_major(major) is not None]


class FaultCluster:
    def __init__(self, folder: Path, major: int, settings: Mapping[str, str]) -> None:
        binaries = binaries_of_major(major)
        assert binaries is not None
        self.major = major
        self.server = EmbeddedPostgres(
            folder,
            password=PASSWORD,
            extra_settings={**SETTINGS, **settings},
            bin_folder=binaries.folder,
        )

    @property
    def url(self) -> str:
        return database_url(PASSWORD, self.server.port, database="postgres")

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.url, timeout=10)

    async def start(self) -> None:
        await self.server.start()

    async def stop(self, how: str) -> None:
        """End the server by its signal; returns when it is gone."""
        pid = self.server.pid
        assert pid is not None
        os.kill(pid, SIGNALS[how])
        process = self.server._process
        assert process is not None
        assert await process.wait(timeout_s=12), f"still running after {how}"


@asynccontextmanager
async def fault_cluster(
    major: int, settings: Mapping[str, str] | None = None
) -> AsyncGenerator[FaultCluster]:
    folder = Path(tempfile.mkdtemp(prefix=f"tidewire-tests-{os.getpid()}-"))
    cluster = FaultCluster(folder, major, settings or {})
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.server.stop()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
