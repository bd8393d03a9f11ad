from __future__ import annotations

import pytest

from tidewire.adapters.memory.journal import MemoryJournal, bytes_of
from tidewire.core.change import Change, ChangeKind, Relation, ReplicaIdentity, Transaction
from tidewire.core.errors import PositionLostError
from tidewire.core.lsn import Lsn
from tidewire.core.position import Position

RELATION = Relation(1, "public", "t", ReplicaIdentity.DEFAULT, ())


def transaction(lsn: int, new: bytes | None, old: bytes | None = None) -> Transaction:
    change = Change(ChangeKind.UPDATE, RELATION, new, old)
    return Transaction(Lsn(lsn), Lsn(lsn + 5), 1, 0, (change,))


def test_the_size_of_a_transaction_counts_both_rows() -> None:
    small = bytes_of(transaction(1, None))
    assert bytes_of(transaction(1, b"x" * 100, b"y" * 50)) == small + 150


def test_bytes_are_bounded_too() -> None:
    one = bytes_of(transaction(10, b"x" * 1000))
    journal = MemoryJournal(bytes_max=3 * one)
    journal.begin_epoch("e1")
    for lsn in range(10, 100, 10):
        journal.append([transaction(lsn, b"x" * 1000)])
    assert len(journal) == 3
    assert journal.floor == Position("e1", Lsn(60))


def test_a_transaction_above_the_bound_is_not_kept_and_those_before_it_are_lost() -> None:
    journal = MemoryJournal(bytes_max=5000)
    journal.begin_epoch("e1")
    journal.append([transaction(10, b"x"), transaction(20, b"x" * 6000)])
    assert len(journal) == 0
    assert journal.floor == Position("e1", Lsn(20))
    with pytest.raises(PositionLostError):
        journal.read_after(Position("e1", Lsn(10)))
    journal.append([transaction(30, b"x")])
    assert [kept.commit_lsn for kept in journal.read_after(Position("e1", Lsn(20)))] == [30]


def test_appending_without_an_epoch_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        MemoryJournal().append([transaction(1, None)])


def test_nothing_before_the_first_transaction_is_vouched_for() -> None:
    journal = MemoryJournal()
    journal.begin_epoch("e1")
    journal.append([transaction(10, b"x")])
    assert journal.floor == Position("e1", Lsn(9))
    with pytest.raises(PositionLostError):
        journal.read_after(Position("e1", Lsn(8)))
