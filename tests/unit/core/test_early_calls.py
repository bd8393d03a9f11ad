from __future__ import annotations

import pytest

from tidewire.core.early_calls import Definition, EarlyNames, early_names

MY_ID = Definition("my_id", "select auth.uid()", is_function=True, is_immutable=True)
DEFINITIONS = [
    Definition("sees", "select outer_one()", is_function=True),
    Definition("outer_one", "begin return MY_ID (); end", is_function=True),
    MY_ID,
    Definition("harmless", "select my_id from t", is_function=True),
    Definition("mine", "SELECT * FROM t WHERE owner = my_id()", is_function=False),
    Definition("trips", "(EXISTS ( SELECT FROM mine))", is_function=False),
    Definition("Odd-One", "select 1", is_function=True, is_immutable=True),
]


@pytest.mark.parametrize(
    ("expression", "is_in"),
    [
        ("(owner = my_id())", True),
        ("(owner = public.my_id())", True),
        ("sees(owner)", True),
        ("(EXISTS ( SELECT FROM mine m WHERE (m.id = x.id)))", True),
        ("(EXISTS ( SELECT FROM trips))", True),
        ('(id = "Odd-One"())', True),
        ("(owner = auth.uid())", False),
        ("harmless(owner)", False),
        ("(my_id IS NULL)", False),
        ("true", False),
    ],
)
def test_calls_are_found_through_functions_views_and_policies(expression: str, is_in: bool) -> None:
    assert early_names(DEFINITIONS).are_in(expression) is is_in


def test_where_nothing_is_declared_immutable_nothing_is_found() -> None:
    assert early_names(one for one in DEFINITIONS if not one.is_immutable) == EarlyNames()
