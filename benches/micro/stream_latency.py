"""Commit to sink: milliseconds from COMMIT's answer at a writer to the sink's call; prints JSON.

    .venv/bin/python -m benches.micro.stream_latency [--rate 100] [--seconds 5] [--runs 3]

Starts an embedded PostgreSQL of its own. The writer is another process on the same machine and
both read the same monotonic clock. Medians over the runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from tidewire.adapters.postgres.change_source import PostgresChangeSource
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.adapters.postgres.epoch import SlotRecord
from tidewire.core.change import Change, Transaction
from tidewire.protocol.pgoutput.render import RowRenderer, renderer_name
from tidewire.protocol.pgoutput.row import column_text

TABLE = """create table clients (id bigint primary key, organizer_id bigint, name text, email text,
 phone text, status text, budget numeric, party_size int, vip bool, tags text[], preferences jsonb,
 notes text, last_contact date, external_id uuid default gen_random_uuid(), score float8,
 created_at timestamptz default now(), deleted_at timestamptz);
create publication bench for table clients"""
INSERT = """insert into clients (id, organizer_id, name, email, phone, status, budget, party_size,
 vip, tags, preferences, notes, last_contact, score) values ($1, 42, 'Client Number',
 'c@example.com', '+1-555', 'active', 1234.5, 4, true, '{beach,family}', '{"diet":"veg"}',
 repeat('Prefers morning flights. ', 8), '2026-01-02', 0.25)"""


class Clock:
    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        return time.time()


class Epochs:
    def load(self) -> SlotRecord | None:
        return None

    def save(self, record: SlotRecord) -> None: ...


class Sink:
    """Renders each row, as the engine would, and notes when it came."""

    def __init__(self) -> None:
        self.came_ns: dict[int, int] = {}
        self.live = asyncio.Event()

    async def receive(self, transactions: Sequence[Transaction]) -> None:
        for transaction in transactions:
            for change in transaction.changes:
                assert isinstance(change, Change)
                assert change.new is not None
                RowRenderer(change.relation, {}).render(change.new)
                key = column_text(change.new, 0)
                assert isinstance(key, bytes)
                self.came_ns[int(key)] = time.monotonic_ns()

    async def on_live(self, epoch: str, *, is_new_epoch: bool) -> None:
        self.live.set()

    async def on_down(self, reason: str) -> None:
        raise AssertionError(reason)


async def write(url: str, first: int, rate: float, seconds: float) -> None:
    connection = await asyncpg.connect(url)
    statement = await connection.prepare(INSERT)
    answered: dict[int, int] = {}
    began = time.monotonic()
    for index in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + index / rate - time.monotonic()))
        await statement.fetch(first + index)
        answered[first + index] = time.monotonic_ns()
    await connection.close()
    print(json.dumps(answered))


async def run_once(url: str, number: int, rate: float, seconds: float) -> dict[str, float]:
    source = PostgresChangeSource(
        url, slot="bench", publication="bench", epochs=Epochs(), clock=Clock(), rng=random.Random(1)
    )
    sink = Sink()
    task = asyncio.create_task(source.run(sink))
    await sink.live.wait()
    arguments = [url, str(number * 1_000_000), str(rate), str(seconds)]
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benches.micro.stream_latency", "--write", *arguments,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    output, _ = await writer.communicate()
    answered = {int(key): value for key, value in json.loads(output).items()}
    async with asyncio.timeout(10):
        while not answered.keys() <= sink.came_ns.keys():  # noqa: ASYNC110 - after the figures
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    lags = sorted((sink.came_ns[key] - answered[key]) / 1e6 for key in answered)
    return {"p50": lags[len(lags) // 2], "p99": lags[int(len(lags) * 0.99)], "max": lags[-1]}


async def main(rate: float, seconds: float, runs: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tidewire-bench-"))
    server = EmbeddedPostgres(folder, password="bench")
    try:
        url = await server.start()
        connection = await asyncpg.connect(url)
        await connection.execute(TABLE)
        await connection.close()
        results = [await run_once(url, number, rate, seconds) for number in range(runs)]
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    report = {
        "bench": "micro/stream_latency",
        "rate_per_s": rate,
        "runs": runs,
        "renderer": renderer_name(),
        "postgres": server.version,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "commit_to_sink_ms": {
            key: round(statistics.median(result[key] for result in results), 3)
            for key in ("p50", "p99", "max")
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    if "--write" in sys.argv:
        url, first, rate, seconds = sys.argv[sys.argv.index("--write") + 1 :]
        asyncio.run(write(url, int(first), float(rate), float(seconds)))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--rate", type=float, default=100)
        parser.add_argument("--seconds", type=float, default=5)
        parser.add_argument("--runs", type=int, default=3)
        given = parser.parse_args()
        asyncio.run(main(given.rate, given.seconds, given.runs))
