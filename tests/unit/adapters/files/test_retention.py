from __future__ import annotations

import pytest

from tests.support.journal import JournalFolder, lsns
from tests.support.transactions import at, transaction
from tidewire.core.errors import PositionLostError
from tidewire.core.lsn import Lsn


async def test_the_disk_is_bounded(folder: JournalFolder) -> None:
    journal = await folder.begin(disk_bytes=16_000)
    for lsn in range(10, 5000, 10):
        journal.append([transaction(lsn, size=100)])
        if lsn % 100 == 0:
            await journal.sync()
    await journal.sync()
    on_disk = sum(path.stat().st_size for path in folder.segments)
    assert 14_000 < on_disk <= 16_000
    assert journal.status.disk_bytes == on_disk
    assert journal.floor is not None
    floor = journal.floor.commit_lsn
    assert await lsns(journal) == list(range(floor + 10, 5000, 10))


async def test_what_is_too_old_goes_though_nothing_new_comes(folder: JournalFolder) -> None:
    journal = await folder.begin(age_s=160.0)
    journal.append([transaction(10)])
    await journal.sync()
    folder.clock.advance(11)
    journal.append([transaction(20)])
    await journal.sync()
    assert await lsns(journal) == [10, 20]
    assert journal.status.reach_s == 11
    for _ in range(15):
        folder.clock.advance(11)
        await journal.sync()
    assert journal.floor == at(20)
    assert journal.last == at(20)
    assert len(folder.segments) == 1
    assert await lsns(journal, at(20)) == []
    with pytest.raises(PositionLostError):
        await journal.read_after(at(19))


async def test_what_is_young_enough_stays_though_its_file_is_old(folder: JournalFolder) -> None:
    journal = await folder.begin(age_s=160.0)
    journal.append([transaction(10)])
    for number in range(2, 40):
        folder.clock.advance(9)
        journal.append([transaction(number * 10)])
        await journal.sync()
    # 160 s are 17 transactions; a sixteenth of the time more may be there.
    kept = await lsns(journal)
    assert kept == list(range(kept[0], 400, 10))
    assert 18 <= len(kept) <= 21


async def test_age_counts_across_restarts(folder: JournalFolder) -> None:
    journal = await folder.begin(age_s=160.0)
    journal.append([transaction(10)])
    await journal.close()
    folder.clock.advance(500)
    again = await folder.begin(start=15, age_s=160.0)
    assert await lsns(again) == [10]
    await again.sync()
    folder.clock.advance(161)
    await again.sync()
    assert again.floor == at(10)


async def test_a_clock_that_is_set_back_drops_nothing(folder: JournalFolder) -> None:
    journal = await folder.begin(age_s=160.0)
    journal.append([transaction(10)])
    await journal.sync()
    folder.clock.set_wall(1_000_000.0)
    journal.append([transaction(20)])
    await journal.sync()
    assert await lsns(journal) == [10, 20]
    assert journal.status.reach_s == 0


async def test_an_idle_journal_does_not_fill_the_disk(folder: JournalFolder) -> None:
    journal = await folder.begin(age_s=160.0)
    for number in range(2000):
        folder.clock.advance(5)
        journal.cover(Lsn(100 + number))
        await journal.sync()
    assert journal.status.segments <= 1
    assert journal.status.disk_bytes < 50_000
