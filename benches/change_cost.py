"""CPU for one change with 10,000 filtered subscriptions, 10 of which match.

Decode, match, judge, render and encode, through the router and the fan-out themselves, without
sockets: see micro/match.py. With the compiled row renderer and with its pure-Python twin.

The targets are for what the engine does per change: decode, match, and encode once for all who
subscribe alike ("one topic"). Where each of the ten has a topic of its own, ten different frames
are made for ten audiences: there the same figure is the goal.
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
        rounds = 3 if lab.quick else 9

        def run(rounds: int = rounds, alike: bool = alike) -> dict[str, float]:
            return asyncio.run(measure_match(SUBSCRIPTIONS, MATCHING, rounds, alike=alike))

        runs = lab.repeat(f"{renderer}, {case}", list, run, times=3)
        per_change = [run["per_change_us"] for run in runs]
        subscribe = [run["subscribe_us"] for run in runs]
        figures += [
            figure(
                f"one change, {renderer}, {case}",
                "us",
                per_change,
                target=target if alike else None,
                goal=None if alike else target,
            ),
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
