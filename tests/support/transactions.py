"""Transactions by hand and at random, for what keeps them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tidewire.core.change import (
    Change,
    ChangeKind,
    LogicalMessage,
    Relation,
    RelationColumn,
    ReplicaIdentity,
    Transaction,
)
from tidewire.core.lsn import Lsn
from tidewire.core.position import Position

RELATION = Relation(
    16_400, "public", "trips", ReplicaIdentity.DEFAULT, (RelationColumn("id", 23, -1, True),)
)


def transaction(
    lsn: int, *, changes: int = 1, size: int = 10, end: int | None = None
) -> Transaction:
    """A transaction whose rows tell where they belong."""
    items = tuple(
        Change(ChangeKind.INSERT, RELATION, f"{lsn}.{seq}.".encode().ljust(size, b"x"), None)
        for seq in range(changes)
    )
    return Transaction(Lsn(lsn), Lsn(lsn + 5 if end is None else end), 7, lsn * 1000, items)


def at(lsn: int, seq: int = 0, *, epoch: str = "e1") -> Position:
    return Position(epoch, Lsn(lsn), seq)


def told(item: Transaction) -> Any:
    """All that a transaction says, comparable: relations by content."""
    changes = [
        (
            c.kind,
            (c.relation.oid, c.relation.schema, c.relation.name, c.relation.identity),
            c.relation.columns,
            c.new,
            c.old,
            c.old_is_full,
        )
        if isinstance(c, Change)
        else (c.prefix, c.content)
        for c in item.changes
    ]
    return (
        item.commit_lsn,
        item.end_lsn,
        item.xid,
        item.committed_at_us,
        item.overflowed,
        changes,
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
COLUMNS = st.builds(
    RelationColumn, TEXTS, st.integers(0, 2**32 - 1), st.integers(-1, 2**31 - 1), st.booleans()
)
RELATIONS = st.builds(
    Relation,
    st.integers(0, 2**32 - 1),
    TEXTS,
    TEXTS,
    st.sampled_from(ReplicaIdentity),
    st.lists(COLUMNS, max_size=4).map(tuple),
)
ROWS = st.none() | st.binary(max_size=60)


def changes_of(relations: list[Relation]) -> st.SearchStrategy[Change | LogicalMessage]:
    """Every kind of item; versions of tables from a few, as in a stream."""
    messages = st.builds(LogicalMessage, TEXTS, st.binary(max_size=40))
    if not relations:
        return messages
    changes = st.builds(
        Change,
        st.sampled_from(ChangeKind),
        st.sampled_from(relations),
        ROWS,
        ROWS,
        st.booleans(),
    )
    return changes | messages


@st.composite
def histories(draw: st.DrawFn, *, max_size: int = 12) -> list[Transaction]:
    """Transactions of every kind with rising commit positions."""
    relations = draw(st.lists(RELATIONS, max_size=3))
    items = changes_of(relations)
    history: list[Transaction] = []
    lsn = 100
    for _ in range(draw(st.integers(0, max_size))):
        lsn += draw(st.integers(1, 50))
        end = lsn + draw(st.integers(1, 50))
        history.append(
            Transaction(
                Lsn(lsn),
                Lsn(end),
                draw(st.integers(0, 2**32 - 1)),
                draw(st.integers(-(2**62), 2**62)),
                tuple(draw(st.lists(items, max_size=5))),
                draw(st.booleans()),
            )
        )
        lsn = end - 1
    return history
