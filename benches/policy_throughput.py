"""1,000 changes a second to 500 subscribers under row security, of whom a fifth may see each.

Five hundred users, each with a token of his own; which rows he may see is said by a policy on a
claim, which five groups of a hundred share. Counted is the time from the answer to COMMIT to the
frame in the client. Who gets what is checked: a row that reaches somebody it is hidden from, or
fails to reach somebody, fails the bench.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import asyncpg
import jwt

from benches.support.feed import Arrival, Note, listen_and_write, percentile
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_least, at_most, figure
from benches.support.servers import TidewireServer
from benches.support.writer import create_table

SUBSCRIBERS = 500
GROUPS = 5
CHANGES_PER_S = 1000
ROWS_PER_COMMIT = 5
LATE_S = 5.0
POLICIES = {
    "a claim": f"client_id % {GROUPS} = (auth.jwt() ->> 'office_id')::bigint",
    "a look-up": (
        f"EXISTS (SELECT FROM bench_offices o WHERE o.office_id = client_id % {GROUPS}"
        " AND o.member_id = auth.uid())"
    ),
}
"""Conditions by name: one that reads a claim only, one that asks another table for each user."""


def _user(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def _write_tokens(path: Path, secret: str) -> None:
    expires = int(time.time()) + 3600
    lines = (
        jwt.encode(
            {
                "role": "authenticated",
                "sub": _user(number),
                "office_id": number % GROUPS,
                "exp": expires,
            },
            secret,
            "HS256",
        )
        for number in range(SUBSCRIBERS)
    )
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


async def _create_offices(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS public.bench_offices"
            " (office_id bigint, member_id uuid, PRIMARY KEY (member_id, office_id));"
            "GRANT SELECT ON public.bench_offices TO authenticated"
        )
        await connection.executemany(
            "INSERT INTO public.bench_offices VALUES ($1, $2::text::uuid) ON CONFLICT DO NOTHING",
            [(number % GROUPS, _user(number)) for number in range(SUBSCRIBERS)],
        )
    finally:
        await connection.close()


class _Runs:
    """What the repetitions saw."""

    def __init__(self) -> None:
        self.p50: list[float] = []
        self.p95: list[float] = []
        self.right: list[float] = []
        self.rate: list[float] = []

    def add(self, notes: list[Note], arrivals: list[Arrival]) -> None:
        answered = {note.sequence: note.answered_ns for note in notes}
        took = [max(0, one.at_ns - answered[one.sequence]) / 1e6 for one in arrivals]
        self.p50.append(percentile(took, 0.5))
        self.p95.append(percentile(took, 0.95))
        # Tokens go to the joins in the order of connecting, so a client's group shows in what
        # it gets: it must get all of one group and nothing of another.
        got: dict[int, set[int]] = {}
        for one in arrivals:
            got.setdefault(one.client, set()).add(one.sequence)
        by_group = [frozenset(s for s in answered if s % 50 % GROUPS == g) for g in range(GROUPS)]
        right = sum(seen in by_group for seen in got.values())
        exactly_once = len(arrivals) == sum(map(len, got.values()))
        self.right.append(100 * right / SUBSCRIBERS if exactly_once else 0)
        last = max(one.at_ns for one in arrivals)
        self.rate.append(len(notes) / ((last - min(answered.values())) / 1e9))


def measure(lab: Lab) -> list[Figure]:
    seconds = 4.0 if lab.quick else 12.0
    figures: list[Figure] = []
    with (
        TidewireServer() as product,
        tempfile.NamedTemporaryFile(prefix="tidewire-tokens-") as tokens,
    ):
        _write_tokens(Path(tokens.name), product.ready.jwt_secret)
        asyncio.run(_create_offices(product.ready.database_url))
        for name, policy in POLICIES.items():
            asyncio.run(create_table(product.ready.database_url, policy=policy))
            runs = _Runs()

            def run() -> tuple[list[Note], list[Arrival]]:
                return listen_and_write(
                    product,
                    clients=SUBSCRIBERS,
                    rate=CHANGES_PER_S,
                    seconds=seconds,
                    rows_per_commit=ROWS_PER_COMMIT,
                    tokens=tokens.name,
                    late_s=LATE_S,
                )

            for notes, arrivals in lab.repeat(name, product.processes, run, times=3):
                runs.add(notes, arrivals)
            is_gate = name == "a claim"
            figures += [
                figure(
                    f"policy on {name}: changes delivered",
                    "/s",
                    runs.rate,
                    target=at_least(0.97 * CHANGES_PER_S) if is_gate else None,
                ),
                figure(f"policy on {name}: p50", "ms", runs.p50),
                figure(
                    f"policy on {name}: p95",
                    "ms",
                    runs.p95,
                    target=at_most(100) if is_gate else None,
                ),
                figure(
                    f"policy on {name}: clients with exactly their rows",
                    "%",
                    runs.right,
                    target=at_least(100),
                ),
            ]
    return figures


if __name__ == "__main__":
    run_program("policy_throughput", __doc__, measure)
