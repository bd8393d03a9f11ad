"""kill -9 of the process that writes the journal, again and again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.journal import read_all
from tests.support.journal_writer import DISK_BYTES, STEP, transaction_at
from tests.support.stream import SystemClock
from tests.support.transactions import told
from tidewire.adapters.files.journal import FileJournal
from tidewire.adapters.files.limits import FileJournalLimits
from tidewire.core.lsn import Lsn

pytestmark = [pytest.mark.fault, pytest.mark.timeout(90)]

ROUNDS = 8


def write_and_kill(folder: Path, lsn: int, *, after_s: float) -> int:
    """Run a writer for a while; gives what it last told to be durable, or 0."""
    command = [sys.executable, "-m", "tests.support.journal_writer", str(folder), str(lsn)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(after_s)  # the time of the kill is the point, not something waited for
        writer.kill()
        rest = writer.stdout.read()
    whole = (first + rest).rpartition(b"\n")[0].split()
    return int(whole[-1]) if whole else 0


async def test_what_was_synced_is_there_in_order_and_once(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    chance = random.Random()
    lsn = durable = 0
    for _ in range(ROUNDS):
        durable = write_and_kill(folder, lsn, after_s=chance.uniform(0, 0.15)) or durable
        limits = FileJournalLimits(disk_bytes=DISK_BYTES, memory_bytes=1 << 20)
        journal = FileJournal(folder, SystemClock(), limits=limits)
        await journal.open()
        # What the database was told to forget is what was durable, no more.
        await journal.begin("e1", start=Lsn(durable))
        assert journal.covered >= durable
        assert journal.status.damages_total == 0
        found = await read_all(journal)
        assert found
        lsns = [int(item.commit_lsn) for item in found]
        floor = journal.floor
        assert floor is not None
        assert lsns == list(range(floor.commit_lsn // STEP * STEP + STEP, lsns[-1] + STEP, STEP))
        assert lsns[-1] + 5 >= durable
        assert all(
            told(item) == told(transaction_at(int(item.commit_lsn))) for item in found[-300:]
        )
        lsn = lsns[-1]
        await journal.close()
    assert lsn > 1000
