"""Connections opened and joined per second, each with its token checked.

Once with the anonymous key alone, once with a user's own token in each join: 20,000 of them,
so that a server that remembers tokens it has seen gains nothing.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import jwt

from benches.support.compare import alternate, ratios
from benches.support.load import LoadReport, run_load
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_least, figure
from benches.support.servers import ReferenceServer, TidewireServer

USER_TOKENS = 20_000


def _joined(report: LoadReport) -> float:
    return report.replies_per_s


def _write_tokens(path: Path, secret: str) -> None:
    expires = int(time.time()) + 3600
    lines = (
        jwt.encode({"role": "anon", "sub": f"user-{i}", "exp": expires}, secret, "HS256")
        for i in range(USER_TOKENS)
    )
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def measure(lab: Lab) -> list[Figure]:
    with (
        ReferenceServer() as reference,
        TidewireServer() as product,
        tempfile.NamedTemporaryFile(prefix="tidewire-tokens-") as tokens,
    ):
        keyed = alternate(lab, reference, product, "connect", concurrency=128)
        _write_tokens(Path(tokens.name), product.ready.jwt_secret)
        own = lab.repeat(
            "user tokens",
            product.processes,
            lambda: run_load(
                product,
                "connect",
                concurrency=128,
                tokens=tokens.name,
                seconds=lab.seconds,
                warm_up=lab.warm_up_s,
            ),
        )
    return [
        figure(
            "with the anonymous key",
            "k/s",
            [two.replies_per_s / 1e3 for _, two in keyed],
            target=at_least(5),
            goal=at_least(10),
        ),
        figure("rate over the C loop's", "x", ratios(keyed, _joined)),
        figure("time to joined, p50", "ms", [two.p50_us / 1e3 for _, two in keyed]),
        figure("time to joined, p99", "ms", [two.p99_us / 1e3 for _, two in keyed]),
        figure(
            "with a token of its own in each join",
            "k/s",
            [one.replies_per_s / 1e3 for one in own],
            goal=at_least(5),
        ),
    ]


if __name__ == "__main__":
    run_program("connect_join", __doc__, measure)
