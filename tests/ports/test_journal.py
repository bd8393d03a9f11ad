"""What every `Journal` promises."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import ManualClock
from tests.support.transactions import at, histories, told, transaction
from tidewire.adapters.files.journal import FileJournal
from tidewire.adapters.files.limits import FileJournalLimits
from tidewire.adapters.memory.journal import MemoryJournal
from tidewire.core.change import Transaction
from tidewire.core.errors import PositionLostError
from tidewire.core.lsn import Lsn
from tidewire.core.position import Position
from tidewire.ports.journal import Journal

MakeJournal = Callable[[Path, int], Awaitable[Journal]]
"""A journal that holds so many transactions in memory; beyond them, a few kilobytes at most."""


async def make_memory_journal(_: Path, count: int) -> Journal:
    return MemoryJournal(ManualClock(), count_max=count)


async def make_file_journal(folder: Path, count: int) -> Journal:
    limits = FileJournalLimits(memory_count=count, disk_bytes=16 * 500)
    journal = FileJournal(folder, ManualClock(), limits=limits)
    await journal.open()
    return journal


ADAPTERS: dict[str, MakeJournal] = {"memory": make_memory_journal, "files": make_file_journal}


@pytest.fixture(params=ADAPTERS)
async def make(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[int], Awaitable[Journal]]]:
    made: list[Journal] = []

    async def make_one(count: int) -> Journal:
        made.append(await ADAPTERS[request.param](tmp_path / str(len(made)), count))
        return made[-1]

    yield make_one
    for journal in made:
        await journal.close()


@pytest.fixture
async def journal(make: Callable[[int], Awaitable[Journal]]) -> Journal:
    journal = await make(100)
    await journal.begin("e1", start=Lsn(5))
    return journal


async def lsns_after(journal: Journal, position: Position) -> list[int]:
    """Commits behind a position, page by page."""
    found: list[int] = []
    while page := await journal.read_after(position):
        found += [int(kept.commit_lsn) for kept in page]
        position = at(found[-1], max(0, len(page[-1].changes) - 1), epoch=position.epoch)
    return found


async def test_a_journal_that_has_not_begun_vouches_for_nothing(
    make: Callable[[int], Awaitable[Journal]],
) -> None:
    journal = await make(10)
    assert journal.floor is None
    assert journal.last is None
    with pytest.raises(PositionLostError):
        await journal.read_after(at(10))


async def test_one_that_has_just_begun_vouches_for_what_comes_from_its_start_on(
    journal: Journal,
) -> None:
    assert journal.floor == at(4)
    assert journal.last is None
    assert journal.covered == 5
    assert await lsns_after(journal, at(4)) == []
    with pytest.raises(PositionLostError):
        await journal.read_after(at(3))
    journal.append([transaction(5)])
    assert await lsns_after(journal, at(4)) == [5]


async def test_what_was_appended_is_read_back_in_order(journal: Journal) -> None:
    kept = [transaction(lsn) for lsn in (10, 20, 30)]
    assert journal.append(kept[:2]) == kept[:2]
    journal.append(kept[2:])
    assert [told(t) for t in await journal.read_after(at(10))] == [told(t) for t in kept[1:]]
    assert journal.last == at(30)
    assert journal.covered == 35


async def test_a_position_within_a_transaction_gives_that_transaction_again(
    journal: Journal,
) -> None:
    journal.append([transaction(10, changes=3), transaction(20)])
    assert journal.last == at(20)
    assert await lsns_after(journal, at(10, 1)) == [10, 20]
    assert await lsns_after(journal, at(10, 2)) == [20]
    await journal.sync()
    assert await lsns_after(journal, at(10, 1)) == [10, 20]


async def test_a_position_between_two_commits_or_from_the_future_is_fine(journal: Journal) -> None:
    journal.append([transaction(10), transaction(20)])
    assert await lsns_after(journal, at(15)) == [20]
    assert await lsns_after(journal, at(20)) == []
    assert await lsns_after(journal, at(99)) == []


async def test_a_source_that_repeats_itself_adds_nothing(journal: Journal) -> None:
    journal.append([transaction(10), transaction(20)])
    repeated = [transaction(10), transaction(20), transaction(30)]
    assert journal.append(repeated) == repeated[2:]
    assert await lsns_after(journal, at(9)) == [10, 20, 30]


async def test_a_position_of_another_epoch_is_lost(journal: Journal) -> None:
    journal.append([transaction(10)])
    with pytest.raises(PositionLostError):
        await journal.read_after(at(10, epoch="e0"))


async def test_another_epoch_empties_the_journal_and_the_same_one_does_not(
    journal: Journal,
) -> None:
    journal.append([transaction(10), transaction(20)])
    await journal.begin("e1", start=Lsn(25))
    assert await lsns_after(journal, at(10)) == [20]
    await journal.begin("e2", start=Lsn(3))
    assert journal.floor == at(2, epoch="e2")
    assert journal.last is None
    journal.append([transaction(5)])  # a new history may count from lower down
    assert await lsns_after(journal, at(4, epoch="e2")) == [5]
    with pytest.raises(PositionLostError):
        await journal.read_after(at(10))


async def test_what_the_source_has_forgotten_and_the_journal_never_knew_is_a_hole(
    journal: Journal,
) -> None:
    journal.append([transaction(10)])
    await journal.begin("e1", start=Lsn(16))
    assert journal.floor == at(15)
    with pytest.raises(PositionLostError):
        await journal.read_after(at(10))


async def test_noting_that_nothing_else_committed_leaves_no_hole(journal: Journal) -> None:
    journal.append([transaction(10)])
    journal.cover(Lsn(500))
    journal.cover(Lsn(400))
    assert journal.covered == 500
    await journal.sync()
    assert journal.durable == 500
    await journal.begin("e1", start=Lsn(500))
    assert await lsns_after(journal, at(9)) == [10]


async def test_a_sync_makes_durable_what_there_was(journal: Journal) -> None:
    journal.append([transaction(10), transaction(20)])
    await journal.sync()
    assert journal.durable == 25
    await journal.sync()
    assert journal.durable == 25


async def test_the_oldest_make_room_and_the_floor_follows(
    make: Callable[[int], Awaitable[Journal]],
) -> None:
    journal = await make(3)
    await journal.begin("e1", start=Lsn(1))
    for lsn in range(10, 4000, 10):
        journal.append([transaction(lsn)])
        if lsn % 200 == 0:
            await journal.sync()
    await journal.sync()
    floor = journal.floor
    assert floor is not None
    assert 100 < floor.commit_lsn <= 3960
    assert await lsns_after(journal, floor) == list(range(floor.commit_lsn + 10, 4000, 10))
    with pytest.raises(PositionLostError):
        await journal.read_after(at(floor.commit_lsn - 1))


async def test_a_reader_that_retention_overtakes_is_told(
    make: Callable[[int], Awaitable[Journal]],
) -> None:
    journal = await make(3)
    await journal.begin("e1", start=Lsn(1))
    journal.append([transaction(lsn) for lsn in (10, 20, 30)])
    assert (await journal.read_after(at(10)))[0].commit_lsn == 20
    for lsn in range(40, 4000, 10):
        journal.append([transaction(lsn)])
        if lsn % 200 == 0:
            await journal.sync()
    with pytest.raises(PositionLostError):
        await journal.read_after(at(20))


async def test_pages_are_bounded(make: Callable[[int], Awaitable[Journal]]) -> None:
    journal = await make(100_000)
    await journal.begin("e1", start=Lsn(1))
    journal.append([transaction(lsn, size=300) for lsn in range(10, 30_000, 10)])
    page = await journal.read_after(at(9))
    assert 100 < len(page) <= 1100
    journal.append([transaction(30_000, changes=5000)])
    assert [len(t.changes) for t in await journal.read_after(at(29_990))] == [5000]


async def test_closing_twice_is_fine(journal: Journal) -> None:
    journal.append([transaction(10)])
    await journal.close()
    await journal.close()


STEPS = st.lists(st.lists(st.integers(1, 60), max_size=5) | st.just("sync"), max_size=12)


@pytest.mark.parametrize("adapter", ADAPTERS)
@settings(max_examples=60, deadline=None)
@given(steps=STEPS, count=st.integers(1, 8))
def test_any_position_gives_exactly_what_came_behind_it_or_is_said_to_be_lost(
    adapter: str, steps: list[list[int] | str], count: int
) -> None:
    async def check(folder: Path) -> None:
        journal = await ADAPTERS[adapter](folder, count)
        await journal.begin("e1", start=Lsn(1))
        appended: list[int] = []
        for step in steps:
            if isinstance(step, str):
                await journal.sync()
                continue
            journal.append([transaction(lsn) for lsn in step])
            for lsn in step:
                if not appended or lsn > appended[-1]:
                    appended.append(lsn)
            for position in range(61):
                try:
                    behind = await lsns_after(journal, at(position))
                except PositionLostError:
                    assert journal.floor is not None
                    assert position < journal.floor.commit_lsn
                    continue
                assert behind == [lsn for lsn in appended if lsn > position]
        assert (journal.last.commit_lsn if journal.last else None) == (appended or [None])[-1]
        await journal.close()

    with ExitStack() as stack:
        asyncio.run(check(Path(stack.enter_context(tempfile.TemporaryDirectory()))))


@pytest.mark.parametrize("adapter", ADAPTERS)
@settings(max_examples=60, deadline=None)
@given(history=histories())
def test_every_kind_of_transaction_comes_back_as_it_was(
    adapter: str, history: list[Transaction]
) -> None:
    async def check(folder: Path) -> None:
        journal = await ADAPTERS[adapter](folder, 2)
        await journal.begin("e1", start=Lsn(1))
        for item in history:
            journal.append([item])
        await journal.sync()
        floor = journal.floor
        assert floor is not None
        read = []
        position = floor
        while page := await journal.read_after(position):
            read += page
            last = page[-1]
            position = at(last.commit_lsn, max(0, len(last.changes) - 1))
        expected = [told(item) for item in history if item.commit_lsn > floor.commit_lsn]
        assert [told(item) for item in read] == expected
        await journal.close()

    with ExitStack() as stack:
        asyncio.run(check(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
