"""Whole transactions out of messages."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import make_row
from tests.vectors.pgoutput.record import read_messages
from tidewire.core.change import Change, ChangeKind, LogicalMessage, Transaction
from tidewire.core.errors import ProtocolViolationError
from tidewire.core.lsn import Lsn
from tidewire.protocol.pgoutput.assemble import Assembler
from tidewire.protocol.pgoutput.render import RowRenderer

RELATION = b"R\0\0\0\1public\0t\0d\0\1\1id\0" + struct.pack("!Ii", 23, -1)
RECORDED = read_messages()


def begin(lsn: int = 100, xid: int = 7) -> bytes:
    return b"B" + struct.pack("!QqI", lsn, 0, xid)


def commit(lsn: int = 100, end: int = 120) -> bytes:
    return b"C\0" + struct.pack("!QQq", lsn, end, 0)


def insert(number: int) -> bytes:
    return b"I\0\0\0\1N" + make_row(b"%d" % number)


def emitted(prefix: bytes, content: bytes, *, flags: int = 1, lsn: int = 90) -> bytes:
    return (
        b"M" + bytes([flags]) + struct.pack("!Q", lsn) + prefix + b"\0"
        + struct.pack("!I", len(content)) + content
    )  # fmt: skip


def feed(assembler: Assembler, *messages: bytes) -> list[Transaction]:
    results = [assembler.receive(message) for message in messages]
    return [result for result in results if result is not None]


def test_a_transaction_comes_out_at_its_commit() -> None:
    assembler = Assembler()
    assert feed(assembler, begin(), RELATION, insert(1), insert(2)) == []
    assert not assembler.is_between_transactions
    (transaction,) = feed(assembler, commit())
    assert assembler.is_between_transactions
    assert (transaction.commit_lsn, transaction.end_lsn, transaction.xid) == (100, 120, 7)
    assert [c.new for c in transaction.changes if isinstance(c, Change)] == [
        make_row(b"1"), make_row(b"2"),
    ]  # fmt: skip


def test_an_equal_description_of_a_table_is_a_new_relation() -> None:
    assembler = Assembler()
    (one,) = feed(assembler, begin(), RELATION, insert(1), RELATION, insert(2), commit())
    first, second = (c.relation for c in one.changes if isinstance(c, Change))
    assert first is not second
    assert first.columns == second.columns


def test_beyond_the_bound_of_changes_a_transaction_overflows() -> None:
    assembler = Assembler(changes_max=2)
    feed(assembler, begin(), RELATION, insert(1), insert(2), insert(3), insert(4))
    (giant,) = feed(assembler, commit())
    assert giant.overflowed
    assert giant.changes == ()
    (next_one,) = feed(assembler, begin(200), insert(5), insert(6), commit(200, 220))
    assert not next_one.overflowed
    assert len(next_one.changes) == 2


def test_beyond_the_bound_of_bytes_a_transaction_overflows() -> None:
    assembler = Assembler(bytes_max=3 * len(insert(1)))
    (fits,) = feed(assembler, begin(), RELATION, *[insert(n) for n in range(3)], commit())
    assert not fits.overflowed
    (giant,) = feed(assembler, begin(), *[insert(n) for n in range(4)], commit())
    assert giant.overflowed


def test_a_message_too_large_to_read_overflows_its_transaction() -> None:
    assembler = Assembler()
    feed(assembler, begin(), RELATION, insert(1))
    assembler.skip(ord("I"))
    (transaction,) = feed(assembler, commit())
    assert transaction.overflowed


def test_a_logical_message_too_large_to_read_is_passed_over() -> None:
    assembler = Assembler()
    assembler.skip(ord("M"))
    feed(assembler, begin(), RELATION, insert(1))
    assembler.skip(ord("M"))
    (transaction,) = feed(assembler, commit())
    assert len(transaction.changes) == 1


def test_our_messages_are_kept_in_order_and_others_dropped() -> None:
    assembler = Assembler()
    (one,) = feed(
        assembler, begin(), RELATION, insert(1), emitted(b"tidewire.a", b"x"),
        emitted(b"other", b"y"), insert(2), commit(),
    )  # fmt: skip
    assert [type(change) for change in one.changes] == [Change, LogicalMessage, Change]


def test_a_message_outside_of_a_transaction_stands_before_a_commit_at_its_end() -> None:
    (alone,) = feed(Assembler(), emitted(b"tidewire.a", b"x", flags=0, lsn=90))
    assert alone.commit_lsn < Lsn(90) == alone.end_lsn
    assert alone.xid == 0
    assert feed(Assembler(), emitted(b"other", b"x", flags=0)) == []


def test_truncate_is_a_change_of_each_table() -> None:
    (one,) = feed(Assembler(), begin(), RELATION, b"T\0\0\0\1\0\0\0\0\1", commit())
    assert [c.kind for c in one.changes if isinstance(c, Change)] == [ChangeKind.TRUNCATE]


@pytest.mark.parametrize(
    "messages",
    [[insert(1)], [RELATION, insert(1)], [commit()], [begin(), begin()], [begin(), insert(1)],
     [emitted(b"tidewire.a", b"x")]],
)  # fmt: skip
def test_what_may_not_come_is_refused(messages: list[bytes]) -> None:
    with pytest.raises(ProtocolViolationError):
        feed(Assembler(), *messages)


def test_the_recorded_stream_assembles_and_renders() -> None:
    transactions = feed(Assembler(), *RECORDED)
    changes = [c for t in transactions for c in t.changes if isinstance(c, Change)]
    rendered = [
        RowRenderer(c.relation, {}).render(row) for c in changes for row in (c.new, c.old) if row
    ]
    assert rendered[0] == b'{"id":1,"v":"a","m":"ok","a":"{1,NULL}"}'
    assert len(transactions) == 12
    assert [t.commit_lsn for t in transactions] == sorted({t.commit_lsn for t in transactions})


@given(st.data())
def test_a_mutated_stream_never_raises_anything_else(data: st.DataObject) -> None:
    """Mutate, drop and repeat messages of a real stream; render whatever comes out."""
    stream = list(RECORDED)
    for _ in range(data.draw(st.integers(1, 5))):
        index = data.draw(st.integers(0, len(stream) - 1))
        message = bytearray(stream[index])
        position = data.draw(st.integers(0, len(message) - 1))
        message[position] = data.draw(st.integers(0, 255))
        stream[index] = bytes(message)
        if data.draw(st.booleans()):
            del stream[data.draw(st.integers(0, len(stream) - 1))]
    assembler = Assembler()
    try:
        for transaction in feed(assembler, *stream):
            for change in transaction.changes:
                if isinstance(change, Change) and change.new is not None:
                    RowRenderer(change.relation, {}).render(change.new, change.old)
    except ProtocolViolationError:
        pass
