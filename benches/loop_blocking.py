"""Worst heartbeat of a quiet client while 5,000 others get 100,000 deliveries a second."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from benches.support.load import LoadReport, Target, run_load
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_most, figure
from benches.support.servers import ReferenceServer, TidewireServer

SUBSCRIBERS = 5000
PUBLISHES_PER_S = 20
QUIET_WARM_UP_S = 0.2
FAN_OUT_NICE = 10
"""Both generators share a core: the quiet client must not wait for the other's time slice."""


def _run(lab: Lab, server: Target) -> tuple[LoadReport, LoadReport]:
    """The quiet client, and the fan-out that ran all the while around it."""
    with ThreadPoolExecutor(1) as pool:
        # Generous: the fan-out must outlast its own opening and the quiet client's run.
        busy = pool.submit(
            run_load,
            server,
            "fanout",
            clients=SUBSCRIBERS,
            rate=PUBLISHES_PER_S,
            warm_up=0.3,
            seconds=lab.seconds + 3,
            concurrency=256,
            nice=FAN_OUT_NICE,
        )
        time.sleep(2.5)
        quiet = run_load(
            server,
            "heartbeat",
            clients=1,
            topic="quiet",
            seconds=lab.seconds,
            warm_up=QUIET_WARM_UP_S,
        )
        return quiet, busy.result()


def _calm(lab: Lab, server: Target) -> LoadReport:
    """The same quiet client while nothing else happens: what the machine itself adds."""
    return run_load(
        server,
        "heartbeat",
        clients=1,
        topic="quiet",
        seconds=lab.seconds,
        warm_up=QUIET_WARM_UP_S,
    )


def measure(lab: Lab) -> list[Figure]:
    with ReferenceServer() as reference, TidewireServer() as product:
        limit = lab.repeat("C loop", reference.processes, lambda: _run(lab, reference), times=3)
        calm = lab.repeat("calm", product.processes, lambda: _calm(lab, product), times=3)
        ours = lab.repeat("Tidewire", product.processes, lambda: _run(lab, product))
    return [
        figure(
            "worst heartbeat",
            "ms",
            [quiet.max_us / 1e3 for quiet, _ in ours],
            target=at_most(15),
            goal=at_most(10),
        ),
        figure("p99 heartbeat", "ms", [quiet.p99_us / 1e3 for quiet, _ in ours]),
        figure("worst heartbeat without the fan-out", "ms", [one.max_us / 1e3 for one in calm]),
        figure("C loop: worst heartbeat", "ms", [quiet.max_us / 1e3 for quiet, _ in limit]),
        figure("fan-out: delivered", "k/s", [busy.delivered_per_s / 1e3 for _, busy in ours]),
        figure("fan-out: p99", "ms", [busy.p99_us / 1e3 for _, busy in ours]),
        figure("C loop: fan-out p99", "ms", [busy.p99_us / 1e3 for _, busy in limit]),
    ]


if __name__ == "__main__":
    run_program("loop_blocking", __doc__, measure)
