from __future__ import annotations

import json
from typing import Any

import pytest

from tidewire.core.catalog import TableColumn
from tidewire.core.policy_local import UNSURE, find_local_rule, wanted_text
from tidewire.core.policy_tokens import tokenize
from tidewire.core.row_policy import LocalRule

COLUMNS = {
    "owner": TableColumn("owner", 2950),
    "org": TableColumn("org", 20),
    "small": TableColumn("small", 21),
    "name": TableColumn("name", 25),
    "code": TableColumn("code", 1043),
    "pad": TableColumn("pad", 1042),
    "price": TableColumn("price", 1700),
    "loose": TableColumn("loose", 25, is_deterministic=False),
}


def rule(expression: str) -> LocalRule | None:
    tokens = tokenize(expression)
    assert tokens is not None
    return find_local_rule(tokens, COLUMNS)


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("(owner = auth.uid())", ("owner", ("sub",), ("uuid",))),
        ("(( SELECT auth.uid() AS uid) = owner)", ("owner", ("sub",), ("uuid",))),
        ("((owner)::text = (auth.uid())::text)", ("owner", ("sub",), ("uuid", "text"))),
        ("(org = ((auth.jwt() ->> 'org_id'::text))::bigint)", ("org", ("org_id",), ("bigint",))),
        ("(org = ((auth.jwt() ->> 'o'::text))::integer)", ("org", ("o",), ("integer",))),
        (
            "(org = ( SELECT ((auth.jwt() ->> 'org_id'::text))::bigint AS int8))",
            ("org", ("org_id",), ("bigint",)),
        ),
        (
            "(org = (((auth.jwt() -> 'app_metadata'::text) ->> 'org'::text))::bigint)",
            ("org", ("app_metadata", "org"), ("bigint",)),
        ),
        ("((auth.jwt() ->> 'team'::text) = name)", ("name", ("team",), ())),
        ("(name = (( SELECT auth.jwt() AS jwt) ->> 'team'::text))", ("name", ("team",), ())),
        ("((code)::text = auth.role())", ("code", ("role",), ())),
    ],
)
def test_a_column_compared_with_a_claim_is_recognised(expression: str, wanted: tuple) -> None:
    found = rule(expression)
    assert found is not None
    assert (found.column, found.path, found.casts) == wanted


@pytest.mark.parametrize(
    "expression",
    [
        "(owner <> auth.uid())", "((owner = auth.uid()) OR true)", "(NOT (owner = auth.uid()))",
        "(price = ((auth.jwt() ->> 'p'::text))::numeric)", "(loose = auth.role())",
        "(pad = (auth.role())::bpchar)", "(lower(name) = auth.role())", "(owner = owner)",
        "(name = auth.email(1))", "(name = other.uid())", "(org = auth.uid())",
        "(unknown = auth.role())", "(name = (auth.jwt() -> 'a'::text))",
        "(name = (auth.jwt() ->> name))", "((price)::text = auth.role())",
        "(name = COALESCE(auth.role(), 'x'::text))", "(owner = auth.uid()) = true",
    ],
)  # fmt: skip
def test_anything_else_is_not(expression: str) -> None:
    assert rule(expression) is None


def wanted(casts: tuple[str, ...], claim: Any) -> Any:
    key = json.dumps({"c": claim}).encode()
    return wanted_text(LocalRule("x", ("c",), casts), key)


UPPER = "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"


@pytest.mark.parametrize(
    ("casts", "claim", "text"),
    [
        (("uuid",), UPPER, UPPER.lower().encode()),
        (("uuid",), "{" + UPPER + "}", UNSURE),
        (("uuid",), "abc", UNSURE),
        (("uuid",), None, None),
        (("uuid", "text"), UPPER, UPPER.lower().encode()),
        (("bigint",), 5, b"5"),
        (("bigint",), "-7", b"-7"),
        (("bigint",), " 5", UNSURE),
        (("bigint",), "05", UNSURE),
        (("bigint",), "-0", UNSURE),
        (("bigint",), 5.0, UNSURE),
        (("bigint",), 2**63, UNSURE),
        (("integer",), 2**31, UNSURE),
        (("smallint",), -(2**15), b"-32768"),
        (("bigint",), True, UNSURE),
        ((), True, b"true"),
        ((), "a b", b"a b"),
        ((), "a\0", UNSURE),
        ((), {"a": 1}, UNSURE),
        ((), 1.5, UNSURE),
    ],
)
def test_a_claim_is_compared_by_the_text_it_surely_has(
    casts: tuple[str, ...], claim: Any, text: Any
) -> None:
    assert wanted(casts, claim) == text


def test_a_path_into_what_is_no_object_finds_nothing() -> None:
    deep = LocalRule("x", ("app", "org"), ())
    assert wanted_text(deep, b'{"app":{"org":"a"}}') == b"a"
    assert wanted_text(deep, b'{"app":["org"]}') is None
    assert wanted_text(deep, b"{}") is None
