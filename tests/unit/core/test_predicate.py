from __future__ import annotations

import pytest

from tidewire.core.column_type import ColumnType
from tidewire.core.errors import InvalidSubscriptionError
from tidewire.core.filter import Condition, Operator
from tidewire.core.filter_parse import parse_filter
from tidewire.core.predicate import (
    Cell,
    Predicate,
    canonical_without_asking,
    compile_predicate,
    needed_literals,
)
from tidewire.protocol.pgoutput.row import UNCHANGED

INT = ColumnType(23, 23, "int4")
BOOL = ColumnType(16, 16, "bool")
TEXT = ColumnType(25, 25, "text", is_textual=True)
TEXT_EN = ColumnType(25, 25, "text", is_textual=True, is_collation_c=False)
INTERVAL = ColumnType(1186, 1186, "interval")
JSON = ColumnType(114, 114, "json")


def predicate(text: str, column_type: ColumnType = INT) -> Predicate:
    (condition,) = parse_filter(text)
    return compile_predicate(condition, column_type, lambda literal: literal)


@pytest.mark.parametrize("absent", [None, UNCHANGED])
@pytest.mark.parametrize(
    "text", ["a=eq.1", "a=neq.1", "a=not.eq.1", "a=in.(1)", "a=not.in.(1)", "a=lt.1", "a=not.gte.1"]
)
def test_null_and_absent_values_match_no_comparison(text: str, absent: Cell) -> None:
    assert predicate(text).judge(absent) is False


@pytest.mark.parametrize(
    ("text", "null", "value"),
    [
        ("a=is.null", True, False),
        ("a=not.is.null", False, True),
        ("a=isdistinct.1", True, False),
        ("a=not.isdistinct.1", False, True),
    ],
)
def test_is_and_isdistinct_see_null_but_never_what_is_absent(
    text: str, null: bool, value: bool
) -> None:
    judge = predicate(text).judge
    assert (judge(None), judge(b"1"), judge(UNCHANGED)) == (null, value, False)


def test_a_list_with_null_never_excludes() -> None:
    judge = predicate("a=not.in.(1,null)").judge
    assert (judge(b"1"), judge(b"2")) == (False, False)
    assert predicate("a=in.(1,null)").judge(b"1") is True


def test_an_unjudgeable_type_asks_and_concludes() -> None:
    asking = predicate("a=not.in.(1 day,2 days)", INTERVAL)
    assert asking.needs_database
    assert asking.judge(b"24:00:00") is None
    assert asking.judge(None) is False
    assert [q.literal for q in asking.questions(b"24:00:00")] == ["1 day", "2 days"]
    assert asking.conclude([True, False]) is False
    assert asking.conclude([False, False]) is True


def test_case_folding_is_local_for_ascii_alone() -> None:
    judge = predicate("a=ilike.%AB_", TEXT).judge
    assert judge(b"xABc") is True
    assert judge("éabc".encode()) is None
    assert predicate("a=ilike.hi%", TEXT).needs_database is False
    assert predicate("a=ilike.hi%", TEXT_EN).needs_database is True
    assert predicate("a=ilike.ab%", TEXT_EN).needs_database is False


@pytest.mark.parametrize(
    ("pattern", "value", "verdict"),
    [
        ("ab", b"xaby", True), ("^ab", b"xab", False), ("^ab$", b"ab", True), ("b$", b"ab", True),
        ("a_b", b"axb", False), ("a_b", b"a_b", True), ("", b"x", True), ("a.b", b"axb", None),
        ("(a+)+$", b"aaaa", None), ("a|b", b"a", None), ("***:x", b"x", None),
        (r"a\\1", b"x", None), (r"\d\w\.", b"x", None),
    ],
)  # fmt: skip
def test_only_plain_regular_expressions_are_judged_here(
    pattern: str, value: bytes, verdict: bool | None
) -> None:
    condition = Condition("a", Operator.MATCH, (pattern,))
    assert compile_predicate(condition, TEXT, str).judge(value) is verdict


@pytest.mark.parametrize(
    ("text", "column_type", "message"),
    [
        ("a=is.maybe", BOOL, "invalid value for is filter: must be null, true, false, or unknown"),
        ("a=is.true", INT, "is true filter requires a boolean column, got integer"),
        ("a=like.x", INT, "operator like is not supported on column a of type integer: "),
        ("a=eq.1", JSON, "operator eq is not supported on column a of type json: "),
        ("a=like.x\\", TEXT, "must not end with escape character"),
        ("a=match.\0", TEXT, "invalid pattern"),
        (r"a=match.^(.*)(.*)\1\2$", TEXT, "match filter: back-references are not supported"),
        (r"a=imatch.x\\\1", TEXT, "imatch filter: back-references are not supported"),
        ("a=match." + "(a|b)*" * 200, TEXT, "match filter: longer than 1000 characters"),
        ("a=in.(" + ",".join("1" * 101) + ")", INT, "too many values for `in` filter. Maximum 100"),
    ],
)
def test_what_does_not_fit_the_column_is_refused(
    text: str, column_type: ColumnType, message: str
) -> None:
    (condition,) = parse_filter(text)
    with pytest.raises(InvalidSubscriptionError) as caught:
        needed_literals(condition, column_type)
    assert message in str(caught.value)


def test_equal_conditions_have_one_identity() -> None:
    assert predicate("a=eq.1").identity == predicate("a=eq.1").identity
    assert predicate("a=eq.1").identity != predicate("a=eq.1", TEXT).identity
    assert predicate("a=eq.1").identity != predicate("a=not.eq.1").identity


@pytest.mark.parametrize(
    ("oid", "literal", "canonical"),
    [
        (23, "007", "7"), (23, "+7", "7"), (23, "2147483648", None), (21, "x", None),
        (20, "-9223372036854775808", "-9223372036854775808"), (23, "\u0667", None),
        (25, "any'thing", "any'thing"), (25, "a\0b", None), (25, "\ud800", None),
        (2950, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        (2950, "{x}", None), (1700, "1", None),
    ],
)  # fmt: skip
def test_plain_literals_need_no_question(oid: int, literal: str, canonical: str | None) -> None:
    assert canonical_without_asking(oid, literal) == canonical
