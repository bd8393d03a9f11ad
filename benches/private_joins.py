"""A thousand private channels joined at once: until the last is answered, and what it asks.

Each join has a token, a topic and claims of its own; policies decide by the claims. Counted are
the statements in the database's log. A second part joins at a pace, where nothing waits long.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import NamedTuple

import asyncpg

from benches.support.load import LoadFailedError
from benches.support.machine import ROOT, load_core, pin
from benches.support.program import Lab, run_program
from benches.support.result import Figure, at_most, figure
from benches.support.servers import TidewireServer
from benches.support.statements import (
    leave_marker,
    log_statements,
    statements_between_markers,
)

CHANNELS = 1000
PACE_PER_S = 200.0
END_TIMEOUT_S = 60
POLICIES = """
create policy hear on realtime.messages for select to authenticated
  using (realtime.topic() = 'team:' || (select auth.jwt() ->> 'team'));
create policy speak on realtime.messages for insert to authenticated
  with check (realtime.topic() = 'team:' || (auth.jwt() ->> 'team'));
"""


class Outcome(NamedTuple):
    """What one run saw.

    Attributes:
        took_s: To the last answer.
        refused: Joins that were not let in.
        statements: Asked of the database meanwhile.
    """

    took_s: float
    refused: int
    statements: int

    @property
    def statements_per_s(self) -> float:
        """Their rate; within the first second, their number."""
        return self.statements / max(self.took_s, 1.0)


def _join(product: TidewireServer, channels: int, per_s: float) -> Outcome:
    ready = product.ready
    command = [sys.executable, "-m", "benches.support.joiner", ready.url, ready.anon_key]
    command += [ready.jwt_secret, str(channels), str(per_s)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        pin(process.pid, load_core())
        try:
            assert process.stdout is not None
            if "connected" not in process.stdout.readline():
                raise LoadFailedError("the joining clients did not connect")
            leave_marker(ready.database_url)
            output, _ = process.communicate("\n", timeout=END_TIMEOUT_S)
            leave_marker(ready.database_url)
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode != 0:
        raise LoadFailedError("the joining clients failed; their words stand above")
    told = json.loads(output.splitlines()[-1])
    return Outcome(
        told["took_s"], told["refused"], len(statements_between_markers(product.data_dir))
    )


def measure(lab: Lab) -> list[Figure]:
    paced = int(PACE_PER_S * (1 if lab.quick else 5))
    with TidewireServer() as product:
        asyncio.run(_make_policies(product.ready.database_url))
        log_statements(product.ready.database_url)
        once = lab.repeat("at once", product.processes, lambda: _join(product, CHANNELS, 0))
        pace = lab.repeat("at a pace", product.processes, lambda: _join(product, paced, PACE_PER_S))
    return [
        figure("all answered", "s", [run.took_s for run in once], target=at_most(5)),
        figure("statements", "", [float(run.statements) for run in once]),
        figure("statements", "/s", [run.statements_per_s for run in once], target=at_most(50)),
        figure("refused", "", [float(run.refused) for run in (*once, *pace)], target=at_most(0)),
        figure(
            f"statements at {PACE_PER_S:.0f} joins/s",
            "/s",
            [run.statements_per_s for run in pace],
            target=at_most(50),
        ),
    ]


async def _make_policies(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(POLICIES)
    await connection.close()


if __name__ == "__main__":
    run_program("private_joins", __doc__, measure)
