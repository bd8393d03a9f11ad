from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.errors import InvalidFilterError
from tidewire.core.filter import Condition, Operator
from tidewire.core.filter_parse import CONDITIONS_MAX, FILTER_CHARS_MAX, parse_filter


def only(text: str) -> Condition:
    (condition,) = parse_filter(text)
    return condition


@pytest.mark.parametrize(
    ("text", "column", "operator", "value"),
    [
        ("id=eq.5", "id", Operator.EQ, "5"),
        ("  id=eq.5  ", "id", Operator.EQ, "5"),
        ("a=eq.b=c.d", "a", Operator.EQ, "b=c.d"),
        ("a=eq.", "a", Operator.EQ, ""),
        ('a=eq."x, y"', "a", Operator.EQ, "x, y"),
        ('a=eq."say \\"hi\\" \\\\ now"', "a", Operator.EQ, 'say "hi" \\ now'),
        ('a=eq."half', "a", Operator.EQ, '"half'),
        ('a=eq."a"b"', "a", Operator.EQ, '"a"b"'),
        ('a=eq."abc\\"', "a", Operator.EQ, '"abc\\"'),
        ("a=eq.(x,y)", "a", Operator.EQ, "(x,y)"),
        ("a=eq.'; drop table t; --", "a", Operator.EQ, "'; drop table t; --"),
        ("a=like.%$1\\%", "a", Operator.LIKE, "%$1\\%"),
        ("a=is.null", "a", Operator.IS, "null"),
        ("a=isdistinct.7", "a", Operator.ISDISTINCT, "7"),
    ],
)
def test_one_condition(text: str, column: str, operator: Operator, value: str) -> None:
    assert only(text) == Condition(column, operator, (value,))


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ("()", ()),
        ("( )", ()),
        ("(1,2)", ("1", "2")),
        ("( a b , c )", ("a b", "c")),
        ('("a,b", "c\\"d")', ("a,b", 'c"d')),
        ("(null,NULL,nullx)", (None, None, "nullx")),
        ('("null")', ("null",)),
        ("(a\\,b,\\ )", ("a,b", " ")),
        ("(\\NULL)", ("NULL",)),
    ],
)
def test_an_in_list_reads_as_a_postgres_array(raw: str, values: tuple[str | None, ...]) -> None:
    assert only(f"a=in.{raw}") == Condition("a", Operator.IN, values)


def test_not_is_taken_off_once() -> None:
    assert only("a=not.eq.1") == Condition("a", Operator.EQ, ("1",), negated=True)
    with pytest.raises(InvalidFilterError, match=r'\["not", "eq\.1"\]'):
        parse_filter("a=not.not.eq.1")


def test_commas_divide_only_outside_of_parentheses_and_quotes() -> None:
    conditions = parse_filter('a=in.(1,2), b=eq."x,y" ,c=not.in.("p,q",r)')
    assert [c.values for c in conditions] == [("1", "2"), ("x,y",), ("p,q", "r")]


def test_blank_means_no_filter() -> None:
    assert parse_filter("") == parse_filter(" \t") == ()


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("wrong", '["wrong"]'),
        ("id=foo.hey", '["foo", "hey"]'),
        ("id=eq", '["eq"]'),
        ("id=in.5", "`in` filter value must be wrapped by parentheses"),
        ("id=in.(5", "`in` filter value must be wrapped by parentheses"),
        ("a=eq.1,,b=eq.2", "filter must not contain empty segments (check for extra commas)"),
        ("a=eq.1,", "filter must not contain empty segments (check for extra commas)"),
        ("a=in.(1,)", "malformed list in `in` filter"),
        ('a=in.("x"y)', "malformed list in `in` filter"),
        ("a=in.({1})", "malformed list in `in` filter"),
        ("a=in.(\\)", "malformed list in `in` filter"),
    ],
)
def test_refusals_say_what_the_wire_says(text: str, detail: str) -> None:
    with pytest.raises(InvalidFilterError) as caught:
        parse_filter(text)
    assert str(caught.value) == f"Error parsing `filter` params: {detail}"


def test_length_and_number_of_conditions_are_bounded() -> None:
    with pytest.raises(InvalidFilterError, match="longer than"):
        parse_filter("a=eq." + "x" * FILTER_CHARS_MAX)
    with pytest.raises(InvalidFilterError, match="more than"):
        parse_filter(",".join(["a=eq.1"] * (CONDITIONS_MAX + 1)))


@given(st.text(alphabet='ab=.,()"\\ nteqi{}N', max_size=60) | st.text(max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    refusal = "Error parsing `filter` params: "
    try:
        conditions = parse_filter(text)
    except InvalidFilterError as error:
        conditions, refusal = (), str(error)
    assert refusal.startswith("Error parsing `filter` params: ")
    assert all(c.operator in Operator for c in conditions)


@given(st.lists(st.text(max_size=10), min_size=1, max_size=5))
def test_quoted_values_come_back_whatever_they_hold(values: list[str]) -> None:
    quoted = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]
    text = ",".join(f"c=eq.{value}" for value in quoted)
    assert [c.value for c in parse_filter(text)] == values
    assert only(f"c=in.({','.join(quoted)})").values == tuple(values)
