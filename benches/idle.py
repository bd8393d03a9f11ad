"""What an idle server costs: its queries in 10 s, and its CPU with 100 idle clients.

Queries are counted in the database's own log, every statement logged. The clients send a
heartbeat each 25 s, as stock ones do.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import asyncpg

from benches.support.load import LoadFailedError, hold_load
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_most, figure
from benches.support.servers import TidewireServer

CLIENTS = 100
SETTLE_S = 6.0
MARKER = "SELECT 'bench marker'"
_STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")


async def _log_statements(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER SYSTEM SET log_statement = 'all'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


async def _leave_marker(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(MARKER)
    await connection.close()


def _statements_between_markers(log: Path) -> list[str]:
    found = _STATEMENT.findall(log.read_text(encoding="utf-8", errors="replace"))
    places = [place for place, statement in enumerate(found) if MARKER in statement]
    if len(places) < 2:
        raise LoadFailedError("the database's log does not show the statements")
    return found[places[0] + 1 : places[-1]]


def measure(lab: Lab) -> list[Figure]:
    seconds = 10.0 if lab.quick else 30.0
    with TidewireServer() as product, hold_load(product, "idle", clients=CLIENTS):
        url = product.ready.database_url
        log = next(product.data_dir.rglob("server.log"))
        asyncio.run(_log_statements(url))
        time.sleep(SETTLE_S)
        asyncio.run(_leave_marker(url))
        shares: list[float] = []
        with lab.watch(product.processes, "idle"):
            for _ in range(3):
                began, before = time.monotonic(), product.cpu_s()
                time.sleep(seconds)
                shares.append((product.cpu_s() - before) / (time.monotonic() - began) * 100)
        asyncio.run(_leave_marker(url))
        time.sleep(0.2)
        statements = _statements_between_markers(log)
    lab.notes += [f"a query while idle: {text[:120]}" for text in sorted(set(statements))]
    return [
        figure("queries in 10 s", "", [len(statements) / (3 * seconds) * 10], target=at_most(1)),
        figure(f"CPU with {CLIENTS} idle clients", "% of a core", shares, target=at_most(0.5)),
    ]


if __name__ == "__main__":
    run_program("idle", __doc__, measure)
