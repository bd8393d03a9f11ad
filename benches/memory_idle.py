"""Memory of our process per idle connection with one joined channel.

The slope between 1,000 and 9,000 connections; memory of the kernel is not counted.
"""

from __future__ import annotations

import time

from benches.support.load import hold_load
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_most, figure
from benches.support.servers import TidewireServer

FIRST = 1000
MORE = 8000
SETTLE_S = 1.5


def _run() -> tuple[float, float]:
    """KB per connection, and connections joined per second on the way."""
    with TidewireServer() as product, hold_load(product, "idle", clients=FIRST):
        time.sleep(SETTLE_S)
        before_kb = product.resident_kb()
        with hold_load(product, "idle", clients=MORE, concurrency=256) as rest:
            time.sleep(SETTLE_S)
            grown_kb = product.resident_kb() - before_kb
            report = rest.finish()
    return grown_kb / MORE, MORE / report.open_s


def measure(lab: Lab) -> list[Figure]:
    runs: list[tuple[float, float]] = []
    for repetition in range(3):
        runs.append(_run())
        lab.say(f"{FIRST + MORE} connections, run {repetition + 1} of 3: {runs[-1][0]:.2f} KB each")
    return [
        figure(
            "per connection", "KB", [slope for slope, _ in runs], target=at_most(6), goal=at_most(5)
        ),
        figure("opened and joined meanwhile", "k/s", [rate / 1e3 for _, rate in runs]),
    ]


if __name__ == "__main__":
    run_program("memory_idle", __doc__, measure)
