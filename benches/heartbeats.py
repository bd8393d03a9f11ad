"""Heartbeats answered per second, one in flight for each client, beside the C loop."""

from __future__ import annotations

from benches.support.compare import alternate, ratios, ratios_per_cpu
from benches.support.load import LoadReport
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_least, figure
from benches.support.servers import ReferenceServer, TidewireServer


def _replies(report: LoadReport) -> float:
    return report.replies_per_s


def measure(lab: Lab) -> list[Figure]:
    with ReferenceServer() as reference, TidewireServer() as product:
        few = alternate(lab, reference, product, "heartbeat", clients=64)
        many = alternate(lab, reference, product, "heartbeat", clients=1000)
    return [
        figure(
            "64 clients",
            "k/s",
            [two.replies_per_s / 1e3 for _, two in few],
            target=at_least(80),
            goal=at_least(100),
        ),
        figure("64 clients: rate over the C loop's", "x", ratios(few, _replies)),
        figure("64 clients: per CPU second", "x", ratios_per_cpu(few, _replies)),
        figure("64 clients: C loop", "k/s", [one.replies_per_s / 1e3 for one, _ in few]),
        figure("1,000 clients", "k/s", [two.replies_per_s / 1e3 for _, two in many]),
        figure("1,000 clients: rate over the C loop's", "x", ratios(many, _replies)),
    ]


if __name__ == "__main__":
    run_program("heartbeats", __doc__, measure)
