"""The product and the C loop, measured in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from benches.support.load import LoadReport, run_load
from benches.support.program import Lab
from benches.support.servers import ReferenceServer, TidewireServer

Pair = tuple[LoadReport, LoadReport]
"""What one repetition saw: the C loop, then the product right after it."""


def alternate(
    lab: Lab,
    reference: ReferenceServer,
    product: TidewireServer,
    mode: str,
    **options: Any,
) -> list[Pair]:
    """Drive both in turns with the same load, so that a drift of the machine meets both."""
    timing = {"seconds": lab.seconds, "warm_up": lab.warm_up_s}
    what = " ".join([mode, *(f"{name} {value}" for name, value in options.items())])

    def run() -> Pair:
        first = run_load(reference, mode, **timing, **options)
        return first, run_load(product, mode, **timing, **options)

    return lab.repeat(what, lambda: [*reference.processes(), *product.processes()], run)


def ratios(pairs: list[Pair], value: Callable[[LoadReport], float]) -> list[float]:
    """Product over C loop, pair by pair."""
    return [value(product) / value(reference) for reference, product in pairs]


def ratios_per_cpu(pairs: list[Pair], value: Callable[[LoadReport], float]) -> list[float]:
    """The same per processor time of the servers: foreign load touches it less."""
    return ratios(pairs, lambda report: value(report) / max(report.server_cpu, 0.01))


def median_of(pairs: list[Pair], value: Callable[[LoadReport], float]) -> tuple[float, float]:
    """Medians of the C loop and of the product."""
    return (
        statistics.median(value(reference) for reference, _ in pairs),
        statistics.median(value(product) for _, product in pairs),
    )
