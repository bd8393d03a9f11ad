"""A program that fills a journal until it is killed; tells each sync on a line of its output.

The line is the end LSN of what is durable. Transactions begin behind the number on the command
line, and each row says where it belongs: see `tests.support.transactions.transaction`.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from tests.support.stream import SystemClock
from tests.support.transactions import transaction
from tidewire.adapters.files.journal import FileJournal
from tidewire.adapters.files.limits import FileJournalLimits
from tidewire.core.change import Transaction
from tidewire.core.lsn import Lsn

DISK_BYTES = 64 << 20
STEP = 10


def transaction_at(lsn: int) -> Transaction:
    """What the stream holds there, the same in every run."""
    chance = random.Random(lsn)
    return transaction(lsn, changes=chance.randrange(4), size=chance.randrange(2000))


async def write(folder: Path, lsn: int) -> None:
    limits = FileJournalLimits(disk_bytes=DISK_BYTES, memory_bytes=1 << 20)
    journal = FileJournal(folder, SystemClock(), limits=limits)
    await journal.open()
    await journal.begin("e1", start=Lsn(lsn + 5))
    chance = random.Random()
    while True:
        # Between two syncs, so that the next one is often cut.
        for _ in range(chance.randrange(1, 200)):
            lsn += STEP
            journal.append([transaction_at(lsn)])
        await journal.sync()
        sys.stdout.write(f"{int(journal.durable)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
