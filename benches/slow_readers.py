"""5 of 50 clients stop reading: what the other 45 keep of their rate.

The rate of the 45 is compared with that of 45 clients alone, so that the five who no longer
take part do not count as a gain.
"""

from __future__ import annotations

from benches.support.load import LoadReport, run_load
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_least, at_most, figure
from benches.support.servers import TidewireServer

READING = 45
STALLED = 5
PAYLOAD_BYTES = 2000
OUTBOX_MB = 1.05


def measure(lab: Lab) -> list[Figure]:
    alone: list[LoadReport] = []
    beside: list[LoadReport] = []
    grown_mb: list[float] = []
    load = {"payload_bytes": PAYLOAD_BYTES, "window": 4, "seconds": lab.seconds}
    for repetition in range(lab.repetitions):
        with TidewireServer() as product, lab.watch(product.processes, "slow readers"):
            alone.append(run_load(product, "fanout", clients=READING, **load))
            before_kb = product.resident_kb()
            beside.append(
                run_load(product, "fanout", clients=READING + STALLED, stalled=STALLED, **load)
            )
            grown_mb.append((product.resident_kb() - before_kb) / 1024)
        lab.say(f"run {repetition + 1} of {lab.repetitions}")
    kept = [
        two.delivered_per_s / one.delivered_per_s * 100
        for one, two in zip(alone, beside, strict=True)
    ]
    return [
        figure("rate kept by the others", "%", kept, target=at_least(95)),
        figure("rate alone", "k/s", [one.delivered_per_s / 1e3 for one in alone]),
        figure(
            "memory grown by five stalled clients",
            "MB",
            grown_mb,
            goal=at_most(round(1.2 * OUTBOX_MB * STALLED, 1)),
        ),
    ]


if __name__ == "__main__":
    run_program("slow_readers", __doc__, measure)
