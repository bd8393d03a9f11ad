from __future__ import annotations

import pytest

from tidewire.core import column_type as ct
from tidewire.core.catalog import TypeInfo, TypeKind

TYPES = {
    23: TypeInfo(23, "int4", category="N"),
    25: TypeInfo(25, "text", category="S"),
    900: TypeInfo(900, "positive", TypeKind.DOMAIN, base_oid=901),
    901: TypeInfo(901, "number", TypeKind.DOMAIN, base_oid=23),
    902: TypeInfo(902, "loop", TypeKind.DOMAIN, base_oid=902),
    903: TypeInfo(903, "mood", TypeKind.ENUM, labels=("sad", "ok")),
    904: TypeInfo(904, "citext", category="S"),
}


def test_a_domain_compares_as_its_base_type() -> None:
    resolved = ct.resolve_type(TYPES, 900)
    assert resolved is not None
    assert (resolved.oid, resolved.declared_oid, resolved.sql_name) == (23, 900, "integer")


@pytest.mark.parametrize("oid", [902, 999])
def test_unknown_and_endless_types_are_not_resolved(oid: int) -> None:
    assert ct.resolve_type(TYPES, oid) is None


def test_what_the_text_does_not_tell_is_left_to_the_database() -> None:
    text = ct.resolve_type(TYPES, 25, is_collation_c=False)
    odd = ct.resolve_type(TYPES, 25, is_deterministic=False)
    citext, mood = ct.resolve_type(TYPES, 904), ct.resolve_type(TYPES, 903)
    assert text is not None
    assert odd is not None
    assert citext is not None
    assert mood is not None
    assert ct.equality_key(text) is not None
    assert ct.order_key(text) is None
    assert ct.equality_key(odd) is None
    assert ct.equality_key(citext) is None
    assert ct.equality_key(mood) is not None
    assert ct.order_key(mood) is None


def test_nan_is_the_greatest_number_and_equals_itself() -> None:
    nan, infinity = ct.float_key(b"NaN"), ct.float_key(b"Infinity")
    assert nan == ct.numeric_key(b"NaN")
    assert infinity < nan  # pyright: ignore[reportOperatorIssue] - keys compare with their like
    assert not nan < infinity  # pyright: ignore[reportOperatorIssue] - as above


def test_times_order_across_eras_and_long_years() -> None:
    ordered = [
        b"-infinity", b"0045-01-01 BC", b"0044-03-15 BC", b"0044-03-16 BC", b"0001-01-01 BC",
        b"0001-01-01", b"2026-01-01 00:00:00", b"2026-01-01 00:00:00.5", b"9999-12-31",
        b"10000-01-01", b"294276-12-31", b"infinity",
    ]  # fmt: skip
    assert sorted(set(ordered), key=ct.time_key) == ordered
