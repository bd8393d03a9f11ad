"""A thousand tokens refreshed each second: what it costs the changes, and everybody else.

A thousand channels listen to a table and refresh their tokens once a second each, while rows are
committed and a client that has nothing to do with it sends heartbeats one after the other. Counted
are the rows that a refreshing channel missed or got twice, and how long the heartbeats took, with
and without the refreshes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from benches.support.load import LoadFailedError, LoadReport, run_load
from benches.support.machine import ROOT, load_core, pin
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_least, at_most, figure
from benches.support.servers import TidewireServer
from benches.support.writer import create_table, write_rows

CHANNELS = 1000
ROWS_PER_S = 5
LATE_S = 1.0
END_TIMEOUT_S = 60


class Outcome(NamedTuple):
    """What one run saw.

    Attributes:
        others: Heartbeats of the client beside.
        refreshes_per_s: Refreshes sent.
        missed: Rows that a channel should have got and did not, of all channels.
        doubles: Rows that came twice.
        closed: Channels that the server closed.
    """

    others: LoadReport
    refreshes_per_s: float
    missed: int
    doubles: int
    closed: int


def _others(lab: Lab, product: TidewireServer) -> LoadReport:
    return run_load(
        product, "heartbeat", clients=1, topic="quiet", seconds=lab.seconds, warm_up=lab.warm_up_s
    )


@contextmanager
def _refreshing(product: TidewireServer) -> Generator[subprocess.Popen[str]]:
    """The refreshing channels, all joined, for the length of the block."""
    ready = product.ready
    command = [sys.executable, "-m", "benches.support.refresher"]
    command += [ready.url, ready.anon_key, ready.jwt_secret, str(CHANNELS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        pin(process.pid, load_core())
        try:
            assert process.stdout is not None
            if "joined" not in process.stdout.readline():
                raise LoadFailedError("the refreshing channels did not join")
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _run(lab: Lab, product: TidewireServer) -> Outcome:
    written: list[int] = []

    def write() -> None:
        seconds = lab.seconds + lab.warm_up_s
        notes = asyncio.run(write_rows(product.ready.database_url, ROWS_PER_S, seconds, 1))
        written.extend(sequence for sequence, _, _ in notes)

    with _refreshing(product) as process:
        writer = threading.Thread(target=write)
        writer.start()
        others = _others(lab, product)
        writer.join()
        time.sleep(LATE_S)
        output, _ = process.communicate("\n", timeout=END_TIMEOUT_S)
    if process.returncode != 0:
        raise LoadFailedError("the refreshing channels failed; their words stand above")
    told = json.loads(output.splitlines()[-1])
    missed = CHANNELS * len(written) - sum(told["rows"])
    return Outcome(others, told["refreshes_per_s"], missed, told["doubles"], told["closed"])


def measure(lab: Lab) -> list[Figure]:
    with TidewireServer() as product:
        asyncio.run(create_table(product.ready.database_url))
        calm = lab.repeat("calm", product.processes, lambda: _others(lab, product), times=3)
        runs = lab.repeat("refreshing", product.processes, lambda: _run(lab, product), times=3)
    return [
        figure(
            "tokens refreshed",
            "/s",
            [run.refreshes_per_s for run in runs],
            target=at_least(0.97 * CHANNELS),
        ),
        figure("rows missed", "", [float(run.missed) for run in runs], target=at_most(0)),
        figure("rows that came twice", "", [float(run.doubles) for run in runs], target=at_most(0)),
        figure("channels closed", "", [float(run.closed) for run in runs], target=at_most(0)),
        figure(
            "heartbeat of others, p99",
            "ms",
            [run.others.p99_us / 1e3 for run in runs],
            target=at_most(50),
        ),
        figure("heartbeat of others, worst", "ms", [run.others.max_us / 1e3 for run in runs]),
        figure("the same without refreshes, p99", "ms", [one.p99_us / 1e3 for one in calm]),
        figure("server's processor", "cores", [run.others.server_cpu for run in runs]),
    ]


if __name__ == "__main__":
    run_program("token_refresh", __doc__, measure)
