"""A disk that fails, fills up, hangs or lies: changes flow on, no position is answered wrong."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

import pytest

from tests.support.journal import JournalFolder, lsns, tell
from tests.support.transactions import at, told, transaction
from tidewire.adapters.files.journal import FileJournal
from tidewire.core.errors import PositionLostError
from tidewire.core.lsn import Lsn

RING: Any = {"memory_bytes": 1 << 20}


async def recover(folder: JournalFolder, journal: FileJournal) -> None:
    folder.files.failing.clear()
    folder.files.room = None
    folder.clock.advance(100)
    await journal.sync()
    running = journal._disk._running
    if running is not None:
        await running
    assert journal.status.alarm == ""


async def test_a_full_disk_raises_the_alarm_and_changes_flow_on(folder: JournalFolder) -> None:
    journal = await folder.begin(**RING)
    journal.append([transaction(10)])
    await journal.sync()
    folder.files.room = 40
    journal.append([transaction(20)])
    await journal.sync()
    status = journal.status
    assert status.alarm == os.strerror(errno.ENOSPC)
    assert status.failures_total == 1
    assert journal.durable == 25  # the database's log is not held back
    assert journal.append([transaction(30)])
    assert journal.durable == 35
    assert await lsns(journal) == [10, 20, 30]


async def test_when_there_is_room_again_nothing_was_lost(folder: JournalFolder) -> None:
    journal = await folder.begin(**RING)
    journal.append([transaction(10)])
    await journal.sync()
    folder.files.room = 40
    for lsn in range(20, 100, 10):
        journal.append([transaction(lsn)])
        await journal.sync()
    await recover(folder, journal)
    journal.append([transaction(100)])
    await journal.sync()
    assert journal.durable == 105
    folder.kill(journal)
    again = await folder.begin(start=105)
    assert await tell(again) == [told(transaction(lsn)) for lsn in range(10, 110, 10)]


async def test_beyond_what_memory_holds_the_files_no_longer_count(folder: JournalFolder) -> None:
    journal = await folder.begin(memory_count=3, **RING)
    journal.append([transaction(10), transaction(20)])
    await journal.sync()
    folder.files.failing.add("write")
    for lsn in range(30, 100, 10):
        journal.append([transaction(lsn)])
        await journal.sync()
    assert journal.floor == at(60)
    with pytest.raises(PositionLostError):
        await journal.read_after(at(10))
    await recover(folder, journal)
    assert await lsns(journal) == [70, 80, 90]
    folder.kill(journal)
    again = await folder.begin(start=95)
    assert again.floor == at(60)
    assert await lsns(again) == [70, 80, 90]
    await again.sync()
    assert len(folder.segments) == 1


async def test_a_kill_while_the_disk_fails_leaves_a_hole_that_is_told(
    folder: JournalFolder,
) -> None:
    journal = await folder.begin(**RING)
    journal.append([transaction(10)])
    await journal.sync()
    folder.files.failing.add("sync")
    journal.append([transaction(20)])
    await journal.sync()
    assert journal.durable == 25
    folder.kill(journal)
    folder.files.failing.clear()
    again = await folder.begin(start=25)
    # The bytes may be there or not: either way no position is answered wrong.
    if again.last is None:
        with pytest.raises(PositionLostError):
            await again.read_after(at(10))
    else:
        assert await lsns(again) == [10, 20]


@pytest.mark.parametrize("call", ["create", "write", "sync"])
async def test_a_disk_that_fails_from_the_first_byte_on(folder: JournalFolder, call: str) -> None:
    folder.files.failing.add(call)
    journal = await folder.begin(**RING)
    journal.append([transaction(10)])
    await journal.sync()
    assert journal.status.alarm
    assert await lsns(journal) == [10]
    await recover(folder, journal)
    folder.kill(journal)
    again = await folder.begin(start=15)
    assert await lsns(again) == [10]


@pytest.mark.parametrize("call", ["names", "truncate", "open"])
async def test_a_folder_that_cannot_be_read_at_the_start(folder: JournalFolder, call: str) -> None:
    first = await folder.begin()
    first.append([transaction(10)])
    await first.close()
    with folder.segments[0].open("ab") as file:
        file.write(b"torn")
    folder.files.failing.add(call)
    journal = await folder.begin(start=15, **RING)
    assert journal.status.alarm
    journal.append([transaction(20)])
    assert await lsns(journal) == [20]
    with pytest.raises(PositionLostError):
        await journal.read_after(at(10))


async def test_a_new_history_begins_while_the_disk_fails(folder: JournalFolder) -> None:
    journal = await folder.begin(**RING)
    journal.append([transaction(10)])
    await journal.sync()
    folder.files.failing.add("write")
    journal.append([transaction(20)])
    await journal.sync()
    await journal.begin("e2", start=Lsn(3))
    journal.append([transaction(5)])
    assert await lsns(journal, at(2, epoch="e2")) == [5]
    await recover(folder, journal)
    folder.kill(journal)
    again = await folder.begin(epoch="e2", start=10)
    assert await lsns(again, at(2, epoch="e2")) == [5]


async def test_a_disk_that_hangs_is_given_up_and_taken_up_again(folder: JournalFolder) -> None:
    journal = await folder.begin(sync_timeout_s=0.05, **RING)
    await journal.sync()
    folder.files.gate.clear()
    journal.append([transaction(10)])
    await journal.sync()
    assert journal.status.alarm == "the disk does not answer"
    assert journal.durable == 15
    journal.append([transaction(20)])
    await asyncio.wait_for(journal.sync(), 1)
    assert await lsns(journal) == [10, 20]
    running = journal._disk._running
    assert running is not None
    folder.files.gate.set()
    await running
    await recover(folder, journal)
    folder.kill(journal)
    again = await folder.begin(start=25)
    assert await lsns(again) == [10, 20]


async def test_failing_again_and_again_is_tried_less_often_and_told_once(
    folder: JournalFolder, caplog: pytest.LogCaptureFixture
) -> None:
    journal = await folder.begin(retry_first_s=1.0, retry_max_s=8.0, **RING)
    folder.files.failing.add("create")
    for _ in range(100):
        await journal.sync()
        if (running := journal._disk._running) is not None:
            await running
        folder.clock.advance(1)
    tries = folder.files.calls.count("create")
    assert 10 < tries < 20
    told_of = [r for r in caplog.records if r.message == "the journal retains nothing on disk"]
    assert len(told_of) == 1
    assert journal.status.failures_total == 1


async def test_old_segments_go_also_while_nothing_can_be_written(folder: JournalFolder) -> None:
    journal = await folder.begin(age_s=160.0, **RING)
    for lsn in (10, 20, 30):
        journal.append([transaction(lsn)])
        await journal.sync()
        folder.clock.advance(20)
    count = len(folder.segments)
    folder.files.failing.add("write")
    journal.append([transaction(40)])
    await journal.sync()
    folder.clock.advance(1000)
    await journal.sync()
    if (running := journal._disk._running) is not None:
        await running
    assert len(folder.segments) < count


async def test_damage_in_an_older_segment_is_found_when_it_is_read(folder: JournalFolder) -> None:
    limits: Any = {"disk_bytes": 16 * 500}
    journal = await folder.begin(**limits)
    for lsn in range(10, 200, 10):
        journal.append([transaction(lsn, size=200)])
    await journal.sync()
    victim = folder.segments[2]
    data = bytearray(victim.read_bytes())
    data[-20] ^= 1
    victim.write_bytes(data)
    with pytest.raises(PositionLostError):
        await tell(journal)
    assert journal.status.damages_total == 1
    assert journal.floor is not None
    assert journal.floor.commit_lsn > 30
    assert await lsns(journal) == list(range(journal.floor.commit_lsn + 10, 200, 10))


async def test_damage_in_a_segment_of_an_earlier_run(folder: JournalFolder) -> None:
    limits: Any = {"disk_bytes": 16 * 500}
    journal = await folder.begin(**limits)
    for lsn in range(10, 200, 10):
        journal.append([transaction(lsn, size=200)])
    await journal.close()
    victim = folder.segments[1]
    victim.write_bytes(victim.read_bytes()[:-20])
    again = await folder.begin(start=195, **limits)
    assert again.floor == at(0)
    with pytest.raises(PositionLostError):
        await tell(again)
    assert again.floor is not None
    assert again.floor.commit_lsn > 20
    assert await lsns(again) == list(range(again.floor.commit_lsn + 10, 200, 10))


async def test_damage_in_the_segment_that_is_being_filled(folder: JournalFolder) -> None:
    journal = await folder.begin()
    journal.append([transaction(10), transaction(20)])
    await journal.sync()
    folder.segments[0].write_bytes(b"x" * 100)
    with pytest.raises(PositionLostError):
        await journal.read_after(at(5))
    journal.append([transaction(30)])
    await journal.sync()
    assert await lsns(journal) == [30]
    await journal.close()
    again = await folder.begin(start=35)
    assert await lsns(again) == [30]


async def test_a_segment_that_cannot_be_removed_is_tried_again(folder: JournalFolder) -> None:
    journal = await folder.begin()
    journal.append([transaction(10)])
    await journal.sync()
    folder.files.failing.add("remove")
    await journal.begin("e2", start=Lsn(3))
    await journal.sync()
    assert len(folder.segments) == 2
    assert journal.status.alarm == ""
    folder.files.failing.clear()
    await journal.sync()
    assert len(folder.segments) == 1


async def test_a_sync_that_is_cancelled_goes_on(folder: JournalFolder) -> None:
    journal = await folder.begin()
    await journal.sync()
    journal.append([transaction(10)])
    folder.files.gate.clear()
    waiting = asyncio.create_task(journal.sync())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    folder.files.gate.set()
    await journal.sync()
    assert journal.durable == 15


async def test_a_transaction_larger_than_the_ring_can_be_read_at_once(
    folder: JournalFolder,
) -> None:
    journal = await folder.begin(memory_bytes=5000)
    journal.append([transaction(10), transaction(20, size=3_000_000), transaction(30)])
    assert await tell(journal) == [
        told(item) for item in (transaction(10), transaction(20, size=3_000_000), transaction(30))
    ]


async def test_much_that_waits_asks_for_a_sync(folder: JournalFolder) -> None:
    journal = await folder.begin(unsynced_bytes=10_000)
    assert not journal.is_full
    journal.append([transaction(10, size=20_000)])
    assert journal.is_full
    await journal.sync()
    assert not journal.is_full


async def test_a_block_that_many_ask_for_is_read_once(folder: JournalFolder) -> None:
    journal = await folder.begin()
    journal.append([transaction(lsn, size=100) for lsn in range(10, 2000, 10)])
    await journal.sync()
    folder.files.calls.clear()
    pages = await asyncio.gather(*(journal.read_after(at(5 + n)) for n in range(100)))
    assert all(page[-1].commit_lsn == 1990 for page in pages)
    assert folder.files.calls.count("read") == 1
