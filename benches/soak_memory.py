"""Memory under load after warm-up: the upper bound of its slope in KB a minute.

The load: a fan-out at an even pace, rows committed to a subscribed table, and waves of clients
that connect, join and vanish. 2 minutes; --minutes 120 for a soak.
"""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from benches.support.feed import join_config
from benches.support.load import hold_load, run_load
from benches.support.machine import ROOT, load_core, pin
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_most, figure
from benches.support.servers import TidewireServer
from benches.support.writer import create_table

DEFAULT_MINUTES = 2.0
QUICK_MINUTES = 0.5
WARM_UP_S = 30.0
SAMPLE_S = 1.0
BLOCK_S = 5.0
SUBSCRIBERS = 200
PUBLISHES_PER_S = 50
CHANGES_PER_S = 50
WAVE_EVERY_S = 5.0
LIMIT_KB_PER_MINUTE = 128.0


def _publish(product: TidewireServer, stop: threading.Event) -> None:
    while not stop.is_set():
        run_load(
            product,
            "fanout",
            clients=SUBSCRIBERS,
            rate=PUBLISHES_PER_S,
            seconds=20,
            warm_up=0,
        )


def _come_and_go(product: TidewireServer, stop: threading.Event) -> None:
    while not stop.wait(WAVE_EVERY_S):
        run_load(product, "connect", concurrency=16, seconds=0.3, warm_up=0)


@contextmanager
def _under_load(product: TidewireServer, seconds: float) -> Generator[None]:
    asyncio.run(create_table(product.ready.database_url))
    stop = threading.Event()
    threads = [
        threading.Thread(target=target, args=(product, stop)) for target in (_publish, _come_and_go)
    ]
    with ExitStack() as stack:
        stack.enter_context(hold_load(product, "listen", clients=20, join_config=join_config()))
        writer = subprocess.Popen(
            [
                *(sys.executable, "-m", "benches.support.writer", product.ready.database_url),
                *(str(CHANGES_PER_S), str(seconds)),
            ],
            stdout=stack.enter_context(tempfile.TemporaryFile()),
            cwd=ROOT,
        )
        pin(writer.pid, load_core())
        stack.callback(writer.wait)
        stack.callback(writer.terminate)
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(stop.set)
        yield


def _sample(product: TidewireServer, seconds: float) -> list[float]:
    """Resident KB: the least of each block, since what is freed soon is no growth."""
    blocks: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        samples: list[float] = []
        for _ in range(int(BLOCK_S / SAMPLE_S)):
            time.sleep(SAMPLE_S)
            samples.append(product.resident_kb())
        blocks.append(min(samples))
    return blocks


def slope_with_error(values: list[float]) -> tuple[float, float]:
    """Least-squares slope per step, and its standard error."""
    count = len(values)
    middle, mean = (count - 1) / 2, sum(values) / count
    spread = sum((step - middle) ** 2 for step in range(count))
    slope = sum((step - middle) * (value - mean) for step, value in enumerate(values)) / spread
    residual = sum(
        (value - mean - slope * (step - middle)) ** 2 for step, value in enumerate(values)
    )
    return slope, math.sqrt(residual / max(1, count - 2) / spread)


def measure(lab: Lab) -> list[Figure]:
    minutes = lab.minutes or (QUICK_MINUTES if lab.quick else DEFAULT_MINUTES)
    warm_up_s = 10.0 if lab.quick else WARM_UP_S
    with TidewireServer() as product, _under_load(product, minutes * 60 + warm_up_s + 60):
        time.sleep(warm_up_s)
        lab.say(f"warm; measuring for {minutes:g} minutes")
        with lab.watch(product.processes, "soak"):
            blocks = _sample(product, minutes * 60)
    slope, error = slope_with_error(blocks)
    per_minute = 60 / BLOCK_S
    return [
        figure(
            "slope, upper bound (95 %)",
            "KB/min",
            [(slope + 1.96 * error) * per_minute],
            target=at_most(LIMIT_KB_PER_MINUTE),
        ),
        figure("slope", "KB/min", [slope * per_minute]),
        figure("resident at the end", "MB", [blocks[-1] / 1024]),
        figure("measured", "minutes", [minutes]),
    ]


if __name__ == "__main__":
    run_program("soak_memory", __doc__, measure)
