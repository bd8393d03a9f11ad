"""5 of 50 clients stop reading: what the other 45 keep of their rate.

The rate of the 45 is compared with that of 45 clients alone, so that the five who no longer
take part do not count as a gain.
"""

from __future__ import annotations

from typing import NamedTuple

from benches.support.load import LoadReport, run_load
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_least, at_most, figure
from benches.support.servers import TidewireServer

READING = 45
STALLED = 5
PAYLOAD_BYTES = 2000
OUTBOX_MB = 1.05


class _Run(NamedTuple):
    alone: LoadReport
    beside: LoadReport


def _run(lab: Lab, product: TidewireServer) -> _Run:
    load = {"payload_bytes": PAYLOAD_BYTES, "window": 4, "seconds": lab.seconds}
    return _Run(
        run_load(product, "fanout", clients=READING, **load),
        run_load(product, "fanout", clients=READING + STALLED, stalled=STALLED, **load),
    )


def measure(lab: Lab) -> list[Figure]:
    with TidewireServer() as product:
        run_load(product, "fanout", clients=READING, payload_bytes=PAYLOAD_BYTES, seconds=1)
        before_kb = product.resident_kb()
        runs = lab.repeat("slow readers", product.processes, lambda: _run(lab, product))
        grown_mb = (product.resident_kb() - before_kb) / 1024
    kept = [one.beside.delivered_per_s / one.alone.delivered_per_s * 100 for one in runs]
    return [
        figure("rate kept by the others", "%", kept, target=at_least(95)),
        figure("rate alone", "k/s", [one.alone.delivered_per_s / 1e3 for one in runs]),
        figure(
            "memory grown by five stalled clients",
            "MB",
            [grown_mb],
            goal=at_most(round(1.2 * OUTBOX_MB * STALLED, 1)),
        ),
    ]


if __name__ == "__main__":
    run_program("slow_readers", __doc__, measure)
