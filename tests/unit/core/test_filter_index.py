from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.column_type import ColumnType
from tidewire.core.filter import Condition, Operator
from tidewire.core.filter_index import FilterIndex
from tidewire.core.predicate import Predicate, compile_predicate
from tidewire.protocol.pgoutput.row import UNCHANGED

INT = ColumnType(23, 23, "int4")
NUMERIC = ColumnType(1700, 1700, "numeric")
INTERVAL = ColumnType(1186, 1186, "interval")
COLUMNS = {"a": (0, INT), "b": (1, NUMERIC), "c": (2, INTERVAL)}
POSITIONS = {name: place for name, (place, _) in COLUMNS.items()}

values = st.integers(-3, 3).map(str)
conditions = st.one_of(
    st.builds(
        lambda column, operator, value, negated: Condition(column, operator, (value,), negated),
        st.sampled_from("ab"),
        st.sampled_from(
            [Operator.EQ, Operator.NEQ, Operator.LT, Operator.LTE, Operator.GT, Operator.GTE]
        ),
        values,
        st.booleans(),
    ),
    st.builds(
        lambda column, items, negated: Condition(column, Operator.IN, tuple(items), negated),
        st.sampled_from("ab"),
        st.lists(values | st.none(), max_size=3),
        st.booleans(),
    ),
    st.builds(lambda column: Condition(column, Operator.IS, ("null",)), st.sampled_from("ab")),
)
filters = st.lists(conditions, max_size=3)
cells = values.map(str.encode) | st.none() | st.just(UNCHANGED)
rows = st.tuples(cells, cells | st.just(b"1.0"), st.none())


def compile_all(filter_: list[Condition]) -> tuple[Predicate, ...]:
    return tuple(
        compile_predicate(condition, COLUMNS[condition.column][1], str) for condition in filter_
    )


@given(st.lists(filters, max_size=12), st.lists(rows, max_size=8), st.sets(st.integers(0, 11)))
def test_finds_what_trying_every_filter_finds(
    every: list[list[Condition]], tried: list[tuple[bytes | None]], removed: set[int]
) -> None:
    index: FilterIndex[int] = FilterIndex(POSITIONS)
    compiled = [compile_all(filter_) for filter_ in every]
    for number, predicates in enumerate(compiled):
        index.add(predicates, number)
    for number in removed & set(range(len(every))):
        index.discard(compiled[number], number)
    for row in tried:
        hits, doubts = index.match(row)
        found = [target for node in hits for target in node.targets]
        expected = {
            number
            for number, predicates in enumerate(compiled)
            if number not in removed and all(p.judge(row[COLUMNS[p.column][0]]) for p in predicates)
        }
        assert sorted(found) == sorted(expected)
        assert not doubts


@given(st.lists(filters, max_size=12))
def test_nothing_is_left_when_all_are_gone(every: list[list[Condition]]) -> None:
    index: FilterIndex[int] = FilterIndex(POSITIONS)
    compiled = [compile_all(filter_) for filter_ in every]
    for number, predicates in enumerate(compiled):
        index.add(predicates, number)
    for number, predicates in enumerate(compiled):
        index.discard(predicates, number)
        index.discard(predicates, number)
    assert len(index) == 0
    assert (index._equal, index._ranges, index._scan) == ({}, {}, {})


def test_equal_filters_are_one_node_whatever_their_order() -> None:
    index: FilterIndex[str] = FilterIndex(POSITIONS)
    one, two = Condition("a", Operator.EQ, ("1",)), Condition("b", Operator.GT, ("0",))
    index.add(compile_all([one, two]), "x")
    index.add(compile_all([two, one]), "y")
    assert len(index) == 1
    ((node,), _) = index.match((b"1", b"2", None))
    assert list(node.targets) == ["x", "y"]


def test_what_only_the_database_can_judge_is_asked_after_everything_else() -> None:
    index: FilterIndex[str] = FilterIndex(POSITIONS)
    asked = [Condition("c", Operator.EQ, ("1 day",)), Condition("a", Operator.EQ, ("1",))]
    index.add(compile_all(asked), "x")
    assert index.match((b"2", None, b"24:00:00")) == ([], [])
    hits, (doubt,) = index.match((b"1", None, b"24:00:00"))
    assert not hits
    assert [(p.column, value) for p, value in doubt.open] == [("c", b"24:00:00")]


def test_a_match_does_not_grow_with_filters_that_do_not_match() -> None:
    index: FilterIndex[int] = FilterIndex(POSITIONS)
    judged: list[int] = []

    def counting(predicate: Predicate) -> Predicate:
        judge = predicate.judge

        def count(cell: object) -> bool | None:
            judged.append(1)
            return judge(cell)  # pyright: ignore[reportArgumentType] - handed through

        predicate.judge = count
        return predicate

    for number in range(5_000):
        conditions_ = [
            Condition("a", Operator.EQ, (str(number),)),
            Condition("b", Operator.GT, ("0",)),
        ]
        index.add(tuple(map(counting, compile_all(conditions_))), number)
    (node,), _ = index.match((b"77", b"1", None))
    assert list(node.targets) == [77]
    assert len(judged) == 1


@pytest.mark.parametrize(
    ("operator", "found"),
    [
        (Operator.LT, {2, 3}), (Operator.LTE, {1, 2, 3}), (Operator.GT, {-1, 0}),
        (Operator.GTE, {-1, 0, 1}),
    ],
)  # fmt: skip
def test_a_range_holds_or_leaves_out_its_bound(operator: Operator, found: set[int]) -> None:
    index: FilterIndex[int] = FilterIndex(POSITIONS)
    for bound in (3, -1, 1, 0, 2):
        index.add(compile_all([Condition("a", operator, (str(bound),))]), bound)
    hits, _ = index.match((b"1", None, None))
    assert {target for node in hits for target in node.targets} == found
