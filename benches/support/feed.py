"""Rows written at a pace, and the frames in which listening clients got them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benches.support.load import LoadFailedError, hold_load
from benches.support.machine import ROOT, load_core, pin
from benches.support.servers import TidewireServer
from benches.support.writer import TABLE

LATE_S = 1.0
WRITER_TIMEOUT_S = 600
_RECORD = struct.Struct("<QQQ")


class Note(NamedTuple):
    """One row, as its writer saw it.

    Attributes:
        sequence: Its number.
        sent_ns: When COMMIT was sent (CLOCK_MONOTONIC).
        answered_ns: When its answer was there.
    """

    sequence: int
    sent_ns: int
    answered_ns: int


class Arrival(NamedTuple):
    """One row in one client.

    Attributes:
        sequence: Its number.
        at_ns: When it was there (CLOCK_MONOTONIC).
        client: In which client.
    """

    sequence: int
    at_ns: int
    client: int


def join_config(**entry: object) -> str:
    """The config of a join that listens to the written table."""
    schema, _, table = TABLE.partition(".")
    return json.dumps(
        {
            "broadcast": {"ack": False, "self": False},
            "presence": {"key": "", "enabled": False},
            "postgres_changes": [{"event": "*", "schema": schema, "table": table, **entry}],
            "private": False,
        }
    )


def listen_and_write(
    product: TidewireServer,
    *,
    clients: int,
    rate: float,
    seconds: float,
    rows_per_commit: int = 1,
    tokens: str | None = None,
    late_s: float = LATE_S,
) -> tuple[list[Note], list[Arrival]]:
    """Let clients listen while rows are written; give what was written and what arrived.

    Args:
        product: The server; the table is there.
        clients: How many listen.
        rate: Rows a second.
        seconds: For how long.
        rows_per_commit: Rows in one transaction.
        tokens: File of access tokens, one a line, given to the joins in turn.
        late_s: How long after the last row is still listened.

    Raises:
        LoadFailedError: The generator or the writer gave up.
    """
    with tempfile.NamedTemporaryFile(prefix="tidewire-frames-") as log:
        with hold_load(
            product,
            "listen",
            clients=clients,
            join_config=join_config(),
            log=log.name,
            tokens=tokens,
        ) as held:
            notes = _finish(_start(product, rate, seconds, rows_per_commit))
            time.sleep(late_s)
            held.finish()
        records = _RECORD.iter_unpack(Path(log.name).read_bytes())
        return notes, [Arrival(*record) for record in records]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _start(
    product: TidewireServer, rate: float, seconds: float, rows_per_commit: int
) -> subprocess.Popen[str]:
    module = "benches.support.writer"
    url = product.ready.database_url
    writer = subprocess.Popen(
        [sys.executable, "-m", module, url, str(rate), str(seconds), str(rows_per_commit)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    pin(writer.pid, load_core())
    return writer


def _finish(writer: subprocess.Popen[str]) -> list[Note]:
    output, _ = writer.communicate(timeout=WRITER_TIMEOUT_S)
    if writer.returncode != 0:
        raise LoadFailedError("the writer failed; its words stand above")
    return [Note(*json.loads(line)) for line in output.splitlines()]
