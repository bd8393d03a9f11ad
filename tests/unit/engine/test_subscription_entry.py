from __future__ import annotations

from typing import Any

import pytest

from tidewire.core.change import ChangeKind
from tidewire.core.errors import InvalidFilterError, InvalidSubscriptionError
from tidewire.engine.subscription_entry import ALL_KINDS, parse_entry


@pytest.mark.parametrize(
    ("event", "kinds"),
    [
        ("INSERT", {ChangeKind.INSERT}), ("update", {ChangeKind.UPDATE}),
        ("Delete", {ChangeKind.DELETE}), ("*", ALL_KINDS), (None, ALL_KINDS),
        ("TRUNCATE", ALL_KINDS), (7, ALL_KINDS), ([], ALL_KINDS),
    ],
)  # fmt: skip
def test_an_event_in_any_case_or_all(event: Any, kinds: set[ChangeKind]) -> None:
    assert parse_entry({"event": event, "table": "t"}).kinds == kinds


@pytest.mark.parametrize(
    ("request_", "schema", "table"),
    [
        ({"schema": "s", "table": "t"}, "s", "t"),
        ({"table": "t"}, "public", "t"),
        ({"schema": "s"}, "s", "*"),
        ({"schema": "s", "table": None, "filter": ""}, "s", "*"),
        ({"schema": "*", "table": "t"}, "*", "t"),
    ],
)
def test_schema_and_table_have_their_defaults(
    request_: dict[str, Any], schema: str, table: str
) -> None:
    entry = parse_entry(request_)
    assert (entry.schema, entry.table, entry.conditions, entry.select) == (schema, table, (), None)


@pytest.mark.parametrize(
    "request_", [{}, {"event": "*"}, {"table": "t", "filter": None}, {"schema": 5, "table": "t"}]
)
def test_without_names_or_with_wrong_types_nothing_is_meant(request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidSubscriptionError, match=r"^No subscription params provided"):
        parse_entry(request_)


def test_messages_show_no_tokens() -> None:
    with pytest.raises(InvalidSubscriptionError) as caught:
        parse_entry({"event": "*", "access_token": "secret1", "x": "eyJsecret2"})
    assert "secret" not in str(caught.value)
    assert "<redacted>" in str(caught.value)


def test_select_is_a_list_of_names() -> None:
    assert parse_entry({"table": "t", "select": ["a", 5, "b"]}).select == {"a", "b"}
    assert parse_entry({"table": "t", "select": []}).select is None
    with pytest.raises(InvalidSubscriptionError, match=r"^Error parsing `select` params"):
        parse_entry({"table": "t", "select": "a"})
    with pytest.raises(InvalidSubscriptionError, match=r"^Column selection is not supported"):
        parse_entry({"schema": "s", "select": ["a"]})


def test_a_bad_filter_is_refused_with_its_own_text() -> None:
    with pytest.raises(InvalidFilterError, match=r'params: \["wrong"\]'):
        parse_entry({"table": "t", "filter": "wrong"})


def test_errors_describe_the_entry() -> None:
    entry = parse_entry({"table": "x", "filter": "id=not.in.(1,null)", "select": ["b", "a"]})
    assert entry.describe() == (
        '[event: *, schema: public, table: x, filters: [{"id", "not.in", "(1,NULL)"}], '
        'select: ["a", "b"]]'
    )
