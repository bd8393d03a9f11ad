"""Seconds from `tidewire serve` on an empty folder to ready, its database included."""

from __future__ import annotations

from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_most, figure
from benches.support.servers import TidewireServer


def measure(lab: Lab) -> list[Figure]:
    first: list[float] = []
    again: list[float] = []
    for repetition in range(lab.repetitions):
        with TidewireServer() as server:
            first.append(server.took_s)
            server.stop()
            server.start()
            again.append(server.took_s)
        lab.say(f"run {repetition + 1} of {lab.repetitions}: {first[-1]:.2f} s")
    return [
        figure("empty folder to ready", "s", first, target=at_most(3)),
        figure("second start to ready", "s", again),
    ]


if __name__ == "__main__":
    run_program("startup", __doc__, measure)
