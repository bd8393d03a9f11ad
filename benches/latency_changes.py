"""From COMMIT to the frame in a client: 100 changes a second, 100 subscribers of one table.

Counted from the answer to COMMIT, the moment at which the writer knows that the row is committed
(a frame that overtakes the answer counts as 0). The same from the moment COMMIT is sent is shown
beside it: there the database's own flush to disk is inside, and with it how fast this disk is.
For scale, the same rows found by plain polling each 100 ms.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time

import asyncpg

from benches.support.feed import LATE_S, Arrival, Note, listen_and_write, percentile
from benches.support.machine import ROOT
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_least, at_most, figure
from benches.support.servers import TidewireServer
from benches.support.writer import TABLE, create_table

SUBSCRIBERS = 100
CHANGES_PER_S = 100
POLL_EVERY_S = 0.1
POLL_ROWS_MAX = 1000


def _pushed(product: TidewireServer, seconds: float) -> tuple[list[Note], list[Arrival]]:
    return listen_and_write(product, clients=SUBSCRIBERS, rate=CHANGES_PER_S, seconds=seconds)


async def _poll(database_url: str, writer: subprocess.Popen[bytes]) -> dict[int, int]:
    """Sequence to the time at which one poller had the row."""
    connection = await asyncpg.connect(database_url)
    found: dict[int, int] = {}
    last_id = 0
    query = f"SELECT id, seq FROM {TABLE} WHERE id > $1 ORDER BY id LIMIT {POLL_ROWS_MAX}"
    ended_s = None
    while ended_s is None or time.monotonic() - ended_s < LATE_S:
        rows = await connection.fetch(query, last_id)
        now = time.monotonic_ns()
        for row in rows:
            found[row["seq"]] = now
            last_id = row["id"]
        if ended_s is None and writer.poll() is not None:
            ended_s = time.monotonic()
        await asyncio.sleep(POLL_EVERY_S)
    await connection.close()
    return found


def _polled(product: TidewireServer, seconds: float) -> list[float]:
    asyncio.run(create_table(product.ready.database_url))
    with tempfile.TemporaryFile("w+") as output:
        writer = subprocess.Popen(
            [
                *(sys.executable, "-m", "benches.support.writer", product.ready.database_url),
                *(str(CHANGES_PER_S), str(seconds)),
            ],
            stdout=output,
            cwd=ROOT,
        )
        found = asyncio.run(_poll(product.ready.database_url, writer))
        output.seek(0)
        notes = [Note(*json.loads(line)) for line in output]
    return [(found[note.sequence] - note.sent_ns) / 1e6 for note in notes]


class _Runs:
    """What the repetitions saw, in milliseconds."""

    def __init__(self) -> None:
        self.sent_p50: list[float] = []
        self.sent_p99: list[float] = []
        self.answered_p50: list[float] = []
        self.answered_p99: list[float] = []
        self.commit_p50: list[float] = []
        self.arrived: list[float] = []

    def add(self, notes: list[Note], frames: list[Arrival]) -> None:
        sent = {sequence: sent_ns for sequence, sent_ns, _ in notes}
        answered = {sequence: answered_ns for sequence, _, answered_ns in notes}
        from_sent = [(at - sent[sequence]) / 1e6 for sequence, at, _ in frames]
        from_answer = [max(0, at - answered[sequence]) / 1e6 for sequence, at, _ in frames]
        self.sent_p50.append(percentile(from_sent, 0.5))
        self.sent_p99.append(percentile(from_sent, 0.99))
        self.answered_p50.append(percentile(from_answer, 0.5))
        self.answered_p99.append(percentile(from_answer, 0.99))
        self.commit_p50.append(percentile([(b - a) / 1e6 for _, a, b in notes], 0.5))
        pairs = {(sequence, client) for sequence, _, client in frames}
        self.arrived.append(len(pairs) / (len(notes) * SUBSCRIBERS) * 100)


def measure(lab: Lab) -> list[Figure]:
    runs = _Runs()
    seconds = 4.0 if lab.quick else 12.0
    with TidewireServer() as product:
        asyncio.run(create_table(product.ready.database_url))
        for notes, frames in lab.repeat(
            "changes", product.processes, lambda: _pushed(product, seconds), times=3
        ):
            runs.add(notes, frames)
        polled = _polled(product, seconds)
        lab.say("polling each 100 ms")
    return [
        figure("from COMMIT's answer, p50", "ms", runs.answered_p50, target=at_most(2)),
        figure("from COMMIT's answer, p99", "ms", runs.answered_p99, target=at_most(10)),
        figure("from COMMIT sent, p50", "ms", runs.sent_p50, goal=at_most(2)),
        figure("from COMMIT sent, p99", "ms", runs.sent_p99, goal=at_most(10)),
        figure("COMMIT itself, p50", "ms", runs.commit_p50),
        figure("frames that arrived", "%", runs.arrived, target=at_least(100)),
        figure("polling each 100 ms, p50", "ms", [percentile(polled, 0.5)]),
        figure("polling each 100 ms, p99", "ms", [percentile(polled, 0.99)]),
    ]


if __name__ == "__main__":
    run_program("latency_changes", __doc__, measure)
