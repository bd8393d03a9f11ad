"""Counts what is asked of a server's database, in the database's own log."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import asyncpg

from benches.support.load import LoadFailedError

MARKER = "SELECT 'bench marker'"
FLUSH_S = 0.2
_STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")


def log_statements(database_url: str) -> None:
    """Have every statement logged from now on."""

    async def switch_on() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    asyncio.run(switch_on())


def leave_marker(database_url: str) -> None:
    """Mark a place in the log."""

    async def mark() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(MARKER)
        await connection.close()

    asyncio.run(mark())


def statements_between_markers(data_dir: Path) -> list[str]:
    """What was asked between the last two markers."""
    time.sleep(FLUSH_S)
    log = next(data_dir.rglob("server.log"))
    found = _STATEMENT.findall(log.read_text(encoding="utf-8", errors="replace"))
    places = [place for place, statement in enumerate(found) if MARKER in statement]
    if len(places) < 2:
        raise LoadFailedError("the database's log does not show the statements")
    return found[places[-2] + 1 : places[-1]]
