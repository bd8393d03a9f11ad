"""CPU for one change with 10,000 filtered subscriptions, 10 of which match.

Decode, match, judge, render and encode, through the router and the fan-out themselves, without
sockets: see micro/match.py. With the compiled row renderer and with its pure-Python twin.
"""

from __future__ import annotations

import asyncio

from benches.micro.match import measure as measure_match
from benches.support.program import Lab, run_program
from benches.support.result import Bound, Figure, at_most, figure
from tidewire.protocol.pgoutput import compiled

SUBSCRIPTIONS = 10_000
MATCHING = 10


def _figures(lab: Lab, renderer: str, target: Bound) -> list[Figure]:
    """Ten matching channels on ten topics, ten frames to encode; and all alike, encoded once."""
    figures: list[Figure] = []
    for case, alike in (("own topics", False), ("one topic", True)):
        runs: list[dict[str, float]] = []
        for _ in range(3):
            with lab.watch(list, renderer):
                work = measure_match(SUBSCRIPTIONS, MATCHING, 3 if lab.quick else 9, alike=alike)
                runs.append(asyncio.run(work))
        lab.say(f"{renderer}, {case}: {runs[-1]['per_change_us']:.1f} us")
        per_change = [run["per_change_us"] for run in runs]
        subscribe = [run["subscribe_us"] for run in runs]
        figures += [
            figure(f"one change, {renderer}, {case}", "us", per_change, target=target),
            figure(f"one subscription, {renderer}, {case}", "us", subscribe),
        ]
    return figures


def measure(lab: Lab) -> list[Figure]:
    compiled.use_python()
    figures = _figures(lab, "pure Python", at_most(40))
    if compiled.use_compiled():
        figures += _figures(lab, "compiled renderer", at_most(15))
    else:
        lab.notes.append("the compiled renderer is not built here")
    return figures


if __name__ == "__main__":
    run_program("change_cost", __doc__, measure)
