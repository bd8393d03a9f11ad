import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.errors import InvalidPersistenceError
from tidewire.protocol.phoenix.persistence import TTL_S_MAX, ttl_of_metadata, ttl_of_query


@pytest.mark.parametrize(
    ("wish", "ttl_s"),
    [
        (True, TTL_S_MAX),
        ("true", TTL_S_MAX),
        ({}, TTL_S_MAX),
        ({"ttl": 60}, 60),
        ({"ttl": "60"}, 60),
        ({"ttl": 1}, 1),
        ({"ttl": 259_200}, 259_200),
        (False, None),
        ("false", None),
        (None, None),
    ],
)
def test_a_wish_says_for_how_long(wish: Any, ttl_s: int | None) -> None:
    assert ttl_of_metadata(json.dumps({"persist": wish}).encode()) == ttl_s


@pytest.mark.parametrize(
    "wish",
    [0, 1, "yes", [], "", {"ttl": 0}, {"ttl": -1}, {"ttl": 259_201}, {"ttl": "259201"}]
    + [{"ttl": value} for value in (1.5, True, None, "", "1.5", " 60", "٦٠", "9" * 5000, [60])],
)
def test_any_other_wish_is_refused_and_not_clamped(wish: Any) -> None:
    with pytest.raises(InvalidPersistenceError):
        ttl_of_metadata(json.dumps({"persist": wish}).encode())


@pytest.mark.parametrize("metadata", [b"", b"{}", b"[]", b"nonsense", b"7", b'{"other":1}'])
def test_without_a_wish_nothing_is_kept(metadata: bytes) -> None:
    assert ttl_of_metadata(metadata) is None


def test_a_query_says_the_same() -> None:
    assert ttl_of_query({}) is None
    assert ttl_of_query({"persist": "false"}) is None
    assert ttl_of_query({"persist": "true"}) == TTL_S_MAX
    assert ttl_of_query({"persist[ttl]": "3600"}) == 3600
    for query in ({"persist": "1"}, {"persist[ttl]": "0"}, {"persist[ttl]": "x"}):
        with pytest.raises(InvalidPersistenceError):
            ttl_of_query(query)


@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_any_metadata_is_read_or_refused(metadata: bytes) -> None:
    try:
        ttl_s = ttl_of_metadata(metadata)
    except InvalidPersistenceError:
        return
    assert ttl_s is None or 1 <= ttl_s <= TTL_S_MAX
