"""Server CPU for 100 users in rooms of 10, each sending one cursor move a second.

For scale, the C loop with as many publishes and deliveries: between two of them the processor's
caches go cold, so each costs several times what it costs under load.
"""

from __future__ import annotations

from benches.support.load import run_load
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_most, figure
from benches.support.servers import ReferenceServer, TidewireServer

USERS = 100
ROOM = 10


def measure(lab: Lab) -> list[Figure]:
    seconds = 5 if lab.quick else 20
    with ReferenceServer() as reference, TidewireServer() as product:
        limit = lab.repeat(
            "C loop",
            reference.processes,
            lambda: run_load(
                reference, "fanout", clients=ROOM - 1, rate=USERS, seconds=seconds, warm_up=2
            ),
            times=3,
        )
        reports = lab.repeat(
            "rooms",
            product.processes,
            lambda: run_load(
                product,
                "rooms",
                clients=USERS,
                room_size=ROOM,
                rate=1,
                seconds=seconds,
                warm_up=2,
            ),
            times=3,
        )
    return [
        figure(
            "server CPU",
            "% of a core",
            [one.server_cpu * 100 for one in reports],
            target=at_most(5),
            goal=at_most(1),
        ),
        figure("C loop: CPU", "% of a core", [one.server_cpu * 100 for one in limit]),
        figure("delivered", "per s", [one.delivered_per_s for one in reports]),
        figure("cursor move, p50", "ms", [one.p50_us / 1e3 for one in reports]),
        figure("cursor move, p99", "ms", [one.p99_us / 1e3 for one in reports]),
    ]


if __name__ == "__main__":
    run_program("asked_load", __doc__, measure)
