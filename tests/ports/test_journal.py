"""What every `Journal` promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.adapters.memory.journal import MemoryJournal
from tidewire.core.change import LogicalMessage, Transaction
from tidewire.core.errors import PositionLostError
from tidewire.core.lsn import Lsn
from tidewire.core.position import Position
from tidewire.ports.journal import Journal

MakeJournal = Callable[[int], Journal]
"""A journal that keeps so many of the transactions made here, and no more."""


def make_memory_journal(count_max: int) -> Journal:
    return MemoryJournal(count_max=count_max)


ADAPTERS: list[MakeJournal] = [make_memory_journal]


@pytest.fixture(params=ADAPTERS)
def make(request: pytest.FixtureRequest) -> MakeJournal:
    return request.param


@pytest.fixture
def journal(make: MakeJournal) -> Journal:
    journal = make(100)
    journal.begin_epoch("e1")
    return journal


def transaction(lsn: int, *, bytes_: int = 10) -> Transaction:
    content = LogicalMessage("test", b"x" * bytes_)
    return Transaction(Lsn(lsn), Lsn(lsn + 5), 1, 0, (content,))


def at(lsn: int, *, epoch: str = "e1") -> Position:
    return Position(epoch, Lsn(lsn))


def lsns_after(journal: Journal, lsn: int) -> list[int]:
    return [int(kept.commit_lsn) for kept in journal.read_after(at(lsn))]


def test_an_empty_journal_vouches_for_nothing(journal: Journal) -> None:
    assert journal.floor is None
    assert journal.last is None
    with pytest.raises(PositionLostError):
        journal.read_after(at(10))


def test_what_was_appended_is_read_back_in_order(journal: Journal) -> None:
    kept = [transaction(lsn) for lsn in (10, 20, 30)]
    journal.append(kept[:2])
    journal.append(kept[2:])
    assert list(journal.read_after(at(10))) == kept[1:]
    assert journal.last == at(30)


def test_everything_after_the_floor_is_there_and_nothing_before_it_is_promised(
    journal: Journal,
) -> None:
    journal.append([transaction(10), transaction(20)])
    assert journal.floor is not None
    assert lsns_after(journal, journal.floor.commit_lsn) == [10, 20]
    with pytest.raises(PositionLostError):
        journal.read_after(at(journal.floor.commit_lsn - 1))


def test_a_position_between_two_commits_or_at_the_end_is_fine(journal: Journal) -> None:
    journal.append([transaction(10), transaction(20)])
    assert lsns_after(journal, 15) == [20]
    assert lsns_after(journal, 20) == []
    assert lsns_after(journal, 99) == []


def test_a_source_that_repeats_itself_adds_nothing(journal: Journal) -> None:
    journal.append([transaction(10), transaction(20)])
    journal.append([transaction(10), transaction(20), transaction(30)])
    assert lsns_after(journal, 9) == [10, 20, 30]


def test_a_position_of_another_epoch_is_lost(journal: Journal) -> None:
    journal.append([transaction(10)])
    with pytest.raises(PositionLostError):
        journal.read_after(at(10, epoch="e0"))


def test_another_epoch_empties_the_journal_and_the_same_one_does_not(journal: Journal) -> None:
    journal.append([transaction(10), transaction(20)])
    journal.begin_epoch("e1")
    assert lsns_after(journal, 10) == [20]
    journal.begin_epoch("e2")
    assert journal.floor is None
    assert journal.last is None
    journal.append([transaction(5)])  # a new history may count from lower down
    assert [kept.commit_lsn for kept in journal.read_after(at(4, epoch="e2"))] == [5]


def test_the_oldest_make_room_and_the_floor_follows(make: MakeJournal) -> None:
    journal = make(3)
    journal.begin_epoch("e1")
    for lsn in range(10, 70, 10):
        journal.append([transaction(lsn)])
    assert journal.floor == at(30)
    assert lsns_after(journal, 30) == [40, 50, 60]
    with pytest.raises(PositionLostError):
        journal.read_after(at(29))


def test_a_reader_keeps_what_it_asked_for_while_the_journal_moves_on(make: MakeJournal) -> None:
    journal = make(3)
    journal.begin_epoch("e1")
    journal.append([transaction(lsn) for lsn in (10, 20, 30)])
    reading = journal.read_after(at(10))
    assert next(reading).commit_lsn == 20
    journal.append([transaction(lsn) for lsn in (40, 50, 60)])
    assert [kept.commit_lsn for kept in reading] == [30]


STEPS = st.lists(st.lists(st.integers(1, 60), max_size=5), max_size=12)


@pytest.mark.parametrize("make", ADAPTERS)
@given(steps=STEPS, count_max=st.integers(1, 8))
def test_any_position_gives_exactly_what_came_after_it_or_is_said_to_be_lost(
    make: MakeJournal, steps: list[list[int]], count_max: int
) -> None:
    journal = make(count_max)
    journal.begin_epoch("e1")
    appended: list[int] = []
    for step in steps:
        journal.append([transaction(lsn) for lsn in step])
        for lsn in step:
            if not appended or lsn > appended[-1]:
                appended.append(lsn)
        for position in range(61):
            try:
                after = lsns_after(journal, position)
            except PositionLostError:
                dropped = appended[:-count_max]
                assert position < (dropped[-1] if dropped else min(appended, default=99) - 1)
                continue
            assert after == [lsn for lsn in appended if lsn > position]
    assert (journal.last.commit_lsn if journal.last else None) == (appended or [None])[-1]
