"""What an idle server costs: its queries in 10 s, and its CPU with 100 idle clients.

Queries are counted in the database's own log, every statement logged. The clients send a
heartbeat each 25 s, as stock ones do.
"""

from __future__ import annotations

import time

from benches.support.load import hold_load
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_most, figure
from benches.support.servers import TidewireServer
from benches.support.statements import (
    leave_marker,
    log_statements,
    statements_between_markers,
)

CLIENTS = 100
SETTLE_S = 6.0


def measure(lab: Lab) -> list[Figure]:
    seconds = 10.0 if lab.quick else 30.0
    with TidewireServer() as product, hold_load(product, "idle", clients=CLIENTS):
        url = product.ready.database_url
        log_statements(url)
        time.sleep(SETTLE_S)
        leave_marker(url)
        shares: list[float] = []
        with lab.watch(product.processes, "idle"):
            for _ in range(3):
                began, before = time.monotonic(), product.cpu_s()
                time.sleep(seconds)
                shares.append((product.cpu_s() - before) / (time.monotonic() - began) * 100)
        leave_marker(url)
        statements = statements_between_markers(product.data_dir)
    lab.notes += [f"a query while idle: {text[:120]}" for text in sorted(set(statements))]
    return [
        figure("queries in 10 s", "", [len(statements) / (3 * seconds) * 10], target=at_most(1)),
        figure(f"CPU with {CLIENTS} idle clients", "% of a core", shares, target=at_most(0.5)),
    ]


if __name__ == "__main__":
    run_program("idle", __doc__, measure)
