from __future__ import annotations

import pytest

from tests.support.transactions import RELATION, transaction
from tidewire.core.change import Change, ChangeKind, Transaction
from tidewire.core.lsn import Lsn
from tidewire.core.ring_log import PAGE_BYTES_MAX, PAGE_CHANGES_MAX, RingLog, bytes_of


def one(lsn: int, new: bytes | None, old: bytes | None = None) -> Transaction:
    change = Change(ChangeKind.UPDATE, RELATION, new, old)
    return Transaction(Lsn(lsn), Lsn(lsn + 5), 1, 0, (change,))


def test_the_size_of_a_transaction_counts_both_rows() -> None:
    small = bytes_of(one(1, None))
    assert bytes_of(one(1, b"x" * 100, b"y" * 50)) == small + 150


def test_bytes_are_bounded() -> None:
    size = bytes_of(one(10, b"x" * 1000))
    ring = RingLog(bytes_max=3 * size)
    for lsn in range(10, 100, 10):
        ring.append(one(lsn, b"x" * 1000))
    assert len(ring) == 3
    assert ring.floor == (60, 0)
    assert ring.bytes == 3 * size


def test_the_floor_is_the_last_change_of_what_was_dropped() -> None:
    ring = RingLog(count_max=1)
    ring.append(transaction(10, changes=4))
    ring.append(transaction(20))
    assert ring.floor == (10, 3)
    assert [kept.commit_lsn for kept in ring.page_after((10, 3))] == [20]


def test_a_transaction_above_the_bound_is_not_kept_and_those_before_it_are_dropped() -> None:
    ring = RingLog(bytes_max=5000)
    ring.append(one(10, b"x"))
    ring.append(one(20, b"x" * 6000))
    assert len(ring) == 0
    assert ring.bytes == 0
    assert ring.floor == (20, 0)
    ring.append(one(30, b"x"))
    assert [kept.commit_lsn for kept in ring.page_after((20, 0))] == [30]


def test_a_page_ends_at_either_bound_and_the_next_one_goes_on() -> None:
    ring = RingLog()
    many, large = PAGE_CHANGES_MAX + 200, PAGE_BYTES_MAX // 2
    for number in range(many):
        ring.append(one(10 + number, b""))
    for number in range(3):
        ring.append(one(10_000 + number, b"x" * large))
    place, pages = ring.floor, []
    while page := ring.page_after(place):
        pages.append(len(page))
        place = (page[-1].commit_lsn, 0)
    assert pages == [PAGE_CHANGES_MAX, 202, 1]


def test_a_place_before_the_floor_is_our_own_mistake() -> None:
    ring = RingLog()
    ring.reset((10, 0))
    with pytest.raises(AssertionError):
        ring.page_after((9, 5))
    with pytest.raises(AssertionError):
        ring.all_after((9, 5))


def test_all_behind_a_place() -> None:
    ring = RingLog()
    for lsn in (10, 20, 30):
        ring.append(transaction(lsn, changes=2))
    assert [kept.commit_lsn for kept in ring.all_after((20, 0))] == [20, 30]
    assert [kept.commit_lsn for kept in ring.all_after((20, 1))] == [30]
