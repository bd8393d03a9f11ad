"""A change's position depends on the log alone, not on the run that reads it."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import make_row
from tidewire.core.change import Change, LogicalMessage, Transaction
from tidewire.core.position import Place, last_place
from tidewire.protocol.pgoutput.assemble import Assembler

TABLES = (1, 2)


def relation(oid: int) -> bytes:
    return b"R" + struct.pack("!I", oid) + b"public\0t\0d\0\1\1id\0" + struct.pack("!Ii", 23, -1)


def emitted(prefix: bytes, number: int, *, lsn: int, is_transactional: bool) -> bytes:
    content = b"%d" % number
    head = b"M" + bytes([is_transactional]) + struct.pack("!Q", lsn)
    return head + prefix + b"\0" + struct.pack("!I", len(content)) + content


ITEMS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "ours", "theirs", "truncate", "type", "relation"]),
        st.sampled_from(TABLES),
    ),
    max_size=8,
)
LOG = st.lists(ITEMS | st.none(), min_size=1, max_size=8)
"""Transactions; None for a message of ours outside of one."""


def messages_of(items: list[tuple[str, int]], number: int) -> list[bytes]:
    """What the log holds of a transaction, apart from descriptions of tables."""
    made: list[bytes] = []
    for step, (what, oid) in enumerate(items):
        mark = number * 100 + step
        if what == "insert":
            made.append(b"I" + struct.pack("!I", oid) + b"N" + make_row(b"%d" % mark))
        elif what == "truncate":
            made.append(b"T" + struct.pack("!IBII", len(TABLES), 0, *TABLES))
        elif what == "type":
            made.append(b"Y" + struct.pack("!I", 99) + b"public\0mood\0")
        elif what == "relation":
            made.append(relation(oid))
        else:
            prefix = b"tidewire.x" if what == "ours" else b"other"
            made.append(emitted(prefix, mark, lsn=1, is_transactional=True))
    return made


def read_log(log: list[list[tuple[str, int]] | None], first: int) -> list[Transaction]:
    """One connection's stream from a transaction on: tables are described anew."""
    assembler = Assembler()
    found: list[Transaction] = []

    def take(data: bytes) -> None:
        transaction = assembler.receive(data)
        if transaction is not None:
            found.append(transaction)

    described: set[int] = set()
    for number in range(first, len(log)):
        items, lsn = log[number], number * 1000 + 500
        if items is None:
            take(emitted(b"tidewire.x", number, lsn=lsn, is_transactional=False))
            continue
        take(b"B" + struct.pack("!QqI", lsn, 0, number))
        for message in messages_of(items, number):
            for oid in TABLES if message[:1] in b"IT" else ():
                if oid not in described:
                    described.add(oid)
                    take(relation(oid))
            take(message)
        take(b"C\0" + struct.pack("!QQq", lsn, lsn + 10, 0))
    return found


def positions(transactions: list[Transaction]) -> dict[Place, object]:
    """Place to what stands there."""
    found: dict[Place, object] = {}
    for transaction in transactions:
        for seq, item in enumerate(transaction.changes):
            place = (int(transaction.commit_lsn), seq)
            assert place not in found
            if isinstance(item, LogicalMessage):
                found[place] = (item.prefix, item.content)
            else:
                found[place] = (item.kind, item.relation.oid, item.new)
        assert last_place(transaction)[1] == max(0, len(transaction.changes) - 1)
    return found


@given(LOG, st.data())
def test_a_change_has_the_same_position_in_every_run(
    log: list[list[tuple[str, int]] | None], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(log) - 1))
    whole, later = read_log(log, 0), read_log(log, first)
    all_positions, some = positions(whole), positions(later)
    assert list(all_positions) == sorted(all_positions)
    floor = first * 1000 + 498
    assert some == {place: what for place, what in all_positions.items() if place[0] > floor}


def test_seq_counts_row_changes_and_our_messages_and_each_emptied_table() -> None:
    items = [("ours", 1), ("theirs", 1), ("truncate", 1), ("relation", 1), ("insert", 2)]
    (transaction,) = read_log([items], 0)
    kinds = [c.kind.value if isinstance(c, Change) else "message" for c in transaction.changes]
    assert kinds == ["message", "TRUNCATE", "TRUNCATE", "INSERT"]
    assert last_place(transaction) == (500, 3)
