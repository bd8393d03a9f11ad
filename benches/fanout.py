"""Broadcast fan-out to 1,000 subscribers of one topic, beside the C loop in the same run.

A closed loop keeps 1, 4 or 8 publishes in flight. The C loop does one send() per delivery and
nothing else; with several publishes in flight the product joins what one turn of its loop
brings and so does more with each send().
"""

from __future__ import annotations

from benches.support.compare import alternate, ratios, ratios_per_cpu
from benches.support.load import LoadReport, run_load
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_least, at_most, figure
from benches.support.servers import ReferenceServer, TidewireServer

SUBSCRIBERS = 1000
WINDOWS = {1: (0.7, 0.75), 4: (1.6, 1.8), 8: (3.5, 4.0)}
OPEN_SUBSCRIBERS = 100
OPEN_DELIVERIES_PER_S = 500_000


def _delivered(report: LoadReport) -> float:
    return report.delivered_per_s


def measure(lab: Lab) -> list[Figure]:
    figures: list[Figure] = []
    with ReferenceServer() as reference, TidewireServer() as product:
        for window, (target, goal) in WINDOWS.items():
            pairs = alternate(lab, reference, product, "fanout", clients=SUBSCRIBERS, window=window)
            name = f"{window} in flight"
            figures += [
                figure(
                    f"{name}: rate over the C loop's",
                    "x",
                    ratios(pairs, _delivered),
                    target=at_least(target),
                    goal=at_least(goal),
                ),
                figure(f"{name}: per CPU second", "x", ratios_per_cpu(pairs, _delivered)),
                figure(f"{name}: C loop", "k/s", [one.delivered_per_s / 1e3 for one, _ in pairs]),
                figure(f"{name}: Tidewire", "k/s", [two.delivered_per_s / 1e3 for _, two in pairs]),
            ]
        figures += _open_loop(lab, product)
    return figures


def _open_loop(lab: Lab, product: TidewireServer) -> list[Figure]:
    """Evenly spaced publishes, 500,000 deliveries a second to 100 subscribers."""
    reports = lab.repeat(
        "500 k deliveries/s to 100 subscribers",
        product.processes,
        lambda: run_load(
            product,
            "fanout",
            clients=OPEN_SUBSCRIBERS,
            rate=OPEN_DELIVERIES_PER_S / OPEN_SUBSCRIBERS,
            seconds=lab.seconds,
            warm_up=lab.warm_up_s,
        ),
    )
    return [
        figure("500 k/s to 100: delivered", "k/s", [one.delivered_per_s / 1e3 for one in reports]),
        figure(
            "500 k/s to 100: server CPU",
            "% of a core",
            [one.server_cpu * 100 for one in reports],
            goal=at_most(30),
        ),
        figure("500 k/s to 100: p99", "ms", [one.p99_us / 1e3 for one in reports], goal=at_most(6)),
    ]


if __name__ == "__main__":
    run_program("fanout", __doc__, measure)
