from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transactions import RELATIONS, histories, told, transaction
from tidewire.core.change import Change, Relation, Transaction
from tidewire.protocol.journal.records import DamagedError
from tidewire.protocol.journal.transactions import (
    decode_relation,
    decode_transaction,
    encode_relation,
    encode_transaction,
    outline_of,
)


class Numbers:
    def __init__(self) -> None:
        self.relations: list[Relation] = []

    def __call__(self, relation: Relation) -> int:
        if relation not in self.relations:
            self.relations.append(relation)
        return self.relations.index(relation)


@given(histories())
def test_every_kind_of_transaction_round_trips_to_the_very_versions(
    history: list[Transaction],
) -> None:
    numbers = Numbers()
    blobs = [encode_transaction(item, numbers) for item in history]
    for item, blob in zip(history, blobs, strict=True):
        read = decode_transaction(blob, numbers.relations)
        assert told(read) == told(item)
        for before, after in zip(item.changes, read.changes, strict=True):
            if isinstance(before, Change) and isinstance(after, Change):
                assert after.relation is before.relation
        assert outline_of(blob) == (item.commit_lsn, item.end_lsn, len(item.changes))


@given(RELATIONS)
def test_a_version_of_a_table_round_trips_as_a_new_one(relation: Relation) -> None:
    read = decode_relation(encode_relation(relation))
    assert read is not relation
    for name in ("oid", "schema", "name", "identity", "columns"):
        assert getattr(read, name) == getattr(relation, name)


@given(st.binary(max_size=200))
def test_other_bytes_raise_nothing_else(data: bytes) -> None:
    for read in (decode_relation, outline_of, lambda d: decode_transaction(d, [])):
        try:
            read(data)
        except DamagedError:
            continue


@given(histories(max_size=2).filter(bool), st.data())
def test_a_cut_transaction_is_refused(history: list[Transaction], data: st.DataObject) -> None:
    numbers = Numbers()
    blob = encode_transaction(history[0], numbers)
    cut = data.draw(st.integers(0, len(blob) - 1))
    with pytest.raises(DamagedError):
        decode_transaction(blob[:cut], numbers.relations)


def test_a_version_that_is_not_there_is_refused() -> None:
    with pytest.raises(DamagedError):
        decode_transaction(encode_transaction(transaction(10), lambda _: 3), [])
